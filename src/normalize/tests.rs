use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

/// A whole and complete answer in text.
fn whole(text: &str) -> Cow<'_, str> {
    Mode::Text.apply(text, true)
}

/// Cuts `text` at `cuts` (byte offsets in any order, moved down to the next character).
pub(super) fn pieces<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    let mut cuts: Vec<usize> = cuts.to_vec();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut rest = text;
    for cut in cuts {
        let at = cut.saturating_sub(text.len() - rest.len());
        if let Some((piece, tail)) = rest.split_at_checked(at) {
            pieces.push(piece);
            rest = tail;
        }
    }
    pieces.push(rest);
    pieces
}

fn streamed(mode: Mode, text: &str, cuts: &[usize]) -> String {
    let mut normalizer = Normalizer::new(mode);
    let mut out = String::new();
    for piece in pieces(text, cuts) {
        out += &normalizer.push(piece);
    }
    out + &normalizer.finish(true)
}

fn check(text: &str, expected: &str) {
    assert_eq!(whole(text), expected, "{text:?}");
    let every: Vec<usize> = (0..text.len()).collect();
    assert_eq!(streamed(Mode::Text, text, &every), expected, "{text:?} letter by letter");
}

#[test]
fn openers_go() {
    for (text, expected) in POSITIVES {
        check(text, expected);
    }
    assert!(POSITIVES.len() >= 40);
}

#[test]
fn everything_else_stays() {
    for text in NEGATIVES {
        check(text, text);
        assert!(matches!(whole(text), Cow::Borrowed(_)) || text.len() < 64, "{text:?} was copied");
    }
    assert!(NEGATIVES.len() >= 60);
}

/// The lines of a file of JSON.
fn lines<T: serde::de::DeserializeOwned>(file: &str) -> Vec<T> {
    file.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn of_many_kinds_of_text_nothing_is_changed() {
    let texts: Vec<String> = lines(include_str!("../../tests/texts/untouched.jsonl"));
    let distinct: std::collections::HashSet<&String> = texts.iter().collect();
    assert!(distinct.len() >= 380, "{}", distinct.len());
    for text in &texts {
        check(text, text);
        if serde_json::from_str::<serde_json::Value>(text).is_ok_and(|it| !it.is_string()) {
            assert_eq!(Mode::Json(Root::Any).apply(text, true), *text);
        }
    }
}

#[test]
fn of_many_openers_each_goes() {
    let texts: Vec<(String, String)> = lines(include_str!("../../tests/texts/openers.jsonl"));
    assert!(texts.len() >= 100);
    for (text, expected) in &texts {
        assert_ne!(text, expected);
        check(text, expected);
    }
}

#[test]
fn an_open_fence_is_closed_in_a_complete_answer_only() {
    check("Sure! ```rust\nlet x = 1;", "```rust\nlet x = 1;\n```");
    check("Look:\n```\na\n", "Look:\n```\na\n```");
    assert_eq!(Mode::Text.apply("Sure! ```\nlet", false), "```\nlet");
    assert_eq!(Mode::Text.apply("Sure!", false), "Sure!");
}

#[test]
fn where_code_may_stay_open_nothing_is_closed() {
    for text in ["print(1)\n```", "Sure! ```rust\nlet x = 1;\n"] {
        let expected = text.trim_start_matches("Sure! ");
        assert_eq!(Mode::TextLeftOpen.apply(text, true), expected);
        assert_eq!(streamed(Mode::TextLeftOpen, text, &[2, 7, 12]), expected);
    }
    for (text, open) in [
        ("```python\ndef f():\n", true),
        ("```\nx", true),
        ("- ```\n  x\n", true),
        ("```\nx\n```\n", false),
        ("Use ``` so.", false),
        ("", false),
    ] {
        assert_eq!(leaves_code_open(text), open, "{text:?}");
    }
}

#[test]
fn off_changes_nothing() {
    for (text, _) in POSITIVES {
        assert_eq!(Mode::Off.apply(text, true), *text);
        assert_eq!(streamed(Mode::Off, text, &[3, 9]), *text);
    }
}

#[test]
fn json_mode_gives_the_value_alone() {
    let text = "Sure!\n```json\n{\"a\": 1}\n```\n";
    assert_eq!(Mode::Json(Root::Any).apply(text, true), "{\"a\": 1}");
    assert_eq!(streamed(Mode::Json(Root::Any), text, &[1, 8, 19]), "{\"a\": 1}");
    assert_eq!(Mode::Json(Root::Any).apply("Sure! No.", true), "Sure! No.");
}

#[test]
fn json_at_once_is_as_a_whole_answer() {
    for (text, complete, expected) in [
        ("As [1] says:\n```json\n{\"a\": 1}\n```\n", true, "{\"a\": 1}"),
        ("No value.", true, "No value."),
        ("Here:\n```json\n{\"a\": [1, ", false, "{\"a\": [1, "),
        ("No val", false, "No val"),
    ] {
        assert_eq!(Mode::Json(Root::Any).apply(text, complete), expected, "{text:?}");
        let mut normalizer = Normalizer::new(Mode::JsonAtOnce(Root::Any));
        for piece in pieces(text, &[3, 11]) {
            assert_eq!(normalizer.push(piece), "");
        }
        assert_eq!(normalizer.finish(complete), expected, "{text:?}");
    }
}

/// Were the cost to grow with the square of the text, this would take half an hour; were nesting followed by
/// recursion, it would take all of the stack.
#[test]
fn hostile_text_is_read_in_one_go() {
    const BYTES: usize = 1 << 18;
    for unit in [
        "[",
        "{",
        "{\"a\":",
        "[{",
        "[1,",
        "[\"",
        "{'",
        "[/*",
        "[#\n",
        "```\n",
        "```\n[1,]",
        "Sure! [",
    ] {
        check_hostile(&unit.repeat(BYTES / unit.len()));
    }
    let deep = "[".repeat(4 * BYTES) + &"]".repeat(4 * BYTES);
    assert_eq!(Mode::Json(Root::Any).apply(&deep, true), deep);
    for begin in ["[\"", "['", "{'a': \"", "[\"\\", "text {"] {
        for unit in ["\\", "\\\"", "'", "\"", " ", "é"] {
            check_hostile(&(begin.to_owned() + &unit.repeat(BYTES / unit.len())));
        }
    }
}

fn check_hostile(text: &str) {
    let cuts: Vec<usize> = (0..text.len()).step_by(7).collect();
    for mode in [Mode::Text, Mode::Json(Root::Any), Mode::Json(Root::Object)] {
        assert!(mode.apply(text, true).len() <= text.len() + 8);
        assert!(streamed(mode, text, &cuts).len() <= text.len() + 8);
    }
}

#[test]
fn settings_choose_the_mode() {
    assert_eq!(Params { enabled: true }.mode(None), Mode::Text);
    assert_eq!(Params { enabled: true }.mode(Some(Root::Any)), Mode::Json(Root::Any));
    assert_eq!(Params { enabled: false }.mode(Some(Root::Any)), Mode::Off);
}

#[test]
fn a_stream_is_held_only_while_undecided_and_then_passed_uncopied() {
    let mut normalizer = Normalizer::new(Mode::Text);
    let mut push = |delta: &'static str| normalizer.push(delta);
    assert_eq!(push("\n"), Cow::Borrowed("\n"));
    for held in ["Su", "re", "!", " ", "\n\n"] {
        assert_eq!(push(held), "");
    }
    assert!(matches!(push("Here"), Cow::Borrowed("Here")));
    assert!(matches!(push(" it is"), Cow::Borrowed(" it is")));
    assert_eq!(normalizer.finish(true), "");

    let mut normalizer = Normalizer::new(Mode::Text);
    assert!(matches!(normalizer.push("The "), Cow::Borrowed("The ")));
    let mut normalizer = Normalizer::new(Mode::Text);
    assert_eq!(normalizer.push("As "), "");
    assert_eq!(normalizer.push("always"), "As always");
}

#[test]
fn the_end_comes_once() {
    let mut normalizer = Normalizer::new(Mode::Text);
    assert_eq!(normalizer.push("```\nx"), "```\nx");
    assert_eq!(normalizer.finish(true), "\n```");
    assert_eq!(normalizer.finish(true), "");
}

/// Texts made of what matters here, so that openers and fences are common.
fn answers() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => prop::sample::select(vec![
            "Sure", "sure thing", "Of course", "CERTAINLY", "As an AI", " language model",
            " assistant", "As a large language model", "!", ",", "! ", ", ", "! \n\n", "Absolutely!",
        ])
        .prop_map(str::to_owned),
        3 => prop::sample::select(vec![
            "```", "````", "~~~", "``", "```rust\n", "\n```\n", "\n", "\r\n", "\r", " ", "    ",
            "\t", "- ", "1. ", "> ", "* ", "\u{3000}", "\u{a0}",
        ])
        .prop_map(str::to_owned),
        2 => prop::sample::select(vec!["a", "Here", "é", "日本", "😀", "let x = 1;", "\"", "S"])
            .prop_map(str::to_owned),
        1 => ".{0,6}",
    ];
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_chunking_gives_the_whole_result(
        text in answers(),
        cuts in prop::collection::vec(0_usize..120, 0..10),
    ) {
        prop_assert_eq!(streamed(Mode::Text, &text, &cuts), whole(&text).into_owned());
    }

    #[test]
    fn only_an_opener_and_a_closing_fence_differ(text in answers()) {
        let out = whole(&text);
        let blank = text.len() - text.trim_start_matches([' ', '\t', '\r', '\n']).len();
        let (space, rest) = text.split_at(blank);
        let kept = out.strip_prefix(space).unwrap();
        let added = |text: &str| text.trim_matches([' ', '\n', '`', '~']).is_empty();
        if kept.strip_prefix(rest).is_some_and(added) {
            return Ok(());
        }
        let removed = (0..=rest.len())
            .filter(|&n| rest.is_char_boundary(n))
            .find(|&n| kept.strip_prefix(&rest[n..]).is_some_and(added))
            .expect("the output is the input without a prefix");
        prop_assert!(is_opener(&rest[..removed]), "{:?} was removed", &rest[..removed]);
    }

    #[test]
    fn applying_twice_changes_nothing_more(text in answers()) {
        let once = whole(&text).into_owned();
        prop_assume!(!begins_with_opener(&once));
        prop_assert_eq!(whole(&once).into_owned(), once);
    }
}

/// The documented list, written apart from the one under test.
fn is_opener(removed: &str) -> bool {
    let spoken = removed.trim_end().to_ascii_lowercase();
    let rest = spoken.strip_prefix("as an ").or_else(|| spoken.strip_prefix("as a "));
    let ai = ["ai,", "ai assistant,", "ai language model,", "large language model,"];
    let exclaimed = ["certainly!", "sure!", "sure thing!", "of course!", "absolutely!"];
    removed.len() > spoken.len()
        && (exclaimed.contains(&spoken.as_str()) || rest.is_some_and(|rest| ai.contains(&rest)))
}

fn begins_with_opener(text: &str) -> bool {
    let text = text.trim_start();
    (0..=text.len().min(64)).any(|n| text.get(..n).is_some_and(is_opener))
}

const POSITIVES: &[(&str, &str)] = &[
    ("Certainly! Here is the list.", "Here is the list."),
    ("certainly! here is the list.", "here is the list."),
    ("CERTAINLY! HERE", "HERE"),
    ("cErTaInLy! Here", "Here"),
    ("Sure! Here you go.", "Here you go."),
    ("sure! ok", "ok"),
    ("SURE! OK", "OK"),
    ("Sure!\nHere you go.", "Here you go."),
    ("Sure!\r\nHere you go.", "Here you go."),
    ("Sure!\n\nHere you go.", "Here you go."),
    ("Sure!  \nHere you go.", "Here you go."),
    ("Sure!\tHere", "Here"),
    ("Sure!\u{a0}Here", "Here"),
    ("Sure!   Here", "Here"),
    ("Sure! 😊 Here", "😊 Here"),
    ("Sure! 1. First", "1. First"),
    ("Sure!\n\n1. First\n2. Second", "1. First\n2. Second"),
    ("Sure!\n\n- a\n- b", "- a\n- b"),
    ("Sure!\n\n  - a\n  - b", "  - a\n  - b"),
    ("Sure!\n\n    let x = 1;\n    let y = 2;", "    let x = 1;\n    let y = 2;"),
    ("Sure! ```rust\nfn main() {}\n```", "```rust\nfn main() {}\n```"),
    ("Sure!\n```\nx\n```\n", "```\nx\n```\n"),
    ("Sure!\n\n> quoted", "> quoted"),
    ("Sure!\n\n# Title", "# Title"),
    ("Sure!\n\n\u{3000}\u{3000}从前", "\u{3000}\u{3000}从前"),
    ("Sure! Voilà le résumé.", "Voilà le résumé."),
    ("Sure! \"Yes\" is the answer.", "\"Yes\" is the answer."),
    ("Sure thing! Here.", "Here."),
    ("sure thing!\n\nHere.", "Here."),
    ("SURE THING! Here.", "Here."),
    ("Of course! Let me explain.", "Let me explain."),
    ("of course! let me", "let me"),
    ("Of Course! Let me", "Let me"),
    ("Absolutely! The sky is blue.", "The sky is blue."),
    ("ABSOLUTELY!\n\nThe sky", "The sky"),
    ("As an AI, I can't feel.", "I can't feel."),
    ("as an ai, I can't feel.", "I can't feel."),
    ("As an AI assistant, I can help.", "I can help."),
    ("As an AI language model, I can't browse.", "I can't browse."),
    ("AS AN AI LANGUAGE MODEL, I", "I"),
    ("As a large language model, I have no body.", "I have no body."),
    ("As an large language model, I have no body.", "I have no body."),
    ("As an AI language model,\nI can't.", "I can't."),
    ("\n\nSure! Here", "\n\nHere"),
    (" Sure! Here", " Here"),
    ("\r\n  Of course! Here", "\r\n  Here"),
    ("Sure! Certainly! Here", "Certainly! Here"),
    ("Sure! Sure!", "Sure!"),
    ("Sure! x", "x"),
];

const NEGATIVES: &[&str] = &[
    // Not quite an opener.
    "",
    " ",
    "Sure",
    "Sure!",
    "Sure! ",
    "\n\nSure!\n\n",
    "As an AI,",
    "As an AI language model, \n",
    "Sure, here you go.",
    "Certainly, the first premise is false.",
    "Certainly. The first premise is false.",
    "Of course, it depends.",
    "Of course it depends!",
    "Absolutely not!",
    "Sure thing, boss.",
    "Sure!! Here",
    "Sure!? Really",
    "Sure!... well",
    "Sure!Thing7",
    "Certainly!Here is the list.",
    "Surely! Here",
    "Sure ! Here",
    "Sure\n! Here",
    "Sure\u{ff01} Here",
    "\u{17f}ure! Here",
    "\u{feff}Sure! Here",
    "Sure  thing! Here",
    "As an AI I think so.",
    "As an AI! I think so.",
    "As an artificial intelligence, I think so.",
    "As an AI researcher, she knew.",
    "As an AI-powered tool, it helps.",
    "As an AI  assistant, I",
    "As a AI, I",
    "As always, it depends.",
    "I'd say: Sure! Here you go.",
    "¡Sure! Here",
    "OK! Here you go.",
    "Great question! Here you go.",
    "Let me explain.",
    // Quotations and emphasis.
    "\"Sure!\" she said, and left.",
    "\"Sure! Here you go,\" she said.",
    "'Of course! Why not?'",
    "\u{201c}Absolutely! Yes,\u{201d} he said.",
    "«Certainly! Oui», dit-il.",
    "> Sure! That is what he wrote.",
    "**Sure!** Here you go.",
    "*Certainly! Yes*",
    "- Sure! One\n- Two",
    "# Sure! A title",
    "(Sure! An aside)",
    // Code and logs.
    "`Sure! x`",
    "```\nSure! x\n```",
    "    Sure! indented code",
    "\tSure! indented code",
    "\n    Sure! indented code",
    "sure!(x == 1);",
    "certainly!{ a }",
    "of_course!(x)",
    "print(\"Sure! ok\")",
    "fn main() {\n    println!(\"Sure! {}\", 1);\n}\n",
    "def f():\n\treturn 1\n",
    "2024-01-01 12:00:00 INFO Sure! started",
    "[INFO] Certainly! done",
    "{\"text\": \"Sure! Here\", \"md\": \"```js\\nx\"}",
    "<p>Sure! Here</p>",
    "SELECT 'Sure! Here';",
    "$ echo 'Of course! yes'\n",
    "Use ``` to open a block.",
    "```inline``` code at the start",
    "A fence:\n\n```rust\nlet x = 1;\n```\n\nThe end.",
    "1. One\n\n   ```sh\n   ls\n   ```\n\n2. Two",
    "- ```js\n  code\n  ```\n",
    "> ```\n> quoted code\n",
    "````md\n```\nx\n```\n````",
    "Line one  \nLine two\\\nLine three",
    "\n\n  Leading and trailing white space \n\n",
    // Verse.
    "Shall I compare thee to a summer's day?\n  Thou art more lovely and more temperate:\n",
    "Verse one\n\n~~~\n\nVerse two",
    "Surely the night\n\tis long,\n\n\n   and dark",
    // Prose in other languages.
    "Sicher! Hier ist die Liste.",
    "Bien sûr ! Voici la liste.",
    "¡Claro! Aquí está la lista.",
    "Certo! Ecco la lista.",
    "Claro! Aqui está a lista.",
    "Конечно! Вот список.",
    "当然！这是列表。",
    "もちろん！リストです。",
    "물론입니다! 목록입니다.",
    "بالتأكيد! هذه هي القائمة.",
    "ज़रूर! यह रही सूची।",
    "แน่นอน! นี่คือรายการ",
    "Als KI, ja.",
    "Sure je li to? Nije.",
];
