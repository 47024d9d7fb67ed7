//! One virtual key.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ring::digest::SHA256;
use ring::digest::digest;

use crate::callers::counts::Counts;
use crate::callers::terms::Terms;
use crate::clock::Now;
use crate::quota::Budget;
use crate::usage::Usage;

/// SHA-256 of a key, which is all that is kept of it. A slow hash with a salt is for what people think
/// up: a key made here has 160 random bits, which nobody guesses however fast they hash, and each
/// request would have to wait for the slow one.
///
/// It is also what a key is found by. How long that takes tells something of the hash of what was
/// shown, and so nothing of any other key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a key as a caller shows it.
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(bytes)
    }

    /// In hex, as the store keeps it.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// What the key is called where it is not shown: 48 bits of the hash are enough to tell keys apart, and
    /// no help in finding one.
    pub fn id(&self) -> Arc<str> {
        format!("key_{}", hex(&self.0).get(..12).unwrap_or_default()).into()
    }

    /// Reads [`hex`](Self::hex).
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string can't fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}

/// A key that opens a part of what the gateway has.
#[derive(Debug)]
pub struct VirtualKey {
    /// What it is called where it is not shown: `key_` and the first hex digits of its hash.
    pub id: Arc<str>,
    /// What it allows.
    pub terms: Arc<Terms>,
    /// When it was made, in milliseconds since 1970; `None` for one that a file declares.
    pub created_unix_ms: Option<u64>,
    pub(super) digest: Digest,
    /// Milliseconds since 1970; 0 = it is not.
    revoked: AtomicU64,
    budget: Budget,
    pub(super) counts: Arc<Counts>,
}

/// May a key be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Good,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl Standing {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl VirtualKey {
    pub(super) fn new(counts: Arc<Counts>, digest: Digest, terms: Arc<Terms>) -> Self {
        Self {
            id: digest.id(),
            budget: counts.budget(terms.daily_requests, terms.daily_tokens),
            terms,
            created_unix_ms: None,
            digest,
            revoked: AtomicU64::new(0),
            counts,
        }
    }

    /// The same, made here and then.
    pub(super) fn made(self, unix_ms: u64) -> Self {
        Self { created_unix_ms: Some(unix_ms), ..self }
    }

    /// May it be used?
    pub fn standing(&self, now: Now) -> Standing {
        if self.revoked_unix_ms().is_some() {
            Standing::Revoked
        } else if self.terms.expires_unix_ms.is_some_and(|it| it <= now.unix_ms) {
            Standing::Expired
        } else {
            Standing::Good
        }
    }

    /// When it was taken back, in milliseconds since 1970.
    pub fn revoked_unix_ms(&self) -> Option<u64> {
        Some(self.revoked.load(Ordering::Acquire)).filter(|it| *it > 0)
    }

    /// Does a file declare it?
    pub fn is_declared(&self) -> bool {
        self.created_unix_ms.is_none()
    }

    /// What the day has left for it.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What it has used since the beginning, over restarts.
    pub fn total(&self) -> Usage {
        self.counts.total()
    }

    pub(super) fn revoke(&self, unix_ms: u64) {
        // The first time stands.
        let _ =
            self.revoked.compare_exchange(0, unix_ms.max(1), Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_was_written() {
        let digest = Digest::of(b"abc");
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.hex(), known);
        assert_eq!(Digest::parse(known), Some(digest));
        for bad in ["", "ba", &known.replace('a', "x"), &format!("{}é", &known[..62])] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
