//! A long-running program in a namespace: started, stopped, killed, measured; its log kept in a file.
//!
//! Children must not outlive the test, however it ends. `PR_SET_PDEATHSIG` sees to that, but it fires when the
//! *thread* that forked ends, and test harnesses and runtimes end threads all the time. So one thread that lives
//! as long as the process starts them all. (Daemons that change their user lose the setting; those fall to the
//! next lab's [sweep](super::slot).)

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::netns::Netns;

/// What to start and how: program, name, arguments, environment.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program by its path or its name in PATH, named after its file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self {
            name,
            path,
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Another name, for its log file; needed when a host runs the program twice.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One more environment variable; the rest is inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }
}

/// A program ended that should run.
#[derive(Debug, thiserror::Error)]
#[error("{name} ended ({how}); its last words:\n{last_words}")]
pub struct Ended {
    name: String,
    how: String,
    last_words: String,
}

/// A program that was started. Dropping it kills it.
pub struct Process {
    program: Program,
    netns: Netns,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `program` in `netns`, with its output appended to `NAME.log` in `directory`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not be started.
    pub fn start(netns: &Netns, directory: &Path, program: Program) -> Result<Self> {
        let log = directory.join(format!("{}.log", program.name));
        let child = launch(netns, &log, &program)?;
        Ok(Self {
            program,
            netns: netns.clone(),
            log,
            child,
        })
    }

    /// Its process number. The words around the program (`setpriv`, `ip netns exec`) replace themselves by it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; None while it runs.
    ///
    /// # Errors
    /// When the kernel does not know it any more.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("asking after {}", self.program.name))
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib
            .context("it has no memory any more")?
            .parse()
            .context("reading VmRSS")?;
        Ok(kib * 1024)
    }

    /// All it wrote to standard output and error, over all restarts.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes =
            fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file of [`Self::log`].
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.nix_pid(), signal)
            .with_context(|| format!("sending {signal} to {}", self.program.name))
    }

    /// SIGKILL, and waits for the end. Fine when it has ended already.
    ///
    /// # Errors
    /// When the kernel does not know it any more.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.child
                .kill()
                .with_context(|| format!("killing {}", self.program.name))?;
        }
        self.child
            .wait()
            .with_context(|| format!("waiting for {}", self.program.name))
    }

    /// SIGTERM, and waits for an orderly end. Fine when it has ended already.
    ///
    /// # Errors
    /// When it still runs after `limit`; it is killed then.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill()?;
                bail!("{} still ran {limit:?} after SIGTERM", self.program.name);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it again as before; kills it first when it still runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.child = launch(&self.netns, &self.log, &self.program)?;
        Ok(())
    }

    /// For use while waiting for what the program should do.
    ///
    /// # Errors
    /// [`Ended`], when it has ended; [`retry_until`](super::retry_until) gives up on that one at once.
    pub fn ensure_running(&mut self) -> Result<()> {
        let Some(status) = self.ended()? else {
            return Ok(());
        };
        let how = status
            .signal()
            .map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
        let log = self.log()?;
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = lines.into_iter().rev().collect();
        let (name, last_words) = (self.program.name.clone(), tail.join("\n"));
        Err(Ended {
            name,
            how,
            last_words,
        }
        .into())
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.pid().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

fn launch(netns: &Netns, log: &Path, program: &Program) -> Result<Child> {
    let output = open_log(log)?;
    let errors = output
        .try_clone()
        .context("sharing the log between both streams")?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(netns.exec_prefix())
        .arg(&program.path)
        .args(&program.args)
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    spawn_on_lasting_thread(netns, command)
        .with_context(|| format!("starting {}", program.path.display()))
}

fn open_log(path: &Path) -> Result<File> {
    let open = OpenOptions::new().create(true).append(true).open(path);
    open.with_context(|| format!("opening {}", path.display()))
}

type Reply = mpsc::SyncSender<Result<Child>>;

/// See the module's words on `PR_SET_PDEATHSIG`.
fn spawn_on_lasting_thread(netns: &Netns, command: Command) -> Result<Child> {
    static ORDERS: OnceLock<mpsc::SyncSender<(Netns, Command, Reply)>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::sync_channel::<(Netns, Command, Reply)>(16);
        std::thread::spawn(move || {
            for (netns, mut command, reply) in receiver {
                let _caller_gave_up = reply.send(spawn_inside(&netns, &mut command));
            }
        });
        sender
    });
    let (reply, child) = mpsc::sync_channel(1);
    let sent = orders.send((netns.clone(), command, reply));
    sent.ok()
        .context("the thread that starts programs is gone")?;
    child
        .recv()
        .context("the thread that starts programs is gone")?
}

/// The child is inside from its birth: `ip netns exec`, which also gives it the right `/sys`, takes a moment that a
/// power loss could fall into.
fn spawn_inside(netns: &Netns, command: &mut Command) -> Result<Child> {
    let home = File::open("/proc/thread-self/ns/net").context("opening the own namespace")?;
    let child = netns
        .join_thread()
        .and_then(|()| command.spawn().context("fork or exec"));
    setns(home, CloneFlags::CLONE_NEWNET).context("returning to the own namespace")?;
    child
}
