//! Taking text apart: sentences by Unicode's rules and those of scripts it leaves to dictionaries,
//! and blocks of code.

use crate::context::middle::head;
use crate::context::middle::tail;
use unicode_segmentation::UnicodeSegmentation as _;

/// Longer sentences are parted at clauses: characters.
const LONG: usize = 220;
/// Code of so many bytes is kept whole.
const SHORT_CODE: usize = 160;
/// Bytes of one text that are read; of a longer one, as many from its beginning and its end.
const HALF: usize = 128 * 1024;

/// What a text is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Sentence(String),
    /// A block of code, whole or by its name.
    Code(String),
}

/// The pieces of `text` in order.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if text.len() <= 2 * HALF {
        read(text, &mut pieces);
    } else {
        read(head(text, HALF), &mut pieces);
        read(tail(text, HALF), &mut pieces);
    }
    pieces
}

fn read(text: &str, pieces: &mut Vec<Piece>) {
    let mut paragraph = String::new();
    let mut code: Option<(&str, Vec<&str>)> = None;
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```").or(line.trim_start().strip_prefix("~~~"));
        match (&mut code, fence) {
            (Some((language, lines)), Some(_)) => {
                pieces.extend(block(language, lines));
                code = None;
            }
            (Some((_, lines)), None) => lines.push(line),
            (None, Some(language)) => {
                end_paragraph(&mut paragraph, pieces);
                code = Some((language.trim(), Vec::new()));
            }
            (None, None) => add_line(line.trim(), &mut paragraph, pieces),
        }
    }
    end_paragraph(&mut paragraph, pieces);
    if let Some((language, lines)) = code {
        pieces.extend(block(language, &lines));
    }
}

/// Lines that were broken to fit a page are one paragraph: the next goes on in lower case.
fn add_line(line: &str, paragraph: &mut String, pieces: &mut Vec<Piece>) {
    let goes_on = line.chars().next().is_some_and(char::is_lowercase);
    if !goes_on || paragraph.ends_with(['.', '!', '?', ':', ';']) {
        end_paragraph(paragraph, pieces);
    }
    if !paragraph.is_empty() {
        paragraph.push(' ');
    }
    paragraph.push_str(line);
}

fn end_paragraph(paragraph: &mut String, pieces: &mut Vec<Piece>) {
    let mut sentence = String::new();
    for part in paragraph.split_sentence_bounds() {
        sentence.push_str(part);
        if !ends_in_abbreviation(&sentence) {
            end_sentence(&sentence, pieces);
            sentence.clear();
        }
    }
    end_sentence(&sentence, pieces);
    paragraph.clear();
}

/// A full stop after one or two letters ("Dr.", "z.B.") ends no sentence, even before a capital.
fn ends_in_abbreviation(sentence: &str) -> bool {
    let Some(body) = sentence.trim_end().strip_suffix('.') else { return false };
    let word = body.rsplit(char::is_whitespace).next().unwrap_or_default();
    let last = word.rsplit('.').next().unwrap_or_default();
    let letters = last.chars().count();
    let starts_big = word.chars().next().is_some_and(char::is_uppercase);
    last.chars().all(char::is_alphabetic)
        && (1..=2).contains(&letters)
        && (starts_big || word.contains('.'))
        && word != "I"
}

fn end_sentence(sentence: &str, pieces: &mut Vec<Piece>) {
    let sentence = sentence.trim().trim_start_matches(['-', '*', '•', '#', '>', ' ']);
    if sentence.chars().nth(LONG).is_none() {
        if sentence.chars().any(char::is_alphanumeric) {
            pieces.push(Piece::Sentence(sentence.to_owned()));
        }
        return;
    }
    let mut clause = String::new();
    let mut length = 0;
    for part in sentence.split_inclusive([' ', ';', '；', '，', '、', '؛', '،']) {
        let more = part.chars().count();
        let ends = clause.trim_end().ends_with([';', '；', '؛', '，', ',', '،']);
        if length + more > LONG || (ends && length > LONG / 2) {
            push_clause(&clause, pieces);
            clause.clear();
            length = 0;
        }
        clause.push_str(part);
        length += more;
    }
    push_clause(&clause, pieces);
}

fn push_clause(clause: &str, pieces: &mut Vec<Piece>) {
    let clause = clause.trim();
    // What has no place to be parted at is no language.
    if clause.chars().any(char::is_alphanumeric) && clause.chars().nth(LONG).is_none() {
        pieces.push(Piece::Sentence(clause.to_owned()));
    }
}

fn block(language: &str, lines: &[&str]) -> Option<Piece> {
    let whole = lines.join("\n");
    let first =
        lines.iter().map(|it| it.trim()).find(|it| it.chars().any(char::is_alphanumeric))?;
    if whole.len() <= SHORT_CODE {
        return Some(Piece::Code(format!("```{language}\n{}\n```", whole.trim_end())));
    }
    let language = if language.is_empty() { "code" } else { language };
    let first: String = first.chars().take(80).collect();
    Some(Piece::Code(format!("[{language}, {} lines, from: {first}]", lines.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let all = pieces(text);
        let said: Vec<&str> = all
            .iter()
            .map(|it| match it {
                Piece::Sentence(text) | Piece::Code(text) => text.as_str(),
            })
            .collect();
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn sentences_end_where_they_end() {
        check("One. Two! Three? Four", &["One.", "Two!", "Three?", "Four"]);
        check(
            "Dr. Ada met J. R. Smith. Then v1.2.3 came.",
            &["Dr. Ada met J. R. Smith.", "Then v1.2.3 came."],
        );
        check("Das gilt z.B. Montag. Danach nicht.", &["Das gilt z.B. Montag.", "Danach nicht."]);
        check("这是第一句。第二句！第三句？", &["这是第一句。", "第二句！", "第三句？"]);
        check("昨日は雨。今日は晴れ。", &["昨日は雨。", "今日は晴れ。"]);
        check("ما اسمك؟ اسمي سعد.", &["ما اسمك؟", "اسمي سعد."]);
        check(
            "A line broken\nto fit.\nAnother one\n- an item\n\n> quoted",
            &["A line broken to fit.", "Another one", "an item", "quoted"],
        );
    }

    #[test]
    fn what_has_no_full_stops_is_parted_at_its_spaces() {
        let thai = "ฉันต้องการจองห้องพัก ".repeat(30);
        let all = pieces(&thai);
        assert!(all.len() >= 3, "{}", all.len());
        assert!(pieces(&"a".repeat(10_000)).is_empty());
    }

    #[test]
    fn code_is_kept_whole_or_named() {
        check(
            "See:\n```rust\nlet a = 1;\n```\nDone.",
            &["See:", "```rust\nlet a = 1;\n```", "Done."],
        );
        let long = format!("```py\nimport os\n{}```", "x = 1\n".repeat(60));
        check(&long, &["[py, 61 lines, from: import os]"]);
        check("```\nopen to the end", &["```\nopen to the end\n```"]);
    }
}
