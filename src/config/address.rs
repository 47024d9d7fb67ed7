//! Addresses: base URLs of providers, and the one this program listens on.

use std::net::IpAddr;

use super::json::Json;
use super::json::quoted;
use super::rules::Rule;

/// An account's id, as it stands in a URL.
pub(super) struct AccountId;

impl Rule for AccountId {
    type Value = String;

    fn wanted(&self) -> String {
        "an account id of letters, digits, - and _".to_owned()
    }

    fn read(&self, json: &Json) -> Option<String> {
        let Json::Text(text) = json else { return None };
        let plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        (!text.is_empty() && text.bytes().all(plain)).then(|| text.clone())
    }
}

/// An address, or all that begin like it: `10.0.0.0/8`.
pub(super) struct Range;

impl Rule for Range {
    type Value = (IpAddr, u8);

    fn wanted(&self) -> String {
        "an IP address, or a range of them such as \"10.0.0.0/8\"".to_owned()
    }

    fn read(&self, json: &Json) -> Option<(IpAddr, u8)> {
        let Json::Text(text) = json else { return None };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|it| it.is_ascii_digit()) => {
                (address, Some(bits.parse::<u8>().ok()?))
            }
            Some(_) => return None,
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        (bits <= all).then_some((address, bits))
    }
}

/// The URL that stands before a provider's own paths. Read without a slash at its end.
pub(super) struct BaseUrl;

impl Rule for BaseUrl {
    type Value = String;

    fn wanted(&self) -> String {
        "an http:// or https:// URL with a host, and no user, password, query or \
         /chat/completions in it"
            .to_owned()
    }

    fn read(&self, json: &Json) -> Option<String> {
        let Json::Text(text) = json else { return None };
        let text = text.trim_end_matches('/');
        let sound = text.is_ascii()
            && !text.contains(['#', '?', '@'])
            && !text.ends_with("/chat/completions")
            && text.parse().is_ok_and(|it| has_host_and_port(&it));
        sound.then(|| text.to_owned())
    }

    /// What may hold a key or a password is not shown.
    fn shown(&self, json: &Json) -> String {
        let Json::Text(text) = json else { return json.brief() };
        let (before, after) = text.rsplit_once('@').unwrap_or(("", text));
        let scheme = match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://"),
            None => String::new(),
        };
        let user = if before.is_empty() { "" } else { "***@" };
        match after.split_once(['?', '#']) {
            Some((after, _)) => quoted(&format!("{scheme}{user}{after}?***")),
            None => quoted(&format!("{scheme}{user}{after}")),
        }
    }
}

fn has_host_and_port(url: &http::Uri) -> bool {
    let Some(authority) = url.authority() else { return false };
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    matches!(url.scheme_str(), Some("http" | "https"))
        && !host.is_empty()
        && (port.is_empty() || authority.port_u16().is_some_and(|it| it > 0))
}

/// An address to listen on: an IP address or a host name. Read without brackets.
pub(super) struct Host;

impl Rule for Host {
    type Value = String;

    fn wanted(&self) -> String {
        "an IP address or a host name, without port, such as 127.0.0.1".to_owned()
    }

    fn read(&self, json: &Json) -> Option<String> {
        let Json::Text(text) = json else { return None };
        let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
        let in_name = |it: u8| it.is_ascii_alphanumeric() || b"-._".contains(&it);
        let name = !bare.is_empty() && bare.len() < 254 && bare.bytes().all(in_name);
        (name || bare.parse::<IpAddr>().is_ok()).then(|| bare.to_owned())
    }
}

/// Can only this machine reach `host`? A name other than `localhost` is taken for one that others
/// reach.
pub(super) fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>().map_or_else(
        |_| host.eq_ignore_ascii_case("localhost"),
        |it| it.to_canonical().is_loopback(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, wanted: Option<&str>) {
        assert_eq!(BaseUrl.read(&Json::Text(url.to_owned())).as_deref(), wanted, "{url}");
    }

    #[test]
    fn a_base_url_has_a_host_and_no_secrets() {
        check("https://api.groq.com/openai/v1/", Some("https://api.groq.com/openai/v1"));
        check("http://127.0.0.1:9", Some("http://127.0.0.1:9"));
        check("HTTP://[::1]:9/v1", Some("HTTP://[::1]:9/v1"));
        for bad in [
            "",
            "api.groq.com",
            "/v1",
            "ftp://host/v1",
            "https://",
            "https:///v1",
            "http://:80/v1",
            "http://host:99999/v1",
            "http://host:/v1",
            "http://host:0",
            "http://ho st/v1",
            "http://hôte/v1",
            "https://user:secret@host/v1",
            "https://host/v1?key=secret",
            "https://host/v1#part",
            "https://host/v1/chat/completions",
            "https://host/v1/chat/completions/",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_bad_url_is_shown_without_its_secrets() {
        for (url, wanted) in [
            ("ftp://host/v1", "\"ftp://host/v1\""),
            ("https://me:secret@host/v1", "\"https://***@host/v1\""),
            ("https://host/v1?key=secret", "\"https://host/v1?***\""),
            ("me:sec@ret@host", "\"***@host\""),
            ("https://me:sec?ret@host/?a", "\"https://***@host/?***\""),
        ] {
            assert_eq!(BaseUrl.shown(&Json::Text(url.to_owned())), wanted);
        }
    }

    #[test]
    fn loopback_is_what_only_this_machine_reaches() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.0.1", "example.org", "localhost.example.org"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for (text, wanted) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]", Some("::1")),
            ("::", Some("::")),
            ("my-host.local", Some("my-host.local")),
            ("127.0.0.1:8000", None),
            ("http://host", None),
            ("a b", None),
            ("[]", None),
        ] {
            assert_eq!(Host.read(&Json::Text(text.to_owned())).as_deref(), wanted, "{text}");
        }
    }
}
