//! Text that streams keep while they last, each within its own bound and all within one: what was sent, to go
//! on with it elsewhere, and what has to be counted.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// What all streams may keep together, in bytes.
const ALL: usize = 256 * 1024 * 1024;
/// Kept at least, once anything is.
const LEAST: usize = 512;

/// What is free for texts. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Keeping(Arc<AtomicUsize>);

impl Default for Keeping {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(ALL)))
    }
}

/// A part of what is free, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    from: Keeping,
    bytes: usize,
}

/// A text that grows while there is room for it.
#[derive(Debug)]
pub(super) struct Kept {
    text: String,
    most: usize,
    share: Share,
}

impl Keeping {
    pub(super) fn share(&self) -> Share {
        Share { from: self.clone(), bytes: 0 }
    }

    /// An empty text of at most so many bytes.
    pub(super) fn text(&self, most: usize) -> Kept {
        Kept { text: String::new(), most, share: self.share() }
    }
}

impl Share {
    /// Takes as much more as makes `bytes` in all. `false`: there is not so much; what it has stays.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let less = |free: usize| free.checked_sub(more);
        let taken = self.from.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.from.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Kept {
    /// Adds `more`, if there is room for all of it.
    pub(super) fn push(&mut self, more: &str) -> bool {
        let length = self.text.len() + more.len();
        if length > self.most {
            return false;
        }
        if length > self.text.capacity() {
            let capacity = length.next_power_of_two().max(LEAST).min(self.most);
            if !self.share.grow_to(capacity) {
                return false;
            }
            self.text.reserve_exact(capacity - self.text.len());
        }
        self.text.push_str(more);
        true
    }

    /// How many bytes there may be room for.
    pub(super) fn room(&self) -> usize {
        self.most - self.text.len()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_within_its_bound_and_what_it_takes_comes_back() {
        let all = Keeping(Arc::new(AtomicUsize::new(4_096)));
        let free = || all.0.load(Ordering::Relaxed);
        let mut text = all.text(1_000);
        assert_eq!(free(), 4_096, "nothing is taken for nothing");
        assert!(text.push("hello") && text.push(" there"));
        assert_eq!((text.text(), free()), ("hello there", 4_096 - 512));
        assert!(!text.push(&"x".repeat(990)), "it would be too long");
        assert!(text.push(&"x".repeat(989)) && !text.push("y"));
        assert_eq!((text.text().len(), text.room(), free()), (1_000, 0, 3_096));
        drop(text);
        assert_eq!(free(), 4_096);
    }

    #[test]
    fn all_texts_share_one_bound() {
        let all = Keeping(Arc::new(AtomicUsize::new(1_024)));
        let mut texts = [0; 3].map(|_| all.text(1_024));
        assert_eq!(texts.each_mut().map(|it| it.push("a")), [true, true, false]);
        assert!(!texts[0].push(&"b".repeat(600)));
        let [first, second, mut third] = texts;
        drop((first, second));
        assert!(third.push(&"c".repeat(600)));
        let mut share = all.share();
        assert!(
            !share.grow_to(1) && {
                drop(third);
                share.grow_to(1_024)
            }
        );
    }
}
