//! What one interface says about virtual addresses: answers to ARP and NDP frames, the claims of
//! others that it overhears, and the announcements it makes unasked.
//!
//! Nothing is remembered here: the kernel's neighbour tables are not ours, and an answer depends
//! only on the frame, on who we are on this link, and on the addresses we hold.

use std::net::IpAddr;

use crate::arp::{self, Operation};
use crate::ethernet::{self, Frame, Header, MacAddr};
use crate::ndp::{self, Body, Message};

/// Who we are on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The interface's address.
    pub mac: MacAddr,
    /// Whether the interface speaks IPv6. Where it does not, the kernel would drop what comes for
    /// an IPv6 address, so nothing is said about those.
    pub ipv6: bool,
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
}

impl Identity {
    /// Judges one received frame; `holds` tells whether an address is ours to answer for here.
    pub fn hear(self, frame: &[u8], holds: impl Fn(IpAddr) -> bool) -> Heard {
        let Some((header, payload)) = Header::split(frame) else {
            return Heard::Malformed;
        };
        let to_us = header.destination == self.mac || header.destination.is_group();
        if !to_us || header.source == self.mac || header.source.is_group() {
            return Heard::Nothing;
        }
        match header.ethertype {
            ethernet::ARP => self.hear_arp(payload, holds),
            ethernet::IPV6 => self.hear_ndp(header.source, payload, holds),
            _ => Heard::Nothing,
        }
    }

    fn hear_arp(self, payload: &[u8], holds: impl Fn(IpAddr) -> bool) -> Heard {
        let Ok(packet) = arp::Packet::parse(payload) else {
            return Heard::Malformed;
        };
        if packet.sender_mac == self.mac {
            return Heard::Nothing;
        }
        // Any ARP packet tells that its sender uses the sender address (RFC 5227 §2.4).
        let sender = IpAddr::V4(packet.sender_ip);
        if holds(sender) {
            return Heard::Claim {
                vip: sender,
                mac: packet.sender_mac,
            };
        }
        let vip = IpAddr::V4(packet.target_ip);
        if packet.operation == Operation::Reply || !holds(vip) {
            return Heard::Nothing;
        }
        let answer = packet.reply(self.mac).frame(packet.sender_mac);
        Heard::Question {
            vip,
            answer: Some(answer),
        }
    }

    fn hear_ndp(self, sender: MacAddr, payload: &[u8], holds: impl Fn(IpAddr) -> bool) -> Heard {
        let message = match Message::parse(payload) {
            Ok(message) => message,
            // The link is full of ICMP that is sound and no business of ours.
            Err(ndp::Error::Type(_) | ndp::Error::NextHeader(_)) => return Heard::Nothing,
            Err(_) => return Heard::Malformed,
        };
        let vip = IpAddr::V6(message.target);
        match message.body {
            Body::Advertisement { target_mac, .. } => {
                let mac = target_mac.unwrap_or(sender);
                if mac == self.mac || !holds(vip) {
                    return Heard::Nothing;
                }
                Heard::Claim { vip, mac }
            }
            Body::Solicitation { source_mac } => {
                // A probe that checks whether we are still there may lack the option; the frame
                // itself tells who asks (RFC 4861 §7.2.2).
                let mac = source_mac.filter(|mac| mac.is_station()).unwrap_or(sender);
                let source = IpAddr::V6(message.source);
                if mac != self.mac && holds(source) {
                    return Heard::Claim { vip: source, mac };
                }
                if mac == self.mac || !holds(vip) {
                    return Heard::Nothing;
                }
                let answer = self.ipv6.then(|| {
                    let answer = message.answer(self.mac);
                    let all = answer.destination.is_multicast();
                    let to = if all {
                        MacAddr::of_group(answer.destination)
                    } else {
                        mac
                    };
                    answer.frame(self.mac, to)
                });
                Heard::Question { vip, answer }
            }
        }
    }

    /// The frames that tell everyone on the link, unasked, that `vip` is here: ARP in both forms
    /// for IPv4, one unsolicited advertisement for IPv6.
    pub fn announcement(self, vip: IpAddr) -> impl Iterator<Item = Frame> + use<> {
        let frames = match vip {
            IpAddr::V4(vip) => [Operation::Request, Operation::Reply].map(|form| {
                Some(arp::Packet::gratuitous(form, vip, self.mac).frame(MacAddr::BROADCAST))
            }),
            IpAddr::V6(vip) => {
                let frame = self.ipv6.then(|| {
                    Message::unsolicited(vip, self.mac)
                        .frame(self.mac, MacAddr::of_group(ndp::ALL_NODES))
                });
                [frame, None]
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
