//! The Gemini flavour's own way in: the model stands in the path, the key in a header of its own,
//! and the body is nothing like OpenAI's.

pub(super) mod ask;
mod rules;
mod shape;

pub(super) use rules::{SIGNED, unsigned};

use hyper::http::request::Parts;

/// What a request's path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) model: String,
    pub(super) stream: bool,
}

/// What stands before a model's name.
pub(super) const MODELS: &str = "v1beta/models";

impl Target {
    /// Reads what follows the provider's name in a path: `v1beta/models/<model>:<method>`.
    pub(super) fn parse(path: &str, query: Option<&str>) -> Option<Self> {
        let named = path.strip_prefix(MODELS)?.strip_prefix('/')?;
        let (model, method) = named.rsplit_once(':')?;
        let stream = match method {
            "generateContent" => false,
            // Without it the real one streams a list, which nobody here asks for.
            "streamGenerateContent" if query.is_some_and(|it| it.contains("alt=sse")) => true,
            _ => return None,
        };
        Some(Self { model: model.to_owned(), stream })
    }
}

/// The key a request brings, in its header or in the query.
pub(super) fn key(parts: &Parts) -> String {
    let header = parts.headers.get("x-goog-api-key").and_then(|it| it.to_str().ok());
    let query = || parts.uri.query()?.split('&').find_map(|it| it.strip_prefix("key="));
    header.or_else(query).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_model_and_method() {
        let target = |model: &str, stream| Some(Target { model: model.to_owned(), stream });
        for (path, query, expected) in [
            ("v1beta/models/m:generateContent", None, target("m", false)),
            ("v1beta/models/a/b:streamGenerateContent", Some("alt=sse"), target("a/b", true)),
            ("v1beta/models/m:streamGenerateContent", None, None),
            ("v1beta/models/m:countTokens", None, None),
            ("v1beta/models", None, None),
            ("v1/models/m:generateContent", None, None),
        ] {
            assert_eq!(Target::parse(path, query), expected, "{path}");
        }
    }
}
