//! Where the plain part of a JSON string stops.

use wide::u8x16;

/// Bytes that are looked at together.
const WIDE: usize = 16;

/// Where the first byte stands that can't stand in a JSON string as it is: a quotation mark, a backslash,
/// a control character.
pub(super) fn stop(text: &[u8]) -> Option<usize> {
    stop_or::<b'"'>(text)
}

/// The same, or the first `BYTE`, which is no space.
///
/// Conversations have a line end or a quote every few words, and each is an escape: a search that takes
/// long to begin, as memchr's does, begins hundreds of times. This one has nothing to prepare.
pub fn stop_or<const BYTE: u8>(text: &[u8]) -> Option<usize> {
    let (blocks, tail) = text.as_chunks::<WIDE>();
    for (n, block) in blocks.iter().enumerate() {
        let block = u8x16::new(*block);
        let backslashes = block.simd_eq(u8x16::splat(b'\\'));
        // With this bit turned a quote is 0x20, a blank is more, and control characters stay below.
        let turned = block ^ u8x16::splat(0x02);
        let others = turned.min(u8x16::splat(0x20)).simd_eq(turned);
        let mut found = backslashes | others;
        if BYTE != b'"' {
            found |= block.simd_eq(u8x16::splat(BYTE));
        }
        let found = found.to_bitmask();
        if found != 0 {
            return Some(n * WIDE + found.trailing_zeros() as usize);
        }
    }
    let stops = |it: &u8| *it == BYTE || matches!(it, b'"' | b'\\' | 0..=0x1f);
    Some(blocks.len() * WIDE + tail.iter().position(stops)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_or_passed_over_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let stops = serde_json::to_string(&char::from(byte)).unwrap().contains('\\');
            let or = stops || byte == b'\'';
            for length in 1..50 {
                for at in 0..length {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    assert_eq!(stop(&text), stops.then_some(at), "{byte} at {at} of {length}");
                    assert_eq!(
                        stop_or::<b'\''>(&text),
                        or.then_some(at),
                        "{byte} at {at} of {length}"
                    );
                }
            }
        }
        assert_eq!(stop(b""), None);
        assert_eq!(stop(&[b"a".repeat(20), b"\"\\\n".to_vec()].concat()), Some(20));
    }
}
