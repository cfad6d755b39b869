//! A stand-in for kube-proxy, where there is none: a few nftables rules per node.
//!
//! With policy Cluster a connection goes to any ready endpoint and is masqueraded, so that its answers come back
//! through the node; with policy Local only to endpoints of the node itself, with the client's address kept, and
//! is dropped without one. Rules are replaced in one transaction; connections that exist stay where they are.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use super::command::{Tool, require};
use super::netns::Netns;
use super::node::Node;

/// Where connections may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Pod and port.
    pub address: SocketAddr,
    /// Name of its node.
    pub node: String,
}

/// One port of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRule {
    /// Its addresses, VIPs and cluster-internal ones, either family.
    pub addresses: Vec<IpAddr>,
    /// Datagrams instead of connections.
    pub udp: bool,
    /// The Service's port.
    pub port: u16,
    /// Whether only endpoints of the node itself are used.
    pub local: bool,
    /// Ready endpoints of the whole cluster, either family.
    pub backends: Vec<Backend>,
}

/// The rules of one node.
pub struct Proxy;

impl Proxy {
    /// Replaces the rules of a node.
    ///
    /// # Errors
    /// When `nft` is missing or refuses them.
    pub fn apply(node: &Node, rules: &[ServiceRule]) -> Result<()> {
        Self::apply_in(node.host.netns(), node.name(), rules)
    }

    /// As [`Self::apply`], for who keeps no reference to the node.
    ///
    /// # Errors
    /// When `nft` is missing or refuses them.
    pub fn apply_in(netns: &Netns, node: &str, rules: &[ServiceRule]) -> Result<()> {
        require(Tool::NFT)?;
        netns
            .exec_with_input(&["nft", "-f", "-"], &render(node, rules))
            .map(drop)
    }
}

/// Marks connections that have to come back through the node.
const MASQUERADE: u32 = 0x4000;

fn render(node: &str, rules: &[ServiceRule]) -> String {
    let mut services = String::new();
    for rule in rules {
        for address in &rule.addresses {
            write_rule(&mut services, node, rule, *address);
        }
    }
    // Declared before it is deleted, because deleting what is not there fails.
    format!(
        "table inet portolan-lab\ndelete table inet portolan-lab\ntable inet portolan-lab {{\n\
         chain services {{\n{services}}}\n\
         chain prerouting {{ type nat hook prerouting priority dstnat; jump services; }}\n\
         chain output {{ type nat hook output priority -100; jump services; }}\n\
         chain postrouting {{ type nat hook postrouting priority srcnat; meta mark {MASQUERADE} masquerade; }}\n\
         chain dropped {{ type filter hook prerouting priority mangle; {}}}\n}}\n",
        drops(node, rules)
    )
}

fn write_rule(text: &mut String, node: &str, rule: &ServiceRule, address: IpAddr) {
    let backends = usable(node, rule, address);
    if backends.is_empty() {
        return;
    }
    let family = family(address);
    let mark = if rule.local {
        String::new()
    } else {
        format!("meta mark set {MASQUERADE} ")
    };
    let elements: Vec<String> = backends
        .iter()
        .enumerate()
        .map(|(index, to)| format!("{index} : {} . {}", to.ip(), to.port()))
        .collect();
    let _infallible = writeln!(
        text,
        "{family} daddr {address} {} dport {} {mark}dnat {family} to numgen random mod {} map {{ {} }}",
        protocol(rule),
        rule.port,
        backends.len(),
        elements.join(", ")
    );
}

/// What has no endpoint here is dropped before routing, instead of looping back to the router.
fn drops(node: &str, rules: &[ServiceRule]) -> String {
    let mut text = String::new();
    for rule in rules {
        for address in rule
            .addresses
            .iter()
            .filter(|address| usable(node, rule, **address).is_empty())
        {
            let family = family(*address);
            let _infallible = write!(
                text,
                "{family} daddr {address} {} dport {} drop; ",
                protocol(rule),
                rule.port
            );
        }
    }
    text
}

fn protocol(rule: &ServiceRule) -> &'static str {
    if rule.udp { "udp" } else { "tcp" }
}

fn usable(node: &str, rule: &ServiceRule, address: IpAddr) -> Vec<SocketAddr> {
    let of_node = rule
        .backends
        .iter()
        .filter(|backend| !rule.local || backend.node == node);
    let addresses = of_node.map(|backend| backend.address);
    addresses
        .filter(|backend| backend.is_ipv4() == address.is_ipv4())
        .collect()
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_rule(local: bool) -> ServiceRule {
        let mk = |address: &str, node: &str| Backend {
            address: address.parse().unwrap(),
            node: node.into(),
        };
        ServiceRule {
            addresses: vec![[192, 0, 2, 1].into()],
            udp: false,
            port: 80,
            local,
            backends: vec![
                mk("10.244.1.2:8080", "node-1"),
                mk("10.244.2.2:8080", "node-2"),
                mk("[fd00:244::2]:8080", "node-1"),
            ],
        }
    }

    #[test]
    fn policy_cluster_uses_all_endpoints_of_the_family_and_masquerades() {
        let text = render("node-1", &[mk_rule(false)]);
        assert!(
            text.contains("mod 2 map { 0 : 10.244.1.2 . 8080, 1 : 10.244.2.2 . 8080 }"),
            "{text}"
        );
        assert!(text.contains("tcp dport 80 meta mark set"), "{text}");
    }

    #[test]
    fn policy_local_uses_its_own_endpoints_or_drops() {
        let text = render("node-1", &[mk_rule(true)]);
        assert!(
            text.contains("mod 1 map { 0 : 10.244.1.2 . 8080 }") && !text.contains("mark set"),
            "{text}"
        );
        let text = render("node-3", &[mk_rule(true)]);
        assert!(
            text.contains("ip daddr 192.0.2.1 tcp dport 80 drop") && !text.contains("dnat ip"),
            "{text}"
        );
    }
}
