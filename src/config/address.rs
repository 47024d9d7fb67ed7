//! Addresses: base URLs of providers, and the one this program listens on.

use std::net::IpAddr;
use std::net::Ipv6Addr;

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
        // Peers are known by their IPv4 address, however it is written.
        match address.to_canonical() {
            IpAddr::V4(it) if address.is_ipv6() => Some((it.into(), bits.checked_sub(96)?)),
            address => Some((address, bits)),
        }
        .filter(|_| bits <= all)
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

/// The host of a base URL, without brackets and port.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if let Some((host, _)) = authority.strip_prefix('[').and_then(|it| it.split_once(']')) {
        return host;
    }
    authority.split(':').next().unwrap_or(authority)
}

/// Is `host` on this machine or in the user's own network? By its address, or by a name that nobody
/// can have in the public DNS: one without a dot (a container's), or below a domain that is reserved
/// for such (RFC 6761, 6762, 8375; `internal`).
pub(super) fn is_own_network(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|it| it.to_canonical()) {
        Ok(IpAddr::V4(it)) => it.is_loopback() || it.is_private() || it.is_link_local(),
        Ok(IpAddr::V6(it)) => is_own_ipv6(it),
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            let reserved = [".localhost", ".local", ".internal", ".home.arpa"];
            !host.is_empty()
                && (!host.contains('.') || reserved.iter().any(|it| host.ends_with(it)))
        }
    }
}

fn is_own_ipv6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
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
    fn the_own_network_is_told_from_everybody_elses() {
        let check = |url: &str, host: &str, own: bool| {
            assert_eq!((host_of(url), is_own_network(host_of(url))), (host, own), "{url}");
        };
        check("http://localhost:11434", "localhost", true);
        check("http://127.0.0.1:9/v1", "127.0.0.1", true);
        check("http://[::1]:9", "::1", true);
        check("http://[fd00::7]/v1", "fd00::7", true);
        check("http://192.168.1.5:11434", "192.168.1.5", true);
        check("http://10.0.0.2", "10.0.0.2", true);
        check("http://ollama:11434", "ollama", true);
        check("http://NAS.local:11434", "NAS.local", true);
        check("http://host.docker.internal:11434", "host.docker.internal", true);
        check("https://ollama.com", "ollama.com", false);
        check("http://gpu.example.org:11434/api", "gpu.example.org", false);
        check("http://203.0.113.7:11434", "203.0.113.7", false);
        check("http://[2001:db8::1]:1", "2001:db8::1", false);
        check("http://local.example.org", "local.example.org", false);
        check("https://api.example.org/{account_id}/v1", "api.example.org", false);
    }

    #[test]
    fn a_range_is_one_of_addresses_as_peers_have_them() {
        let check = |text: &str, expected: Option<(&str, u8)>| {
            let expected = expected.map(|(it, bits)| (it.parse::<IpAddr>().unwrap(), bits));
            assert_eq!(Range.read(&Json::Text(text.to_owned())), expected, "{text}");
        };
        check("10.0.0.0/8", Some(("10.0.0.0", 8)));
        check("2001:db8::/32", Some(("2001:db8::", 32)));
        check("::ffff:127.0.0.1", Some(("127.0.0.1", 32)));
        check("::ffff:10.0.0.0/104", Some(("10.0.0.0", 8)));
        check("::ffff:10.0.0.0/8", None);
        check("10.0.0.0/33", None);
        check("2001:db8::/129", None);
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
