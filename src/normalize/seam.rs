//! Where two texts meet: finds, in the reply of a model that was asked to go on with a text that
//! broke off, the place where the text left off.
//!
//! Models that are asked to go on begin anew, repeat a sentence or a paragraph, go on at the very
//! letter, greet first, lose the white space at the boundary or write a capital letter there. So the
//! last words of the text are the anchor: they are not in what the model is shown as its own turn, it
//! is told to begin with them, and wherever it stands in its text when it sets out, it has to pass
//! them. What comes after them is the continuation. Letters are compared without case and white space.

use memchr::memmem;

use crate::normalize::opener::is_opener;

/// Least length of an anchor, in folded characters and in words: less is found by accident.
const LEAST_CHARS: usize = 12;
const LEAST_WORDS: usize = 3;
/// Greatest length of an anchor. Text that repeats itself over more than this has no place of its own.
const MOST_CHARS: usize = 640;
/// What a model may say before it sets out, in folded bytes.
const PREAMBLE: usize = 160;
/// Folded bytes of a reply by which it must have shown that it goes over the same text.
const PROBE_FROM: usize = PREAMBLE + 64;
const PROBE: usize = 48;

/// A text that broke off, and the reply that may go on with it.
#[derive(Clone, Debug)]
pub struct Seam {
    shown: String,
    cue: String,
    /// The text before the anchor, folded.
    before: String,
    /// The anchor, folded.
    anchor: String,
    /// White space at the end of the text, which the continuation must not bring again.
    space: String,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// No anchor begins before `from`; `probed` once it was seen that it goes over the text.
    Seeking {
        reply: String,
        folded: Folded,
        from: usize,
        probed: bool,
    },
    /// The anchor is passed; of the text's last white space this much may come again.
    Joined {
        space: String,
    },
    Apart,
}

/// What is known of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joint {
    /// It may still come to the place.
    Seeking,
    /// It goes on, with this text (which may be empty).
    Joined(String),
    /// It is another text.
    Apart,
}

impl Seam {
    /// The seam at the end of `sent`; `None` when nothing but white space was sent, or when its end
    /// occurs elsewhere in it, so that nobody could say where a reply goes on.
    pub fn new(sent: &str) -> Option<Self> {
        let text = sent.trim_end();
        let folded = Folded::of(text);
        let start = anchor_start(text, &folded)?;
        let (shown, cue) = text.split_at_checked(start)?;
        let at = folded.ends.partition_point(|it| *it <= start);
        let (before, anchor) = folded.text.split_at_checked(folded.place(at))?;
        Some(Self {
            shown: shown.trim_end().to_owned(),
            cue: cue.to_owned(),
            before: before.to_owned(),
            anchor: anchor.to_owned(),
            space: sent.get(text.len()..).unwrap_or_default().to_owned(),
            stage: Stage::Seeking {
                reply: String::new(),
                folded: Folded::default(),
                from: 0,
                probed: false,
            },
        })
    }

    /// The seam after white space alone: any answer goes on with it, but for the white space that has
    /// been sent.
    pub fn after(space: &str) -> Self {
        Self {
            shown: String::new(),
            cue: String::new(),
            before: String::new(),
            anchor: String::new(),
            space: String::new(),
            stage: Stage::Joined { space: space.to_owned() },
        }
    }

    /// The part of the text to be shown as the answer so far; empty when the text is hardly longer
    /// than its anchor.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The words after it, with which a reply is to begin.
    pub fn cue(&self) -> &str {
        &self.cue
    }

    /// Has the reply come to where every piece of it goes out as it is?
    pub fn is_passed(&self) -> bool {
        matches!(&self.stage, Stage::Joined { space } if space.is_empty())
    }

    /// Takes the next piece of the reply. What is held back is bounded by the length of the text.
    pub fn push(&mut self, piece: &str) -> Joint {
        match &mut self.stage {
            Stage::Apart => Joint::Apart,
            Stage::Joined { space } => Joint::Joined(after_space(space, piece)),
            Stage::Seeking { reply, folded, .. } => {
                folded.push(reply.len(), piece);
                reply.push_str(piece);
                self.seek()
            }
        }
    }

    fn seek(&mut self) -> Joint {
        let Stage::Seeking { reply, folded, from, probed } = &mut self.stage else {
            return Joint::Apart;
        };
        let letters = folded.text.as_bytes();
        while let Some(found) =
            memmem::find(letters.get(*from..).unwrap_or_default(), self.anchor.as_bytes())
        {
            let at = *from + found;
            let repeated = folded.text.get(..at).unwrap_or_default();
            let said = folded.end_of(repeated.len() - common_end(repeated, &self.before));
            let (said, text) = reply.split_at_checked(said).unwrap_or_default();
            if is_greeting(said, text) {
                let rest = reply.get(folded.end_of(at + self.anchor.len())..).unwrap_or_default();
                let mut space = std::mem::take(&mut self.space);
                let rest = after_space(&mut space, rest);
                self.stage = Stage::Joined { space };
                return Joint::Joined(rest);
            }
            *from = boundary(&folded.text, at + 1);
        }
        *from = (*from).max(letters.len().saturating_sub(self.anchor.len()));
        let whole = self.before.len() + self.anchor.len();
        let too_long = letters.len() > whole + PREAMBLE + self.anchor.len();
        // A little later than the probe's end: a reply that passed the anchor there has been found.
        let ripe = letters.len() > PROBE_FROM + PROBE + self.anchor.len() + 8;
        let is_new = ripe && !std::mem::replace(probed, ripe) && !goes_over(folded, &self.before);
        if too_long || is_new {
            self.stage = Stage::Apart;
            return Joint::Apart;
        }
        Joint::Seeking
    }
}

/// Is a piece of the reply, later than any greeting, a piece of the text?
fn goes_over(reply: &Folded, before: &str) -> bool {
    let (from, to) = (boundary(&reply.text, PROBE_FROM), boundary(&reply.text, PROBE_FROM + PROBE));
    let probe = reply.text.get(from..to).unwrap_or_default();
    memmem::find(before.as_bytes(), probe.as_bytes()).is_some()
}

/// Where the anchor of `text` begins: at a word, late enough to be short and early enough to occur once.
fn anchor_start(text: &str, folded: &Folded) -> Option<usize> {
    if folded.text.is_empty() {
        return None;
    }
    let mut least = LEAST_CHARS;
    loop {
        let Some(start) = word_start(text, least) else { return Some(0) };
        let at = folded.place(folded.ends.partition_point(|it| *it <= start));
        let anchor = folded.text.get(at..)?;
        if memmem::find(folded.text.as_bytes(), anchor.as_bytes()) == Some(at) {
            return Some(start);
        }
        if least > MOST_CHARS {
            return None;
        }
        least *= 2;
    }
}

/// The last place before which white space stands and after which there are at least `chars`
/// characters and three words; where words are very long or are not parted by white space, the
/// last place with enough characters. `None`: the text is shorter.
fn word_start(text: &str, chars: usize) -> Option<usize> {
    let (mut seen, mut words, mut after) = (0, 0, ' ');
    let mut enough = None;
    for (at, c) in text.char_indices().rev() {
        if c.is_whitespace() {
            if !after.is_whitespace() {
                words += 1;
                if seen >= chars && words >= LEAST_WORDS {
                    return Some(at + c.len_utf8());
                }
            }
        } else {
            seen += 1;
            if seen >= chars * 4 && enough.is_none() {
                enough = Some(at);
            }
        }
        if enough.is_some() && seen >= chars * 8 {
            return enough;
        }
        after = c;
    }
    enough
}

/// Letters in lower case and without white space, with the place where each came from.
#[derive(Clone, Debug, Default)]
struct Folded {
    text: String,
    /// For each character of `text`: where it ends in `text`.
    places: Vec<usize>,
    /// For each character of `text`: where the character it was made of ends in the original.
    ends: Vec<usize>,
}

impl Folded {
    fn of(text: &str) -> Self {
        let mut folded = Self::default();
        folded.push(0, text);
        folded
    }

    /// `from` is where `piece` begins in the original.
    fn push(&mut self, from: usize, piece: &str) {
        for (at, c) in piece.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            for lower in straight(c).to_lowercase() {
                self.text.push(lower);
                self.places.push(self.text.len());
                self.ends.push(from + at + c.len_utf8());
            }
        }
    }

    /// Where the character with this number begins in `text`.
    fn place(&self, number: usize) -> usize {
        number.checked_sub(1).and_then(|it| self.places.get(it)).copied().unwrap_or(0)
    }

    /// Where, in the original, the characters end that make `text` up to `place`.
    fn end_of(&self, place: usize) -> usize {
        let number = self.places.partition_point(|it| *it < place);
        if place == 0 { 0 } else { self.ends.get(number).copied().unwrap_or(0) }
    }
}

/// Models differ in the quotation marks they write.
fn straight(c: char) -> char {
    match c {
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        c => c,
    }
}

/// How many bytes at the end of both are the same characters.
fn common_end(a: &str, b: &str) -> usize {
    let pairs = a.chars().rev().zip(b.chars().rev());
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// Is what was said before the text set in again only an introduction?
fn is_greeting(said: &str, text: &str) -> bool {
    let parted = text.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\n');
    let said = said.trim();
    said.len() <= PREAMBLE
        && (said.chars().all(|c| !c.is_alphanumeric())
            || said.ends_with([':', '!', '…', '—'])
            || said.ends_with("...")
            || is_opener(said)
            || (parted && !said.contains('\n')))
}

/// `text` without the white space that has gone out already.
fn after_space(space: &mut String, text: &str) -> String {
    let mut rest = text;
    while let (Some(due), Some(next)) = (space.chars().next(), rest.chars().next()) {
        if due != next {
            space.clear();
            break;
        }
        space.drain(..due.len_utf8());
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
    }
    rest.to_owned()
}

/// The first character boundary at or after `at`.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|it| text.is_char_boundary(*it)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "The station stood at the end of a long valley. Nobody had asked for it, and \
        nobody used it twice.\n\n1. The first train came at six: it carried milk, mail and one \
        passenger.\n2. The second came at noon \u{2014} it carried \u{201c}nothing at all\u{201d}.\n\n\
        ```rust\nfn main() {\n    println!(\"caf\u{e9} \u{1F682}\");\n}\n```\n\n\
        \u{99c5}\u{306f}\u{8c37}\u{306e}\u{7d42}\u{308f}\u{308a}\u{306b}\u{3042}\u{3063}\u{305f}\u{3002} After that the valley was quiet until the next morning.";

    /// How a model that knows the text replies when it is shown its beginning.
    #[derive(Clone, Copy, Debug)]
    enum Kind {
        Exact,
        Restart,
        RestartGreeting,
        RestartOpener,
        Back(usize),
        GreetingBack(usize),
        NoSpace,
        OtherCase,
        OtherQuotes,
    }

    const KINDS: [Kind; 10] = [
        Kind::Exact,
        Kind::Restart,
        Kind::RestartGreeting,
        Kind::RestartOpener,
        Kind::Back(9),
        Kind::Back(60),
        Kind::GreetingBack(30),
        Kind::NoSpace,
        Kind::OtherCase,
        Kind::OtherQuotes,
    ];

    fn reply(kind: Kind, shown: &str, text: &str) -> String {
        let rest = &text[shown.len()..];
        let back = |by: usize| {
            let at = shown.len().saturating_sub(by);
            &text[(0..=at).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0)..]
        };
        match kind {
            Kind::Exact => rest.to_owned(),
            Kind::Restart => text.to_owned(),
            Kind::RestartGreeting => format!("Sorry about that! Here it is again:\n\n{text}"),
            Kind::RestartOpener => format!("As an AI, {text}"),
            Kind::Back(by) => back(by).to_owned(),
            Kind::GreetingBack(by) => format!("... {}", back(by)),
            Kind::NoSpace => rest.trim_start().to_owned(),
            Kind::OtherCase => {
                let rest = rest.trim_start();
                let first =
                    rest.chars().next().map_or(String::new(), |c| c.to_uppercase().collect());
                first + rest.chars().next().map_or("", |c| &rest[c.len_utf8()..])
            }
            Kind::OtherQuotes => rest.replace(['\u{201c}', '\u{201d}'], "\""),
        }
    }

    /// What comes of the reply, given in pieces of so many characters.
    fn join(seam: &mut Seam, reply: &str, size: usize) -> Option<String> {
        let chars: Vec<char> = reply.chars().collect();
        let mut out = None;
        for piece in chars.chunks(size) {
            match seam.push(&piece.iter().collect::<String>()) {
                Joint::Seeking => assert!(out.is_none()),
                Joint::Joined(text) => out.get_or_insert_with(String::new).push_str(&text),
                Joint::Apart => return None,
            }
        }
        out
    }

    #[test]
    fn a_cut_at_any_place_is_joined_exactly_by_any_kind_of_model() {
        for cut in (1..TEXT.len()).filter(|it| TEXT.is_char_boundary(*it)) {
            let sent = &TEXT[..cut];
            for kind in KINDS {
                let mut seam = Seam::new(sent).expect("a seam");
                assert!(sent.starts_with(seam.shown()), "{cut}");
                let reply = reply(kind, seam.shown(), TEXT);
                let joined = join(&mut seam, &reply, 1 + cut % 7);
                let joined = joined.map(|it| sent.to_owned() + &it);
                let expected = match kind {
                    // What a model writes after the seam is its own affair.
                    Kind::OtherQuotes => {
                        let rest = TEXT[cut..].replace(['\u{201c}', '\u{201d}'], "\"");
                        sent.to_owned() + &rest
                    }
                    _ => TEXT.to_owned(),
                };
                assert_eq!(joined.as_deref(), Some(&*expected), "cut at {cut}: {kind:?} {reply:?}");
            }
        }
    }

    #[test]
    fn another_text_is_not_joined() {
        let long = "Other words about other things were said here by another model. ".repeat(20);
        for (cut, reply) in [
            (120, long.as_str()),
            (240, "I'm sorry, but I can't continue that text."),
            (120, "And then the passenger left the train and went home without a word to anyone."),
        ] {
            let mut seam = Seam::new(&TEXT[..cut]).expect("a seam");
            assert_eq!(join(&mut seam, reply, 5), None, "{reply}");
        }
        // The last words stand in it, but after other words than those of the text.
        let mut seam = Seam::new("It was late. The valley was quiet again").expect("a seam");
        let other = format!("In winter all was different, for {} and so on", seam.cue());
        assert_eq!(join(&mut seam, &other, 5), None);
    }

    #[test]
    fn another_text_is_given_up_soon() {
        let sent = (0..5_000).fold(String::new(), |text, it| format!("{text} word{it}"));
        let mut seam = Seam::new(&sent).expect("a seam");
        let mut taken = 0;
        while seam.push("something else ") == Joint::Seeking {
            taken += 1;
            assert!(taken < 60, "given up after a page at most");
        }
    }

    #[test]
    fn text_without_a_place_of_its_own_has_no_seam() {
        assert!(Seam::new("").is_none());
        assert!(Seam::new(" \n").is_none());
        assert!(Seam::new(&"ha ".repeat(1_000)).is_none());
        assert!(Seam::new("ha ha ha").is_some(), "short: the whole text is the anchor");
    }

    #[test]
    fn white_space_that_was_sent_does_not_come_twice() {
        let check = |sent: &str, pieces: &[&str], expected: &str| {
            let mut seam = Seam::after(sent);
            let joined = pieces.iter().map(|it| match seam.push(it) {
                Joint::Joined(text) => text,
                other => panic!("{other:?}"),
            });
            assert_eq!(joined.collect::<String>(), expected);
        };
        check("\n\n", &["\n", "\nText"], "Text");
        check("\n", &["\n\n", "Text"], "\nText");
        check("\n\n", &["Te", "xt\n"], "Text\n");
        check("", &["\nText"], "\nText");
        assert!(Seam::after("").is_passed());
    }

    #[test]
    fn the_anchor_grows_until_it_occurs_once() {
        let sent = "one red ball lay here, two red balls lay here";
        let seam = Seam::new(&format!("{sent}. Then {sent}")).expect("a seam");
        assert!(seam.cue().contains("Then"), "{}", seam.cue());
        let seam = Seam::new("all is well that ends well enough for us").expect("a seam");
        assert_eq!((seam.shown(), seam.cue()), ("all is well that ends", "well enough for us"));
    }

    proptest! {
        #[test]
        fn any_text_is_joined_or_has_no_seam(
            words in prop::collection::vec("[a-cA-Cé駅]{1,6}[ .,\n]{1,2}", 1..80),
            cut in 0..1_000_usize,
            kind in 0..KINDS.len(),
            size in 1..20_usize,
        ) {
            let text: String = words.concat();
            let at = cut * text.chars().count() / 1_000;
            let sent: String = text.chars().take(at).collect();
            if let Some(mut seam) = Seam::new(&sent) {
                let kind = KINDS[kind];
                let reply = reply(kind, seam.shown(), &text);
                let joined = join(&mut seam, &reply, size);
                if let Some(joined) = joined {
                    prop_assert_eq!(sent + &joined, text);
                } else {
                    prop_assert!(!matches!(kind, Kind::Exact | Kind::Restart | Kind::NoSpace));
                }
            }
        }
    }
}
