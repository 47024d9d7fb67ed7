//! JSON on its way out, in pieces that lie where they lay.
//!
//! What goes out is mostly what came in: a conversation in which a few words change. It is not copied
//! for that: a body is a list of pieces, most of them parts of the caller's own, and the system writes
//! several pieces at once.

use std::io::IoSlice;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// Text shorter than this, in bytes, is copied: for one more piece a body pays about as much.
const SHARED: usize = 4 * 1024;

/// JSON text that was put together from pieces, which are joined only when somebody has to read it.
#[derive(Clone, Debug)]
pub struct JsonText(Text);

#[derive(Clone, Debug)]
enum Text {
    Whole(ByteString),
    /// Apart, for it is large and rare.
    Spliced(Arc<Spliced>),
}

#[derive(Debug)]
struct Spliced {
    pieces: [ByteString; 3],
    joined: OnceLock<ByteString>,
}

impl JsonText {
    /// `text` with `more` at the byte `at`; at its end when there is no such place.
    pub(super) fn spliced(text: &ByteString, at: usize, more: &str) -> Self {
        let at = if text.is_char_boundary(at) { at } else { text.len() };
        let (before, after) = text.split_at(at);
        if text.len() < SHARED {
            return [&*before, more, &*after].concat().into();
        }
        let pieces = [before, more.into(), after];
        Self(Text::Spliced(Arc::new(Spliced { pieces, joined: OnceLock::new() })))
    }

    /// How many of its bytes are copied into a body.
    pub(super) fn copied(&self) -> usize {
        self.pieces().iter().map(|it| it.len()).filter(|it| !is_long(*it)).sum()
    }

    fn pieces(&self) -> &[ByteString] {
        match &self.0 {
            Text::Whole(whole) => std::slice::from_ref(whole),
            Text::Spliced(it) => &it.pieces,
        }
    }
}

impl Deref for JsonText {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Whole(whole) => whole,
            Text::Spliced(it) => it
                .joined
                .get_or_init(|| it.pieces.iter().map(|it| &**it).collect::<String>().into()),
        }
    }
}

impl From<ByteString> for JsonText {
    fn from(whole: ByteString) -> Self {
        Self(Text::Whole(whole))
    }
}

impl From<String> for JsonText {
    fn from(whole: String) -> Self {
        ByteString::from(whole).into()
    }
}

impl From<&str> for JsonText {
    fn from(whole: &str) -> Self {
        ByteString::from(whole).into()
    }
}

/// A body in pieces.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    first: Bytes,
    /// Most bodies have no more.
    rest: Vec<Bytes>,
}

impl Payload {
    /// All of it in one piece.
    pub fn joined(mut self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.copy_to_bytes(self.remaining()) }
    }

    fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

impl From<Bytes> for Payload {
    fn from(whole: Bytes) -> Self {
        Self { first: whole, rest: Vec::new() }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.pieces().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces().find(|it| !it.is_empty()).map_or(&[], |it| it)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces().filter(|it| !it.is_empty());
        into.iter_mut().zip(pieces).map(|(slot, piece)| *slot = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        for piece in std::iter::once(&mut self.first).chain(&mut self.rest) {
            let gone = count.min(piece.len());
            piece.advance(gone);
            count -= gone;
        }
    }
}

/// An object being written, member by member.
pub(super) struct ObjectWriter {
    done: Vec<Bytes>,
    open: Vec<u8>,
    is_empty: bool,
}

impl ObjectWriter {
    /// Of about so many bytes, without long values.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut open = Vec::with_capacity(bytes);
        open.push(b'{');
        Self { done: Vec::new(), open, is_empty: true }
    }

    /// The key of the next member.
    pub(super) fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.open.push(b',');
        }
        super::raw::write_key(&mut self.open, key);
    }

    /// The value of the last key, copied.
    pub(super) fn copy(&mut self, value: &str) {
        self.open.extend_from_slice(value.as_bytes());
    }

    /// The value of the last key, which is a part of `text`.
    pub(super) fn part(&mut self, text: &ByteString, value: &str) {
        if is_long(value.len()) {
            self.share(text.slice_ref(value));
        } else {
            self.copy(value);
        }
    }

    /// The value of the last key.
    pub(super) fn value(&mut self, value: &JsonText) {
        for piece in value.pieces() {
            self.part(piece, piece);
        }
    }

    fn share(&mut self, piece: ByteString) {
        self.done.push(std::mem::take(&mut self.open).into());
        self.done.push(piece.into_bytes());
    }

    /// The object.
    pub(super) fn end(mut self) -> Payload {
        self.open.push(b'}');
        let last = Bytes::from(self.open);
        let mut pieces = self.done.into_iter();
        match pieces.next() {
            None => last.into(),
            Some(first) => Payload { first, rest: pieces.chain([last]).collect() },
        }
    }
}

/// Is a value of so many bytes shared and not copied?
pub(super) fn is_long(bytes: usize) -> bool {
    bytes >= SHARED
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::openai::{ChatRequest, RequestEdits, with_instruction};

    use super::*;

    /// A body of so many messages, with the members around them.
    fn body(messages: usize) -> String {
        let turn = format!(r#"{{"role":"user","content":"{}"}}"#, "a word ".repeat(40));
        format!(r#"{{"model":"m","messages":[{}],"user":"u"}}"#, vec![turn; messages].join(","))
    }

    #[test]
    fn a_long_conversation_is_passed_on_where_it_lies() {
        let check = |messages: usize, pieces: usize| {
            let text = Bytes::from(body(messages));
            let request = ChatRequest::parse(&text).unwrap();
            let whole = request.render(&RequestEdits::default());
            assert_eq!(whole.clone().joined(), text);
            let spliced = request.messages_with_instruction("Be brief.");
            let edits = RequestEdits {
                set: vec![("messages", spliced.clone())],
                ..RequestEdits::default()
            };
            let payload = request.render(&edits);
            let ours = text.as_ptr_range();
            let shared = payload.pieces().filter(|it| ours.contains(&it.as_ptr())).count();
            assert_eq!((payload.pieces().count(), shared), (pieces, pieces / 2));
            let list = with_instruction(request.member("messages").unwrap(), "Be brief.");
            assert_eq!(*spliced, *list);
            let expected = format!(r#"{{"model":"m","user":"u","messages":{list}}}"#);
            assert_eq!(payload.joined(), expected);
        };
        check(1, 1);
        check(100, 3);
    }

    proptest! {
        #[test]
        fn it_is_read_as_its_pieces_joined(
            pieces in prop::collection::vec("[a-z]{0,5}", 0..6),
            steps in prop::collection::vec(0_usize..7, 0..12),
        ) {
            let expected = pieces.concat();
            let mut rest = pieces.iter().map(|it| Bytes::from(it.clone()));
            let first = rest.next().unwrap_or_default();
            let mut payload = Payload { first, rest: rest.collect() };
            prop_assert_eq!(payload.clone().joined(), expected.clone());
            let mut left = expected.as_str();
            for step in steps {
                prop_assert_eq!(payload.remaining(), left.len());
                prop_assert!(left.as_bytes().starts_with(payload.chunk()));
                prop_assert_eq!(payload.chunk().is_empty(), left.is_empty());
                let mut slots = [IoSlice::new(&[]); 8];
                let count = payload.chunks_vectored(&mut slots);
                let seen: Vec<u8> = slots.iter().take(count).flat_map(|it| it.to_vec()).collect();
                prop_assert_eq!(&*seen, left.as_bytes());
                let step = step.min(left.len());
                payload.advance(step);
                left = &left[step..];
            }
        }

        #[test]
        fn text_is_spliced_anywhere(text in "[a-zé]{0,40}", at in 0_usize..90, long: bool) {
            let text = if long { text.clone() + &"b".repeat(SHARED) } else { text };
            let text = ByteString::from(text);
            let place = if text.is_char_boundary(at) { at } else { text.len() };
            let expected = [&text[..place], "+", &text[place..]].concat();
            prop_assert_eq!(&*JsonText::spliced(&text, at, "+"), &*expected);
        }
    }
}
