//! The id under which a request is logged and answered.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, both ways.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken from a caller, in bytes.
const MAX_LEN: usize = 128;

const MADE_PREFIX: &[u8; 4] = b"req_";
const MADE_LEN: usize = 28;

/// A request's id: the caller's own where that is sane, else one made here.
#[derive(Clone, Debug)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(X_REQUEST_ID).and_then(|it| it.to_str().ok());
        Self(given.filter(|it| is_sane(it)).map_or_else(make, Arc::from))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The id for those who keep it.
    pub(super) fn text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Writes the id into the headers of an answer.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(X_REQUEST_ID, value);
        }
    }
}

/// An id is written to logs, headers and JSON as it is, so it may hold nothing that means
/// something in one of them.
fn is_sane(id: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&it);
    (1..=MAX_LEN).contains(&id.len()) && id.bytes().all(plain)
}

/// `req_` and 96 random bits in hex. The generator is seeded once a thread, so this makes no
/// system call; ids tell requests apart and guard nothing.
fn make() -> Arc<str> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0; MADE_LEN];
    let mut random = fastrand::u128(..);
    for (place, byte) in id.iter_mut().enumerate() {
        *byte = MADE_PREFIX.get(place).copied().unwrap_or_else(|| {
            let digit = usize::try_from(random & 0xf).unwrap_or_default();
            random >>= 4;
            HEX.get(digit).copied().unwrap_or(b'0')
        });
    }
    str::from_utf8(&id).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[u8], kept: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        let id = RequestId::of(&headers);
        assert_eq!(id.as_str().as_bytes() == given, kept, "{given:?} became {id:?}");
        assert!(is_sane(id.as_str()));
    }

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        check(b"a", true);
        check(b"7f9c-11_x.y:z/1+2=3@h", true);
        check(&[b'a'; MAX_LEN], true);
        check(&[b'a'; MAX_LEN + 1], false);
        check(b"", false);
        check(b"two words", false);
        check(b"quo\"te", false);
        check(b"tab\there", false);
        check("\u{e9}".as_bytes(), false);
    }

    #[test]
    fn made_ids_differ() {
        let (first, second) = (make(), make());
        assert_ne!(first, second);
        assert_eq!(first.len(), MADE_LEN);
        let hex = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        assert!(first.strip_prefix("req_").unwrap().bytes().all(hex));
    }
}
