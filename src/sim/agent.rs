//! A model that carries out a task whose text names the steps, and says the same at every provider.
//!
//! The steps stand behind `Steps:` up to the end of the line: `find(Norway); look(*) + look(Rome)`.
//! Those between semicolons come one after the other, those joined by `+` at once if
//! the request allows it. What stands in
//! the brackets becomes the arguments, filled into the tool's own schema; `*` stands for the result
//! before.

use super::answer::{Call, filled};
use super::request::Ask;

/// What a task asks for next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// These calls.
    Calls(Vec<Call>),
    /// All steps are done; this is what the last one gave.
    Done(String),
}

/// The next step of the task in the last user message; `None` when it names none, or a tool the
/// request does not bring.
pub(super) fn next(ask: &Ask) -> Option<Next> {
    let question = ask.question();
    let (_, task) = question.split_once("Steps:")?;
    let apart = |it: char| it == ';' || it == '+' && !ask.parallel_calls;
    let steps: Vec<&str> = task.lines().next()?.split(apart).collect();
    let before = ask.tool_results().unwrap_or_default();
    let Some(step) = steps.get(ask.steps_taken()) else { return Some(Next::Done(before)) };
    let calls = step.split('+').map(|it| call(ask, it.trim(), &before));
    calls.collect::<Option<Vec<Call>>>().map(Next::Calls)
}

fn call(ask: &Ask, written: &str, before: &str) -> Option<Call> {
    let (name, rest) = written.split_once('(')?;
    let (about, _) = rest.split_once(')')?;
    let tools = ask.tools.as_ref()?;
    let tool = tools.iter().find(|it| it.function.name == name)?;
    let about = if about == "*" { before } else { about };
    let arguments = filled(&tool.function.parameters, about).to_string();
    Some(Call { name: name.to_owned(), arguments })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(more: &[Value], expected: Option<&[(&str, Value)]>) {
        let text = "Plan it. Steps: find(Norway); look(*) + look(Rome)\nBe brief.";
        let mut messages = vec![json!({"role": "user", "content": text})];
        messages.extend_from_slice(more);
        let tool = |name: &str| {
            json!({"function": {"name": name, "parameters": {"type": "object",
                "required": ["place"], "properties": {"place": {"type": "string"}}}}})
        };
        let body =
            json!({"model": "m", "messages": messages, "tools": [tool("find"), tool("look")]});
        let next = next(&Ask::parse(body.to_string().as_bytes()).unwrap()).unwrap();
        let expected = match expected {
            None => Next::Done("rain and sun".to_owned()),
            Some(calls) => {
                let call = |(name, place): &(&str, Value)| Call {
                    name: (*name).to_owned(),
                    arguments: json!({ "place": place }).to_string(),
                };
                Next::Calls(calls.iter().map(call).collect())
            }
        };
        assert_eq!(next, expected);
    }

    #[test]
    fn steps_follow_from_what_was_called_and_answered() {
        let called = |id: &str| json!({"role": "assistant", "tool_calls": [{"id": id}]});
        let result = |text: &str| json!({"role": "tool", "tool_call_id": "a", "content": text});
        check(&[], Some(&[("find", json!("Norway"))]));
        let mut so_far = vec![called("a"), result("Oslo")];
        check(&so_far, Some(&[("look", json!("Oslo")), ("look", json!("Rome"))]));
        so_far.extend([called("b"), result("rain"), result("sun")]);
        check(&so_far, None);
    }

    #[test]
    fn another_question_is_no_task() {
        for text in ["Why is the sky blue?", "Steps: fly(Mars)", "Steps: nothing in particular"] {
            let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
            assert_eq!(next(&Ask::parse(body.to_string().as_bytes()).unwrap()), None, "{text}");
        }
    }
}
