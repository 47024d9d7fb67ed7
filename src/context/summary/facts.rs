//! What in a sentence can't be guessed: numbers, names, dates, paths, identifiers, what is quoted.

use crate::context::summary::words::Term;
use crate::context::summary::words::term;
use crate::context::summary::words::unspaced;

/// Facts of one sentence that count; more of them are a table.
const MOST: usize = 8;

const NUMBER: f32 = 2.5;
const IDENTIFIER: f32 = 3.0;
const NAME: f32 = 1.6;
const QUOTED: f32 = 1.2;
const COUNT: f32 = 1.2;

/// A fact, by which it is known, and what it weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) term: Term,
    pub(super) weight: f32,
    /// A name by its capital alone: in languages that write all nouns so it says less.
    pub(super) capital: bool,
}

/// The facts of a sentence, each once.
pub(super) fn facts(sentence: &str) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut first = true;
    for token in tokens(sentence) {
        let weighed = weigh(token, first);
        first = first && token.len() == 1 && weighed.is_none();
        if let Some((weight, capital)) = weighed
            && facts.len() < MOST
        {
            let term = term(token);
            if facts.iter().all(|it| it.term != term) {
                facts.push(Fact { term, weight, capital });
            }
        }
    }
    let quoted = quotations(sentence).map(|it| (it, QUOTED));
    let other = Some(sentence).filter(|it| !it.is_ascii());
    let named = other.into_iter().flat_map(titled).map(|it| (it, NAME));
    let counted = other.into_iter().flat_map(counted).map(|it| (it, COUNT));
    for (fact, weight) in quoted.chain(named).chain(counted).take(MOST) {
        facts.push(Fact { term: term(fact), weight, capital: false });
    }
    facts
}

/// Names that Japanese tells by the title behind them: two to six letters of those that names are
/// written with.
fn titled(sentence: &str) -> impl Iterator<Item = &str> {
    const TITLES: [&str; 4] = ["さん", "様", "氏", "先生"];
    let of_name = |it: char| katakana(it) || is_han(it) || it == '々';
    TITLES.into_iter().flat_map(|it| sentence.match_indices(it)).filter_map(move |(at, _)| {
        let before = sentence.get(..at)?;
        let name = before.get(before.trim_end_matches(of_name).len()..)?;
        (2..=6).contains(&name.chars().count()).then_some(name)
    })
}

/// Numbers in Chinese and Japanese words with what they count; "one" alone says as little as "a" does.
fn counted(sentence: &str) -> impl Iterator<Item = &str> {
    const NUMERALS: &str = "〇零一二三四五六七八九十百千万億亿两";
    const COUNTERS: &str =
        "人名位日天月年週周时時点點分秒円元块圆歳岁台個个件回次番号枚本冊册階层層度倍割つ";
    let runs = sentence.split(|it| !NUMERALS.contains(it)).filter(|it| !matches!(*it, "" | "一"));
    runs.filter_map(|run| {
        let start = (run.as_ptr() as usize).checked_sub(sentence.as_ptr() as usize)?;
        let counter = sentence.get(start + run.len()..)?.chars().next()?;
        let end = start + run.len() + counter.len_utf8();
        let found = sentence.get(start..end).filter(|_| COUNTERS.contains(counter));
        // "Enough", in both languages.
        found.filter(|it| *it != "十分")
    })
}

fn is_han(it: char) -> bool {
    matches!(u32::from(it), 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_134F)
}

/// Runs of what words, numbers, paths and addresses are written with. Letters of scripts without
/// spaces end them, but for rows of katakana, which write names of elsewhere.
fn tokens(sentence: &str) -> impl Iterator<Item = &str> {
    let parts = |it: char| {
        let within = "_-./\\:@#%+$€£¥'".contains(it);
        !((it.is_alphanumeric() && (!unspaced(it) || katakana(it))) || within)
    };
    sentence
        .split(parts)
        .map(|it| it.trim_matches(|c: char| "-./\\:+'".contains(c) && !it.starts_with(['/', '.'])))
        .map(|it| it.trim_end_matches(['.', ':', '-', '\'']))
        .filter(|it| !it.is_empty())
}

fn katakana(it: char) -> bool {
    matches!(u32::from(it), 0x30A1..=0x30FC)
}

/// What a token weighs, and whether it does so by its capital alone.
fn weigh(token: &str, first: bool) -> Option<(f32, bool)> {
    let digits = token.bytes().any(|it| it.is_ascii_digit()) || token.chars().any(char::is_numeric);
    let letters = token.chars().any(char::is_alphabetic);
    if digits && letters {
        return Some((IDENTIFIER, false));
    }
    if digits {
        // "1." and "2)" number items.
        let alone = token.len() == 1 && first;
        return (!alone).then_some((NUMBER, false));
    }
    if !letters {
        return None;
    }
    let joined = token.contains(['_', '/', '\\', '@', '#'])
        || token.contains("::")
        || token.trim_start_matches('.').contains('.');
    let mut chars = token.chars();
    let big = chars.next().is_some_and(char::is_uppercase);
    let rest = chars.as_str();
    let humps = rest.chars().any(char::is_uppercase) && rest.chars().any(char::is_lowercase);
    if joined || humps {
        return Some((IDENTIFIER, false));
    }
    let shouted = token.chars().nth(1).is_some() && token.chars().all(char::is_uppercase);
    let elsewhere = token.chars().nth(2).is_some() && token.chars().all(katakana);
    if shouted || elsewhere {
        return Some((NAME, false));
    }
    (big && !first && rest.chars().any(char::is_lowercase)).then_some((NAME, true))
}

/// What stands in quotation marks or between backticks, where it is short.
fn quotations(sentence: &str) -> impl Iterator<Item = &str> {
    const MARKS: &[(char, char)] =
        &[('"', '"'), ('`', '`'), ('“', '”'), ('„', '“'), ('«', '»'), ('「', '」'), ('《', '》')];
    MARKS.iter().filter_map(|(open, close)| {
        let (_, rest) = sentence.split_once(*open)?;
        let (inside, _) = rest.split_once(*close)?;
        (1..=40).contains(&inside.chars().count()).then_some(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sentence: &str, expected: &[&str]) {
        let found = facts(sentence);
        let expected: Vec<Term> = expected.iter().map(|it| term(it)).collect();
        let terms: Vec<Term> = found.iter().map(|it| it.term).collect();
        assert_eq!(terms, expected, "{sentence}");
    }

    #[test]
    fn facts_are_found_in_any_script() {
        check("The port is 8443.", &["8443"]);
        check("1. Ask Ada about config.toml, please.", &["Ada", "config.toml"]);
        check(
            "Run parse_config or parseConfig in /etc/app now",
            &["parse_config", "parseConfig", "/etc/app"],
        );
        check("数据库端口是8443，文件在data/a.csv。", &["8443", "data/a.csv"]);
        check("サーバーは東京です", &["サーバー"]);
        check("It is named \"the blue room\".", &["the blue room"]);
        check("Write to a@b.example or v1.2.3", &["a@b.example", "v1.2.3"]);
        check("Thanks, that helps a lot!", &[]);
        check("佐々木由美さんに電話を。皆さん、お母さんも。", &["佐々木由美"]);
        check("我们需要十二个人，一个也不能少。", &["十二个"]);
        check("引っ越しは四人、期限は十日。", &["四人", "十日"]);
        check("第一印象は万全です", &[]);
    }
}
