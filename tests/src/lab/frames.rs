//! ARP and NDP as a judge reads and writes them: by hand, so that a mistake in the product's codec is not judged by
//! itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portolan_proto::ethernet::MacAddr;

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMP6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// What a frame asks or says about who has which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Who has this address? (ARP request, neighbour solicitation.)
    Asks(IpAddr),
    /// This address is at this station, as an answer (ARP reply to one station, solicited advertisement).
    Answers(IpAddr, MacAddr),
    /// This address is at this station, unasked (gratuitous ARP of either operation, unsolicited advertisement).
    Announces(IpAddr, MacAddr),
    /// Something else.
    Other,
}

impl Meaning {
    /// The address that the sender says to have, and where it says to be.
    #[must_use]
    pub fn claim(self) -> Option<(IpAddr, MacAddr)> {
        match self {
            Self::Answers(vip, mac) | Self::Announces(vip, mac) => Some((vip, mac)),
            Self::Asks(_) | Self::Other => None,
        }
    }
}

/// Reads an Ethernet frame.
#[must_use]
pub fn read(frame: &[u8]) -> Meaning {
    let meaning = match number(frame, 12) {
        Some(ARP) => read_arp(frame),
        Some(IPV6) if frame.get(20) == Some(&ICMP6) => read_ndp(frame),
        _ => None,
    };
    meaning.unwrap_or(Meaning::Other)
}

/// The station that sent the frame.
#[must_use]
pub fn source(frame: &[u8]) -> MacAddr {
    MacAddr(octets(frame, 6).unwrap_or_default())
}

/// Behind 14 octets of Ethernet: hardware, protocol and operation in 8, then sender and target, MAC before address.
fn read_arp(frame: &[u8]) -> Option<Meaning> {
    let operation = number(frame, 20)?;
    let sender_mac = MacAddr(octets(frame, 22)?);
    let [sender, target] = [28, 38].map(|at| octets(frame, at).map(Ipv4Addr::from));
    let (sender, target) = (IpAddr::from(sender?), IpAddr::from(target?));
    let meaning = match operation {
        1 | 2 if sender == target => Meaning::Announces(sender, sender_mac),
        1 => Meaning::Asks(target),
        2 => Meaning::Answers(sender, sender_mac),
        _ => Meaning::Other,
    };
    Some(meaning)
}

/// Behind 14 octets of Ethernet and 40 of IPv6: type, code, checksum, flags, target, options.
fn read_ndp(frame: &[u8]) -> Option<Meaning> {
    let target = IpAddr::from(Ipv6Addr::from(octets::<16>(frame, 62)?));
    match *frame.get(54)? {
        SOLICITATION => Some(Meaning::Asks(target)),
        ADVERTISEMENT => {
            let station = match frame.get(78..80) {
                Some([2, 1]) => MacAddr(octets(frame, 80)?),
                _ => source(frame),
            };
            let is_solicited = frame.get(58)? & 0x40 != 0;
            Some(if is_solicited {
                Meaning::Answers(target, station)
            } else {
                Meaning::Announces(target, station)
            })
        }
        _ => None,
    }
}

/// Who has `target`, asked by a station that has `sender`, of everybody.
#[must_use]
pub fn question(mac: MacAddr, sender: IpAddr, target: IpAddr) -> Vec<u8> {
    match (sender, target) {
        (IpAddr::V4(sender), IpAddr::V4(target)) => arp(
            MacAddr::BROADCAST,
            1,
            (mac, sender),
            (MacAddr::ZERO, target),
        ),
        (IpAddr::V6(sender), IpAddr::V6(target)) => {
            let group = solicited_node(target);
            ndp(
                mac,
                (MacAddr::of_group(group), sender, group),
                SOLICITATION,
                0,
                target,
                Some((1, mac)),
            )
        }
        _ => Vec::new(),
    }
}

/// `vip` is at `mac`, told to everybody.
#[must_use]
pub fn announcement(mac: MacAddr, vip: IpAddr) -> Vec<u8> {
    match vip {
        IpAddr::V4(vip) => arp(MacAddr::BROADCAST, 1, (mac, vip), (MacAddr::ZERO, vip)),
        IpAddr::V6(vip) => {
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let override_flag = 0x20;
            ndp(
                mac,
                (MacAddr::of_group(all), vip, all),
                ADVERTISEMENT,
                override_flag,
                vip,
                Some((2, mac)),
            )
        }
    }
}

/// An ARP packet to `destination`.
#[must_use]
pub fn arp(
    destination: MacAddr,
    operation: u16,
    sender: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
) -> Vec<u8> {
    let mut frame = ethernet(destination, sender.0, ARP);
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        frame.extend(mac.0);
        frame.extend(address.octets());
    }
    frame
}

/// A neighbour message with hop limit 255 and at most one option, a link-layer address of the given kind.
#[must_use]
pub fn ndp(
    mac: MacAddr,
    (destination, from, to): (MacAddr, Ipv6Addr, Ipv6Addr),
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: Option<(u8, MacAddr)>,
) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    body.extend(target.octets());
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac.0);
    }
    let sum = checksum(from, to, &body);
    body.splice(2..4, sum.to_be_bytes());
    let mut frame = ethernet(destination, mac, IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(u16::try_from(body.len()).unwrap_or_default().to_be_bytes());
    frame.extend([ICMP6, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(body);
    frame
}

/// The group of an address (RFC 4291 §2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

fn ethernet(destination: MacAddr, source: MacAddr, kind: u16) -> Vec<u8> {
    let mut frame = destination.0.to_vec();
    frame.extend(source.0);
    frame.extend(kind.to_be_bytes());
    frame
}

/// Over the pseudo-header and the message, whose own field is still zero (RFC 4443 §2.3).
fn checksum(from: Ipv6Addr, to: Ipv6Addr, body: &[u8]) -> u16 {
    let words = from
        .segments()
        .into_iter()
        .chain(to.segments())
        .map(u32::from);
    let pairs = body.chunks(2).map(|pair| {
        let high = u32::from(pair.first().copied().unwrap_or_default());
        high << 8 | u32::from(pair.get(1).copied().unwrap_or_default())
    });
    let length = u32::try_from(body.len()).unwrap_or_default();
    let mut sum: u32 = words.chain(pairs).sum::<u32>() + length + u32::from(ICMP6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn number(frame: &[u8], at: usize) -> Option<u16> {
    octets(frame, at).map(u16::from_be_bytes)
}

fn octets<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 8]);

    fn mk(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn what_is_written_reads_as_it_was_meant() {
        for (from, vip) in [
            ("172.30.0.9", "172.30.200.1"),
            ("fd00:30::9", "fd00:30::aa01"),
        ] {
            let (from, vip) = (mk(from), mk(vip));
            assert_eq!(read(&question(MAC, from, vip)), Meaning::Asks(vip), "{vip}");
            assert_eq!(
                read(&announcement(MAC, vip)),
                Meaning::Announces(vip, MAC),
                "{vip}"
            );
            assert_eq!(source(&announcement(MAC, vip)), MAC);
        }
        let (IpAddr::V4(vip), IpAddr::V4(asker)) = (mk("172.30.200.1"), mk("172.30.0.9")) else {
            unreachable!("both are IPv4")
        };
        let reply = arp(OTHER, 2, (MAC, vip), (OTHER, asker));
        assert_eq!(read(&reply), Meaning::Answers(vip.into(), MAC));
        assert_eq!(reply.len(), 42, "RFC 826 over Ethernet");
    }

    #[test]
    fn the_checksum_covers_pseudo_header_and_message() {
        let from: Ipv6Addr = "fe80::1".parse().unwrap();
        let body = [135, 0, 0, 0, 0, 0, 0, 0];
        let sum = checksum(from, from, &body);
        // fe80 + 1, twice; type and code; length and next header.
        let by_hand = 2 * (0xfe80_u32 + 1) + 0x8700 + 8 + 58;
        let folded = (by_hand & 0xffff) + (by_hand >> 16);
        assert_eq!(u32::from(!sum), folded);
    }

    #[test]
    fn short_frames_mean_nothing() {
        let whole = announcement(MAC, mk("fd00:30::aa01"));
        for length in 0..78 {
            assert_eq!(read(&whole[..length]), Meaning::Other, "{length} octets");
        }
    }
}
