//! A text that every simulated model knows by heart, and the ways in which models go on with an answer
//! that somebody else began.

use super::request::Ask;
use super::spec::Voice;
use super::weave::{fingerprint, weave};

/// How a model goes on when a conversation ends with the beginning of its answer and a request to
/// go on. Real ones do all of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Continuing {
    /// Where its own turn ends.
    #[default]
    Exactly,
    /// From the beginning of the answer.
    Restarts,
    /// With some of the words before.
    Repeats,
    /// Where its own turn ends, without the white space there.
    DropsSpace,
    /// Where its own turn ends, its first letter large where it is small, and small where it is
    /// large.
    ChangesCase,
    /// Any of these, the same one for the same beginning and seed.
    Any(u64),
}

/// All ways but [`Continuing::Any`].
const WAYS: [Continuing; 5] = [
    Continuing::Exactly,
    Continuing::Restarts,
    Continuing::Repeats,
    Continuing::DropsSpace,
    Continuing::ChangesCase,
];

/// Words said again by those who repeat.
const REPEATED: usize = 6;

/// An answer to go on with: what was asked, how far it had come, and what was said to have it gone
/// on with.
pub(super) struct Begun {
    pub(super) question: String,
    shown: String,
    instruction: String,
}

impl Begun {
    /// Reads it off a conversation that ends with a question, the model's own beginning (none when
    /// it is very short) and the user again.
    pub(super) fn of(ask: &Ask) -> Option<Self> {
        let (last, before) = ask.messages.split_last().filter(|(it, _)| it.role == "user")?;
        let alone = before.last().is_none_or(|it| it.role == "system");
        // Wires that take no two turns of the user in a row have them as parts or lines of one.
        let both = match last.texts().as_slice() {
            [question, .., told] => Some((*question, *told)),
            [only] => only.split_once('\n'),
            [] => None,
        };
        if let (Some((question, told)), true) = (both, alone) {
            let (question, instruction) = (question.to_owned(), told.to_owned());
            return Some(Self { question, shown: String::new(), instruction });
        }
        let (turn, earlier) = before.split_last()?;
        let (asked, shown) = match turn.role.as_str() {
            "user" => (turn, String::new()),
            "assistant" => (earlier.last().filter(|it| it.role == "user")?, turn.text()),
            _ => return None,
        };
        Some(Self { question: asked.text(), shown, instruction: last.text() })
    }

    /// `text` gone on with, if it is what was begun.
    pub(super) fn continued(&self, text: &str, way: Continuing) -> Option<String> {
        let rest = text.strip_prefix(self.shown.as_str())?;
        let way = match way {
            Continuing::Any(seed) => {
                let seed = fingerprint(&self.shown).wrapping_add(seed);
                fastrand::Rng::with_seed(seed).choice(WAYS).unwrap_or_default()
            }
            way => way,
        };
        Some(match way {
            Continuing::Restarts => text.to_owned(),
            Continuing::Repeats => {
                let words = self.shown.rmatch_indices(char::is_whitespace);
                let from = words.map(|(at, _)| at + 1).nth(REPEATED - 1).unwrap_or(0);
                format!("{}{rest}", self.shown.get(from..).unwrap_or_default())
            }
            Continuing::DropsSpace => rest.trim_start().to_owned(),
            Continuing::ChangesCase => other_case(rest),
            Continuing::Exactly | Continuing::Any(_) => rest.to_owned(),
        })
    }

    /// The rest of a woven answer, whoever began it; `signature` says who ends it.
    pub(super) fn woven(&self, signature: &str) -> Option<String> {
        let signed = format!("continued by {signature}");
        let voices = [Voice::Plain, Voice::Brisk, Voice::Warm, Voice::Scholarly];
        voices.into_iter().find_map(|voice| {
            let text = weave(&self.question, voice, &signed);
            if self.shown.is_empty() {
                let opening: String = text.split(' ').skip(2).take(2).collect::<Vec<_>>().join(" ");
                return self.instruction.contains(&opening).then_some(text);
            }
            // Its filler may have been removed.
            let at = text.find(self.shown.as_str())?;
            text.get(at + self.shown.len()..).map(str::to_owned)
        })
    }
}

/// `text` with its first letter in the other case.
fn other_case(text: &str) -> String {
    let mut first = true;
    let change = |it: char| {
        let changed = first && it.is_alphabetic();
        first &= it.is_whitespace();
        let other = match it {
            _ if !changed => None,
            it if it.is_lowercase() => it.to_uppercase().next(),
            it => it.to_lowercase().next(),
        };
        other.unwrap_or(it)
    };
    text.chars().map(change).collect()
}

const WORDS: &[&str] = &[
    "river",
    "lantern",
    "quiet",
    "orchard",
    "mirror",
    "seven",
    "harbour",
    "copper",
    "winter",
    "ladder",
    "velvet",
    "granite",
    "under",
    "across",
    "between",
    "without",
    "carries",
    "follows",
    "answers",
    "remembers",
    "naïve",
    "café",
    "Zürich",
    "東京",
    "garden",
    "window",
    "letters",
    "morning",
    "slowly",
    "rather",
    "always",
    "never",
    "perhaps",
    "stone",
    "bridge",
    "paper",
];

/// What every simulated model answers to `question` by heart: about 600 bytes with characters of
/// several bytes, a list and a block of code.
pub fn recital(question: &str) -> String {
    let mut rng = fastrand::Rng::with_seed(fingerprint(question));
    let mut sentence = |words: usize| {
        let number = rng.u32(..);
        let chosen: Vec<&str> =
            (0..words).map(|_| rng.choice(WORDS).copied().unwrap_or("river")).collect();
        format!("The {} number {number}.", chosen.join(" "))
    };
    let [first, second, third, fourth, last] = [9, 12, 7, 6, 10].map(&mut sentence);
    let number = rng.u32(10..1_000);
    format!(
        "{first} {second}\n\n- {third}\n- {fourth}\n\n```rust\nfn add_{number}(x: u32) -> u32 {{\n    x + {number} // né 🚀\n}}\n\
         ```\n\n{last}  It ends here — at {number}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(shown: &str) -> Begun {
        let (question, instruction) = ("q".to_owned(), "Go on.".to_owned());
        Begun { question, shown: shown.to_owned(), instruction }
    }

    #[test]
    fn each_way_to_go_on() {
        let text = "One two three four five six seven eight. Nine";
        let check = |shown: &str, way, expected: Option<&str>| {
            assert_eq!(begun(shown).continued(text, way).as_deref(), expected, "{shown} {way:?}");
        };
        let shown = "One two three four five six seven";
        check(shown, Continuing::Exactly, Some(" eight. Nine"));
        check(shown, Continuing::Restarts, Some(text));
        check(shown, Continuing::Repeats, Some("two three four five six seven eight. Nine"));
        check(shown, Continuing::DropsSpace, Some("eight. Nine"));
        check(shown, Continuing::ChangesCase, Some(" Eight. Nine"));
        check("One two three four five six seven eight. ", Continuing::ChangesCase, Some("nine"));
        check("", Continuing::Exactly, Some(text));
        check("Another text", Continuing::Exactly, None);
    }

    #[test]
    fn the_beginning_is_read_off_the_conversation() {
        let read = |turns: &[(&str, &str)]| {
            let turns: Vec<_> = turns
                .iter()
                .map(|(role, text)| serde_json::json!({"role": role, "content": text}))
                .collect();
            let body = serde_json::json!({"model": "m", "messages": turns}).to_string();
            Begun::of(&Ask::parse(body.as_bytes()).unwrap()).map(|it| (it.question, it.shown))
        };
        let check = |turns: &[(&str, &str)], expected: Option<(&str, &str)>| {
            let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(read(turns), expected);
        };
        let (question, begun, go_on) = (("user", "Why?"), ("assistant", "It"), ("user", "Go on"));
        check(&[question, begun, go_on], Some(("Why?", "It")));
        check(&[question, go_on], Some(("Why?", "")));
        check(&[question], None);
        check(&[question, begun], None);
        for one in [r#"[{"text":"Why?"},{"text":"Go on"}]"#, r#""Why?\nGo on""#] {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{one}}}]}}"#);
            let begun = Begun::of(&Ask::parse(body.as_bytes()).unwrap()).unwrap();
            assert_eq!((&*begun.question, &*begun.instruction), ("Why?", "Go on"));
        }
    }

    #[test]
    fn whoever_began_a_woven_answer_it_is_ended() {
        for voice in [Voice::Plain, Voice::Brisk, Voice::Warm, Voice::Scholarly] {
            let text = weave("Why is the sky blue?", voice, "me");
            let shown = text.get(12..60).unwrap();
            let question = "Why is the sky blue?".to_owned();
            let begun = Begun { question, ..begun(shown) };
            let rest = begun.woven("you").unwrap();
            let whole = format!("{shown}{rest}");
            assert!(text.replace("(me)", "(continued by you)").ends_with(&whole), "{whole}");
        }
    }

    #[test]
    fn a_recital_has_what_is_hard_to_join() {
        let text = recital("Why?");
        assert_eq!(text, recital("Why?"));
        assert_ne!(text, recital("Why not?"));
        assert!((450..900).contains(&text.len()), "{}", text.len());
        assert!(
            text.contains("```rust\n") && text.contains('🚀') && text.len() > text.chars().count()
        );
    }
}
