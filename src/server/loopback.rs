//! What a request must name for it to have come from this machine: not the address it came from,
//! for a web page in the user's own browser comes from there too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::{HeaderMap, Uri};

/// Do `Host` and, where the request line has one, its authority name this machine? One that names
/// no host at all does not.
pub(super) fn names_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_loopback),
        _ => false,
    };
    host && uri.authority().is_none_or(|it| is_loopback(it.as_str()))
}

/// Is `authority` (`host[:port]`) a name or address of this machine?
fn is_loopback(authority: &str) -> bool {
    // An IPv6 address has colons of its own; its brackets tell where the port begins.
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => authority.split_at(colon),
        _ => (authority, ""),
    };
    if !port.bytes().skip(1).all(|it| it.is_ascii_digit()) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        let address = address.parse::<Ipv6Addr>().map(|it| IpAddr::V6(it).to_canonical());
        return address.is_ok_and(|it| it.is_loopback());
    }
    is_localhost(host) || host.parse::<Ipv4Addr>().is_ok_and(|it| it.is_loopback())
}

/// `localhost` and names below it are this machine's everywhere (RFC 6761): nobody can register
/// one and have it point here.
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    let Some((below, name)) = host.split_last_chunk::<9>() else { return false };
    let label = |it: &u8| it.is_ascii_alphanumeric() || b"-_.".contains(it);
    name.eq_ignore_ascii_case(b"localhost")
        && (below.is_empty() || (below.ends_with(b".") && below.iter().all(label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_name_or_address() {
        let check = |host, expected| assert_eq!(is_loopback(host), expected, "{host}");
        for host in [
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "localhost:",
            "app.localhost:1",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.255.255.254:1",
            "[::1]",
            "[::1]:8000",
            "[::ffff:127.0.0.1]:8000",
        ] {
            check(host, true);
        }
        for host in [
            "",
            ":8000",
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "evillocalhost",
            "x@localhost",
            "localhost@evil.example",
            "localhost:8000@evil.example",
            "e/.localhost",
            "127.0.0.1.nip.io",
            "127.1",
            "127.0.0.1:80:80",
            "128.0.0.1",
            "0.0.0.0:8000",
            "192.168.1.5:8000",
            "::1",
            "[::1",
            "[::1]x:80",
            "[::2]:8000",
            "[127.0.0.1]",
            "\u{e9}\u{e9}localhost",
        ] {
            check(host, false);
        }
    }
}
