//! What speakers say to each other about virtual addresses: who asks, and who answers for what.
//!
//! ```text
//!  0        4      5      6      8      10       18         26
//! +--------+------+------+------+-------+--------+----------+----------------+-------+---------+------+
//! | "PTLC" | v=1  | flags| part | parts | boot   | sequence | length, sender | count | entries | HMAC |
//! +--------+------+------+------+-------+--------+----------+----------------+-------+---------+------+
//!
//! flags:  bit 0 ask, bit 1 all, bit 2 leaving
//! entry:  kind (1: bit 0 IPv6, bit 1 given up) | term (8) | turn (4) | address (4 or 16)
//! ```
//!
//! A [`Statement`] becomes one or more datagrams, each authentic by itself (HMAC-SHA256 over all before it, RFC 2104).
//! `boot` is when the sender's process started, in nanoseconds since 1970; `sequence` grows with every datagram; the
//! [`Window`] of a receiver takes each pair once. The authentication is the first thing that is looked at: nobody without
//! the key gets further.

mod key;
mod window;

pub use key::{Key, KeyError};
pub use window::{FORGET, Window};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::read::{Reader, Short};
use crate::write::Writer;

/// UDP port, source and destination.
pub const PORT: u16 = 7473;
/// Group of the datagrams over IPv4: all hosts of the segment. No router passes it on, and no switch prunes it.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// Group of the datagrams over IPv6: all nodes of the link.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// TTL or hop limit of every datagram that is sent, and of every one that is accepted (RFC 5082).
pub const HOPS: u8 = 255;
/// Largest datagram: passes wherever IPv6 does (RFC 8200 §5: 1280 with headers).
pub const DATAGRAM_MAX: usize = 1200;
/// Longest name of a node: that of a DNS subdomain, as Kubernetes limits it.
pub const NAME_MAX: usize = 253;

const MAGIC: [u8; 4] = *b"PTLC";
const VERSION: u8 = 1;
const ASK: u8 = 1;
const ALL: u8 = 2;
const LEAVING: u8 = 4;
const V6: u8 = 1;
const GIVEN_UP: u8 = 2;
/// What stands before the sender's name, with its length.
const HEADER: usize = 27;
const ENTRY_V4: usize = 17;
const ENTRY_V6: usize = 29;

/// Why a datagram is not a message of a speaker of this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// No key that we know signed it, or no HMAC is there at all.
    #[error("not signed with our key")]
    Signature,
    /// It ends within a field.
    #[error(transparent)]
    Truncated(#[from] Short),
    /// Does not begin as a message does.
    #[error("magic {0:02x?}")]
    Magic([u8; 4]),
    /// Another version of this format.
    #[error("version {0}")]
    Version(u8),
    /// Flags that nobody has defined yet.
    #[error("flags {0:#04x}")]
    Flags(u8),
    /// Parts are counted from zero and there is one at least.
    #[error("part {part} of {parts}")]
    Part {
        /// The number of this part.
        part: u16,
        /// How many there are.
        parts: u16,
    },
    /// An empty or overlong name, or not in UTF-8.
    #[error("sender without a proper name")]
    Sender,
    /// An entry of a kind that nobody has defined yet.
    #[error("entry of kind {0}")]
    Kind(u8),
    /// Bytes behind the last entry.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// By what right a node answers for an address. The greater one wins: a newer placement over an older one, and within a
/// placement whoever came last, because it can only have come when the one before it was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// Number of the placement.
    pub term: u64,
    /// How often the address had changed hands under this placement, as far as the node knew, and its place in the
    /// placement at least.
    pub turn: u32,
}

/// One address in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The virtual address.
    pub vip: IpAddr,
    /// The right by which it is, or was, answered for.
    pub claim: Claim,
    /// It is answered for; otherwise it was until now.
    pub held: bool,
}

/// What is to be said, of any length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Who hears this shall say what it answers for.
    pub ask: bool,
    /// These are all claims that the sender has on the segment: what is not named is not claimed.
    pub all: bool,
    /// The sender is about to stop: its addresses are there to be taken, and it takes none.
    pub leaving: bool,
    /// Addresses that the sender answers for, or has ceased to.
    pub entries: Vec<Entry>,
}

/// One authentic datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Name of the node that sent it.
    pub sender: String,
    /// When the sender's process started, in nanoseconds since 1970.
    pub boot: u64,
    /// Grows with each datagram of the process.
    pub sequence: u64,
    /// Which part of its statement this is, from 0.
    pub part: u16,
    /// How many parts the statement has. They have consecutive sequences.
    pub parts: u16,
    /// What it says.
    pub statement: Statement,
}

/// Numbers and signs what a process has to say.
#[derive(Clone, Debug)]
pub struct Author {
    name: String,
    boot: u64,
    sequence: u64,
}

impl Author {
    /// The process that started at `boot` (nanoseconds since 1970) on the node `name`. `None` when no datagram can carry
    /// the name.
    #[must_use]
    pub fn new(name: &str, boot: u64) -> Option<Self> {
        (1..=NAME_MAX).contains(&name.len()).then(|| Self {
            name: name.to_owned(),
            boot,
            sequence: 0,
        })
    }

    /// The datagrams that carry the statement, at least one, each of [`DATAGRAM_MAX`] bytes at most.
    ///
    /// The same bytes may go out over IPv4 and IPv6; receivers take one of them.
    pub fn datagrams(&mut self, statement: &Statement, key: &Key) -> Vec<Vec<u8>> {
        let room = DATAGRAM_MAX - HEADER - self.name.len() - 1 - Key::SIGNATURE;
        let pages = paginate(&statement.entries, room);
        let parts = u16::try_from(pages.len()).unwrap_or(u16::MAX);
        let numbered = (0..parts).zip(pages);
        numbered
            .map(|(part, entries)| self.datagram(statement, entries, part, parts, key))
            .collect()
    }

    fn datagram(
        &mut self,
        statement: &Statement,
        entries: &[Entry],
        part: u16,
        parts: u16,
        key: &Key,
    ) -> Vec<u8> {
        self.sequence += 1;
        let mut out = Vec::with_capacity(DATAGRAM_MAX);
        let mut writer = Writer::new(&mut out);
        writer.bytes(&MAGIC);
        writer.u8(VERSION);
        writer.u8(statement.flags());
        writer.u16(part);
        writer.u16(parts);
        writer.bytes(&self.boot.to_be_bytes());
        writer.bytes(&self.sequence.to_be_bytes());
        writer.u8(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        writer.bytes(self.name.as_bytes());
        writer.u8(u8::try_from(entries.len()).unwrap_or(u8::MAX));
        for entry in entries {
            entry.encode(&mut writer);
        }
        key.signed(&out)
    }
}

impl Statement {
    fn flags(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        flag(self.ask, ASK) | flag(self.all, ALL) | flag(self.leaving, LEAVING)
    }
}

/// Cuts entries into runs that fit; one empty run when there are none.
fn paginate(entries: &[Entry], room: usize) -> Vec<&[Entry]> {
    let mut pages = Vec::new();
    let mut rest = entries;
    loop {
        let mut used = 0;
        let fits = rest.iter().take(usize::from(u8::MAX)).take_while(|entry| {
            used += entry.size();
            used <= room
        });
        let (page, left) = rest.split_at(fits.count());
        pages.push(page);
        rest = left;
        if rest.is_empty() {
            return pages;
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        match self.vip {
            IpAddr::V4(_) => ENTRY_V4,
            IpAddr::V6(_) => ENTRY_V6,
        }
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        let family = if self.vip.is_ipv6() { V6 } else { 0 };
        writer.u8(if self.held { family } else { family | GIVEN_UP });
        writer.bytes(&self.claim.term.to_be_bytes());
        writer.u32(self.claim.turn);
        match self.vip {
            IpAddr::V4(ip) => writer.bytes(&ip.octets()),
            IpAddr::V6(ip) => writer.bytes(&ip.octets()),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let kind = reader.u8()?;
        if kind & !(V6 | GIVEN_UP) != 0 {
            return Err(Error::Kind(kind));
        }
        let claim = Claim {
            term: u64::from_be_bytes(reader.array()?),
            turn: reader.u32()?,
        };
        let vip = match kind & V6 {
            0 => IpAddr::from(reader.array::<4>()?),
            _ => IpAddr::from(reader.array::<16>()?),
        };
        let held = kind & GIVEN_UP == 0;
        Ok(Self { vip, claim, held })
    }
}

impl Message {
    /// Reads a datagram that one of the keys signed.
    pub fn decode<'k>(
        datagram: &[u8],
        keys: impl IntoIterator<Item = &'k Key>,
    ) -> Result<Self, Error> {
        let (content, signature) = datagram
            .split_last_chunk::<{ Key::SIGNATURE }>()
            .ok_or(Error::Signature)?;
        if !keys.into_iter().any(|key| key.verifies(content, signature)) {
            return Err(Error::Signature);
        }
        Self::read(content)
    }

    /// Reads what stands before the signature.
    fn read(content: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(content);
        let magic = reader.array()?;
        if magic != MAGIC {
            return Err(Error::Magic(magic));
        }
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let flags = reader.u8()?;
        if flags & !(ASK | ALL | LEAVING) != 0 {
            return Err(Error::Flags(flags));
        }
        let (part, parts) = (reader.u16()?, reader.u16()?);
        if part >= parts {
            return Err(Error::Part { part, parts });
        }
        let boot = u64::from_be_bytes(reader.array()?);
        let sequence = u64::from_be_bytes(reader.array()?);
        let sender = read_name(&mut reader)?;
        // An octet of count: 255 entries are the most that is ever allocated for.
        let entries = (0..reader.u8()?)
            .map(|_| Entry::decode(&mut reader))
            .collect::<Result<_, _>>()?;
        if !reader.is_empty() {
            return Err(Error::Trailing(reader.remaining()));
        }
        let statement = Statement {
            ask: flags & ASK != 0,
            all: flags & ALL != 0,
            leaving: flags & LEAVING != 0,
            entries,
        };
        Ok(Self {
            sender,
            boot,
            sequence,
            part,
            parts,
            statement,
        })
    }
}

fn read_name(reader: &mut Reader<'_>) -> Result<String, Error> {
    let length = usize::from(reader.u8()?);
    let name = reader.take(length)?;
    match std::str::from_utf8(name) {
        Ok(name) if (1..=NAME_MAX).contains(&length) => Ok(name.to_owned()),
        _ => Err(Error::Sender),
    }
}

#[cfg(test)]
mod tests;
