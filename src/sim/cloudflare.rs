//! What is Cloudflare's own about its otherwise OpenAI-shaped API.

use hyper::Response;

use super::body::Body;
use super::chat::json;
use super::request::Ask;
use super::wire::headers::Headers;
use super::wire::problem::Problem;

/// What follows the provider's name in its base URL: the account stands there.
pub(super) const VERSION: &str = "client/v4/accounts/sim/ai/v1";
/// What stands before the account.
const ACCOUNTS: &str = "client/v4/accounts/";
/// Tokens an answer may have that asks for none.
const DEFAULT_CAP: u64 = 256;

/// Answers a path that names another account.
pub(super) fn stray(path: &str) -> Option<Response<Body>> {
    let other = path.starts_with(ACCOUNTS) && !path.starts_with("client/v4/accounts/sim/");
    let body = include_str!("wire/cloudflare/error_404_account.json");
    other.then(|| json(404, &Headers::new(), body))
}

/// An answer is short unless the request says otherwise.
pub(super) fn capped(mut ask: Ask) -> Ask {
    ask.cap = ask.cap.or(Some(DEFAULT_CAP));
    ask
}

/// What it refuses about messages.
pub(super) fn refusal(ask: &Ask) -> Option<Problem> {
    let at = ask.messages.iter().position(|it| !it.is_plain())?;
    Some(Problem::Invalid(format!(
        "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', Type mismatch \
         of '/messages/{at}/content', 'array' not in 'string'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rest: &str, refused: bool) {
        let ask = Ask::parse(format!(r#"{{"model":"m",{rest}}}"#).as_bytes()).unwrap();
        assert_eq!(refusal(&ask).is_some(), refused, "{rest}");
    }

    #[test]
    fn content_is_a_string() {
        check(r#""messages":[{"role":"user","content":"x"}]"#, false);
        check(r#""messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]"#, true);
        check(r#""messages":[{"role":"user","content":[{"type":"image_url"}]}]"#, false);
        check(r#""messages":[{"role":"assistant","content":null}]"#, true);
    }

    #[test]
    fn another_account_is_not_there() {
        assert!(stray("client/v4/accounts/else/ai/v1/chat/completions").is_some());
        assert!(stray(&format!("{VERSION}/chat/completions")).is_none());
        assert!(stray("v1/models").is_none());
    }
}
