//! Interfaces that are never announced on, by name.

use regex::RegexSet;

/// Names of interfaces that lead to containers and tunnels of this node rather than to a network
/// of others. The same list as MetalLB's, so that nothing changes for those who move.
const DEFAULT: [&str; 14] = [
    "^docker.*",
    "^cbr.*",
    "^dummy.*",
    "^virbr.*",
    "^lxcbr.*",
    "^veth.*",
    "^lo$",
    "^cali.*",
    "^tunl.*",
    "^flannel.*",
    "^kube-ipvs.*",
    "^cni.*",
    "^nodelocaldns.*",
    "^lxc.*",
];

/// A set of regular expressions over interface names.
#[derive(Clone, Debug)]
pub struct Exclude(RegexSet);

impl Exclude {
    /// Excludes the interfaces whose name matches any of these; anchors are up to the caller.
    pub fn new<I, S>(expressions: I) -> Result<Self, regex::Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        RegexSet::new(expressions).map(Self)
    }

    /// Excludes what usually leads nowhere: container, tunnel and loopback interfaces.
    pub fn usual() -> Result<Self, regex::Error> {
        Self::new(DEFAULT)
    }

    /// Whether the interface is excluded.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_and_tunnel_interfaces_are_excluded_by_default_and_networks_are_not() {
        let exclude = Exclude::usual().unwrap();
        for name in [
            "lo",
            "docker0",
            "veth12ab",
            "cali0",
            "flannel.1",
            "kube-ipvs0",
            "cni0",
            "lxc9",
        ] {
            assert!(exclude.matches(name), "{name}");
        }
        for name in [
            "eth0", "lan0", "lo0", "bond0", "br-lan", "eno1.100", "wlan0", "xdocker",
        ] {
            assert!(!exclude.matches(name), "{name}");
        }
    }

    #[test]
    fn an_own_list_replaces_the_default() {
        let exclude = Exclude::new(["^eth[12]$"]).unwrap();
        assert!(exclude.matches("eth1") && !exclude.matches("eth0") && !exclude.matches("docker0"));
        assert!(Exclude::new(["("]).is_err());
    }
}
