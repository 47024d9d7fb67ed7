//! Members as the dialects that are not OpenAI's read them.

use serde_json::{Value, json};

use crate::provider::example::call;
use crate::provider::fault::Fault;
use crate::provider::fault::FaultKind;

use super::{Asked, Choice, Effort, Format};

fn effort(written: &Value) -> Result<Option<Effort>, Fault> {
    Asked::of(&call("m", &json!({ "reasoning_effort": written }))).effort()
}

fn choice(written: &Value) -> Result<Option<Choice>, Fault> {
    Asked::of(&call("m", &json!({ "tool_choice": written }))).choice()
}

fn named(more: &Value) -> Result<Vec<String>, Fault> {
    let call = call("m", more);
    Ok(Asked::of(&call).functions()?.into_iter().map(|it| it.name.into()).collect())
}

#[test]
fn every_effort_is_known_and_no_other() {
    for (name, expected) in [
        ("none", Effort::None),
        ("minimal", Effort::Minimal),
        ("low", Effort::Low),
        ("medium", Effort::Medium),
        ("high", Effort::High),
        ("xhigh", Effort::ExtraHigh),
        ("max", Effort::Most),
    ] {
        assert_eq!(effort(&json!(name)), Ok(Some(expected)), "{name}");
    }
    assert_eq!(effort(&Value::Null), Ok(None));
    for wrong in [json!("extreme"), json!(3), json!("")] {
        let fault = effort(&wrong).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadRequest);
        assert_eq!(fault.param.as_deref(), Some("reasoning_effort"));
        assert!(
            fault.message.contains("none, minimal, low, medium, high, xhigh, max"),
            "{fault:?}"
        );
    }
}

fn kind<T: std::fmt::Debug>(read: Result<T, Fault>) -> FaultKind {
    read.unwrap_err().kind
}

#[test]
fn tools_and_choices_are_read_in_every_form() {
    assert_eq!(named(&json!({"tools": []})), Ok(vec![]));
    assert_eq!(named(&json!({"tools": null, "functions": []})), Ok(vec![]));
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": null}});
    assert_eq!(named(&json!({"tools": [tool, tool]})), Ok(vec!["f".to_owned(), "f".to_owned()]));
    assert_eq!(kind(named(&json!({"functions": [{"name": "f"}]}))), FaultKind::NotHere);
    assert_eq!(kind(named(&json!({"tools": [{"type": "web_search"}]}))), FaultKind::NotHere);
    assert_eq!(kind(named(&json!({"tools": [3]}))), FaultKind::BadRequest);

    assert_eq!(choice(&Value::Null), Ok(None));
    assert_eq!(choice(&json!("auto")), Ok(Some(Choice::Auto)));
    assert_eq!(choice(&json!("none")), Ok(Some(Choice::None)));
    assert_eq!(choice(&json!("required")), Ok(Some(Choice::Any)));
    assert_eq!(
        choice(&json!({"type": "function", "function": {"name": "f"}})),
        Ok(Some(Choice::Named("f".to_owned())))
    );
    assert_eq!(kind(choice(&json!({"type": "allowed_tools"}))), FaultKind::NotHere);
    assert_eq!(kind(choice(&json!("sometimes"))), FaultKind::NotHere);
}

#[test]
fn formats_are_read_with_the_edits_made() {
    let form = |it: Value| {
        let call = call("m", &json!({ "response_format": it }));
        match Asked::of(&call).format() {
            Ok(Format::Text) => "text".to_owned(),
            Ok(Format::Json) => "json".to_owned(),
            Ok(Format::Schema(schema)) => schema.get().to_owned(),
            Err(fault) => fault.message,
        }
    };
    assert_eq!(form(Value::Null), "text");
    assert_eq!(form(json!({"type": "text"})), "text");
    assert_eq!(form(json!({"type": "json_object"})), "json");
    assert_eq!(form(json!({"type": "json_schema", "json_schema": {"name": "n"}})), "json");
    let schema = json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}});
    assert_eq!(form(schema), r#"{"type":"object"}"#);
    let mut call = call("m", &json!({"response_format": {"type": "json_object"}, "seed": 1}));
    call.edits.leave_out.push("response_format".to_owned());
    assert!(matches!(Asked::of(&call).format(), Ok(Format::Text)));
}
