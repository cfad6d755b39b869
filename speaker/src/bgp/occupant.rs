//! Who has a TCP port of this node, for people: from the kernel's tables of sockets, and from the processes that we can see.
//! In a container those are our own alone; of others remains the user.
//!
//! A table does not say in which VRF a socket listens. So whoever may be in the way is named, but never this process: it
//! has one listener per family and VRF, and they do not meet.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

/// IPv4 sockets of the network that this thread is in. Those that listen stand first.
const TCP: &str = "/proc/thread-self/net/tcp";
/// The same of IPv6, with those that are for both families.
const TCP6: &str = "/proc/thread-self/net/tcp6";
/// State of a socket that listens, as the table writes it (`TCP_LISTEN`).
const LISTEN: &str = "0A";
/// An answer is good for this long: every peer that waits asks again every few seconds.
const KNOWN: Duration = Duration::from_secs(60);

/// Who had the port of each family when somebody looked last.
#[derive(Debug, Default)]
pub(super) struct Occupants {
    v4: Option<Answer>,
    v6: Option<Answer>,
}

/// What was found then; nobody is an answer too.
#[derive(Debug)]
struct Answer {
    since: Instant,
    occupant: Option<String>,
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Listener {
    user: String,
    inode: u64,
}

impl Occupants {
    /// Whoever keeps us from all addresses of a family, in words. May read files, once a minute.
    pub(super) fn of(&mut self, port: u16, family: IpAddr) -> Option<String> {
        self.ask(family, Instant::now(), || look(port, family))
    }

    fn ask(
        &mut self,
        family: IpAddr,
        now: Instant,
        look: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        let known = match family {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        };
        known.take_if(|known| now.duration_since(known.since) >= KNOWN);
        let answer = known.get_or_insert_with(|| Answer {
            since: now,
            occupant: look(),
        });
        answer.occupant.clone()
    }
}

/// A socket for both families is in the way of IPv4 and stands in the table of IPv6.
fn look(port: u16, family: IpAddr) -> Option<String> {
    let tables: &[_] = match family {
        IpAddr::V4(_) => &[TCP, TCP6],
        IpAddr::V6(_) => &[TCP6],
    };
    tables.iter().find_map(|table| {
        let table = BufReader::new(File::open(table).ok()?);
        let mut others = listeners(table, port, family);
        if !others.is_empty() {
            let ours: HashSet<_> = sockets(Path::new("/proc/self")).collect();
            others.retain(|listener| !ours.contains(&listener.inode));
        }
        words(&others, &holders(&others))
    })
}

/// The sockets that listen on a port and are in the way of a family, in a table like
///
/// ```text
///   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
///    0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 …
/// ```
///
/// Nothing is read behind them: a busy node has many that are connected.
fn listeners(table: impl BufRead, port: u16, family: IpAddr) -> Vec<Listener> {
    let mut found = Vec::new();
    for row in table.lines().map_while(Result::ok).skip(1) {
        let row: Vec<_> = row.split_whitespace().collect();
        if row.get(3) != Some(&LISTEN) {
            break;
        }
        let local = row.get(1).and_then(|local| local.rsplit_once(':'));
        let meets = local.is_some_and(|(address, local)| {
            u16::from_str_radix(local, 16) == Ok(port) && is_in_the_way(address, family)
        });
        let inode = row.get(9).and_then(|inode| inode.parse().ok());
        if let Some((user, inode)) = row.get(7).zip(inode).filter(|_| meets) {
            let user = (*user).to_owned();
            found.push(Listener { user, inode });
        }
    }
    found
}

/// Whether a socket of this address, as a table writes it, keeps us from all addresses of a family. That one of `[::]` is for
/// IPv6 alone is not to be seen.
fn is_in_the_way(address: &str, family: IpAddr) -> bool {
    let is_v4 = address.len() == 8;
    // ::ffff:0:0/96 (RFC 4291 §2.5.5.2); each group of eight digits is a word in the byte order of the machine.
    let third = address.get(16..24);
    let third = third.and_then(|word| u32::from_str_radix(word, 16).ok());
    let is_mapped = address.starts_with("0000000000000000")
        && third.is_some_and(|word| u32::from_be(word) == 0xffff);
    match family {
        IpAddr::V4(_) => is_v4 || is_mapped || address.bytes().all(|digit| digit == b'0'),
        IpAddr::V6(_) => !is_v4 && !is_mapped,
    }
}

/// All of them, each once; by their users where the processes are not to be seen.
fn words(listeners: &[Listener], holders: &HashMap<u64, String>) -> Option<String> {
    let mut names = Vec::new();
    for Listener { user, inode } in listeners {
        let holder = holders.get(inode).cloned();
        let name = holder.unwrap_or_else(|| format!("a process of user {user}"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join(" or "))
}

/// The processes that hold these sockets, by name and number.
fn holders(listeners: &[Listener]) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in processes {
        if found.len() == listeners.len() {
            break;
        }
        let Some(number) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        let is_wanted = |inode: &u64| listeners.iter().any(|wanted| wanted.inode == *inode);
        for inode in sockets(&entry.path()).filter(is_wanted) {
            if let Some(name) = name(&entry.path(), number) {
                found.entry(inode).or_insert(name);
            }
        }
    }
    found
}

fn name(process: &Path, number: u32) -> Option<String> {
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(format!("process {number} ({})", name.trim_end()))
}

/// Inodes of the sockets that a process has open, none if we may not see them.
fn sockets(process: &Path) -> impl Iterator<Item = u64> {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten();
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.filter_map(|target| {
        let inode = target.to_str()?.strip_prefix("socket:[")?;
        inode.strip_suffix(']')?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

    use super::super::tests::mk_holder;
    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    fn mk_listener(user: &str, inode: u64) -> Listener {
        let user = user.to_owned();
        Listener { user, inode }
    }

    #[test]
    fn sockets_that_listen_are_found_among_others() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 x
   1: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 222 1 x
   2: 0A00000A:00B4 0B00000A:1234 01 00000000:00000000 00:00000000 00000000     0        0 333 1 x
   3: 00000000:00B5 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1 x
";
        let found = mk_listener("101", 222);
        for (row, port, want) in [
            ("the second", 179, vec![found]),
            ("not one that listens", 180, vec![]),
            ("after the end of those that listen", 181, vec![]),
            ("nobody's", 22, vec![]),
        ] {
            assert_eq!(listeners(table.as_bytes(), port, V4), want, "{row}");
        }
        for broken in [
            "",
            "x\n",
            "x\n 0: 1 2 0A\n",
            "x\n : : 0A : : : : : :\n",
            "x\n 0: 00000000:00B3 0 0A 0 0 0 0 0 inode\n",
        ] {
            assert_eq!(listeners(broken.as_bytes(), 179, V4), [], "{broken:?}");
        }
    }

    #[test]
    fn a_socket_is_in_the_way_of_its_own_family_or_of_both() {
        let mapped = format!("{:016X}{:08X}0100007F", 0, 0xffff_u32.to_be());
        let link_local = format!("{:08X}{:016X}01000000", 0xfe80_0000_u32.to_be(), 0);
        for (row, address, v4, v6) in [
            ("all of IPv4", "00000000", true, false),
            ("one of IPv4", "0100007F", true, false),
            ("all of both", &"0".repeat(32), true, true),
            ("one of IPv4 as one of IPv6", &mapped, true, false),
            ("one of IPv6", &link_local, false, true),
        ] {
            assert_eq!(is_in_the_way(address, V4), v4, "{row}, IPv4");
            assert_eq!(is_in_the_way(address, V6), v6, "{row}, IPv6");
        }
    }

    #[test]
    fn all_who_may_have_the_port_are_named_once() {
        let holders = [(1, "process 7 (bird)"), (2, "process 7 (bird)")];
        let holders = holders.map(|(inode, name)| (inode, name.to_owned()));
        let holders = HashMap::from(holders);
        for (row, inodes, want) in [
            ("nobody", &[][..], None),
            ("one on two addresses", &[1, 2], Some("process 7 (bird)")),
            ("unseen", &[3, 4], Some("a process of user 101")),
            (
                "two",
                &[2, 3],
                Some("process 7 (bird) or a process of user 101"),
            ),
        ] {
            let listeners = inodes.iter().map(|&inode| mk_listener("101", inode));
            let listeners: Vec<_> = listeners.collect();
            assert_eq!(words(&listeners, &holders).as_deref(), want, "{row}");
        }
    }

    #[test]
    fn another_process_is_found_by_its_port_and_we_never_are() {
        for any in [V4, V6] {
            let socket = TcpListener::bind(SocketAddr::new(any, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert_eq!(look(port, any), None, "{any}: ours");
            let holder = mk_holder(socket);
            let said = format!("process {} (sleep)", holder.id());
            assert_eq!(look(port, any), Some(said), "{any}: another's");
            drop(holder);
            assert_eq!(look(port, any), None, "{any}: nobody's");
        }
    }

    #[test]
    fn an_answer_holds_for_a_minute_and_for_its_family_even_if_it_is_nobody() {
        let start = Instant::now();
        let mut occupants = Occupants::default();
        for (row, seconds, family, found, want) in [
            ("first", 0, V4, None, None),
            ("nobody is known", 59, V4, Some("bird"), None),
            ("the other family", 59, V6, Some("frr"), Some("frr")),
            ("a minute later", 60, V4, Some("bird"), Some("bird")),
            ("bird is known", 61, V4, None, Some("bird")),
            ("the other family still", 61, V6, None, Some("frr")),
        ] {
            let now = start + Duration::from_secs(seconds);
            let said = occupants.ask(family, now, || found.map(str::to_owned));
            assert_eq!(said.as_deref(), want, "{row}");
        }
    }
}
