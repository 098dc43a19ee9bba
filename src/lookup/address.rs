//! Which addresses may be asked: a registry's name is a pod author's word, and must not lead to what only this process can reach.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use url::{Host, Url};

/// Refused unless listed: this host itself, its links, and the clouds' metadata services, which hand out credentials.
const REFUSED_V4: [Ipv4Net; 8] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),          // this host (RFC 1122)
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),        // loopback
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),     // link-local, most clouds' metadata
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),        // multicast
    Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32),               // broadcast
    Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32), // metadata of Alibaba Cloud
    Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32),   // Azure's wire server
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 192), 32),     // metadata of Oracle Cloud
];
const REFUSED_V6: [Ipv6Net; 7] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128),
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), // link-local
    Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),  // multicast
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128), // metadata of AWS
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128), // metadata of Google Cloud
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128), // metadata of Oracle Cloud
];
/// IPv6 addresses that stand for an IPv4 one, by how many bytes come before that: mapped and compatible (RFC 4291), NAT64 (RFC 6052,
/// RFC 8215) and 6to4 (RFC 3056).
const EMBEDDING: [(Ipv6Net, usize); 5] = [
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), 12),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96), 12),
    (Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96), 12),
    (Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48), 12),
    (Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), 2),
];

/// Which addresses may be asked.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    allowed: Vec<IpNet>,
    /// Host and, if only one, its port. What these resolve to is not looked at.
    allowed_hosts: HashSet<(String, Option<u16>)>,
    refused: Vec<IpNet>,
}

impl Addresses {
    /// Lists a network, an address, or a host with or without a port; false if the text is none of them.
    pub(crate) fn allow(&mut self, text: &str) -> bool {
        if let Some(net) = network(text) {
            self.allowed.push(net);
            return true;
        }
        let Some(url) = authority(text) else { return false };
        let Some(host) = url.host() else { return false };
        // The parser drops a port that is the scheme's own.
        let port = url.port().or(text.ends_with(":443").then_some(443));
        self.allowed_hosts.insert((host.to_string(), port));
        true
    }

    /// Refuses a network or an address, too; false if the text is neither.
    pub(crate) fn refuse(&mut self, text: &str) -> bool {
        network(text).map(|net| self.refused.push(net)).is_some()
    }

    /// Whether the host of a URL is listed by its name, wherever it is.
    pub(crate) fn lists(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        [None, url.port_or_known_default()].into_iter().any(|port| self.allowed_hosts.contains(&(host.to_owned(), port)))
    }

    /// The address that a URL holds, or that its name always means, if it is refused.
    pub(crate) fn refused_literal(&self, url: &Url) -> Option<IpAddr> {
        let meant: &[IpAddr] = match url.host()? {
            Host::Ipv4(address) => &[address.into()],
            Host::Ipv6(address) => &[address.into()],
            // Loopback, whoever resolves it (RFC 6761, section 6.3).
            Host::Domain(name) if name.trim_end_matches('.').rsplit('.').next() == Some("localhost") => {
                &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Host::Domain(_) => return None,
        };
        let refused = !self.lists(url) && !meant.iter().any(|address| self.permits(*address));
        meant.first().copied().filter(|_| refused)
    }

    /// Whether an address may be connected to.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        let meant = || [Some(address), embedded(address).map(IpAddr::V4)].into_iter().flatten();
        let within = |nets: &[IpNet]| meant().any(|one| nets.iter().any(|net| net.contains(&one)));
        within(&self.allowed) || !(within(&self.refused) || meant().any(refused))
    }
}

fn refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => REFUSED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => REFUSED_V6.iter().any(|net| net.contains(&address)),
    }
}

/// The IPv4 address that an IPv6 one stands for.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let (_, before) = EMBEDDING.iter().find(|(net, _)| net.contains(&address))?;
    let bytes: [u8; 4] = address.octets().get(*before..before + 4)?.try_into().ok()?;
    Some(bytes.into())
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// `HOST` or `HOST:PORT` as the URL of an HTTPS server; nothing if the text is more or less than that.
pub(crate) fn authority(text: &str) -> Option<Url> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if text.is_empty() || text.len() > 255 || !text.chars().all(plain) {
        return None;
    }
    Url::parse(&format!("https://{text}/")).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()) && url.path() == "/")
}

/// A name that resolves to nothing but refused addresses.
#[derive(Debug, thiserror::Error)]
#[error("{0} is refused")]
pub(crate) struct Refused(pub(crate) IpAddr);

/// Resolves names to the addresses that may be connected to: what it gives is what is connected to, without asking again.
pub(crate) struct Resolver(pub(crate) Arc<Addresses>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let permitted = permitted(&addresses, &found)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

fn permitted(addresses: &Addresses, found: &[SocketAddr]) -> Result<Vec<SocketAddr>, Refused> {
    let permitted: Vec<_> = found.iter().filter(|one| addresses.permits(one.ip())).copied().collect();
    match found.first() {
        Some(first) if permitted.is_empty() => Err(Refused(first.ip())),
        _ => Ok(permitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(allow: &[&str], refuse: &[&str]) -> Addresses {
        let mut addresses = Addresses::default();
        assert!(allow.iter().all(|text| addresses.allow(text)) && refuse.iter().all(|text| addresses.refuse(text)));
        addresses
    }

    fn permits(addresses: &Addresses, address: &str) -> bool {
        addresses.permits(address.parse().unwrap())
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn what_only_this_host_can_reach_is_refused() {
        let addresses = Addresses::default();
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "169.254.170.2",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!permits(&addresses, address), "{address}");
        }
        for address in
            ["1.1.1.1", "10.0.0.1", "192.168.1.1", "100.100.100.201", "2606:4700::1", "fd00::1", "64:ff9b::101:101", "2002:101:101::"]
        {
            assert!(permits(&addresses, address), "{address}");
        }
    }

    #[test]
    fn what_is_listed_is_allowed_and_ranges_can_be_refused() {
        let addresses = addresses(&["127.0.0.2", "10.1.0.0/16"], &["10.0.0.0/8", "fd00::/8"]);
        for address in ["127.0.0.2", "::ffff:127.0.0.2", "10.1.2.3", "1.1.1.1"] {
            assert!(permits(&addresses, address), "{address}");
        }
        for address in ["127.0.0.1", "10.2.0.1", "::ffff:10.2.0.1", "fd12::1"] {
            assert!(!permits(&addresses, address), "{address}");
        }
    }

    #[test]
    fn any_spelling_of_an_address_is_seen_through() {
        let addresses = Addresses::default();
        for text in [
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://017700000001/",
            "https://[::ffff:7f00:1]/",
            "https://127.0.0.1./",
        ] {
            assert!(addresses.refused_literal(&url(text)).is_some(), "{text}");
        }
        assert_eq!(addresses.refused_literal(&url("https://1.1.1.1/")), None);
    }

    #[test]
    fn a_host_is_listed_with_its_port_or_with_all() {
        let addresses = addresses(&["one.example", "two.example:5000", "three.example:443", "127.0.0.1:5000", "[::1]:5000"], &[]);
        for text in ["https://one.example/", "https://one.example:1/", "http://two.example:5000/", "https://three.example/"] {
            assert!(addresses.lists(&url(text)), "{text}");
        }
        for text in ["https://two.example/", "https://three.example:5000/", "https://other.one.example/"] {
            assert!(!addresses.lists(&url(text)), "{text}");
        }
        assert_eq!(addresses.refused_literal(&url("https://127.0.0.1:5000/")), None);
        assert_eq!(addresses.refused_literal(&url("https://[::1]:5000/")), None);
        assert!(addresses.refused_literal(&url("https://127.0.0.1:5001/")).is_some());
    }

    #[test]
    fn of_a_names_addresses_the_refused_are_left_out() {
        let found: Vec<SocketAddr> = ["127.0.0.1:0", "1.1.1.1:0", "[::1]:0"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(permitted(&Addresses::default(), &found).unwrap(), [found[1]]);
        assert_eq!(permitted(&Addresses::default(), &found[2..]).unwrap_err().0, found[2].ip());
        assert!(permitted(&Addresses::default(), &[]).unwrap().is_empty());
    }
}
