//! Whether lines are code, data or prose, by how they are written: words say nothing of it, for "let"
//! and "return" are English too.

/// What one line looks like. The line is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// As nobody writes but to a machine.
    Code,
    /// Brackets alone: whatever stands around them.
    Brackets,
    /// It ends in a colon, as what a block hangs on does in some languages.
    Opens,
    /// Numbers, tables and records.
    Data,
    /// Anything else. Much code looks so, line by line.
    Plain,
}

/// Plain words that a line of code seldom has more of, comments aside.
const FEW_WORDS: usize = 4;
/// Plain words from which on a line with the marks of a sentence is one, whatever else is in it.
const SENTENCE: usize = 5;

impl Line {
    pub(super) fn of(line: &str) -> Self {
        let body = line.trim();
        if body.bytes().all(|it| b"(){}[]<>,;/".contains(&it)) {
            return Self::Brackets;
        }
        if is_record(body) {
            return Self::Data;
        }
        if body.starts_with("//") || body.starts_with("#include") || body.starts_with("/*") {
            return Self::Code;
        }
        if has_marks(body) && is_code(body) {
            Self::Code
        } else if is_table(body) {
            Self::Data
        } else if body.ends_with(':') {
            Self::Opens
        } else {
            Self::Plain
        }
    }
}

/// Has it any of the marks without which nothing is code by itself? Most prose has not.
fn has_marks(body: &str) -> bool {
    body.bytes().any(|it| b"(){}[]<>=;&:$\\".contains(&it))
}

fn is_code(body: &str) -> bool {
    let (strong, weak) = signs(body);
    if strong == 0 {
        return false;
    }
    let words = plain_words(body);
    let is_sentence = words >= SENTENCE && ends_as_prose(body);
    (strong + weak >= 2 || words <= FEW_WORDS) && !is_sentence
}

/// Are these lines, which stand together, a piece of code? A third of them has to look so: imports,
/// comments and long strings stand between, which look like prose.
pub(super) fn is_code_together(lines: &[(&str, Line)]) -> bool {
    let count = |kind: Line| lines.iter().filter(|(_, it)| *it == kind).count();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let hangs = |pair: &&[(&str, Line)]| matches!(pair, [(above, Line::Opens), (below, _)] if indent(below) > indent(above));
    let blocks = lines.windows(2).filter(hangs).count();
    let (code, brackets) = (count(Line::Code), count(Line::Brackets));
    let like_code = code + brackets + blocks;
    code > count(Line::Data) && like_code * 3 >= lines.len() && (lines.len() == 1 || like_code >= 2)
}

/// Words of nothing but letters, with the punctuation of prose.
fn plain_words(body: &str) -> usize {
    let is_plain = |it: &&str| {
        let word = it.trim_matches(|c: char| ".,:!?()'\"“”’‘«»–—-".contains(c));
        let inner = |c: char| c.is_alphabetic() || matches!(c, '\'' | '’' | '-');
        word.chars().nth(1).is_some() && word.chars().all(inner) && !is_humped(word)
    };
    body.split_whitespace().filter(is_plain).count()
}

fn ends_as_prose(body: &str) -> bool {
    let body = body.trim_end_matches(['"', '”', '’', '»', ')', '*', '_']);
    body.ends_with(['.', '!', '?', '…', ',', ':', '。', '！', '？'])
        || body.ends_with(char::is_alphabetic)
}

/// What tells code: how many things of it that prose does not have, and how many that it seldom has.
fn signs(body: &str) -> (usize, usize) {
    let strong = [
        has_call(body),
        ends_open(body),
        has_operator(body),
        has_tag(body),
        ["});", "})", "};", "],", "},"].iter().any(|it| body.ends_with(it)),
    ];
    let weak = [
        body.ends_with(';'),
        body.contains(" | "),
        has_identifier(body),
        body.starts_with(['@', '$', '.', '}']) && body.len() > 2,
        body.contains(" --") || body.starts_with("- -"),
        body.contains("[\"") || body.contains("['") || body.contains("[0]") || body.contains("[i]"),
    ];
    let count = |it: &[bool]| it.iter().filter(|it| **it).count();
    (count(&strong), count(&weak))
}

/// `name(`, which prose writes only as `word(s)`.
fn has_call(body: &str) -> bool {
    let bytes = body.as_bytes();
    memchr::memchr_iter(b'(', bytes).any(|at| {
        let before = at.checked_sub(1).and_then(|it| bytes.get(it)).copied().unwrap_or(b' ');
        let rest = body.get(at + 1..).unwrap_or_default();
        let plural = ["s)", "es)", "n)", "en)", "e)", "in)"].iter().any(|it| rest.starts_with(it));
        let named = before.is_ascii_alphanumeric() || matches!(before, b'_' | b'!' | b'?' | b'>');
        named && !plural && (rest.contains(')') || rest.is_empty() || rest.ends_with(','))
    })
}

/// A line that what follows belongs into.
fn ends_open(body: &str) -> bool {
    const OPEN: [&str; 7] = ["):", "]:", "=>", "->", " =", "&&", "||"];
    body.ends_with(['{', '(', '[', '\\']) || OPEN.iter().any(|it| body.ends_with(it))
}

/// What sets, compares or joins, as programs write it.
fn has_operator(body: &str) -> bool {
    const OPERATORS: [&str; 20] = [
        " = ", " := ", " == ", " != ", " += ", " -= ", " => ", " -> ", " <- ", " && ", " || ",
        " === ", " >= ", " <= ", " << ", "++;", "::", "${", "$(", "\"$",
    ];
    OPERATORS.iter().any(|it| body.contains(it))
}

/// `<name ...>`, `</name>`, `name="`.
fn has_tag(body: &str) -> bool {
    let tag = memchr::memchr_iter(b'<', body.as_bytes()).any(|at| {
        let rest = body.get(at + 1..).unwrap_or_default();
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        rest.starts_with(|it: char| it.is_ascii_lowercase()) && rest.contains('>')
    });
    tag || body.contains("=\"")
}

/// `snake_case`, `camelCase` or `a.b.c` among its words.
fn has_identifier(body: &str) -> bool {
    let parts = |it: char| !(it.is_alphanumeric() || matches!(it, '_' | '.'));
    body.split(parts).any(|it| {
        let word = it.trim_matches('.');
        let inner = word.trim_matches('_');
        (inner.contains('_') && inner.is_ascii())
            || is_humped(word)
            || word.matches('.').count() > 1
    })
}

/// Has it a capital behind a small letter, as names of programs have (and of firms)?
fn is_humped(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes
        .windows(2)
        .any(|it| matches!(it, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase()))
}

/// A line of a table, or a member of a JSON object.
fn is_record(body: &str) -> bool {
    body.starts_with('|') || (body.starts_with('"') && body.contains("\":"))
}

/// Numbers, or fields that something parts.
fn is_table(body: &str) -> bool {
    let digits = body.bytes().filter(u8::is_ascii_digit).count();
    let tight = body.as_bytes().windows(2).filter(|it| {
        matches!(it, [b',' | b';', next] if !next.is_ascii_whitespace())
            || matches!(it, [b'|' | b'\t', _])
    });
    body.len() > 8 && (digits * 4 >= body.len() || tight.count() * 8 >= body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_code(text: &str) -> bool {
        is_code_together(&text.lines().map(|it| (it, Line::of(it))).collect::<Vec<_>>())
    }

    #[test]
    fn code_is_known_without_a_fence() {
        for text in [
            "import os\nfrom sys import argv\n\ndef total(rows):\n    for row in rows:\n        yield row.amount\n    return None",
            "fn main() {\n    let total = rows.iter().sum();\n    println!(\"{total}\");\n}",
            "const fs = require('fs');\nmodule.exports = async (req, res) => {\n  res.send(await load(req.id));\n};",
            "public class Shop {\n    private int open;\n\n    void close() {\n        open = 0;\n    }\n}",
            "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tfmt.Println(\"hi\")\n}",
            "#include <stdio.h>\nint main(void) {\n  return 0;\n}",
            "class Shop\n  def open?(day)\n    days.include?(day)\n  end\nend",
            "SELECT name, count(*) FROM visits\nWHERE day >= '2026-01-01'\nGROUP BY name;",
            "<div class=\"card\">\n  <h1>Hello</h1>\n  <p>Some words here.</p>\n</div>",
            "for f in *.txt; do\n  mv \"$f\" \"${f%.txt}.md\"\ndone | sort -u > out.txt && make --quiet",
            "x <- c(1, 2, 3)\nplot(x, main = \"A\")",
            "body {\n  margin: 0;\n  color: #333;\n}\n.card {\n  padding: 1em;\n}",
            "data Shape = Circle Double | Square Double\narea :: Shape -> Double\narea (Circle r) = pi * r * r",
            "total = price * (1 + tax_rate)",
            "assert_eq!(parse(\"a\"), Ok(1));",
        ] {
            // Blank lines part paragraphs; of most of these pieces any will do.
            assert!(text.split("\n\n").any(is_code), "{text}");
        }
    }

    #[test]
    fn verse_lists_and_talk_are_no_code() {
        for text in [
            "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\nRough winds do shake the darling buds of May,\nAnd summer's lease hath all too short a date;",
            "The woods are lovely, dark and deep,\n    But I have promises to keep,\n    And miles to go before I sleep;\n    And miles to go before I sleep.",
            "to be;\nor not to be;\n(that is\n    the question);\n[silence]",
            "l(a\n\nle\naf\nfa\n\nll\n\ns)\none\nl\n\niness",
            "- milk\n- eggs (a dozen)\n- bread\n  - rye\n  - white\n- butter",
            "1. Wash the rice;\n2. soak it (30 minutes);\n3. cook it;\n4. let it rest.",
            "Fruits:\n    apples\n    pears\nVegetables:\n    leeks",
            "* Call Ada (Monday)\n* Write to Ben: done!\n* Pay the bill; ask for a receipt",
            "\"Hello,\" she said, \"how are you?\"\n\"Fine,\" he said; \"and you?\"",
            "If x = 5 and y = 3, then the sum of both is 8, which is what we wanted to show.",
            "Please return the file(s) to the person(s) who asked for them.",
            "I use an iPhone and a MacBook, and my friends at JetBrains like YouTube more.",
            "Let me know what you import from the class, and return it if it is void.",
            "Dear all,\n\nthe meeting is at 10:00 (room 3).\n\nBest,\nAda",
            "日本語の文章です。改行も\nあります（括弧も）。",
            "ROMEO: But, soft! what light through yonder window breaks?\nJULIET: Ay me!\nROMEO: She speaks;",
            "See https://example.org/a_page?x=1 and the notes in my_file.txt, please.",
            "Open Settings > Privacy > Data and choose what you want to share with others.",
            "A -> B means that B follows from A, as everybody in the room knows.",
        ] {
            assert!(!text.split("\n\n").any(is_code), "{text}");
        }
    }

    #[test]
    fn tables_and_records_are_data() {
        let check = |line: &str, expected: Line| assert_eq!(Line::of(line), expected, "{line}");
        check("2026-01-02 10:00:01 500 99 ms", Line::Data);
        check("| name | port |", Line::Data);
        check("\"name\": \"Ada\",", Line::Data);
        check("Ada,Lovelace,36,London", Line::Data);
        check("Yes, no, well, I mean, perhaps", Line::Plain);
        check("\"Yes,\" she said, \"no,\" and, \"oh\"", Line::Plain);
        check("},", Line::Brackets);
    }
}
