//! Who has a TCP port of this node, for people: from the kernel's table of sockets, and from the processes that we can see.
//! In a container that is our own alone; of others remains the user.

use std::fs;
use std::path::Path;

/// Tables of TCP sockets of the network that this thread is in. Those that listen stand first.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
/// State of a socket that listens, as the table writes it (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Listener<'a> {
    user: &'a str,
    inode: &'a str,
}

/// Whoever listens on a port of any address, in words.
pub(super) fn of(port: u16) -> Option<String> {
    let tables = TABLES.into_iter();
    let mut tables = tables.filter_map(|table| fs::read_to_string(table).ok());
    tables.find_map(|table| {
        let listener = listener(&table, port)?;
        let process = process(listener.inode);
        Some(process.unwrap_or_else(|| format!("a process of user {}", listener.user)))
    })
}

/// The socket that listens on a port, in a table like
///
/// ```text
///   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
///    0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 …
/// ```
fn listener(table: &str, port: u16) -> Option<Listener<'_>> {
    let rows = table.lines().skip(1);
    let rows = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    let mut listening = rows.take_while(|row| row.get(3) == Some(&LISTEN));
    let row = listening.find(|row| {
        let local = row.get(1).and_then(|local| local.rsplit_once(':'));
        local.is_some_and(|(_, local)| u16::from_str_radix(local, 16) == Ok(port))
    })?;
    Some(Listener {
        user: row.get(7)?,
        inode: row.get(9)?,
    })
}

/// The process that holds a socket, by name and number.
fn process(inode: &str) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    let holds = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        targets.any(|target| target.as_os_str() == socket.as_str())
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut processes = processes.filter(|entry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.bytes().all(|digit| digit.is_ascii_digit()))
    });
    let entry = processes.find(|entry| holds(&entry.path()))?;
    let name = fs::read_to_string(entry.path().join("comm")).ok()?;
    let number = entry.file_name().into_string().ok()?;
    Some(format!("process {number} ({})", name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_listens_is_found_among_others() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 x
   1: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 222 1 x
   2: 0A00000A:00B4 0B00000A:1234 01 00000000:00000000 00:00000000 00000000     0        0 333 1 x
   3: 00000000:00B5 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1 x
";
        let found = Listener {
            user: "101",
            inode: "222",
        };
        for (row, port, want) in [
            ("the second", 179, Some(found)),
            ("not one that listens", 180, None),
            ("after the end of those that listen", 181, None),
            ("nobody's", 22, None),
        ] {
            assert_eq!(listener(table, port), want, "{row}");
        }
        for broken in ["", "x\n", "x\n 0: 1 2 0A\n", "x\n : : 0A : : : : : :\n"] {
            assert_eq!(listener(broken, 179), None, "{broken:?}");
        }
    }

    #[test]
    fn our_own_process_is_found_by_its_port() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let socket = std::net::TcpListener::bind(any).unwrap();
            let port = socket.local_addr().unwrap().port();
            let said = of(port).unwrap();
            let number = std::process::id().to_string();
            assert!(said.contains(&number), "{any}: {said}");
            drop(socket);
            assert_eq!(of(port), None, "{any}");
        }
    }
}
