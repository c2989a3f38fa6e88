//! What nftables is told: one table for IPv4 and IPv6, replaced as a whole. Called by `redirect`. Pure.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

/// Takes the table away, also where there is none.
pub(crate) const REMOVAL: &str = "add table inet plait\ndelete table inet plait\n";

/// What is redirected, and what is not.
#[derive(Debug)]
pub(crate) struct Rules<'r> {
    /// Whose connections are let go: the proxy's own.
    pub(crate) proxy_uid: u32,
    /// Where the proxy takes calls of processes here.
    pub(crate) outbound: u16,
    /// Where the proxy takes calls from elsewhere.
    pub(crate) inbound: u16,
    /// Ports that are called directly,
    pub(crate) let_go_ports: &'r [u16],
    /// and addresses.
    pub(crate) let_go_networks: &'r [Network],
    /// Ports here that others call directly.
    pub(crate) let_in_ports: &'r [u16],
}

impl Rules<'_> {
    /// The script. It is one transaction, so that no connection meets half of it, and gives the same whatever was there.
    ///
    /// Loopback is left alone: a pod trusts itself. A call of an own address that is not loopback is a call like any other. What comes back in
    /// over `lo` was judged on its way out.
    pub(crate) fn script(&self) -> String {
        let Self { proxy_uid, outbound, inbound, .. } = self;
        let mut let_go = ports(self.let_go_ports);
        for Network(address, length) in self.let_go_networks {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            let_go.push_str(&format!("\t\t{family} daddr {address}/{length} return\n"));
        }
        let let_in = ports(&[&[*inbound], self.let_in_ports].concat());
        format!(
            "{REMOVAL}table inet plait {{\n\
             \tchain outbound {{\n\
             \t\ttype nat hook output priority -100; policy accept;\n\
             \t\tmeta skuid {proxy_uid} return\n\
             \t\tip daddr 127.0.0.0/8 return\n\
             \t\tip6 daddr ::1 return\n\
             {let_go}\
             \t\tmeta l4proto tcp redirect to :{outbound}\n\
             \t}}\n\
             \tchain inbound {{\n\
             \t\ttype nat hook prerouting priority -100; policy accept;\n\
             \t\tiifname \"lo\" return\n\
             {let_in}\
             \t\tmeta l4proto tcp redirect to :{inbound}\n\
             \t}}\n\
             }}\n"
        )
    }
}

fn ports(ports: &[u16]) -> String {
    let ports: BTreeSet<_> = ports.iter().collect();
    let list: Vec<_> = ports.iter().map(ToString::to_string).collect();
    if list.is_empty() { String::new() } else { format!("\t\ttcp dport {{ {} }} return\n", list.join(", ")) }
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network(IpAddr, u8);

/// What was written is no block of addresses.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("it is no block of addresses; write for example 10.0.0.0/8 or fd00::/8")]
pub(crate) struct NoNetwork;

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, length) = text.split_once('/').ok_or(NoNetwork)?;
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        match length.parse() {
            Ok(length) if digits && length <= most => Ok(Self(address, length)),
            _ => Err(NoNetwork),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_addresses_is_read_or_refused() {
        for (text, good) in [
            ("10.0.0.0/8", true),
            ("fd00::/8", true),
            ("0.0.0.0/0", true),
            ("10.0.0.1/33", false),
            ("::/129", false),
            ("10.0.0.1", false),
            ("10.0.0.0/+8", false),
            ("10.0.0.0/8; drop", false),
            ("/8", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Network>().map(|network| network.to_string()).ok(), good.then(|| text.to_owned()), "{text}");
        }
    }

    #[test]
    fn exclusions_stand_before_what_redirects() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let rules =
            Rules { proxy_uid: 7, outbound: 1, inbound: 2, let_go_ports: &[53, 53], let_go_networks: &networks, let_in_ports: &[22, 3] };
        let script = rules.script();
        let (outbound, inbound) = script.split_once("chain inbound").unwrap();
        for (chain, last, before) in [
            (outbound, "redirect to :1\n", vec!["skuid 7", "{ 53 }", "ip daddr 10.0.0.0/8 ", "ip6 daddr fd00::/8 ", "127.0.0.0/8", "::1"]),
            (inbound, "redirect to :2\n", vec!["{ 2, 3, 22 }", "\"lo\""]),
        ] {
            let (excluded, _) = chain.split_once(last).unwrap();
            for one in before {
                assert!(excluded.contains(one), "{one} in {excluded}");
            }
        }
        assert!(script.starts_with(REMOVAL), "what was there before is gone");
    }
}
