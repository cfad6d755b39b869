//! What one interface says about virtual addresses: answers to ARP and NDP frames, the claims of
//! others that it overhears, the announcements it makes unasked, and its own questions.
//!
//! Nothing is remembered here: the kernel's neighbour tables are not ours, and an answer depends
//! only on the frame, on who we are on this link, and on what its addresses are to us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::arp::{self, Operation};
use crate::ethernet::{self, Frame, Header, MacAddr};
use crate::ndp::{self, Body, Message, Nonce};

/// Who we are on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The interface's address.
    pub mac: MacAddr,
    /// Whether the interface speaks IPv6. Where it does not, the kernel would drop what comes for
    /// an IPv6 address, so nothing is said about those.
    pub ipv6: bool,
}

/// What an address is to us on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    None,
    /// We answer for it.
    Held,
    /// We are asking whether anybody has it ([`crate::vacancy`]), by probes with this nonce.
    Checked(Nonce),
    /// We asked it whether it is there.
    Asked,
}

/// What a frame means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not about our addresses, or our own frame come back.
    Nothing,
    /// Neither ARP nor NDP that may be believed.
    Malformed,
    /// Somebody asks for `vip`; `answer` is to be sent. It is absent when the question is about
    /// IPv6 and the interface does not speak it.
    Question {
        /// The address in question.
        vip: IpAddr,
        /// Who asks.
        requester: MacAddr,
        /// The frame to send.
        answer: Option<Frame>,
    },
    /// Somebody else says that it has `vip`, which we hold.
    Claim {
        /// The address that is claimed.
        vip: IpAddr,
        /// By whom.
        mac: MacAddr,
    },
    /// Somebody has `vip`, which we check, or wants it in the same moment.
    Rival {
        /// The address.
        vip: IpAddr,
        /// Who.
        mac: MacAddr,
    },
    /// An address that was asked answers us.
    Witness {
        /// The address.
        ip: IpAddr,
        /// Whose it is.
        mac: MacAddr,
    },
}

impl Identity {
    /// Judges one received frame; `role` tells what an address is to us here.
    pub fn hear(self, frame: &[u8], role: impl Fn(IpAddr) -> Role) -> Heard {
        let Some((header, payload)) = Header::split(frame) else {
            return Heard::Malformed;
        };
        let to_us = header.destination == self.mac || header.destination.is_group();
        if !to_us || header.source == self.mac || header.source.is_group() {
            return Heard::Nothing;
        }
        match header.ethertype {
            ethernet::ARP => self.hear_arp(payload, role),
            ethernet::IPV6 => self.hear_ndp(header.source, payload, role),
            _ => Heard::Nothing,
        }
    }

    fn hear_arp(self, payload: &[u8], role: impl Fn(IpAddr) -> Role) -> Heard {
        let Ok(packet) = arp::Packet::parse(payload) else {
            return Heard::Malformed;
        };
        let mac = packet.sender_mac;
        if mac == self.mac {
            return Heard::Nothing;
        }
        let (sender, vip) = (IpAddr::V4(packet.sender_ip), IpAddr::V4(packet.target_ip));
        let is_reply = packet.operation == Operation::Reply;
        // Any ARP packet tells that its sender uses the sender address (RFC 5227 §2.4).
        match role(sender) {
            Role::Held => return Heard::Claim { vip: sender, mac },
            Role::Checked(_) => return Heard::Rival { vip: sender, mac },
            Role::Asked if is_reply && packet.target_mac == self.mac => {
                return Heard::Witness { ip: sender, mac };
            }
            Role::Asked | Role::None => {}
        }
        match role(vip) {
            Role::Held if !is_reply => Heard::Question {
                vip,
                requester: mac,
                answer: Some(packet.reply(self.mac).frame(mac)),
            },
            // Another's probe: both want it (RFC 5227 §2.1.1).
            Role::Checked(_) if !is_reply && sender.is_unspecified() => Heard::Rival { vip, mac },
            _ => Heard::Nothing,
        }
    }

    fn hear_ndp(self, sender: MacAddr, payload: &[u8], role: impl Fn(IpAddr) -> Role) -> Heard {
        let message = match Message::parse(payload) {
            Ok(message) => message,
            // The link is full of ICMP that is sound and no business of ours.
            Err(ndp::Error::Type(_) | ndp::Error::NextHeader(_)) => return Heard::Nothing,
            Err(_) => return Heard::Malformed,
        };
        let vip = IpAddr::V6(message.target);
        // What the message says of its sender counts, and else the frame: a probe that checks
        // whether we are still there may lack the option (RFC 4861 §7.2.2).
        let mac = message.mac().filter(|mac| mac.is_station());
        let mac = mac.unwrap_or(sender);
        if mac == self.mac {
            return Heard::Nothing;
        }
        match message.body {
            Body::Advertisement { solicited, .. } => match role(vip) {
                Role::Held => Heard::Claim { vip, mac },
                Role::Checked(_) => Heard::Rival { vip, mac },
                Role::Asked if solicited => Heard::Witness { ip: vip, mac },
                Role::Asked | Role::None => Heard::Nothing,
            },
            Body::Solicitation { nonce, .. } => {
                let source = IpAddr::V6(message.source);
                match role(source) {
                    Role::Held => return Heard::Claim { vip: source, mac },
                    Role::Checked(_) => return Heard::Rival { vip: source, mac },
                    Role::Asked | Role::None => {}
                }
                match role(vip) {
                    Role::Held => self.answer(message, mac),
                    // Another's probe: both want it (RFC 4862 §5.4.3), unless it is ours come back.
                    Role::Checked(own) if source.is_unspecified() && nonce != Some(own) => {
                        Heard::Rival { vip, mac }
                    }
                    _ => Heard::Nothing,
                }
            }
        }
    }

    fn answer(self, solicitation: Message, requester: MacAddr) -> Heard {
        let answer = self.ipv6.then(|| {
            let answer = solicitation.answer(self.mac);
            let all = answer.destination.is_multicast();
            let to = if all {
                MacAddr::of_group(answer.destination)
            } else {
                requester
            };
            answer.frame(self.mac, to)
        });
        Heard::Question {
            vip: IpAddr::V6(solicitation.target),
            requester,
            answer,
        }
    }

    /// The question whether anybody uses `vip`; none for IPv6 where it is not spoken.
    #[must_use]
    pub fn probe(self, vip: IpAddr, nonce: Nonce) -> Option<Frame> {
        match vip {
            IpAddr::V4(vip) => {
                let probe = arp::Packet::request(Ipv4Addr::UNSPECIFIED, vip, self.mac);
                Some(probe.frame(MacAddr::BROADCAST))
            }
            IpAddr::V6(vip) => self
                .ipv6
                .then(|| self.multicast(Message::probe(vip, nonce))),
        }
    }

    /// The question to `target` whether it is there, from our IPv4 address on this link, which may be unspecified.
    #[must_use]
    pub fn ask4(self, source: Ipv4Addr, target: Ipv4Addr) -> Frame {
        arp::Packet::request(source, target, self.mac).frame(MacAddr::BROADCAST)
    }

    /// The question to `target` whether it is there, from our IPv6 address on this link.
    #[must_use]
    pub fn ask6(self, source: Ipv6Addr, target: Ipv6Addr) -> Frame {
        self.multicast(Message::solicitation(source, target, self.mac))
    }

    fn multicast(self, message: Message) -> Frame {
        message.frame(self.mac, MacAddr::of_group(message.destination))
    }

    /// The frames that tell everyone on the link, unasked, that `vip` is here: ARP in both forms
    /// for IPv4, one unsolicited advertisement for IPv6.
    pub fn announcement(self, vip: IpAddr) -> impl Iterator<Item = Frame> + use<> {
        let frames = match vip {
            IpAddr::V4(vip) => [Operation::Request, Operation::Reply].map(|form| {
                Some(arp::Packet::gratuitous(form, vip, self.mac).frame(MacAddr::BROADCAST))
            }),
            IpAddr::V6(vip) => {
                let message = Message::unsolicited(vip, self.mac);
                [self.ipv6.then(|| self.multicast(message)), None]
            }
        };
        frames.into_iter().flatten()
    }

    /// Whether anything can be said here about addresses of this one's family.
    #[must_use]
    pub fn speaks_for(self, vip: IpAddr) -> bool {
        vip.is_ipv4() || self.ipv6
    }
}

#[cfg(test)]
mod tests;
