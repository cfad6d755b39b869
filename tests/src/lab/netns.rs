//! One network namespace: made, entered, configured and removed by name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use super::command::{run, run_with_input};
use super::slot::NETNS;

/// A network namespace, or the root namespace that the test itself runs in. The slot removes it, not the handle.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Option<String>,
}

impl Netns {
    /// The namespace that this process runs in.
    #[must_use]
    pub fn root() -> Self {
        Self { name: None }
    }

    pub(super) fn create(name: String) -> Result<Self> {
        run(&["ip", "netns", "add", &name])?;
        let made = Self { name: Some(name) };
        made.ip(&["link set lo up"])?;
        Ok(made)
    }

    /// A handle to a namespace that was created before.
    pub(super) fn existing(name: String) -> Self {
        Self { name: Some(name) }
    }

    /// Its name below `/run/netns`; None for the root namespace.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The words that start a program inside: to be put before its own command line.
    #[must_use]
    pub fn exec_prefix(&self) -> Vec<&str> {
        self.name()
            .map_or_else(Vec::new, |name| vec!["ip", "netns", "exec", name])
    }

    /// Runs a command inside and returns its standard output.
    ///
    /// # Errors
    /// As [`run`].
    pub fn exec<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<String> {
        self.exec_with_input(argv, "")
    }

    pub(super) fn exec_with_input<S: AsRef<OsStr>>(
        &self,
        argv: &[S],
        input: &str,
    ) -> Result<String> {
        let prefix = self.exec_prefix();
        let words: Vec<&OsStr> = prefix
            .iter()
            .map(OsStr::new)
            .chain(argv.iter().map(AsRef::as_ref))
            .collect();
        run_with_input(&words, input)
    }

    /// Runs lines of `ip` inside, as one batch.
    ///
    /// # Errors
    /// The first line that `ip` refuses, in its words.
    pub fn ip<S: AsRef<str>>(&self, lines: &[S]) -> Result<()> {
        let batch = lines
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<_>>()
            .join("\n");
        let argv = match self.name() {
            Some(name) => vec!["ip", "-n", name, "-batch", "-"],
            None => vec!["ip", "-batch", "-"],
        };
        run_with_input(&argv, &batch).with_context(|| format!("batch:\n{batch}"))?;
        Ok(())
    }

    /// Runs `work` on a thread inside and waits for it. Sockets opened there stay in the namespace wherever they
    /// are used later, also in tokio.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let joined =
            std::thread::scope(|scope| scope.spawn(|| self.join_thread().map(|()| work())).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs async `work` on a thread of its own inside, without blocking the caller.
    ///
    /// # Errors
    /// When the namespace is gone, or `work` panics.
    pub async fn block_on<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let (sender, receiver) = oneshot::channel();
        let inside = self.clone();
        std::thread::spawn(move || {
            let outcome = inside.run_here(work);
            let _caller_gave_up = sender.send(outcome);
        });
        receiver
            .await
            .context("the work inside the namespace panicked")?
    }

    /// Moves the calling thread inside for good and runs async `work` on it.
    pub(super) fn run_here<T, F: Future<Output = T>>(&self, work: impl FnOnce() -> F) -> Result<T> {
        self.join_thread()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime inside the namespace")?;
        Ok(runtime.block_on(async { work().await }))
    }

    /// Moves the calling thread inside, for good.
    pub(super) fn join_thread(&self) -> Result<()> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        let path = Path::new(NETNS).join(name);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {name}"))
    }

    /// Writes kernel settings: pairs of a path below `/proc/sys/net` and a value.
    ///
    /// # Errors
    /// The first setting that the kernel refuses or does not have.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (path, value) in settings {
                let path = Path::new("/proc/sys/net").join(path);
                fs::write(&path, value)
                    .with_context(|| format!("writing {value} to {}", path.display()))?;
            }
            Ok(())
        })?
    }
}
