//! Keys of sessions in Secrets: what comes, changes and goes, and what a session makes of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use portolan_api::crd::{NodeReport, NodeReportStatus, SessionReport, SessionState};
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::{Frr, Router};
use portolan_tests::lab::{Layout, retry_until};
use portolan_tests::world::{BGP, POOL, ROUTER_AS, SOON, Shape, World, peer_yaml};

use crate::site;

/// Two keepalive intervals of the session, and a bit.
const QUIET: Duration = Duration::from_secs(7);

fn secret(key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: md5, namespace: portolan-system }}\ntype: kubernetes.io/basic-auth\nstringData: {{ username: '', password: {key} }}\n"
    )
}

/// A node, and a router that asks for a key.
struct Stage {
    world: World,
    frr: Frr,
}

impl Stage {
    async fn build(face: Face) -> Result<Self> {
        let layout = Layout {
            nodes: 1,
            routers: 1,
        };
        let shape = Shape {
            layout,
            data_path: false,
            ..Shape::of(face)
        };
        let world = World::start(shape).await?;
        let router = &world.lab.routers[0];
        let config = site::config_with(&world.lab, router, |peer| peer.password("right"));
        let frr = Frr::start(router, &config).await?;
        world.apply(&format!("{POOL}---{BGP}")).await?;
        Ok(Self { world, frr })
    }

    async fn peer(&self, key: &str) -> Result<()> {
        let router = self.world.lab.routers[0].address().v4.into();
        let more = format!("  {key}\n  connectTime: 1s");
        self.world.apply(&peer_yaml("keyed", router, &more)).await?;
        Ok(())
    }

    async fn forget_secret(&self) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.world.cluster.client(), "portolan-system");
        secrets.delete("md5", &DeleteParams::default()).await?;
        Ok(())
    }

    /// How many times the session was Established, as the router counts; it must be now.
    fn established(&self) -> Result<u64> {
        let sessions = self.frr.sessions()?;
        let ours = sessions.iter().find(|session| session.peer.is_ipv4());
        let ours = ours.context("no session")?;
        ensure!(ours.is_established(), "it is {}", ours.state);
        ours.established_count.context("FRR counts")
    }

    async fn report(&self) -> Result<(NodeReportStatus, SessionReport)> {
        let reports: Api<NodeReport> = Api::all(self.world.cluster.client());
        let status = reports.get("node-1").await?.status.unwrap_or_default();
        let session = status.sessions.iter().find(|it| it.peer == "keyed");
        let session = session.context("no session is reported")?.clone();
        Ok((status, session))
    }

    async fn wait_for_problem(&self, words: &[&str]) -> Result<()> {
        retry_until(SOON, &format!("a problem with {words:?}"), async || {
            let (status, session) = self.report().await?;
            let tells = |problem: &String| words.iter().all(|word| problem.contains(word));
            ensure!(
                status.problems.iter().any(tells) && session.state == SessionState::Established,
                "{:?}, {session:?}",
                status.problems
            );
            Ok(())
        })
        .await
    }

    async fn wait_for_peace(&self) -> Result<()> {
        retry_until(SOON, "a session and no problem", async || {
            let (status, session) = self.report().await?;
            let about = |problem: &String| problem.contains("keyed");
            ensure!(
                session.state == SessionState::Established && !status.problems.iter().any(about),
                "{:?}, {session:?}",
                status.problems
            );
            Ok(())
        })
        .await
    }

    async fn wait_for_count(&self, count: u64) -> Result<()> {
        retry_until(SOON, "the session with its new key", async || {
            let now = self.established()?;
            ensure!(now == count, "established {now} times, not {count}");
            Ok(())
        })
        .await
    }
}

/// A version that names a Secret which is not there yet takes nothing down, nor does a Secret that goes; a speaker that
/// has forgotten the key waits and says for what; another key is one new session.
async fn a_session_keeps_its_key_while_its_secret_is_away(face: Face) -> Result<()> {
    let mut stage = Stage::build(face).await?;
    stage.peer("password: right").await?;
    stage.wait_for_peace().await.context("by value")?;
    let count = stage.established()?;

    stage.peer("passwordSecret: { name: md5 }").await?;
    let missing = [
        "portolan-system/md5",
        "does not exist",
        "before its last change",
    ];
    stage.wait_for_problem(&missing).await?;
    // The same key, in a Secret now, is the same session.
    stage.world.apply(&secret("right")).await?;
    stage.wait_for_peace().await.context("by Secret")?;
    stage.forget_secret().await?;
    let gone = [
        "portolan-system/md5",
        "does not exist",
        "keeps the last key",
    ];
    stage.wait_for_problem(&gone).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(stage.established()? == count, "it was interrupted");

    stage.world.speakers[0].kill()?;
    stage.world.speakers[0].restart()?;
    retry_until(SOON, "the reason why there is no session", async || {
        let (_, session) = stage.report().await?;
        let why = session.last_error.clone().unwrap_or_default();
        ensure!(
            session.state == SessionState::Idle
                && why.contains("portolan-system/md5 does not exist"),
            "{session:?}"
        );
        Ok(())
    })
    .await?;
    stage.world.apply(&secret("right")).await?;
    stage.wait_for_peace().await.context("created again")?;

    let count = stage.established()?;
    let node = stage.world.lab.nodes[0].host.address().v4;
    stage.frr.vty(&[
        "configure terminal",
        &format!("router bgp {ROUTER_AS}"),
        &format!("neighbor {node} password changed"),
    ])?;
    stage.world.apply(&secret("changed")).await?;
    stage.wait_for_count(count + 1).await?;
    tokio::time::sleep(QUIET).await;
    ensure!(
        stage.established()? == count + 1,
        "one new session for one new key"
    );
    Ok(())
}

on_both_faces!(a_session_keeps_its_key_while_its_secret_is_away);
