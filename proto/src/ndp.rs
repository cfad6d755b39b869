//! Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements, read and written.
//!
//! ```text
//! +----------------- IPv6, 40 bytes -----------------+--------- ICMPv6 ----------+- options -+
//! | version | length | next = 58 | hop limit = 255   | type | code = 0 | checksum| type      |
//! | source (16)      | destination (16)              | flags or reserved (4)     | length/8  |
//! |                                                  | target (16)               | value     |
//! +--------------------------------------------------+---------------------------+-----------+
//! ```
//!
//! Options are walked by a reader of our own: `pnet_packet`'s overflows on long lengths and goes
//! on at length 0, where RFC 4861 §4.6 wants the packet discarded.

use std::net::Ipv6Addr;

use pnet_packet::Packet as _;
use pnet_packet::icmpv6::{self, Icmpv6Packet};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::Ipv6Packet;
use thiserror::Error;

use crate::ethernet::{self, Frame, Header, MacAddr};

/// All nodes of the link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// ICMP type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// ICMP type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;

/// Only a neighbour can send this: every router on the way takes one off (RFC 4861 §7.1.1).
const HOP_LIMIT: u8 = 255;
/// Type, code, checksum, flags, target.
const FIXED: usize = 24;
/// A link-layer address option of Ethernet: type, length 1 (times 8), address.
const OPTION: usize = 8;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const NONCE: u8 = 14;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

/// What tells one's own duplicate address probe from that of another node, should the link return
/// it (RFC 7527 §4.1); of the shortest length (RFC 3971 §5.3.2).
pub type Nonce = [u8; 6];

/// The group in which the owner of `address` listens for solicitations (RFC 4291 §2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0x00ff), low)
}

/// Why bytes are not a neighbour message that may be believed (RFC 4861 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Shorter than its headers or its own length field say.
    #[error("truncated")]
    Truncated,
    /// Not IPv6, whatever the frame said.
    #[error("IP version {0}")]
    Version(u8),
    /// Something else than ICMP behind the IPv6 header.
    #[error("next header {0}")]
    NextHeader(u8),
    /// It came through a router.
    #[error("hop limit {0}")]
    HopLimit(u8),
    /// The source is a group.
    #[error("source {0} is multicast")]
    Source(Ipv6Addr),
    /// The checksum does not match.
    #[error("checksum")]
    Checksum,
    /// Neither solicitation nor advertisement.
    #[error("ICMPv6 type {0}")]
    Type(u8),
    /// A code other than 0.
    #[error("code {0}")]
    Code(u8),
    /// The target is a group.
    #[error("target {0} is multicast")]
    Target(Ipv6Addr),
    /// An option has length 0 or runs over the end.
    #[error("option {0} with length {1}")]
    Option(u8, u8),
    /// A duplicate address probe to something else than a solicited-node group, or with a source
    /// link-layer option.
    #[error("bad probe from the unspecified address")]
    Probe,
    /// An advertisement to a group that claims to be an answer.
    #[error("solicited advertisement to a group")]
    SolicitedToGroup,
}

/// What a neighbour message asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Who has `target`?
    Solicitation {
        /// Link-layer address of the one who asks, if it told.
        source_mac: Option<MacAddr>,
        /// Its nonce, if there is one of our length.
        nonce: Option<Nonce>,
    },
    /// The sender has `target`.
    Advertisement {
        /// The sender is a router (R).
        router: bool,
        /// It answers a solicitation (S).
        solicited: bool,
        /// It replaces what caches hold (O).
        overrides: bool,
        /// Link-layer address of the target, if told.
        target_mac: Option<MacAddr>,
    },
}

/// A neighbour message with the IPv6 addresses that carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// IPv6 source; unspecified in a duplicate address probe.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// The address in question.
    pub target: Ipv6Addr,
    /// Question or statement.
    pub body: Body,
}

impl Message {
    /// Reads the payload of a frame of type [`ethernet::IPV6`], with all checks of RFC 4861 §7.1.
    ///
    /// A message behind extension headers is refused with them: no stack sends such, and fragments
    /// are forbidden (RFC 6980 §5).
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let ip = Ipv6Packet::new(payload).ok_or(Error::Truncated)?;
        if ip.get_version() != 6 {
            return Err(Error::Version(ip.get_version()));
        }
        if ip.get_next_header() != IpNextHeaderProtocols::Icmpv6 {
            return Err(Error::NextHeader(ip.get_next_header().0));
        }
        if ip.get_hop_limit() != HOP_LIMIT {
            return Err(Error::HopLimit(ip.get_hop_limit()));
        }
        let (source, destination) = (ip.get_source(), ip.get_destination());
        if source.is_multicast() {
            return Err(Error::Source(source));
        }
        let icmp = ip.payload();
        if icmp.len() < usize::from(ip.get_payload_length()) || icmp.len() < FIXED {
            return Err(Error::Truncated);
        }
        let view = Icmpv6Packet::new(icmp).ok_or(Error::Truncated)?;
        if icmpv6::checksum(&view, &source, &destination) != view.get_checksum() {
            return Err(Error::Checksum);
        }
        if view.get_icmpv6_code().0 != 0 {
            return Err(Error::Code(view.get_icmpv6_code().0));
        }
        let (flags, target) = fixed_part(icmp).ok_or(Error::Truncated)?;
        if target.is_multicast() {
            return Err(Error::Target(target));
        }
        let options = Options::parse(icmp.get(FIXED..).unwrap_or_default())?;
        let body = match view.get_icmpv6_type().0 {
            SOLICITATION => {
                // A solicited-node group is the one address that is its own.
                let to_node = destination == solicited_node(destination);
                if source.is_unspecified() && (!to_node || options.source.is_some()) {
                    return Err(Error::Probe);
                }
                Body::Solicitation {
                    source_mac: options.source,
                    nonce: options.nonce,
                }
            }
            ADVERTISEMENT => {
                let solicited = flags & FLAG_SOLICITED != 0;
                if solicited && destination.is_multicast() {
                    return Err(Error::SolicitedToGroup);
                }
                Body::Advertisement {
                    router: flags & FLAG_ROUTER != 0,
                    solicited,
                    overrides: flags & FLAG_OVERRIDE != 0,
                    target_mac: options.target,
                }
            }
            other => return Err(Error::Type(other)),
        };
        Ok(Self {
            source,
            destination,
            target,
            body,
        })
    }

    /// The answer of `mac` to a solicitation for one of our addresses, sent from that address, as
    /// any host does whose address it is; some tools ignore answers from another one.
    ///
    /// S=1 to the one who asks, or S=0 to all nodes when it asked without an address of its own,
    /// which is how an address is defended (RFC 4861 §7.2.4). O=1, because nobody else answers for
    /// the address: O=0 would leave caches with the node that held it before. R=0: we route for it,
    /// but are not the default router that R would announce.
    #[must_use]
    pub fn answer(&self, mac: MacAddr) -> Self {
        let solicited = !self.source.is_unspecified();
        Self {
            source: self.target,
            destination: if solicited { self.source } else { ALL_NODES },
            target: self.target,
            body: Body::Advertisement {
                router: false,
                solicited,
                overrides: true,
                target_mac: Some(mac),
            },
        }
    }

    /// A duplicate address probe: does anybody have `target` (RFC 4862 §5.4.2, RFC 7527 §4.2)?
    #[must_use]
    pub fn probe(target: Ipv6Addr, nonce: Nonce) -> Self {
        Self {
            source: Ipv6Addr::UNSPECIFIED,
            destination: solicited_node(target),
            target,
            body: Body::Solicitation {
                source_mac: None,
                nonce: Some(nonce),
            },
        }
    }

    /// The question who has `target`, asked by `mac` with the address `source` (RFC 4861 §7.2.2).
    #[must_use]
    pub fn solicitation(source: Ipv6Addr, target: Ipv6Addr, mac: MacAddr) -> Self {
        Self {
            source,
            destination: solicited_node(target),
            target,
            body: Body::Solicitation {
                source_mac: Some(mac),
                nonce: None,
            },
        }
    }

    /// Unsolicited advertisement (RFC 4861 §7.2.6): `mac` tells all nodes that it has `vip`.
    #[must_use]
    pub fn unsolicited(vip: Ipv6Addr, mac: MacAddr) -> Self {
        Self {
            source: vip,
            destination: ALL_NODES,
            target: vip,
            body: Body::Advertisement {
                router: false,
                solicited: false,
                overrides: true,
                target_mac: Some(mac),
            },
        }
    }

    /// The hardware address that it gives for its sender, or for the target it advertises.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        match self.body {
            Body::Solicitation { source_mac, .. } => source_mac,
            Body::Advertisement { target_mac, .. } => target_mac,
        }
    }

    /// The frame that carries this message from `source` to `destination`.
    #[must_use]
    pub fn frame(&self, source: MacAddr, destination: MacAddr) -> Frame {
        let (kind, flags) = self.body.head();
        let (link_layer, nonce) = self.body.options();
        let options = [link_layer.is_some(), nonce.is_some()].map(|it| usize::from(it) * OPTION);
        let length = FIXED + options.iter().sum::<usize>();
        let mut frame = Frame::new(Header {
            destination,
            source,
            ethertype: ethernet::IPV6,
        });
        frame.push(&[0x60, 0, 0, 0]);
        frame.push(&u16::try_from(length).unwrap_or_default().to_be_bytes());
        frame.push(&[IpNextHeaderProtocols::Icmpv6.0, HOP_LIMIT]);
        frame.push(&self.source.octets());
        frame.push(&self.destination.octets());
        let icmp_at = frame.as_bytes().len();
        frame.push(&[kind, 0, 0, 0, flags, 0, 0, 0]);
        frame.push(&self.target.octets());
        if let Some((kind, mac)) = link_layer {
            frame.push(&[kind, 1]);
            frame.push(&mac.0);
        }
        if let Some(nonce) = nonce {
            frame.push(&[NONCE, 1]);
            frame.push(&nonce);
        }
        let icmp = frame.as_bytes().get(icmp_at..).and_then(Icmpv6Packet::new);
        if let Some(view) = icmp {
            let checksum = icmpv6::checksum(&view, &self.source, &self.destination);
            frame.patch(icmp_at + 2, &checksum.to_be_bytes());
        }
        frame
    }
}

impl Body {
    /// ICMP type and flags.
    fn head(self) -> (u8, u8) {
        match self {
            Self::Solicitation { .. } => (SOLICITATION, 0),
            Self::Advertisement {
                router,
                solicited,
                overrides,
                ..
            } => {
                let flag = |set, bit| if set { bit } else { 0 };
                let flags = flag(router, FLAG_ROUTER)
                    | flag(solicited, FLAG_SOLICITED)
                    | flag(overrides, FLAG_OVERRIDE);
                (ADVERTISEMENT, flags)
            }
        }
    }

    /// Link-layer address and nonce.
    fn options(self) -> (Option<(u8, MacAddr)>, Option<Nonce>) {
        match self {
            Self::Solicitation { source_mac, nonce } => {
                (source_mac.map(|mac| (SOURCE_LINK_LAYER, mac)), nonce)
            }
            Self::Advertisement { target_mac, .. } => {
                (target_mac.map(|mac| (TARGET_LINK_LAYER, mac)), None)
            }
        }
    }
}

/// First byte of flags, and the target.
fn fixed_part(icmp: &[u8]) -> Option<(u8, Ipv6Addr)> {
    let flags = *icmp.get(4)?;
    let target: [u8; 16] = icmp.get(8..FIXED)?.try_into().ok()?;
    Some((flags, target.into()))
}

/// The link-layer addresses and the nonce among the options; others are skipped, as RFC 4861 §4.6 demands.
#[derive(Clone, Copy, Default)]
struct Options {
    source: Option<MacAddr>,
    target: Option<MacAddr>,
    nonce: Option<Nonce>,
}

impl Options {
    fn parse(mut rest: &[u8]) -> Result<Self, Error> {
        let mut options = Self::default();
        while let [kind, units, ..] = *rest {
            let length = usize::from(units) * 8;
            let (option, behind) = match rest.split_at_checked(length) {
                Some(split) if length > 0 => split,
                _ => return Err(Error::Option(kind, units)),
            };
            if let [_, _, a, b, c, d, e, f] = *option {
                let value = [a, b, c, d, e, f];
                match kind {
                    SOURCE_LINK_LAYER => options.source = Some(MacAddr(value)),
                    TARGET_LINK_LAYER => options.target = Some(MacAddr(value)),
                    NONCE => options.nonce = Some(value),
                    _ => {}
                }
            }
            rest = behind;
        }
        // A single byte is the head of an option that runs over the end.
        match *rest {
            [] => Ok(options),
            [kind, ..] => Err(Error::Option(kind, 0)),
        }
    }
}

#[cfg(test)]
mod tests;
