//! What a single value may be. Each rule says in words what it wants, for the fault line.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Number;

use super::json::Json;

/// What a value must look like to be taken.
pub(super) trait Rule {
    /// What it becomes.
    type Value;

    /// In words, after "wanted".
    fn wanted(&self) -> String;

    /// The value, if it is one.
    fn read(&self, json: &Json) -> Option<Self::Value>;

    /// The rejected value, after "got". Rules for what may hold a secret show less.
    fn shown(&self, json: &Json) -> String {
        json.brief()
    }

    /// An environment variable's text as the JSON it stands for.
    fn understood(&self, text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl Rule for Flag {
    type Value = bool;

    fn wanted(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, json: &Json) -> Option<bool> {
        if let Json::Bool(it) = json { Some(*it) } else { None }
    }

    fn understood(&self, text: &str) -> Json {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Json::Bool(true),
            "false" | "0" | "no" | "off" => Json::Bool(false),
            _ => Json::Text(text.to_owned()),
        }
    }
}

/// A whole number; `60.0` and `1e3` are whole too.
pub(super) struct Whole(pub(super) RangeInclusive<u64>);

impl Rule for Whole {
    type Value = u64;

    fn wanted(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, json: &Json) -> Option<u64> {
        whole(json).and_then(|it| u64::try_from(it).ok()).filter(|it| self.0.contains(it))
    }

    fn understood(&self, text: &str) -> Json {
        number(text)
    }
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Unlimited,
    AtMost(u64),
}

impl Amount {
    /// The bound, if there is one.
    pub(super) fn bound(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(it) => Some(it),
        }
    }
}

/// An upper bound: a whole number above zero, or -1 for none.
pub(super) struct Bound;

impl Bound {
    /// Far beyond any real limit, and exact in a double.
    const MOST: i128 = 1_000_000_000_000_000;
}

impl Rule for Bound {
    type Value = Amount;

    fn wanted(&self) -> String {
        format!("a whole number from 1 to {}, or -1 for unlimited", Self::MOST)
    }

    fn read(&self, json: &Json) -> Option<Amount> {
        match whole(json)? {
            -1 => Some(Amount::Unlimited),
            it @ 1..=Self::MOST => u64::try_from(it).ok().map(Amount::AtMost),
            _ => None,
        }
    }
}

/// A number that may have a fraction.
pub(super) struct Decimal(pub(super) RangeInclusive<f64>);

impl Rule for Decimal {
    type Value = f64;

    fn wanted(&self) -> String {
        format!("a number from {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, json: &Json) -> Option<f64> {
        let Json::Number(it) = json else { return None };
        it.as_f64().filter(|it| self.0.contains(it))
    }

    fn understood(&self, text: &str) -> Json {
        number(text)
    }
}

/// A length of time, counted in `unit`; fractions are fine.
pub(super) struct Span {
    pub(super) unit: Duration,
    pub(super) range: RangeInclusive<f64>,
}

impl Span {
    pub(super) fn seconds(range: RangeInclusive<f64>) -> Self {
        Self { unit: Duration::from_secs(1), range }
    }

    pub(super) fn hours(range: RangeInclusive<f64>) -> Self {
        Self { unit: Duration::from_secs(3_600), range }
    }
}

impl Rule for Span {
    type Value = Duration;

    fn wanted(&self) -> String {
        Decimal(self.range.clone()).wanted()
    }

    fn read(&self, json: &Json) -> Option<Duration> {
        let count = Decimal(self.range.clone()).read(json)?;
        Duration::try_from_secs_f64(count * self.unit.as_secs_f64()).ok()
    }

    fn understood(&self, text: &str) -> Json {
        number(text)
    }
}

/// One of some words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy> Rule for Choice<T> {
    type Value = T;

    fn wanted(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match words.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    fn read(&self, json: &Json) -> Option<T> {
        let Json::Text(it) = json else { return None };
        self.0.iter().find(|(word, _)| word == it).map(|(_, value)| *value)
    }
}

/// A text that fits.
pub(super) struct Text {
    pub(super) wanted: &'static str,
    pub(super) fits: fn(&str) -> bool,
}

impl Rule for Text {
    type Value = String;

    fn wanted(&self) -> String {
        self.wanted.to_owned()
    }

    fn read(&self, json: &Json) -> Option<String> {
        let Json::Text(it) = json else { return None };
        (self.fits)(it).then(|| it.clone())
    }
}

/// Names go into response headers, so they keep to printable ASCII without blanks at the ends.
pub(super) fn is_label(text: &str, most: usize) -> bool {
    let printable = text.bytes().all(|it| it == b' ' || it.is_ascii_graphic());
    (1..=most).contains(&text.len()) && printable && text.trim() == text
}

fn number(text: &str) -> Json {
    text.parse::<Number>().map_or_else(|_| Json::Text(text.to_owned()), Json::Number)
}

fn whole(json: &Json) -> Option<i128> {
    /// Up to here a double counts without gaps.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Json::Number(it) = json else { return None };
    if let Some(it) = it.as_i128() {
        return Some(it);
    }
    let it = it.as_f64().filter(|it| it.fract() == 0.0 && it.abs() <= EXACT)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the exact range")]
    Some(it as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<R: Rule>(rule: &R, text: &str, wanted: Option<R::Value>)
    where
        R::Value: PartialEq + std::fmt::Debug,
    {
        assert_eq!((text, rule.read(&rule.understood(text))), (text, wanted));
    }

    #[test]
    fn the_text_of_a_variable_becomes_a_value() {
        check(&Flag, "Yes", Some(true));
        check(&Flag, "off", Some(false));
        check(&Flag, "maybe", None);
        check(&Whole(1..=5), "5", Some(5));
        check(&Whole(1..=5), "5.0", Some(5));
        check(&Whole(1..=5), "5.5", None);
        check(&Whole(1..=5), "0", None);
        check(&Whole(1..=5), "six", None);
        check(&Whole(0..=u64::MAX), "1e3", Some(1_000));
        check(&Whole(0..=u64::MAX), "1e300", None);
        check(&Decimal(0.5..=2.0), "0.5", Some(0.5));
        check(&Decimal(0.5..=2.0), "2.1", None);
        check(&Decimal(0.5..=2.0), "NaN", None);
        check(&Span::hours(0.0..=9.0), "0.5", Some(Duration::from_secs(1_800)));
        check(&Choice(&[("a", 1), ("b", 2)]), "b", Some(2));
        check(&Choice(&[("a", 1), ("b", 2)]), "c", None);
    }

    #[test]
    fn a_bound_is_above_zero_or_minus_one() {
        for (json, wanted) in [
            ("-1", Some(Amount::Unlimited)),
            ("1", Some(Amount::AtMost(1))),
            ("0", None),
            ("-2", None),
            ("1.5", None),
        ] {
            assert_eq!(Bound.read(&Json::parse(json.as_bytes()).unwrap()), wanted, "{json}");
        }
    }

    #[test]
    fn a_choice_is_offered_in_words() {
        assert_eq!(Choice(&[("a", ())]).wanted(), "\"a\"");
        assert_eq!(Choice(&[("a", ()), ("b", ()), ("c", ())]).wanted(), "\"a\", \"b\" or \"c\"");
    }
}
