//! Cutting history: the most recent turns that fit stay, and no conversation is broken by it.

use crate::openai::Message;
use crate::openai::Role;

/// A conversation made to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The messages that stay, as the JSON text of a request's `messages`.
    pub json: String,
    /// How many stay.
    pub kept: usize,
    /// How many were dropped.
    pub dropped: usize,
    /// Tokens of what stays.
    pub tokens: u64,
}

/// What may not be dropped is already too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Tokens of the instructions, the last user turn and what follows it.
    pub needed: u64,
    /// Tokens there is room for.
    pub budget: u64,
}

/// Drops the oldest turns until the rest fits `budget` tokens and is no more than `recent_keep`
/// messages. `counts` holds each message's tokens.
///
/// Instructions (system and developer messages), the last user turn and everything after it always
/// stay, and the results of a tool call stay or go together with the call. Order is kept and no
/// message is changed. Of what must stay `recent_keep` takes nothing.
///
/// # Errors
/// [`TooLong`] when what must stay does not fit.
pub fn trim(
    messages: &[Message<'_>],
    counts: &[u64],
    budget: u64,
    recent_keep: usize,
) -> Result<Trimmed, TooLong> {
    let last_user = messages.iter().rposition(|it| it.role == Role::User).unwrap_or(0);
    let mut keep: Vec<bool> =
        messages.iter().enumerate().map(|(i, it)| it.role.instructs() || i >= last_user).collect();
    let tokens_of = |i: usize| counts.get(i).copied().unwrap_or(0);
    let mut tokens: u64 = (0..messages.len()).filter(|i| is(&keep, *i)).map(tokens_of).sum();
    if tokens > budget {
        return Err(TooLong { needed: tokens, budget });
    }
    let turns = |keep: &[bool]| {
        messages.iter().zip(keep).filter(|(it, kept)| **kept && !it.role.instructs()).count()
    };
    let mut recent = turns(&keep);
    let mut end = last_user;
    while end > 0 {
        let start = unit_start(messages, end);
        let unit: Vec<usize> = (start..end).filter(|i| !is(&keep, *i)).collect();
        let cost: u64 = unit.iter().copied().map(tokens_of).sum();
        if tokens + cost > budget || recent + unit.len() > recent_keep {
            break;
        }
        tokens += cost;
        recent += unit.len();
        for i in unit {
            if let Some(it) = keep.get_mut(i) {
                *it = true;
            }
        }
        end = start;
    }
    let kept: Vec<&str> =
        messages.iter().zip(&keep).filter(|(_, kept)| **kept).map(|(it, _)| it.json).collect();
    Ok(Trimmed {
        json: format!("[{}]", kept.join(",")),
        kept: kept.len(),
        dropped: messages.len() - kept.len(),
        tokens,
    })
}

fn is(keep: &[bool], i: usize) -> bool {
    keep.get(i).copied().unwrap_or(false)
}

/// Where the unit that ends before `end` starts: results reach back to the message that called.
fn unit_start(messages: &[Message<'_>], end: usize) -> usize {
    let mut start = end - 1;
    while start > 0 && messages.get(start).is_some_and(|it| it.role.answers_call()) {
        start -= 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::openai::ChatRequest;

    /// `s`ystem, `u`ser, `a`ssistant, `c`all, `t`ool result: one letter a message, one token each.
    fn request(roles: &str) -> ChatRequest {
        let message = |(i, role): (usize, char)| match role {
            's' => format!(r#"{{"role":"system","content":"{i}"}}"#),
            'u' => format!(r#"{{"role":"user","content":"{i}"}}"#),
            'c' => format!(r#"{{"role":"assistant","content":"{i}","tool_calls":[{{"id":"x"}}]}}"#),
            't' => format!(r#"{{"role":"tool","content":"{i}","tool_call_id":"x"}}"#),
            _ => format!(r#"{{"role":"assistant","content":"{i}"}}"#),
        };
        let all: Vec<String> = roles.chars().enumerate().map(message).collect();
        let body = format!(r#"{{"messages":[{}]}}"#, all.join(","));
        ChatRequest::parse(&Bytes::from(body)).unwrap()
    }

    fn check(roles: &str, budget: u64, keep: usize, expected: Result<&str, u64>) {
        let request = request(roles);
        let messages = request.messages();
        let counts = vec![1; messages.len()];
        let trimmed = trim(&messages, &counts, budget, keep);
        match (trimmed, expected) {
            (Ok(it), Ok(expected)) => {
                let left: Vec<&Message<'_>> =
                    messages.iter().filter(|m| it.json.contains(m.json)).collect();
                let texts: Vec<_> = left.iter().map(|m| m.text()).collect();
                assert_eq!(texts.concat(), expected, "{roles} {budget} {keep}");
                assert_eq!(it.kept + it.dropped, messages.len());
                assert!(it.tokens <= budget);
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
        check("uaucttct", 7, 10, Ok("1234567"));
        check("uaucttct", 6, 10, Ok("234567"));
        check("uaucttct", 5, 10, Err(6));
    }

    #[test]
    fn instructions_stay_wherever_they_stand() {
        check("uasuau", 4, 10, Ok("2345"));
        check("uasuau", 2, 10, Ok("25"));
    }

    #[test]
    fn a_conversation_without_a_user_is_left_whole_or_refused() {
        check("sa", 2, 1, Ok("01"));
        check("sa", 1, 1, Err(2));
    }
}
