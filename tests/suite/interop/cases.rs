//! The rows of the matrix: how the router is told about the node, how the node about the router, and what the router
//! must have learned then.

use std::net::IpAddr;

use portolan_tests::lab::Dual;
use portolan_tests::lab::router::{Daemon, Neighbour};
use portolan_tests::world::{NODE_AS, ROUTER_AS};

/// Which sessions a node has with a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sessions {
    /// One between the IPv4 addresses, one between those of IPv6.
    PerFamily,
    /// One, between the IPv4 addresses.
    OverV4,
    /// One, between the IPv6 addresses.
    OverV6,
}

impl Sessions {
    /// The ends of the sessions among a host's addresses.
    pub(super) fn of(self, host: Dual) -> Vec<IpAddr> {
        match self {
            Self::PerFamily => host.both().into(),
            Self::OverV4 => vec![host.v4.into()],
            Self::OverV6 => vec![host.v6.into()],
        }
    }
}

/// A kind of session.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing more that a case tries"
)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) sessions: Sessions,
    /// The router's AS.
    pub(super) asn: u32,
    /// The router's neighbour at an address of the node.
    pub(super) neighbour: fn(IpAddr) -> Neighbour,
    /// Lines of the BGPPeer.
    pub(super) peer: &'static str,
    /// `AS_PATH` and `LOCAL_PREF` of the routes at the router; None where daemons show a default of their own.
    pub(super) path: &'static [u32],
    pub(super) local_pref: Option<u32>,
    /// The second session begins when the first one is up. ExaBGP 4.2 never looks at the second of two connections that
    /// neighbours of ranges open in the same moment: `Listener.new_connections` returns after the first one.
    pub(super) in_turn: bool,
    /// The node has no IPv4 address on the LAN.
    pub(super) only_v6: bool,
    /// Whether the router asks for its routes again in the end.
    pub(super) refresh: bool,
    /// Whether the speaker is killed and started again, and its routes stay meanwhile.
    pub(super) restart: bool,
    /// Whether BFD comes up beside each session.
    pub(super) bfd: bool,
    /// Who can not take part, and why.
    pub(super) lacks: &'static [(Daemon, &'static str)],
}

/// Sessions per family with a router of another AS that waits for us.
const EXTERNAL: Case = Case {
    name: "eBGP, a session per family",
    sessions: Sessions::PerFamily,
    asn: ROUTER_AS,
    neighbour: |node| Neighbour::at(node, NODE_AS).passive(),
    peer: "  peerASN: 65001\n",
    path: &[NODE_AS],
    local_pref: None,
    in_turn: false,
    only_v6: false,
    refresh: false,
    restart: false,
    bfd: false,
    lacks: &[],
};

const EXABGP_GTSM: (Daemon, &str) = (
    Daemon::Exabgp,
    "ExaBGP 4.2 answers over IPv6 with a hop limit of 64, whatever outgoing-ttl says",
);
const NO_ROUTE_REFRESH: (Daemon, &str) = (
    Daemon::Gobgp,
    "GoBGP 3.10 never asks: softresetin judges what it has kept",
);

const NO_ROLES: &[(Daemon, &str)] = &[
    (Daemon::Gobgp, "GoBGP 3.10 has no roles"),
    (Daemon::Exabgp, "ExaBGP 4.2 has no roles"),
];

/// As in the lines of the BGPPeers. FRR takes no blanks in a key.
const KEY: &str = "a-key";

/// The whole LAN of the lab.
fn lan(like: IpAddr) -> ipnetwork::IpNetwork {
    let range = if like.is_ipv4() {
        "172.30.0.0/16"
    } else {
        "fd00:30::/64"
    };
    range.parse().expect("a range")
}

/// Needs nothing but BGP and keys.
pub(super) const PLAIN: &[Case] = &[
    EXTERNAL,
    Case {
        name: "eBGP, the router asks for a refresh",
        refresh: true,
        lacks: &[NO_ROUTE_REFRESH],
        ..EXTERNAL
    },
    Case {
        name: "iBGP",
        asn: NODE_AS,
        peer: "  peerASN: 4200000001\n",
        path: &[],
        local_pref: Some(250),
        ..EXTERNAL
    },
    Case {
        name: "MD5, IPv4 and IPv6",
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().password(KEY),
        peer: "  peerASN: 65001\n  password: a-key\n",
        ..EXTERNAL
    },
    Case {
        name: "dynamic neighbours on the router",
        neighbour: |node| Neighbour::within(lan(node), NODE_AS),
        in_turn: true,
        ..EXTERNAL
    },
    Case {
        name: "dynamic neighbours with MD5",
        neighbour: |node| Neighbour::within(lan(node), NODE_AS).password(KEY),
        in_turn: true,
        peer: "  peerASN: 65001\n  password: a-key\n",
        // `ss -lti` shows the keys of a listener.
        lacks: &[
            (
                Daemon::Gobgp,
                "GoBGP 3.10 sets no key on its listener for a range",
            ),
            (
                Daemon::Exabgp,
                "ExaBGP 4.2 sets the key for the first address of the range alone",
            ),
            (
                Daemon::Openbgpd,
                "OpenBGPD 7.7 sets the key for the first address of the range alone",
            ),
        ],
        ..EXTERNAL
    },
];

/// Needs more.
pub(super) const PARTICULAR: &[Case] = &[
    Case {
        name: "both families over IPv4",
        sessions: Sessions::OverV4,
        peer: "  peerASN: 65001\n  dualStackAddressFamily: true\n",
        ..EXTERNAL
    },
    Case {
        name: "both families over IPv6",
        sessions: Sessions::OverV6,
        peer: "  peerASN: 65001\n  dualStackAddressFamily: true\n",
        ..EXTERNAL
    },
    Case {
        name: "GTSM over IPv4",
        sessions: Sessions::OverV4,
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().ttl_security(),
        peer: "  peerASN: 65001\n  ttlSecurity: true\n  dualStackAddressFamily: true\n",
        ..EXTERNAL
    },
    Case {
        name: "GTSM over IPv6",
        sessions: Sessions::OverV6,
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().ttl_security(),
        peer: "  peerASN: 65001\n  ttlSecurity: true\n  dualStackAddressFamily: true\n",
        lacks: &[EXABGP_GTSM],
        ..EXTERNAL
    },
    Case {
        name: "the router connects, we are passive",
        neighbour: |node| Neighbour::at(node, NODE_AS),
        peer: "  peerASN: 65001\n  listen: passive\n",
        ..EXTERNAL
    },
    Case {
        name: "the router connects with a key, we are passive",
        neighbour: |node| Neighbour::at(node, NODE_AS).password(KEY),
        peer: "  peerASN: 65001\n  listen: passive\n  password: a-key\n",
        ..EXTERNAL
    },
    Case {
        name: "both connect",
        neighbour: |node| Neighbour::at(node, NODE_AS),
        peer: "  peerASN: 65001\n  listen: both\n",
        ..EXTERNAL
    },
    Case {
        name: "dynamicASN external",
        peer: "  dynamicASN: external\n",
        ..EXTERNAL
    },
    Case {
        name: "dynamicASN internal",
        asn: NODE_AS,
        peer: "  dynamicASN: internal\n",
        path: &[],
        local_pref: Some(250),
        ..EXTERNAL
    },
    Case {
        name: "graceful restart and long-lived stale routes are offered",
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().graceful_restart(),
        peer: "  peerASN: 65001\n  enableGracefulRestart: true\n  longLivedStaleTime: 1h\n",
        ..EXTERNAL
    },
    Case {
        name: "graceful restart: routes stay while the speaker is gone",
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().graceful_restart(),
        peer: "  peerASN: 65001\n  enableGracefulRestart: true\n",
        restart: true,
        lacks: &[(Daemon::Exabgp, "ExaBGP keeps no table")],
        ..EXTERNAL
    },
    Case {
        name: "BFD",
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().bfd(300, 3),
        peer: "  peerASN: 65001\n  bfdProfile: plain\n",
        bfd: true,
        lacks: &[
            (Daemon::Gobgp, "GoBGP 3.10 has no BFD"),
            (Daemon::Exabgp, "ExaBGP has no BFD"),
            (Daemon::Openbgpd, "OpenBGPD 7.7 has no BFD"),
        ],
        ..EXTERNAL
    },
    Case {
        name: "roles: the router is our provider, and insists",
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().role("provider"),
        peer: "  peerASN: 65001\n  role: Customer\n",
        lacks: NO_ROLES,
        ..EXTERNAL
    },
    Case {
        name: "roles: the router is our customer, and insists",
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().role("customer"),
        peer: "  peerASN: 65001\n  role: Provider\n",
        lacks: NO_ROLES,
        ..EXTERNAL
    },
    Case {
        name: "IPv4 over an IPv6 next hop",
        sessions: Sessions::OverV6,
        neighbour: |node| Neighbour::at(node, NODE_AS).passive().extended_next_hop(),
        peer: "  peerASN: 65001\n  dualStackAddressFamily: true\n  extendedNextHop: true\n",
        only_v6: true,
        lacks: &[(Daemon::Openbgpd, "OpenBGPD 7.7 does not know RFC 8950")],
        ..EXTERNAL
    },
];
