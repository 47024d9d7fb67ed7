//! What kind of conversation it is, by what can be measured in it.

use crate::context::lines::Line;
use crate::context::lines::is_code_together;
use crate::context::middle::head;
use crate::openai::Message;
use crate::openai::Role;

/// Bytes of each message that are looked at.
const LOOKED_AT: usize = 2 * 1024;
/// Messages that are looked at, the last ones.
const MESSAGES: usize = 100;

/// Kinds of conversations that are best cut in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Programs are written.
    Code,
    /// Tables, logs and results of tools.
    Data,
    /// Two who write to each other at length.
    Chat,
    /// Short questions, each answered.
    Questions,
}

/// What is measured, in bytes and messages.
#[derive(Debug, Default)]
struct Measured {
    bytes: usize,
    code: usize,
    data: usize,
    turns: usize,
    asked: usize,
    user_bytes: usize,
    user_turns: usize,
}

impl Kind {
    pub(super) fn of(messages: &[Message<'_>]) -> Self {
        let mut all = Measured::default();
        let turns = messages.iter().rev().filter(|it| !it.role.instructs());
        turns.take(MESSAGES).for_each(|it| all.add(it));
        let share = |part: usize| part * 100 / all.bytes.max(1);
        if share(all.code) >= 25 {
            Self::Code
        } else if share(all.data) >= 40 {
            Self::Data
        } else if all.asked * 100 >= all.user_turns * 60
            && all.user_bytes < all.user_turns * 160
            && all.turns > 2
        {
            Self::Questions
        } else {
            Self::Chat
        }
    }
}

impl Measured {
    fn add(&mut self, message: &Message<'_>) {
        let text = message.text();
        let text = head(&text, LOOKED_AT);
        self.turns += 1;
        self.bytes += text.len();
        if message.role == Role::User {
            self.user_turns += 1;
            self.user_bytes += text.len();
            self.asked += usize::from(text.trim_end().ends_with(['?', '？', '؟']));
        }
        let mut fenced = false;
        let mut paragraph: Vec<(&str, Line)> = Vec::new();
        for line in text.lines() {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            if fenced || fence {
                self.code += line.len() + 1;
            } else if line.trim().is_empty() {
                self.end_paragraph(&mut paragraph, message.role);
            } else {
                paragraph.push((line, Line::of(line)));
            }
        }
        self.end_paragraph(&mut paragraph, message.role);
    }

    fn end_paragraph(&mut self, paragraph: &mut Vec<(&str, Line)>, role: Role) {
        let is_code = is_code_together(paragraph);
        for (line, kind) in paragraph.drain(..) {
            if is_code {
                self.code += line.len() + 1;
            } else if role.answers_call() || kind == Line::Data {
                self.data += line.len() + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::openai::ChatRequest;

    fn check(turns: &[(&str, &str)], expected: Kind) {
        let messages: Vec<_> =
            turns.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
        let body = json!({"messages": messages}).to_string();
        let request = ChatRequest::parse(&Bytes::from(body)).unwrap();
        assert_eq!(Kind::of(&request.messages()), expected, "{turns:?}");
    }

    #[test]
    fn it_is_told_by_form_and_not_by_words() {
        check(
            &[
                (
                    "user",
                    "Let me know what you return from the import, and let us class this as fun.",
                ),
                ("assistant", "We returned from it on Monday. Let me tell you how it went: well."),
                (
                    "user",
                    "Then let it be so. I would like to hear of the function in the town hall.",
                ),
            ],
            Kind::Chat,
        );
        check(
            &[
                ("user", "Please mend this."),
                ("assistant", "```rust\nfn main() {\n    println!(\"{}\", 1);\n}\n```\nDone."),
                ("user", "And the test?"),
            ],
            Kind::Code,
        );
        check(
            &[
                ("user", "def f(x):\n    return x[0] + y(x)\n\nfor i in range(3):\n    f([i])\n"),
                ("assistant", "It fails at 3."),
            ],
            Kind::Code,
        );
        check(
            &[
                (
                    "user",
                    "import json\n\ndef load(path):\n    with open(path) as f:\n        return json.load(f)",
                ),
                ("assistant", "It reads the file at once. For a large one that is too much."),
            ],
            Kind::Code,
        );
        check(
            &[
                (
                    "user",
                    "The woods are lovely, dark and deep,\n    But I have promises to keep,\n    And miles to go before I sleep;",
                ),
                ("assistant", "- milk (2 bottles);\n- eggs;\n- bread:\n    - rye\n    - white\n"),
            ],
            Kind::Chat,
        );
        check(
            &[
                ("user", "Sum it up."),
                ("tool", "2026-01-02 10:00:01 | 200 | 13 ms\n2026-01-02 10:00:02 | 500 | 99 ms"),
                ("assistant", "One in two failed."),
            ],
            Kind::Data,
        );
        check(
            &[
                ("user", "What is the capital of France?"),
                ("assistant", "Paris."),
                ("user", "法国的首都是哪里？"),
                ("assistant", "巴黎。"),
                ("user", "ما عاصمة فرنسا؟"),
            ],
            Kind::Questions,
        );
    }
}
