//! Limits for each user of an app: who a request is for, and what is told of it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::callers::identifiers::Bucket;
use crate::callers::identifiers::Left;
use crate::callers::identifiers::User;
use crate::openai::ApiError;

use super::client_address;

/// The header that names a user, both ways; and the name it has elsewhere.
const X_RELAY_IDENTIFIER: HeaderName = HeaderName::from_static("x-relay-identifier");
const X_FREELLM_IDENTIFIER: HeaderName = HeaderName::from_static("x-freellm-identifier");
/// Requests left, and milliseconds until one more is.
const REMAINING: HeaderName = HeaderName::from_static("x-relay-identifier-remaining");
const RESET: HeaderName = HeaderName::from_static("x-relay-identifier-reset");

/// What an answer tells of its user.
pub(super) const ALL: [HeaderName; 3] = [X_RELAY_IDENTIFIER, REMAINING, RESET];

const LONGEST: usize = 128;

/// What JavaScript makes of a name that is not there.
const NOBODY: [&[u8]; 2] = [b"undefined", b"null"];

/// Who a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identifier {
    user: User,
    /// As answers name them.
    shown: String,
}

impl Identifier {
    /// The user a request names, or the client's address. An empty header names nobody, which is no
    /// address either: an app whose users all became one would not notice.
    ///
    /// # Errors
    /// A 400 for a name that is empty, or could do harm in a log.
    pub(super) fn of(headers: &HeaderMap, client: IpAddr) -> Result<Self, ApiError> {
        let named = [X_RELAY_IDENTIFIER, X_FREELLM_IDENTIFIER]
            .into_iter()
            .filter_map(|name| headers.get(&name).map(|it| (name, it.as_bytes().trim_ascii())))
            .find(|(_, it)| !NOBODY.contains(it));
        let Some((header, name)) = named else {
            let user = User::At(client_address::number(client));
            return Ok(Self { user, shown: format!("ip:{client}") });
        };
        let name = std::str::from_utf8(name).ok().filter(|it| is_sound(it)).ok_or_else(|| {
            let message = format!(
                "{header} must be 1 to {LONGEST} letters, digits and _ . : -, or be left out."
            );
            ApiError::invalid(message, Some(header.as_str())).with_code("invalid_identifier")
        })?;
        Ok(Self { user: User::Named(name.to_owned()), shown: name.to_owned() })
    }

    /// What it is counted under, for whoever shows the virtual key `key`.
    pub(super) fn bucket(&self, key: Option<std::sync::Arc<str>>) -> Bucket {
        Bucket { key, user: self.user.clone() }
    }

    /// Writes what is left into the headers of an answer.
    pub(super) fn stamp(&self, left: Left, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.shown) {
            headers.insert(X_RELAY_IDENTIFIER, value);
        }
        headers.insert(REMAINING, HeaderValue::from(left.remaining));
        let reset = u64::try_from(left.reset.as_millis()).unwrap_or(u64::MAX);
        headers.insert(RESET, HeaderValue::from(reset));
    }

    /// The error for one request too many.
    pub(super) fn spent(&self, left: Left) -> ApiError {
        let message = format!("\"{}\" has asked as often as one user may for now.", self.shown);
        ApiError::new(429, "rate_limit_error", message)
            .with_code("identifier_rate_limited")
            .logged_as("A user has asked as often as one may for now.")
            .with_retry_after(left.reset)
    }
}

fn is_sound(name: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"_.:-".contains(&it);
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected`: what answers show; `None` = a 400.
    fn check(sent: &[(&HeaderName, &[u8])], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.insert(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let found = Identifier::of(&headers, "203.0.113.7".parse().unwrap());
        assert_eq!(found.as_ref().ok().map(|it| &*it.shown), expected, "{sent:?}");
        if let Err(error) = found {
            assert_eq!((error.status, error.code.as_deref()), (400, Some("invalid_identifier")));
        }
    }

    #[test]
    fn a_user_is_named_or_is_an_address() {
        let (own, other) = (&X_RELAY_IDENTIFIER, &X_FREELLM_IDENTIFIER);
        check(&[(own, b"user-42")], Some("user-42"));
        check(&[(own, b"A.b_c:9-")], Some("A.b_c:9-"));
        check(&[(other, b"user-42")], Some("user-42"));
        check(&[(other, b"user-42"), (own, b"user-43")], Some("user-43"));
        check(&[(own, &[b'a'; 128])], Some(&"a".repeat(128)));
        for nobody in ["undefined", "null"] {
            check(&[(own, nobody.as_bytes())], Some("ip:203.0.113.7"));
            check(&[(own, nobody.as_bytes()), (other, b"u")], Some("u"));
        }
        check(&[], Some("ip:203.0.113.7"));
        for named in ["NULL", "Undefined"] {
            check(&[(own, named.as_bytes())], Some(named));
        }
        for empty in ["", " "] {
            check(&[(own, empty.as_bytes())], None);
            check(&[(own, empty.as_bytes()), (other, b"u")], None);
        }
        for tainted in ["has spaces", "a\tb", "a/b", "<script>", "a;b", "%0a"] {
            check(&[(own, tainted.as_bytes())], None);
        }
        check(&[(own, &[b'a'; 129])], None);
        check(&[(own, "é".as_bytes())], None);
        check(&[(other, b"a b")], None);
    }

    #[test]
    fn a_name_is_never_taken_for_an_address() {
        let mut headers = HeaderMap::new();
        let client: IpAddr = "203.0.113.7".parse().unwrap();
        let at = Identifier::of(&headers, client).unwrap();
        headers.insert(X_RELAY_IDENTIFIER, HeaderValue::from_static("ip:203.0.113.7"));
        let named = Identifier::of(&headers, client).unwrap();
        assert_eq!(named.shown, at.shown);
        assert_ne!(named.bucket(None), at.bucket(None));
    }
}
