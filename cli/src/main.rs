//! `kubectl portolan`: who has which address, who announces it, and why not.
//!
//! ```text
//! main     flags, output
//! cluster  API server ─► Snapshot            (the only I/O)
//! snapshot everything that was read, as one value
//! reach    may this node announce this address, and does it
//! status   Snapshot ─► tables
//! explain  Snapshot ─► findings about one Service
//! ```
//!
//! Everything behind `cluster` is a function of the snapshot, and follows the rules that the daemons follow.

mod cluster;
mod explain;
#[cfg(test)]
mod fixture;
mod reach;
mod snapshot;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use portolan_api::ObjectKey;

use crate::cluster::{Cluster, Scope};

/// Shows who has which address, which nodes announce it, and why not.
#[derive(Debug, Parser)]
#[command(name = "kubectl-portolan", bin_name = "kubectl portolan", version)]
struct Cli {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    command: Command,
}

/// How to reach the cluster, and what Portolan is called there.
#[derive(Debug, Args)]
struct Access {
    /// File that says how to reach the API server. Without it: the files that KUBECONFIG names, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig to use instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,

    /// Namespace of the Services. Without it: all for status, that of the context for explain
    #[arg(short, long, global = true, value_name = "NAME")]
    namespace: Option<String>,

    /// The --lb-class that the controller and the speakers run with
    #[arg(long, global = true, env = "PORTOLAN_LB_CLASS", value_name = "CLASS")]
    lb_class: Option<String>,

    /// Portolan's own namespace, where its Leases live
    #[arg(
        long,
        global = true,
        env = "PORTOLAN_NAMESPACE",
        value_name = "NAME",
        default_value = "portolan-system"
    )]
    system_namespace: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pools, Services and nodes, one table each
    Status,
    /// Why an object is as it is
    #[command(subcommand)]
    Explain(Explain),
}

#[derive(Debug, Subcommand)]
enum Explain {
    /// Why a Service has the address it has, or none, and who announces it or does not
    #[command(visible_alias = "svc")]
    Service {
        /// The Service: NAME, or NAMESPACE/NAME
        name: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If even this can not be written, nobody is listening.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Cli { access, command }: Cli) -> anyhow::Result<()> {
    let cluster = Cluster::connect(
        access.kubeconfig.as_deref(),
        access.context,
        access.system_namespace,
    )
    .await?;
    let text = match command {
        Command::Status => {
            let scope = access.namespace.map_or(Scope::All, Scope::Namespace);
            status::render(&cluster.read(scope, access.lb_class).await?)
        }
        Command::Explain(Explain::Service { name }) => {
            let key = key(
                &name,
                access.namespace.as_deref(),
                cluster.default_namespace(),
            );
            let snapshot = cluster
                .read(Scope::Service(key.clone()), access.lb_class)
                .await?;
            explain::render(&key, &explain::explain(&snapshot, &key))
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough, as with `| head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}

/// The Service that the arguments name: `NAMESPACE/NAME` beats `-n`, and `-n` beats the context.
fn key(name: &str, namespace: Option<&str>, of_context: &str) -> ObjectKey {
    match name.split_once('/') {
        Some((namespace, name)) => ObjectKey::new(namespace, name),
        None => ObjectKey::new(namespace.unwrap_or(of_context), name),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_service_is_found_by_its_most_explicit_namespace() {
        for (name, namespace, expected) in [
            ("web", None, "ctx/web"),
            ("web", Some("flag"), "flag/web"),
            ("own/web", Some("flag"), "own/web"),
        ] {
            assert_eq!(
                key(name, namespace, "ctx").to_string(),
                expected,
                "{name} {namespace:?}"
            );
        }
    }
}
