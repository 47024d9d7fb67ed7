//! The keys a request shows.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// As Anthropic's clients send a key, and as Azure's do.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Every key shown: some clients send two headers, and fill only one of them with the key they were
/// given. Of a header that comes several times the first counts.
pub(super) fn shown(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let plain = |name| headers.get(name).map(|it: &HeaderValue| it.as_bytes().trim_ascii());
    let bearer = headers.get(AUTHORIZATION).and_then(bearer);
    [bearer, plain(X_API_KEY), plain(API_KEY)].into_iter().flatten().filter(|it| !it.is_empty())
}

/// All that a caller may show, as it was written and whether it is a key or not: who shows the same is
/// the same caller.
pub(super) fn written(headers: &HeaderMap) -> [Option<&HeaderValue>; 3] {
    [AUTHORIZATION, X_API_KEY, API_KEY].map(|it| headers.get(it))
}

/// The token of `Authorization: Bearer <token>`.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_first_chunk::<6>()?;
    let token = rest.trim_ascii();
    let apart = rest.first().is_some_and(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(b"bearer") && apart && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bearer_token_is_found() {
        let check = |value: &'static str, expected: Option<&str>| {
            let found = bearer(&HeaderValue::from_static(value)).map(<[u8]>::to_vec);
            assert_eq!(found, expected.map(|it| it.as_bytes().to_vec()), "{value}");
        };
        check("Bearer k", Some("k"));
        check("bearer k", Some("k"));
        check("BEARER \t  k  ", Some("k"));
        check("Bearer a b", Some("a b"));
        check("Bearerk", None);
        check("Bearer", None);
        check("Bearer   ", None);
        check("Basic k", None);
        check("k", None);
        check("", None);
    }

    #[test]
    fn three_headers_are_read() {
        let check = |sent: &[(&'static str, &'static str)], expected: &[&str]| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found: Vec<&[u8]> = shown(&headers).collect();
            assert_eq!(found, expected.iter().map(|it| it.as_bytes()).collect::<Vec<_>>());
        };
        check(&[], &[]);
        check(&[("authorization", "Bearer a")], &["a"]);
        check(&[("x-api-key", " b "), ("api-key", "c")], &["b", "c"]);
        check(
            &[("api-key", "c"), ("authorization", "Bearer a"), ("x-api-key", "b")],
            &["a", "b", "c"],
        );
        check(&[("authorization", "Basic a"), ("x-api-key", ""), ("cookie", "d")], &[]);
        check(&[("x-api-key", "b"), ("x-api-key", "e")], &["b"]);
    }
}
