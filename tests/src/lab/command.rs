//! Short-lived commands: run with a time limit, fail with their own words.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// No command of the lab has a reason to take longer, in seconds.
const LIMIT: &str = "30";

/// A program that the lab needs, and the Debian package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Name in PATH, or absolute path.
    pub program: &'static str,
    /// Debian package.
    pub package: &'static str,
}

impl Tool {
    /// `ip`
    pub const IP: Self = Self {
        program: "ip",
        package: "iproute2",
    };
    /// `setpriv`: ties the life of a child to ours.
    pub const SETPRIV: Self = Self {
        program: "setpriv",
        package: "util-linux",
    };
    /// `timeout`
    pub const TIMEOUT: Self = Self {
        program: "timeout",
        package: "coreutils",
    };
    /// `nft`
    pub const NFT: Self = Self {
        program: "nft",
        package: "nftables",
    };
    /// `tcpdump`
    pub const TCPDUMP: Self = Self {
        program: "tcpdump",
        package: "tcpdump",
    };
    /// `arping`: the one of iputils; the package `arping` is another program.
    pub const ARPING: Self = Self {
        program: "arping",
        package: "iputils-arping",
    };
    /// `ndisc6`
    pub const NDISC6: Self = Self {
        program: "ndisc6",
        package: "ndisc6",
    };
    /// `kubectl`
    pub const KUBECTL: Self = Self {
        program: "kubectl",
        package: "kubernetes-client",
    };
}

/// The path of a tool.
///
/// # Errors
/// When it is not installed; the error says what to install.
pub fn require(tool: Tool) -> Result<PathBuf> {
    let path = Path::new(tool.program);
    let found = if path.is_absolute() {
        path.is_file().then(|| path.into())
    } else {
        in_path(path)
    };
    found.with_context(|| {
        format!(
            "{} is missing: run hack/setup.sh, or apt-get install {}",
            tool.program, tool.package
        )
    })
}

fn in_path(program: &Path) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// Runs a command in the root namespace and returns its standard output.
///
/// # Errors
/// When it does not end within 30 seconds or fails; the error carries what it wrote to both streams.
pub fn run<S: AsRef<OsStr>>(argv: &[S]) -> Result<String> {
    run_with_input(argv, "")
}

/// As [`run`], with text for its standard input.
pub(super) fn run_with_input<S: AsRef<OsStr>>(argv: &[S], input: &str) -> Result<String> {
    let shown = argv
        .iter()
        .map(|word| word.as_ref().to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    ensure!(!argv.is_empty(), "an empty command");
    let mut child = Command::new("timeout")
        .args(["--kill-after=2", LIMIT])
        .args(argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{shown}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that never reads its input may be gone already; its exit status tells.
        let _closed_early = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("waiting for `{shown}`"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{shown}`: {}\n{}{}",
            output.status,
            stderr.trim_end(),
            stdout.trim_end()
        );
    }
    Ok(stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_shows_its_own_words() {
        let error = run(&["sh", "-c", "echo no such luck >&2; exit 3"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no such luck") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn a_missing_tool_names_the_package_that_brings_it() {
        let error = require(Tool {
            program: "nosuchtool",
            package: "some-package",
        })
        .unwrap_err();
        assert!(
            error.to_string().contains("apt-get install some-package"),
            "{error}"
        );
    }
}
