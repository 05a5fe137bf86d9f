//! Where a webhook leads, and where none may lead: into the network that the server stands in.

use crate::config::WebhooksConfig;
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::lookup_host;

/// Most characters of an address.
pub(crate) const MAX_URL: usize = 2_048;

/// Which targets are allowed beyond public ones that encrypt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) http: bool,
    pub(super) private: bool,
}

/// A target, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_encrypted: bool,
    /// As it is resolved: a name, or an address without brackets.
    pub(super) host: String,
    port: u16,
    /// As the request says it.
    pub(super) authority: String,
    pub(super) path: PathAndQuery,
}

/// Why a target is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("must be an address such as https://example.com/hook, of at most {MAX_URL} characters")]
    NoUrl,
    #[error("must begin with https://")]
    Plain,
    #[error("must not have a user name or a password in it")]
    Credentials,
    #[error("its host does not resolve to an address")]
    NoHost,
    #[error("leads to an address that is not public")]
    NotPublic,
}

impl Target {
    /// Takes a URL apart. A host that is an address is checked; a name is when it is resolved.
    pub(super) fn parse(url: &str, reach: Reach) -> Result<Self, TargetError> {
        let is_plain = url.len() <= MAX_URL && url.bytes().all(|byte| byte.is_ascii_graphic());
        let uri = url.parse::<Uri>().ok().filter(|_| is_plain).ok_or(TargetError::NoUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(TargetError::NoUrl);
        };
        let is_encrypted = scheme == "https";
        if !is_encrypted && scheme != "http" {
            return Err(TargetError::NoUrl);
        }
        if !is_encrypted && !reach.http {
            return Err(TargetError::Plain);
        }
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        // A port that is no number is none to the parser.
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()).filter(|port| *port > 0).ok_or(TargetError::NoUrl)?,
            None if authority.as_str() != authority.host() => return Err(TargetError::NoUrl),
            None if is_encrypted => 443,
            None => 80,
        };
        if host.is_empty() {
            return Err(TargetError::NoUrl);
        }
        if let Ok(address) = host.parse::<IpAddr>()
            && !reach.allows(address)
        {
            return Err(TargetError::NotPublic);
        }
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { is_encrypted, host, port, authority: authority.to_string(), path })
    }

    /// The addresses of the host, each of which may be connected to. One that may not rules all of them out.
    pub(super) async fn resolve(&self, reach: Reach) -> Result<Vec<SocketAddr>, TargetError> {
        let found = lookup_host((self.host.as_str(), self.port)).await.map_err(|_| TargetError::NoHost)?;
        let found: Vec<SocketAddr> = found.collect();
        if found.is_empty() {
            return Err(TargetError::NoHost);
        }
        if found.iter().all(|address| reach.allows(address.ip())) { Ok(found) } else { Err(TargetError::NotPublic) }
    }
}

impl Reach {
    pub(super) fn of(config: &WebhooksConfig) -> Self {
        Self { http: config.allow_http, private: config.allow_private }
    }

    fn allows(self, address: IpAddr) -> bool {
        self.private || is_public(address)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Networks that are not the internet's, and those that only look so: by how many leading bits.
const NOT_PUBLIC_V4: &[(Ipv4Addr, u32)] = &[
    // This network.
    (Ipv4Addr::UNSPECIFIED, 8),
    // Private.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Behind a provider's address translation.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // This machine.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local: where clouds say who their machines are.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // For protocols, and from IPv6 to IPv4.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Documentation and measurements.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, and all that is reserved, broadcast included.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All that is public. What is not in it is unspecified, this machine, link-local, unique-local, multicast, or leads to an address of
/// IPv4 (mapped, or translated by NAT64), whichever that is.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// And what is not, of that.
const NOT_PUBLIC_V6: &[(Ipv6Addr, u32)] = &[
    // For protocols: Teredo, which leads to IPv4, among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // 6to4, which leads to IPv4.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |(network, bits): &(Ipv4Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0;
    !NOT_PUBLIC_V4.iter().any(within)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |(network, bits): &(Ipv6Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0;
    within(&PUBLIC_V6) && !NOT_PUBLIC_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffe::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    proptest! {
        /// Whatever the standard library knows to be of one's own is not public, in any of its forms.
        #[test]
        fn what_is_known_to_be_private_is_refused(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            if address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast() {
                prop_assert!(!is_public(address.into()));
            }
            prop_assert!(!is_public(address.to_ipv6_mapped().into()) && !is_public(address.to_ipv6_compatible().into()));
        }
    }

    #[test]
    fn a_target_is_an_address_of_the_web() {
        let open = Reach { http: true, private: false };
        let parse = |url: &str| Target::parse(url, Reach::default());
        let target = parse("https://Example.com/a/b?c=d#e").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("Example.com", 443, "/a/b?c=d"));
        assert_eq!(Target::parse("http://a.example:81", open).map(|target| target.port), Ok(81));
        assert_eq!(parse("https://[2606:4700::1111]:8443/").unwrap().host, "2606:4700::1111");
        for (url, error) in [
            ("", TargetError::NoUrl),
            ("ana", TargetError::NoUrl),
            ("/hook", TargetError::NoUrl),
            ("https://", TargetError::NoUrl),
            ("https:///x", TargetError::NoUrl),
            ("https://:443/", TargetError::NoUrl),
            ("https://a.example:0/", TargetError::NoUrl),
            ("https://a.example:x/", TargetError::NoUrl),
            ("https://a.example:65536/", TargetError::NoUrl),
            ("ftp://a.example/", TargetError::NoUrl),
            ("https://a.example/\u{fc}", TargetError::NoUrl),
            ("http://a.example/", TargetError::Plain),
            ("https://me:secret@a.example/", TargetError::Credentials),
            ("https://me@127.0.0.1/", TargetError::Credentials),
            ("https://127.0.0.1/", TargetError::NotPublic),
            ("https://[::1]/", TargetError::NotPublic),
            ("https://[::ffff:10.0.0.1]/", TargetError::NotPublic),
            ("https://169.254.169.254/latest/meta-data", TargetError::NotPublic),
        ] {
            assert_eq!(parse(url), Err(error), "{url}");
        }
        assert_eq!(parse(&format!("https://a.example/{}", "a".repeat(MAX_URL))), Err(TargetError::NoUrl));
        assert!(Target::parse("http://127.0.0.1:8080/", Reach { http: true, private: true }).is_ok());
    }

    #[tokio::test]
    async fn names_are_checked_by_what_they_resolve_to() {
        let resolve = async |url: &str, private| {
            let reach = Reach { http: true, private };
            Target::parse(url, reach)?.resolve(reach).await.map(|found| found[0].ip())
        };
        let local: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(resolve("http://localhost/", false).await, Err(TargetError::NotPublic));
        assert!(local.contains(&resolve("http://localhost/", true).await.unwrap()));
        // Other ways to write 127.0.0.1, which resolvers read as such.
        for url in ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/"] {
            assert!(resolve(url, false).await.is_err(), "{url}");
        }
    }
}
