//! Whose address a request comes from, behind proxies that are trusted to say so.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the other end's own, or, as far as those that speak are among `proxies`
/// (addresses with the bits that count), the one they heard it from. What stands left of the first
/// that is not trusted anybody may have written.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[(IpAddr, u8)]) -> IpAddr {
    let mut client = peer;
    if proxies.is_empty() {
        return client;
    }
    let lines: Vec<&str> =
        headers.get_all(X_FORWARDED_FOR).iter().map(|it| it.to_str().unwrap_or_default()).collect();
    let mut told = lines.iter().rev().flat_map(|it| it.rsplit(',')).map(address);
    while proxies.iter().any(|it| holds(*it, client))
        && let Some(Some(before)) = told.next()
    {
        client = before;
    }
    client
}

/// The number by which a client is remembered. Of IPv6 it is the network's: whoever has one address
/// of it has them all.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => it.to_ipv6_mapped().to_bits(),
        IpAddr::V6(it) => it.to_bits() >> 64 << 64,
    }
}

/// `203.0.113.7`, `203.0.113.7:1234`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:1234`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    let whole = || text.parse::<SocketAddr>().map(|it| it.ip());
    bare.parse::<IpAddr>().or_else(|_| whole()).ok().map(|it| it.to_canonical())
}

fn holds((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let (network, address, unused) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (
            u128::from(network.to_bits()),
            u128::from(address.to_bits()),
            32_u8.saturating_sub(bits),
        ),
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (Ipv6Addr::to_bits(network), Ipv6Addr::to_bits(address), 128_u8.saturating_sub(bits))
        }
        _ => return false,
    };
    let significant = |it: u128| it.checked_shr(u32::from(unused)).unwrap_or(0);
    significant(network) == significant(address)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_chain_is_walked_from_the_right() {
        let proxies =
            ["10.0.0.0", "127.0.0.1", "2001:db8:1::"].map(|it| it.parse::<IpAddr>().unwrap());
        let proxies: Vec<_> = proxies.into_iter().zip([8, 32, 48]).collect();
        let check = |peer: &str, lines: &[&'static str], expected: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            let found = client(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(found.to_string(), expected, "{peer} {lines:?}");
            let unheard = client(peer.parse().unwrap(), &headers, &[]);
            assert_eq!(unheard.to_string(), peer);
        };
        check("127.0.0.1", &[], "127.0.0.1");
        check("127.0.0.1", &["203.0.113.7"], "203.0.113.7");
        check("127.0.0.2", &["203.0.113.7"], "127.0.0.2");
        check("198.51.100.1", &["203.0.113.7"], "198.51.100.1");
        check("127.0.0.1", &["1.1.1.1, 203.0.113.7"], "203.0.113.7");
        check("127.0.0.1", &["1.1.1.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7");
        check("127.0.0.1", &["1.1.1.1", "203.0.113.7,10.9.9.9"], "203.0.113.7");
        check("127.0.0.1", &["10.1.2.3"], "10.1.2.3");
        check("127.0.0.1", &["203.0.113.7, nonsense"], "127.0.0.1");
        check("127.0.0.1", &["203.0.113.7, , 10.1.2.3"], "10.1.2.3");
        check("127.0.0.1", &["203.0.113.7:4711"], "203.0.113.7");
        check("127.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("2001:db8:1::5", &["2001:db8:2::1, [2001:db8:1:2::]"], "2001:db8:2::1");
        check("127.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let check = |a: &str, b: &str, same: bool| {
            let number = |it: &str| number(it.parse().unwrap());
            assert_eq!(number(a) == number(b), same, "{a} {b}");
        };
        check("203.0.113.7", "203.0.113.7", true);
        check("203.0.113.7", "203.0.113.8", false);
        check("2001:db8::1", "2001:db8::ffff:0:0:2", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }
}
