//! What the machine is told and what it asks for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_api::crd::DetectionRule;
use portolan_proto::claim::Statement;
use portolan_proto::ethernet::MacAddr;

use crate::l2::Interfaces;

/// An address that this node may have to answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// Number of the placement; a newer one has a higher number.
    pub term: u64,
    /// The placement: nodes in order, the first one is to answer.
    pub nodes: Arc<[String]>,
    /// Where the rule wants it to be answered.
    pub interfaces: Interfaces,
    /// How the nodes watch each other.
    pub detection: DetectionRule,
    /// Time between two announcements while nothing changes; zero for never. Not for the machine: whoever answers needs it.
    pub refresh: Duration,
}

/// A BFD session with another speaker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The other node.
    pub node: String,
    /// Our interface, by index.
    pub interface: u32,
}

/// How a session is to be: single hop, bound to the interface, authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionWish {
    /// Address of the other node.
    pub peer: IpAddr,
    /// Our address in the same subnet.
    pub local: IpAddr,
    /// Name of our interface.
    pub interface: String,
    /// Time between two packets.
    pub interval: Duration,
    /// Packets that may be missed.
    pub multiplier: u8,
}

/// What BFD says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// Packets arrive and come back.
    Up,
    /// They do not.
    Down,
    /// The other node said that it stops (RFC 5880 §6.8.16, AdminDown).
    Leaving,
}

/// Who uses an address that we heard of by ARP or NDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rival {
    /// A node of the cluster, by name; possibly ourselves.
    Node(String),
    /// Somebody else: a conflict.
    Stranger,
}

/// What a check of an address on the wire found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Nobody answered.
    Free,
    /// A station has it, or wants it.
    Taken {
        /// The station.
        mac: MacAddr,
        /// Where it was heard.
        interface: u32,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The set of addresses that are answered for has changed: see `Takeover::held`. Comes before the messages about it.
    Answers,
    /// To be sent to all speakers of a segment.
    Send {
        /// The segment.
        interface: u32,
        /// What is to be said.
        statement: Statement,
    },
    /// An address is to be checked on the wire before it is used (RFC 5227 §2.1.1, RFC 4862 §5.4); the result goes to
    /// `Takeover::checked`.
    Check {
        /// The address.
        vip: IpAddr,
        /// Where.
        interfaces: Interfaces,
    },
    /// Stations are to be asked by ARP or NDP, once; answers go to `Takeover::witnessed`.
    Ask {
        /// The segment.
        interface: u32,
        /// The stations.
        witnesses: Vec<IpAddr>,
    },
    /// Addresses were taken over from another node.
    Took(Took),
    /// An address is answered for by another node now.
    Yielded {
        /// The address.
        vip: IpAddr,
        /// The other node.
        to: String,
    },
}

/// Addresses that were taken over from another node at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Took {
    /// The node that answered before.
    pub from: String,
    /// Why.
    pub cause: Cause,
    /// The addresses.
    pub vips: Vec<IpAddr>,
    /// Time from the last sign of life of the other node until now; without any sign, none.
    pub since_last_sign: Option<Duration>,
}

/// Why addresses change their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The other node fell silent.
    Silent,
    /// The other node said that it stops.
    Stops,
    /// The placement was changed.
    Placed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "the node fell silent",
            Self::Stops => "the node stops",
            Self::Placed => "the placement was changed",
        })
    }
}

/// How it stands with one VIP on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What we do about it.
    pub state: State,
    /// Our place in the placement, from 0; none when it no longer names us.
    pub rank: Option<u16>,
    /// The node that answers for it, as far as we know.
    pub holder: Option<String>,
}

/// What this node does about a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Answers for it.
    Holding {
        /// Although the placement names another node first.
        acting: bool,
    },
    /// Another node answers, or comes before us.
    StandingBy,
    /// Asks who has it, and looks for it on the wire, before it is used.
    Checking,
    /// Does not answer: a station outside the cluster uses the address.
    Conflict {
        /// The station.
        mac: MacAddr,
        /// Where it was heard.
        interface: u32,
    },
    /// Does not answer: none of the segments where it is to be answered leads anywhere.
    Isolated,
    /// Does not answer: there is no interface for it.
    Nowhere,
}
