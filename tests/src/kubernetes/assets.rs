//! Where the binaries of Kubernetes come from: `KUBEBUILDER_ASSETS`, the user's cache, or one build by Go.
//!
//! The Go module `tests/kubernetes` pins every version by its go.mod and go.sum. A cold build takes minutes and
//! happens once per user and version; whoever comes second waits for the first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{Tool, require};

const GO_MOD: &str = include_str!("../../kubernetes/go.mod");
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kubernetes");
const GO: Tool = Tool {
    program: "go",
    package: "golang-go",
};

/// A program of Kubernetes that the fixture or a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// The store below the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// The real proxy.
    KubeProxy,
    /// The command line, of the same version as the server.
    Kubectl,
}

impl Binary {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
        }
    }
}

/// The path of a binary, built first when there is none. Blocks, the first time for minutes.
///
/// # Errors
/// Without Go, or when the build fails.
pub fn find(binary: Binary) -> Result<PathBuf> {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        let path = Path::new(&assets).join(binary.name());
        if path.is_file() {
            return Ok(path);
        }
    }
    let version = version()?;
    let directory = cache()?.join(format!("kubernetes-{version}"));
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let path = directory.join(binary.name());
    if !path.is_file() {
        let lock = File::create(directory.join("lock")).context("opening the lock of the cache")?;
        lock.lock().context("waiting for another build")?;
        if !path.is_file() {
            build(binary, &version, &path)?;
        }
    }
    Ok(path)
}

fn build(binary: Binary, version: &str, path: &Path) -> Result<()> {
    let name = binary.name();
    let go = require(GO)
        .context("the real API server is built with Go, unless KUBEBUILDER_ASSETS has it")?;
    eprintln!(
        "Building {name} {version} with Go into {} (minutes, once)",
        path.display()
    );
    let unfinished = path.with_extension("unfinished");
    let status = Command::new(go)
        .current_dir(MODULE)
        .env("CGO_ENABLED", "0")
        .args(["build", "-ldflags", &link_flags(version)?, "-o"])
        .arg(&unfinished)
        .arg(binary.package())
        .status()
        .with_context(|| format!("building {name}"))?;
    ensure!(status.success(), "go build of {name}: {status}");
    fs::rename(&unfinished, path).with_context(|| format!("putting {name} into the cache"))
}

/// Without a version of its own, the server calls itself v0.0.0 and clients stumble.
fn link_flags(version: &str) -> Result<String> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let major = numbers.next().context("a version without a major number")?;
    let minor = numbers.next().context("a version without a minor number")?;
    let set = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let flags = [
        set("gitVersion", version),
        set("gitMajor", major),
        set("gitMinor", minor),
    ];
    Ok(format!("-s -w {}", flags.join(" ")))
}

/// The version of Kubernetes that go.mod pins.
fn version() -> Result<String> {
    let line = GO_MOD
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    let version = line
        .and_then(|rest| rest.split(' ').next())
        .context("go.mod names no k8s.io/kubernetes")?;
    Ok(format!("v{version}"))
}

fn cache() -> Result<PathBuf> {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = own
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("portolan"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_mod_becomes_that_of_the_server() {
        let version = version().unwrap();
        assert!(version.starts_with("v1."), "{version}");
        let flags = link_flags("v1.34.4").unwrap();
        for part in [
            "version.gitVersion=v1.34.4 ",
            "version.gitMajor=1 ",
            "version.gitMinor=34",
        ] {
            assert!(flags.contains(part), "{part} in {flags}");
        }
    }
}
