//! What the API refuses although every name in it is known.

use serde_json::Value;

/// Stand for the signature of a call that was made elsewhere.
const SKIPS: &[&str] =
    &["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// Signatures made here begin so.
pub(in crate::sim) const SIGNED: &str = "c2ltdWxhdGVk";

/// How a part of a conversation is told from others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Said,
    Called(usize),
    Answered(usize),
}

/// The first rule a request to `model` breaks, in words.
pub(super) fn broken(request: &Value, model: &str) -> Option<String> {
    conversation(request)
        .or_else(|| signatures(request, model))
        .or_else(|| functions(request))
        .or_else(|| generation(request, model))
        .or_else(|| abilities(request, model))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn conversation(request: &Value) -> Option<String> {
    let contents = list(request, "contents");
    if contents.is_empty() {
        return Some("* GenerateContentRequest.contents: contents is not specified".to_owned());
    }
    let mut before = Turn::Said;
    for (index, content) in contents.iter().enumerate() {
        let at = format!("GenerateContentRequest.contents[{index}]");
        let role = content.get("role").and_then(Value::as_str);
        match role {
            Some("user") => {}
            Some("model") if index > 0 => {}
            Some("model") => {
                return Some("Please ensure that the conversation begins with a user turn.".into());
            }
            _ => return Some("Please use a valid role: user, model.".to_owned()),
        }
        let parts = list(content, "parts");
        if parts.is_empty() {
            return Some(format!("* {at}.parts: contents.parts must not be empty."));
        }
        if let Some(fault) = parts.iter().find_map(|it| part(it, role == Some("model"))) {
            return Some(format!("* {at}.parts: {fault}"));
        }
        let count = |key| parts.iter().filter(|it| it.get(key).is_some()).count();
        let turn = match (count("functionCall"), count("functionResponse")) {
            (0, 0) => Turn::Said,
            (0, answers) => Turn::Answered(answers),
            (calls, _) => Turn::Called(calls),
        };
        match (before, turn) {
            (Turn::Called(calls), Turn::Answered(answers)) if calls == answers => {}
            (Turn::Called(_), _) | (_, Turn::Answered(_)) => return Some(UNEVEN.to_owned()),
            _ => {}
        }
        before = turn;
    }
    matches!(before, Turn::Called(_)).then(|| UNEVEN.to_owned())
}

const UNEVEN: &str = "Please ensure that the number of function response parts is equal to the \
                      number of function call parts of the function call turn.";

fn part(part: &Value, by_model: bool) -> Option<&'static str> {
    const MEANS: &[&str] = &["text", "inlineData", "fileData", "functionCall", "functionResponse"];
    let set = MEANS.iter().filter(|it| part.get(it).is_some()).count();
    let object = |path| part.pointer(path).is_some_and(Value::is_object);
    let named = |path| part.pointer(path).and_then(Value::as_str).is_some_and(|it| !it.is_empty());
    if set != 1 {
        return Some("contents.parts must have one initialized field.");
    }
    if part.get("text").is_some_and(|it| it.as_str().is_none_or(str::is_empty)) {
        return Some("contents.parts.text must not be empty.");
    }
    if part.get("functionCall").is_some()
        && !(by_model && object("/functionCall/args") && named("/functionCall/name"))
    {
        return Some("function_call: a model's, with a name and an object for args, is expected.");
    }
    if part.get("functionResponse").is_some()
        && !(!by_model && object("/functionResponse/response") && named("/functionResponse/name"))
    {
        return Some("function_response: a user's, with a name and an object, is expected.");
    }
    let file = part.pointer("/fileData/fileUri").and_then(Value::as_str);
    if file.is_some_and(|it| !it.starts_with("https://generativelanguage.googleapis.com/")) {
        return Some("file_data.file_uri: only uploaded files can be used.");
    }
    if let Some(blob) = part.get("inlineData") {
        let data = blob.get("data").and_then(Value::as_str).unwrap_or_default();
        let base64 = |it: u8| it.is_ascii_alphanumeric() || b"+/=-_".contains(&it);
        if data.is_empty() || !data.bytes().all(base64) {
            return Some("inline_data.data: Base64 decoding failed.");
        }
        let kind = blob.get("mimeType").and_then(Value::as_str).unwrap_or_default();
        if !kind.contains('/') {
            return Some("inline_data.mime_type: Unsupported MIME type.");
        }
    }
    None
}

/// Since the person last spoke, each step of the model has to bring the signature of its first
/// call; the third generation insists.
fn signatures(request: &Value, model: &str) -> Option<String> {
    let contents = list(request, "contents");
    let spoke = |it: &Value| {
        let user = it.get("role").is_some_and(|it| it == "user");
        user && list(it, "parts").iter().all(|it| it.get("functionResponse").is_none())
    };
    let since = contents.iter().rposition(spoke).unwrap_or(0);
    for (index, content) in contents.iter().enumerate().skip(since) {
        let mut calls = list(content, "parts").iter().filter(|it| it.get("functionCall").is_some());
        let Some(first) = calls.next() else { continue };
        let signature = first.get("thoughtSignature").and_then(Value::as_str);
        let name = first.pointer("/functionCall/name").and_then(Value::as_str).unwrap_or_default();
        if let Some(fault) = unproven((index, name), signature, model) {
            return Some(fault);
        }
    }
    None
}

/// The same on OpenAI's wire, for messages by their role and first call.
pub(in crate::sim) fn unsigned<'a>(
    messages: impl Iterator<Item = (&'a str, Option<&'a Value>)>,
    model: &str,
) -> Option<String> {
    let messages: Vec<_> = messages.collect();
    let since = messages.iter().rposition(|(role, _)| *role == "user").unwrap_or(0);
    messages.iter().enumerate().skip(since).find_map(|(index, (_, call))| {
        let call = (*call)?;
        let google = call.pointer("/extra_content/google");
        let members = google.and_then(Value::as_object);
        if members.is_some_and(|it| it.keys().any(|it| it != "thought_signature")) {
            return Some("Invalid JSON payload received. Unknown name.".to_owned());
        }
        let signature = google.and_then(|it| it.get("thought_signature")?.as_str());
        let name = call.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
        unproven((index, name), signature, model)
    })
}

/// What is wrong with the signature of the call of that name.
fn unproven((index, name): (usize, &str), signature: Option<&str>, model: &str) -> Option<String> {
    match signature {
        Some(it) if SKIPS.contains(&it) || it.starts_with(SIGNED) => None,
        Some(_) => Some("Thought signature is not valid.".to_owned()),
        None if generation_of(model) < 3 => None,
        None => Some(format!(
            "Function call `{name}` in the `{index}.` content block is missing a \
             `thought_signature`."
        )),
    }
}

fn generation_of(model: &str) -> u32 {
    let version = model.strip_prefix("gemini-").unwrap_or_default();
    version.split(['.', '-']).next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn declared(request: &Value) -> impl Iterator<Item = &Value> {
    list(request, "tools").iter().flat_map(|it| list(it, "functionDeclarations"))
}

fn functions(request: &Value) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for function in declared(request) {
        let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
        let begins = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
        if !begins || names.contains(&name) {
            return Some(format!("Invalid or duplicate function name: {name}"));
        }
        names.push(name);
        if let Some(parameters) = function.get("parameters") {
            if let Some(fault) = schema(parameters, "parameters") {
                return Some(format!("* GenerateContentRequest.tools.{name}.{fault}"));
            }
            if parameters.get("properties").is_none() {
                return Some("parameters.properties: should be non-empty for OBJECT type".into());
            }
        }
    }
    let allowed = request.pointer("/toolConfig/functionCallingConfig");
    let mode = allowed.and_then(|it| it.get("mode")).and_then(Value::as_str).unwrap_or("AUTO");
    let allowed = allowed.map_or(&[][..], |it| list(it, "allowedFunctionNames"));
    let known = |it: &Value| it.as_str().is_some_and(|it| names.contains(&it));
    let proper = match mode {
        "ANY" => !names.is_empty() && allowed.iter().all(known),
        "AUTO" | "NONE" => allowed.is_empty(),
        _ => false,
    };
    (!proper).then(|| format!("function_calling_config: {mode} does not fit the functions"))
}

/// What is wrong with a schema whose names are all known.
fn schema(value: &Value, at: &str) -> Option<String> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_uppercase();
    if value.get("anyOf").is_some() {
        let others = value.as_object().is_some_and(|it| it.len() > 1);
        let branches = list(value, "anyOf");
        return others
            .then(|| format!("{at}: when using any_of, it must be the only field set"))
            .or_else(|| branches.iter().find_map(|it| schema(it, &format!("{at}.any_of"))));
    }
    match kind.as_str() {
        "ARRAY" if value.get("items").is_none() => {
            return Some(format!("{at}.items: missing field."));
        }
        "STRING" | "NUMBER" | "INTEGER" | "BOOLEAN" | "OBJECT" | "ARRAY" => {}
        _ => return Some(format!("{at}.type: a single type must be specified.")),
    }
    let listed = list(value, "enum");
    let text = |it: &Value| it.as_str().is_some_and(|it| !it.is_empty());
    if !listed.is_empty() && (kind != "STRING" || !listed.iter().all(text)) {
        return Some(format!("{at}.enum: only allowed for STRING type, and cannot be empty"));
    }
    let format = value.get("format").and_then(Value::as_str);
    if kind == "STRING" && format.is_some_and(|it| !["enum", "date-time"].contains(&it)) {
        return Some(format!(
            "{at}.format: only 'enum' and 'date-time' are supported for STRING type"
        ));
    }
    let properties = value.get("properties").and_then(Value::as_object);
    let has = |it: &Value| {
        it.as_str().is_some_and(|it| properties.is_some_and(|all| all.contains_key(it)))
    };
    for key in ["required", "propertyOrdering"] {
        if !list(value, key).iter().all(has) {
            return Some(format!("{at}.{key}: property is not defined"));
        }
    }
    let inner = |(name, it): (&String, &Value)| schema(it, &format!("{at}.properties[{name}]"));
    properties
        .and_then(|it| it.iter().find_map(inner))
        .or_else(|| schema(value.get("items")?, &format!("{at}.items")))
}

fn generation(request: &Value, model: &str) -> Option<String> {
    let config = request.get("generationConfig")?;
    let outside = |key: &str, least: f64, most: f64| {
        let number = config.get(key)?.as_f64();
        let fits = number.is_some_and(|it| (least..=most).contains(&it));
        (!fits).then(|| {
            format!("* GenerateContentRequest.generation_config.{key}: must be in the range [{least}, {most}]")
        })
    };
    let stops = list(config, "stopSequences").len();
    if stops > 5 {
        return Some("The number of stop sequences must be at most 5.".to_owned());
    }
    let ranges = [
        ("temperature", 0.0, 2.0),
        ("topP", 0.0, 1.0),
        ("maxOutputTokens", 1.0, 65_536.0),
        ("candidateCount", 1.0, 8.0),
        ("presencePenalty", -2.0, 2.0),
        ("frequencyPenalty", -2.0, 2.0),
        ("seed", f64::from(i32::MIN), f64::from(i32::MAX)),
    ];
    ranges
        .into_iter()
        .find_map(|(key, least, most)| outside(key, least, most))
        .or_else(|| schema(config.get("responseSchema")?, "generation_config.response_schema"))
        .or_else(|| thinking(config.get("thinkingConfig")?, model))
}

fn thinking(config: &Value, model: &str) -> Option<String> {
    let third = generation_of(model) >= 3;
    let budget = config.get("thinkingBudget").map(|it| it.as_i64().unwrap_or(-2));
    let level = config.get("thinkingLevel").map(|it| it.as_str().unwrap_or_default());
    let pro = model.contains("pro");
    let fault = match (budget, level) {
        (Some(_), Some(_)) => "You can only set one of thinking budget and thinking level.",
        _ if !third && !model.starts_with("gemini-2.5") => {
            "Thinking is not enabled for this model."
        }
        (_, Some(_)) if !third => "Thinking level is not supported for this model.",
        (_, Some("minimal")) if pro => "Thinking level MINIMAL is not supported for this model.",
        (_, Some("minimal" | "low" | "medium" | "high")) => return None,
        (_, Some(_)) => "Invalid value at 'generation_config.thinking_config.thinking_level'",
        (Some(0..128), None) if pro => "Budget is invalid. This model only works in thinking mode.",
        (Some(-1..=32_768) | None, None) => return None,
        (Some(_), None) => "The thinking budget is out of range.",
    };
    Some(fault.to_owned())
}

/// What a model of this name can't do.
fn abilities(request: &Value, model: &str) -> Option<String> {
    let gemma = model.starts_with("gemma-3");
    let calls = declared(request).next().is_some();
    let config = request.get("generationConfig");
    let has = |key| config.is_some_and(|it| it.get(key).is_some());
    let json =
        config.and_then(|it| it.get("responseMimeType")).is_some_and(|it| it == "application/json");
    let fault = if gemma && request.get("systemInstruction").is_some() {
        "Developer instruction is not enabled for"
    } else if gemma && calls {
        "Function calling is not enabled for"
    } else if gemma && json {
        "JSON mode is not enabled for"
    } else if generation_of(model) >= 3 && (has("presencePenalty") || has("frequencyPenalty")) {
        "Penalty is not enabled for"
    } else if json && calls && generation_of(model) < 3 {
        return Some(
            "Function calling with a response mime type: 'application/json' is unsupported".into(),
        );
    } else {
        return None;
    };
    Some(format!("{fault} models/{model}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(model: &str, request: &Value, expected: Option<&str>) {
        let found = broken(request, model);
        match (expected, &found) {
            (None, None) => {}
            (Some(part), Some(words)) if words.contains(part) => {}
            _ => panic!("{model} {request}: {found:?} instead of {expected:?}"),
        }
    }

    fn hello(more: Value) -> Value {
        let mut request = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
        if let Value::Object(more) = more {
            request.as_object_mut().unwrap().extend(more);
        }
        request
    }

    fn config(config: &Value) -> Value {
        hello(json!({"generationConfig": config}))
    }

    #[test]
    fn conversations() {
        let of = |contents: Value| json!({ "contents": contents });
        let user = json!({"role": "user", "parts": [{"text": "Hi"}]});
        let call = json!({"functionCall": {"name": "f", "args": {}}});
        let result = json!({"functionResponse": {"name": "f", "response": {}}});
        let called = |calls: &[&Value]| json!({"role": "model", "parts": calls});
        let answered = |results: &[&Value]| json!({"role": "user", "parts": results});
        let flash = |contents, expected| check("gemini-2.5-flash", &of(contents), expected);
        flash(json!([]), Some("not specified"));
        flash(json!([{"role": "user", "parts": []}]), Some("must not be empty"));
        flash(json!([{"role": "user", "parts": [{"text": ""}]}]), Some("must not be empty"));
        flash(json!([{"role": "user", "parts": [{}]}]), Some("one initialized field"));
        flash(json!([{"role": "assistant", "parts": [{"text": "x"}]}]), Some("valid role"));
        flash(json!([{"role": "model", "parts": [{"text": "x"}]}]), Some("begins"));
        flash(json!([user, called(&[&call]), answered(&[&result])]), None);
        flash(json!([user, called(&[&call, &call]), answered(&[&result])]), Some("equal"));
        flash(json!([user, called(&[&call]), user]), Some("equal"));
        flash(json!([user, answered(&[&result])]), Some("equal"));
        flash(json!([user, called(&[&call])]), Some("equal"));
        let text = json!({"functionResponse": {"name": "f", "response": "21"}});
        flash(json!([user, called(&[&call]), answered(&[&text])]), Some("an object"));
        let blob = json!({"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "a b"}}]});
        flash(json!([blob]), Some("Base64"));
        let far =
            json!({"role": "user", "parts": [{"fileData": {"fileUri": "https://a.example/b"}}]});
        flash(json!([far]), Some("only uploaded files"));
        let history = of(json!([user, called(&[&call]), answered(&[&result])]));
        check("gemini-3.6-flash", &history, Some("`f` in the `1.` content block"));
        for (signature, expected) in [
            ("skip_thought_signature_validator", None),
            ("c2ltdWxhdGVkX2E=", None),
            ("made up", Some("not valid")),
        ] {
            let mut signed = call.clone();
            signed["thoughtSignature"] = signature.into();
            let history = of(json!([user, called(&[&signed]), answered(&[&result])]));
            check("gemini-3.6-flash", &history, expected);
        }
    }

    #[test]
    fn schemas() {
        let parameters = |it: &Value, expected| {
            let of = json!({"type": "OBJECT", "properties": {"a": it}, "required": ["a"]});
            let tools =
                json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": of}]}]});
            check("gemini-2.5-flash", &hello(tools), expected);
        };
        parameters(&json!({"type": "STRING", "enum": ["x"], "format": "enum"}), None);
        parameters(&json!({"type": "INTEGER", "enum": [1]}), Some("only allowed for STRING"));
        parameters(&json!({"type": ["string", "null"]}), Some("single type"));
        parameters(&json!({"type": "ARRAY"}), Some("missing field"));
        parameters(&json!({"type": "STRING", "format": "uri"}), Some("date-time"));
        parameters(&json!({"anyOf": [{"type": "STRING"}], "title": "x"}), Some("only field set"));
        parameters(&json!({"type": "OBJECT", "required": ["b"]}), Some("not defined"));
        let empty = json!({"tools": [{"functionDeclarations": [
            {"name": "f", "parameters": {"type": "OBJECT"}}]}]});
        check("gemini-2.5-flash", &hello(empty), Some("non-empty for OBJECT"));
    }

    #[test]
    fn generation_and_abilities() {
        check("m", &config(&json!({"temperature": 2.1})), Some("temperature"));
        check("m", &config(&json!({"seed": 2_147_483_648_u64})), Some("seed"));
        check("m", &config(&json!({"stopSequences": ["1", "2", "3", "4", "5", "6"]})), Some("5"));
        let budget = |tokens| config(&json!({"thinkingConfig": {"thinkingBudget": tokens}}));
        let level = |word| config(&json!({"thinkingConfig": {"thinkingLevel": word}}));
        check("gemini-2.5-flash", &budget(0), None);
        check("gemini-2.5-pro", &budget(0), Some("only works in thinking mode"));
        check("gemini-2.5-pro", &budget(128), None);
        check("gemini-2.5-flash", &level("low"), Some("not supported"));
        check("gemini-3.1-pro", &level("minimal"), Some("not supported"));
        check("gemini-3.6-flash", &level("minimal"), None);
        check("gemma-3-27b-it", &budget(0), Some("not enabled"));
        let system = hello(json!({"systemInstruction": {"parts": [{"text": "x"}]}}));
        check("gemma-3-27b-it", &system, Some("Developer instruction"));
        check("gemini-2.5-flash", &system, None);
        check("gemini-3.6-flash", &config(&json!({"presencePenalty": 1})), Some("Penalty"));
        let mut both = config(&json!({"responseMimeType": "application/json"}));
        both["tools"] = json!([{"functionDeclarations": [{"name": "f"}]}]);
        check("gemini-2.5-flash", &both, Some("unsupported"));
        check("gemini-3.6-flash", &both, None);
    }
}
