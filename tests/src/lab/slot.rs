//! A lab's claim on this machine: a number, a lock that dies with the process, and a sweep of dead labs.
//!
//! The lock is on a file, so the kernel drops it however the owner ends. Names of namespaces and links carry
//! the number (`pl3-node-1`). Whoever can take a lock whose number is still in use has found a dead lab, and
//! removes it: first the processes in its namespaces, then the namespaces, the link in the root namespace, the
//! files.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::run;

/// Locks and files of all labs of this machine. Fixed, because every process has to look at the same locks.
const ROOT: &str = "/tmp/portolan-lab";
/// Namespaces are bind mounts in here (ip-netns(8)).
pub(super) const NETNS: &str = "/run/netns";
/// Kept files are removed after this long.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Set to anything, it keeps the files of every lab: a test that fails by returning an error ends its lab as one
/// that succeeds does.
const KEEP_ALWAYS: &str = "PORTOLAN_LAB_KEEP";

/// A number that no other living lab on this machine has.
pub(crate) struct Slot {
    number: u8,
    directory: PathBuf,
    _lock: File,
}

impl Slot {
    /// Sweeps dead labs and takes the lowest free number.
    pub(super) fn take() -> Result<Self> {
        fs::create_dir_all(ROOT).with_context(|| format!("creating {ROOT}"))?;
        let mut taken = None;
        for number in 0..=u8::MAX {
            let directory = Path::new(ROOT).join(number.to_string());
            let wanted = taken.is_none();
            if !wanted && !directory.exists() && namespaces_of(number).is_empty() {
                continue;
            }
            let Some(lock) = try_lock(number)? else {
                continue;
            };
            remove(number, &directory)?;
            if wanted {
                fs::create_dir_all(&directory)
                    .with_context(|| format!("creating {}", directory.display()))?;
                fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))
                    .context("letting daemons with their own user reach their files")?;
                taken = Some(Self {
                    number,
                    directory,
                    _lock: lock,
                });
            }
        }
        forget_old_logs();
        taken.context("all 256 labs of this machine are in use")
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name of a host's namespace.
    pub(super) fn namespace(&self, host: &str) -> String {
        format!("{}{host}", prefix(self.number))
    }

    /// The one link of this lab in the root namespace.
    pub(super) fn uplink(&self) -> String {
        uplink(self.number)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os(KEEP_ALWAYS).is_some() {
            let kept = Path::new(ROOT).join(format!("kept-{}-{}", std::process::id(), self.number));
            // The same number may have failed in this process before.
            let _nothing_there = fs::remove_dir_all(&kept);
            if fs::rename(&self.directory, &kept).is_ok() {
                eprintln!(
                    "lab {}: configurations and logs are kept in {}",
                    self.number,
                    kept.display()
                );
            }
        }
        if let Err(error) = remove(self.number, &self.directory) {
            eprintln!("lab {} could not be removed: {error:#}", self.number);
        }
    }
}

fn prefix(number: u8) -> String {
    format!("pl{number}-")
}

fn uplink(number: u8) -> String {
    format!("pl{number}")
}

/// The lock of a slot, unless a living process has it.
fn try_lock(number: u8) -> Result<Option<File>> {
    let path = Path::new(ROOT).join(format!("{number}.lock"));
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

fn namespaces_of(number: u8) -> Vec<String> {
    let prefix = prefix(number);
    let Ok(entries) = fs::read_dir(NETNS) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

fn remove(number: u8, directory: &Path) -> Result<()> {
    let namespaces = namespaces_of(number);
    for namespace in &namespaces {
        kill_all_in(namespace)?;
    }
    for namespace in &namespaces {
        run(&["ip", "netns", "delete", namespace])?;
    }
    let link = uplink(number);
    if Path::new("/sys/class/net").join(&link).exists() {
        // The other end went with its namespace a moment ago, and takes this one along; either may be first.
        if let Err(error) = run(&["ip", "link", "delete", &link])
            && Path::new("/sys/class/net").join(&link).exists()
        {
            return Err(error);
        }
    }
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    }
    Ok(())
}

/// SIGKILL for every process in a namespace, until there is none.
pub(super) fn kill_all_in(namespace: &str) -> Result<()> {
    for _round in 0..100 {
        let pids = run(&["ip", "netns", "pids", namespace])?;
        let pids: Vec<i32> = pids
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
        let alive: Vec<i32> = pids.into_iter().filter(|pid| !is_zombie(*pid)).collect();
        if alive.is_empty() {
            return Ok(());
        }
        for pid in alive {
            let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("processes in {namespace} survive SIGKILL")
}

/// A zombie has ended; only its parent has not looked yet.
fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with('Z'))
}

fn forget_old_logs() {
    let Ok(entries) = fs::read_dir(ROOT) else {
        return;
    };
    for entry in entries.flatten() {
        let is_kept = entry.file_name().to_string_lossy().starts_with("kept-");
        let age = entry.metadata().and_then(|meta| meta.modified()).ok();
        let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if is_kept && age.is_some_and(|age| age > KEEP) {
            // Another lab may be sweeping the same one.
            let _removed_by_other = fs::remove_dir_all(entry.path());
        }
    }
}
