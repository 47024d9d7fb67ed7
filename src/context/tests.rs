use std::borrow::Cow;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::context::Fitted;
use crate::context::Memory;
use crate::context::Plan;
use crate::context::Rules;
use crate::context::TooLong;
use crate::context::fit;
use crate::context::layout::Layout;
use crate::context::middle;
use crate::context::size;
use crate::context::size::AROUND_MESSAGE;
use crate::context::summary;
use crate::context::tokens;
use crate::openai::ChatRequest;
use crate::openai::Message;
use crate::openai::Role;

fn request(messages: &[Value]) -> ChatRequest {
    ChatRequest::parse(&Bytes::from(json!({"messages": messages}).to_string())).unwrap()
}

const STATIC: Plan =
    Plan { label: "static", kind: None, keep: 10, least: 0.0, target: 1.0, summary: 0 };
const RESERVOIR: Plan = Plan { label: "reservoir", keep: 15, summary: 400, ..STATIC };

/// `s`ystem, `u`ser, `a`ssistant, `c`all, `t`ool result: one letter a message, one token each.
fn letters(roles: &str) -> ChatRequest {
    let message = |(i, role): (usize, char)| {
        let text = i.to_string();
        match role {
            's' => json!({"role": "system", "content": text}),
            'u' => json!({"role": "user", "content": text}),
            'c' => json!({"role": "assistant", "content": text, "tool_calls": [{"id": "x"}]}),
            't' => json!({"role": "tool", "content": text, "tool_call_id": "x"}),
            _ => json!({"role": "assistant", "content": text}),
        }
    };
    request(&roles.chars().enumerate().map(message).collect::<Vec<_>>())
}

fn check(roles: &str, budget: u64, keep: usize, expected: Result<&str, u64>) {
    let request = letters(roles);
    let messages = request.messages();
    let costs = vec![1; messages.len()];
    let plan = Plan { keep, ..STATIC };
    let fitted = fit(&messages, &costs, (budget, &plan), &Memory::default());
    match (fitted, expected) {
        (Ok(it), Ok(expected)) => {
            let texts = |list: &[Message<'_>]| list.iter().map(Message::text).collect::<String>();
            let left =
                it.as_ref().map_or_else(|| texts(&messages), |it| texts(&Message::list(&it.json)));
            assert_eq!(left, expected, "{roles} {budget} {keep}");
            if let Some(it) = it {
                assert_eq!(it.kept + it.dropped, messages.len());
                assert!(it.tokens <= budget);
                let gone: usize = it.gone.iter().map(ExactSizeIterator::len).sum();
                assert_eq!(gone, it.dropped);
            }
        }
        (Err(it), Err(needed)) => assert_eq!(it.needed, needed),
        (got, _) => panic!("{roles} {budget} {keep}: {got:?}"),
    }
}

#[test]
fn the_latest_turns_that_fit_stay() {
    check("suauau", 10, 10, Ok("012345"));
    check("suauau", 4, 10, Ok("0345"));
    check("suauau", 10, 2, Ok("045"));
    check("suauau", 2, 10, Ok("05"));
    check("suauau", 1, 10, Err(2));
}

#[test]
fn tool_results_never_lose_their_call() {
    check("ucttau", 6, 10, Ok("012345"));
    check("ucttau", 4, 10, Ok("45"));
    check("ucttau", 5, 10, Ok("12345"));
    check("ucsttau", 5, 10, Ok("256"));
    check("ucsttau", 6, 10, Ok("123456"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn a_long_row_of_results_is_read_once() {
    let result = || json!({"role": "tool", "content": "", "tool_call_id": "none"});
    let rows = (0..20_000).map(|_| result());
    let all: Vec<Value> = std::iter::once(json!({"role": "user", "content": "Go"}))
        .chain(rows)
        .chain([json!({"role": "user", "content": "On"})])
        .collect();
    let request = request(&all);
    let messages = request.messages();
    let began = std::time::Instant::now();
    let costs = vec![1; messages.len()];
    let fitted = fit(&messages, &costs, (100, &STATIC), &Memory::default()).unwrap().unwrap();
    assert_eq!((fitted.kept, fitted.dropped), (1, 20_001));
    // Looking back at all of them from each would take minutes.
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn the_users_last_word_is_no_summary() {
    let long = "[Earlier conversation, shortened: extracts of 2 messages]".to_owned()
        + &" and this is my own text".repeat(200);
    let own = json!({"role": "user", "content": long});
    let request = request(&[json!({"role": "user", "content": "Hi"}), own]);
    let messages = request.messages();
    let too_long = fit(&messages, &[10, 900], (500, &STATIC), &Memory::default());
    assert_eq!(too_long, Err(TooLong { needed: 900, budget: 500 }));
}

#[test]
fn a_summary_is_told_from_the_users_last_word_by_its_place() {
    let head = "[Earlier conversation, shortened: extracts of 2 messages]";
    let check = |roles: &str, expected: usize| {
        let message = |role: char| match role {
            's' => message("system", "S"),
            'h' => message("user", head),
            'u' => message("user", "U"),
            _ => message("assistant", "A"),
        };
        let request = request(&roles.chars().map(message).collect::<Vec<_>>());
        assert_eq!(Layout::of(&request.messages()).last_user, expected, "{roles}");
    };
    check("uha", 0);
    check("uhsa", 0);
    check("uh", 1);
    check("uahs", 2);
    check("uaha", 2);
    check("shua", 2);
    check("ha", 0);
}

#[test]
fn of_a_long_row_of_calls_the_open_one_stays() {
    check("uaucttct", 7, 10, Ok("1234567"));
    check("uaucttct", 5, 10, Ok("267"));
    check("uaucttct", 6, 10, Ok("234567"));
    check("uaucttct", 3, 10, Ok("267"));
    check("uaucttct", 2, 10, Err(3));
    check("uauctss", 5, 10, Ok("23456"));
    check("uaucts", 3, 10, Err(4));
}

#[test]
fn instructions_stay_wherever_they_stand() {
    check("uasuau", 4, 10, Ok("2345"));
    check("uasuau", 2, 10, Ok("25"));
}

#[test]
fn a_conversation_without_a_user_keeps_its_end() {
    check("sa", 2, 1, Ok("01"));
    check("sa", 1, 1, Err(2));
    check("saaa", 2, 9, Ok("03"));
}

fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

fn costs(request: &ChatRequest, memory: &Memory) -> Vec<u64> {
    size::sizes(&request.messages(), memory).iter().map(|it| it.by(Rules::OTHERS)).collect()
}

fn fitted(messages: &[Value], budget: u64, plan: &Plan) -> Result<Option<Fitted>, TooLong> {
    let (request, memory) = (request(messages), Memory::default());
    fit(&request.messages(), &costs(&request, &memory), (budget, plan), &memory)
}

fn support_chat(turns: usize) -> Vec<Value> {
    let mut all = vec![message("system", "Help the customer.")];
    for i in 0..turns {
        all.push(message(
            "user",
            &format!("The order {i}77 came to Lille, said Ada. Thanks a lot!"),
        ));
        all.push(message("assistant", "I see. Let me have a look at that for you, one moment."));
    }
    all.push(message("user", "So which orders are late?"));
    all
}

#[test]
fn a_summary_stands_for_what_was_left_out() {
    let all = support_chat(60);
    let made = fitted(&all, 1_200, &RESERVOIR).unwrap().unwrap();
    assert!(made.summary_tokens > 100 && made.summary_tokens <= 400, "{}", made.summary_tokens);
    assert!(made.tokens <= 1_200);
    let messages = Message::list(&made.json);
    let roles: Vec<Role> = messages.iter().map(|it| it.role).collect();
    assert_eq!(roles[..2], [Role::System, Role::User]);
    assert!(summary::is_summary(&messages[1]));
    let text = messages[1].text();
    assert!(text.contains("User: ") && text.contains("477"), "{text}");
    assert!(!text.contains("Thanks a lot") && !text.contains("one moment"), "{text}");
    assert_eq!(made.kept, 16);
}

#[test]
fn where_no_user_speaks_nothing_is_summed_up() {
    let all: Vec<Value> = support_chat(60).into_iter().filter(|it| it["role"] != "user").collect();
    let made = fitted(&all, 400, &RESERVOIR).unwrap().unwrap();
    assert_eq!(made.summary_tokens, 0);
    assert!(made.dropped > 0 && made.kept > 1, "{made:?}");
}

#[test]
fn a_summary_grows_with_its_conversation() {
    let memory = Memory::default();
    let summary = |turns| {
        let request = request(&support_chat(turns));
        let messages = request.messages();
        let old: Vec<&Message<'_>> = messages.iter().skip(1).take(turns * 2 - 10).collect();
        summary::of((&old, None), &[], 300, &memory).unwrap()
    };
    let first = summary(40);
    assert_eq!(summary(40), first);
    let later = summary(41);
    assert!(later.text.contains("of 72 messages"), "{}", later.text);
    assert!(tokens::count(&later.text) <= 300);
    let anew = |turns| {
        let request = request(&support_chat(turns));
        let messages = request.messages();
        let old: Vec<&Message<'_>> = messages.iter().skip(1).take(turns * 2 - 10).collect();
        summary::of((&old, None), &[], 300, &Memory::default()).unwrap()
    };
    assert_eq!(anew(40), first);
}

#[test]
fn only_a_message_that_is_too_long_alone_loses_its_middle() {
    let long = format!("BEGIN {} END", "word ".repeat(5_000));
    let call = json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]});
    let result = json!({"role": "tool", "tool_call_id": "a", "content": long});
    let all = [message("system", "S"), message("user", "U"), call, result];
    let made = fitted(&all, 1_000, &STATIC).unwrap().unwrap();
    assert_eq!((made.kept, made.dropped, &made.cut[..]), (4, 0, &[3][..]));
    let messages = Message::list(&made.json);
    let text = messages[3].text();
    assert!(text.starts_with("BEGIN") && text.ends_with("END"), "{text}");
    assert!(text.contains("left out here") && made.tokens <= 1_000);
    assert_eq!(messages[3].answered_id().as_deref(), Some("a"));
    for role in ["user", "system"] {
        let all = [message(role, &long), message("user", "x")];
        let last = if role == "user" { &all[..1] } else { &all[..] };
        let error = fitted(last, 1_000, &STATIC).unwrap_err();
        assert!(error.needed > 5_000 && error.budget == 1_000, "{error:?}");
    }
}

#[test]
fn results_that_do_not_fit_beside_what_must_stay_share_its_room() {
    let call = |ids: &[&str]| {
        let calls: Vec<Value> =
            ids.iter().map(|id| json!({"id": id, "function": {"name": "f"}})).collect();
        json!({"role": "assistant", "tool_calls": calls})
    };
    let result = |id: &str, words: usize| {
        let text = format!("BEGIN {} END", "word ".repeat(words));
        json!({"role": "tool", "tool_call_id": id, "content": text})
    };
    // Smaller than the budget, and larger than what is left of it.
    let head = [message("system", &"rule ".repeat(300)), message("user", "U")];
    let open = [call(&["a", "b", "c"]), result("a", 500), result("b", 20), result("c", 900)];
    let all = [&head[..], &open[..]].concat();
    let made = fitted(&all, 1_000, &STATIC).unwrap().unwrap();
    assert_eq!((made.kept, made.dropped, &made.cut[..]), (6, 0, &[3, 5][..]));
    assert!((900..=1_000).contains(&made.tokens), "all the room is used: {}", made.tokens);
    let messages = Message::list(&made.json);
    let sizes: Vec<u64> = messages.iter().skip(3).map(|it| tokens::count(&it.text())).collect();
    assert!(sizes[0].abs_diff(sizes[2]) < 40 && sizes[1] < 30, "{sizes:?}");
    for it in messages.iter().skip(3) {
        assert!(it.text().starts_with("BEGIN") && it.text().ends_with("END"), "{}", it.text());
    }
    // What was said before has a quarter of it.
    let before = [message("user", "Hi there"), message("assistant", "Hello")];
    let all = [&head[..1], &before, &head[1..], &open].concat();
    let made = fitted(&all, 1_000, &STATIC).unwrap().unwrap();
    assert_eq!((made.kept, made.dropped), (8, 0));
    // The instructions and the user's last word are never cut.
    let error = fitted(&all, 320, &STATIC).unwrap_err();
    assert!(error.needed > 320 && error.needed < 480, "{error:?}");
}

#[test]
fn a_summary_follows_the_request_whose_work_it_sums_up() {
    let exchange = |i: usize| {
        let call = json!({"id": format!("c{i}"), "function": {"name": "read_file"}});
        let text = format!("The file number {i}77 was written by Ada. {}", "word ".repeat(40));
        [
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            json!({"role": "tool", "tool_call_id": format!("c{i}"), "content": text}),
        ]
    };
    let work: Vec<Value> = (0..30).flat_map(exchange).collect();
    let ask = [message("system", "S"), message("user", "Who wrote the files?")];
    let roles = |made: &Fitted| {
        let messages = Message::list(&made.json);
        let role = |it: &Message<'_>| if summary::is_summary(it) { 'S' } else { letter(it.role) };
        messages.iter().map(role).collect::<String>()
    };
    let all = [&ask[..], &work[..]].concat();
    let made = fitted(&all, 800, &RESERVOIR).unwrap().unwrap();
    assert!(roles(&made).starts_with("suSctct"), "{}", roles(&made));
    let text = Message::list(&made.json)[2].text().into_owned();
    assert!(text.contains("\nResult of read_file: The file number"), "{text}");
    assert!(!text.contains("User: ") && !text.contains("The request before"), "{text}");
    // What was said before it is told apart from what came of it.
    let earlier: Vec<Value> = support_chat(10).into_iter().skip(1).collect();
    let all = [&ask[..1], &earlier[..], &ask[1..], &work[..]].concat();
    let made = fitted(&all, 800, &RESERVOIR).unwrap().unwrap();
    assert!(roles(&made).starts_with("suSctct"), "{}", roles(&made));
    let text = Message::list(&made.json)[2].text().into_owned();
    let (before, after) =
        text.split_once("[The request before this message was made here]").unwrap();
    assert!(before.contains("User: ") && !before.contains("read_file"), "{text}");
    assert!(after.contains("read_file") && !after.contains("User: "), "{text}");
    // Where nothing went from after the request, it stays the last word.
    let all = [&earlier[..], &ask[1..]].concat();
    let made = fitted(&all, 300, &RESERVOIR).unwrap().unwrap();
    assert!(roles(&made).starts_with('S') && roles(&made).ends_with('u'), "{}", roles(&made));
}

fn letter(role: Role) -> char {
    match role {
        Role::System | Role::Developer => 's',
        Role::User => 'u',
        Role::Assistant => 'c',
        Role::Tool | Role::Function => 't',
    }
}

/// What a message is made of: who speaks, how much, and whether it is a call or the result of one.
fn turn() -> impl Strategy<Value = (u8, usize, u8)> {
    (0_u8..12, prop_oneof![8 => 0_usize..60, 1 => 60_usize..900], 0_u8..4)
}

fn build(turns: &[(u8, usize, u8)]) -> Vec<Value> {
    const WORDS: [&str; 8] =
        ["word ", "Ada said 42. ", "日本語です。", "\n", "no! ", "x = f(y);\n", "🦀", "ไทย "];
    let mut calls = 0;
    let mut all = Vec::new();
    for (i, (kind, length, word)) in turns.iter().enumerate() {
        let unit = WORDS[(usize::from(*word) * 2 + i) % WORDS.len()];
        let text = format!("<{i}>{}", unit.repeat(*length));
        all.push(match kind {
            0 => {
                let few: String = text.chars().take(20).collect();
                message(if i % 2 == 0 { "system" } else { "developer" }, &few)
            }
            1..=4 => message("user", &text),
            5 => {
                let (first, more) = (format!("<{i}>"), unit.repeat(*length / 3));
                json!({"role": "user", "content": [
                    {"type": "text", "text": first + &more},
                    {"type": "image_url", "image_url": {"url": "data:,"}},
                    {"type": "text", "text": more}, {"type": "text", "text": more + "."}]})
            }
            6 | 7 => {
                calls += 1;
                json!({"role": "assistant", "content": text, "tool_calls": [
                    {"id": format!("c{calls}"), "function": {"name": "f", "arguments": "{}"}}]})
            }
            8 | 9 if calls > 0 => {
                let id = if *word == 0 && calls > 1 { calls - 1 } else { calls };
                let parts = json!([{"type": "text", "text": text}, {"type": "text", "text": unit}]);
                let content = if *kind == 8 { json!(text) } else { parts };
                json!({"role": "tool", "tool_call_id": format!("c{id}"), "content": content})
            }
            _ => message("assistant", &text),
        });
    }
    all
}

fn mark(message: &Message<'_>) -> Option<String> {
    let text = message.text().into_owned();
    let end = text.find('>')?;
    text.starts_with('<').then(|| text[..=end].to_owned())
}

fn hold(messages: &[Value], budget: u64, plan: &Plan) -> Result<(), TestCaseError> {
    let (request, memory) = (request(messages), Memory::default());
    let before = request.messages();
    let costs_before = costs(&request, &memory);
    let layout = Layout::of(&before);
    let made = match fit(&before, &costs_before, (budget, plan), &memory) {
        Ok(made) => made,
        Err(it) => {
            prop_assert_eq!(it, TooLong { needed: least(&before, &costs_before, &layout), budget });
            prop_assert!(it.needed > budget);
            return Ok(());
        }
    };
    let Some(made) = made else {
        prop_assert!(costs_before.iter().sum::<u64>() <= budget);
        return Ok(());
    };
    let after = Message::list(&made.json);
    let body = Bytes::from(format!(r#"{{"messages":{}}}"#, made.json));
    let again = ChatRequest::parse(&body).expect("what was made is a request");
    let costs_after = costs(&again, &Memory::default());
    // It fits, and is no larger than it is said to be.
    prop_assert!(made.tokens <= budget);
    prop_assert!(costs_after.iter().sum::<u64>() <= made.tokens);
    // Applied twice it changes nothing.
    let twice = fit(&again.messages(), &costs_after, (budget, plan), &memory).expect("it fits");
    prop_assert!(twice.is_none(), "{:?}", twice);
    // Order is kept, and nothing is changed but what was too long alone.
    let (mut at, mut summaries) = (0, 0);
    for it in &after {
        if summary::is_summary(it) {
            summaries += 1;
            continue;
        }
        let found = before
            .iter()
            .skip(at)
            .position(|old| old.json == it.json || (mark(old).is_some() && mark(old) == mark(it)));
        let found = at + found.expect("it was there before, and in this order");
        if before[found].json != it.json {
            let pinned: u64 =
                (0..before.len()).filter(|i| layout.pinned[*i]).map(|i| costs_before[i]).sum();
            let alone = costs_before[found] > budget;
            prop_assert!(alone || (layout.pinned[found] && pinned > budget));
            prop_assert!(!layout.untouchable[found]);
            prop_assert_eq!(it.text().matches("left out here").count(), 1);
        }
        at = found + 1;
    }
    prop_assert!(summaries <= 1);
    prop_assert_eq!(summaries > 0, made.summary_tokens > 0);
    prop_assert!(made.summary_tokens <= plan.summary);
    prop_assert_eq!(after.len(), made.kept + summaries);
    whole(&before, &after)
}

/// The tokens of what must stay, if all that may be cut of it is cut as far as it can be.
fn least(messages: &[Message<'_>], costs: &[u64], layout: &Layout) -> u64 {
    let of = |i: usize| {
        let said = tokens::count(&messages[i].text());
        if layout.untouchable[i] { costs[i] } else { costs[i] - said + said.min(middle::FEWEST) }
    };
    (0..messages.len()).filter(|i| layout.pinned[*i]).map(of).sum()
}

/// Instructions and the last user turn are there, and no call without its results or the reverse.
fn whole(before: &[Message<'_>], after: &[Message<'_>]) -> Result<(), TestCaseError> {
    let stays = |it: &&Message<'_>| after.iter().any(|new| new.json == it.json);
    prop_assert!(before.iter().filter(|it| it.role.instructs()).all(|it| stays(&it)));
    prop_assert!(before.iter().rfind(|it| it.role == Role::User).is_none_or(|it| stays(&it)));
    let ids = |list: &[Message<'_>]| {
        let calls: Vec<_> = list.iter().flat_map(Message::call_ids).map(Cow::into_owned).collect();
        let answers: Vec<_> =
            list.iter().filter_map(Message::answered_id).map(Cow::into_owned).collect();
        (calls, answers)
    };
    let ((_, answered), (calls, answers)) = (ids(before), ids(after));
    for id in &calls {
        let count = |list: &[String]| list.iter().filter(|it| *it == id).count();
        prop_assert_eq!(count(&answered), count(&answers), "{} lost a result", id);
    }
    for id in answers {
        prop_assert!(calls.contains(&id), "{} lost its call", id);
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_conversation_is_broken(
        turns in proptest::collection::vec(turn(), 1..30),
        budget in 60_u64..6_000,
        keep in 1_usize..40,
        summary in prop_oneof![Just(0_u64), 20_u64..500],
        shares in (0.0_f64..1.0, 0.1_f64..1.0),
    ) {
        // Dynamic mode sums nothing up.
        let (least, target) = if summary == 0 { shares } else { (0.0, 1.0) };
        let plan = Plan { label: "test", kind: None, keep, least, target, summary };
        hold(&build(&turns), budget, &plan)?;
    }
}

#[test]
fn images_are_counted_by_their_providers_rules() {
    let image = |detail: &str| {
        json!({"role": "user", "content": [{"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": "x".repeat(90_000), "detail": detail}}]})
    };
    let request = request(&[image("high"), image("low")]);
    let sizes = size::sizes(&request.messages(), &Memory::default());
    let by = |rules| sizes.iter().map(|it| it.by(rules)).collect::<Vec<_>>();
    let around = AROUND_MESSAGE + tokens::count("What?");
    assert_eq!(by(Rules::GEMINI), [1_548 + around; 2]);
    assert_eq!(by(Rules::ANTHROPIC), [1_600 + around; 2]);
}
