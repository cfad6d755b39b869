//! The sheet: every case with every daemon, in one lab. A case's failure does not keep the next one from its turn; all
//! of them are told in the end, and those that could not take part as well.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use ipnetwork::IpNetwork;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use portolan_api::crd::BGPPeer;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::{Daemon, Router, RouterConfig, Session};
use portolan_tests::lab::{Host, Layout, retry_until};
use portolan_tests::world::{BGP, NODE_AS, POOL, Shape, World};

use super::cases::Case;
use crate::site;

/// The defaults.
const PROFILE: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BFDProfile
metadata: { name: plain }
spec: {}
";

/// What became of a case with a daemon.
enum Outcome {
    Fine,
    Lacks(&'static str),
    Failed(anyhow::Error),
}

/// Runs cases one after the other, the daemons side by side.
pub(super) async fn run(face: Face, cases: &[Case]) -> Result<()> {
    let mut stage = Stage::build(face).await?;
    let mut sheet = Vec::new();
    for case in cases {
        let outcomes = stage.play(case).await.context(case.name)?;
        sheet.push((case.name, outcomes));
    }
    let mut text = Vec::new();
    let mut failed = Vec::new();
    for (case, outcomes) in &sheet {
        for (daemon, outcome) in outcomes {
            let name = daemon.name();
            let verdict = match outcome {
                Outcome::Fine => "ok".to_owned(),
                Outcome::Lacks(why) => format!("SKIPPED, {why}"),
                Outcome::Failed(error) => {
                    failed.push(format!("{case}, {name}: {error:#}"));
                    "FAILED".to_owned()
                }
            };
            writeln!(text, "{case}, {name}: {verdict}")?;
        }
    }
    // Not by `print!`: the harness would hide what was skipped.
    std::io::stderr().write_all(&text)?;
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// One node that announces one Service, and a host for each daemon.
struct Stage {
    world: World,
    vips: Vec<IpAddr>,
}

impl Stage {
    async fn build(face: Face) -> Result<Self> {
        let world = World::start(Shape {
            layout: Layout {
                nodes: 1,
                routers: 5,
            },
            data_path: false,
            ..Shape::of(face)
        })
        .await?;
        let advertisement = BGP.replace("spec: {", "spec: { localPref: 250, ");
        world
            .apply(&format!("{POOL}---{advertisement}---{PROFILE}"))
            .await?;
        let vips = world.service_without_pods("web").await?;
        Ok(Self { world, vips })
    }

    /// An error is the stage's; what a daemon does wrong is an outcome.
    async fn play(&mut self, case: &Case) -> Result<Vec<(Daemon, Outcome)>> {
        let node = self.node();
        let v4 = format!("{}/16", node.address().v4);
        if case.only_v6 {
            node.exec(&["ip", "addr", "del", &v4, "dev", "eth0"])?;
        }
        let places = Daemon::ALL.into_iter().zip(&self.world.lab.routers);
        let routers = join_all(places.clone().map(async |(daemon, host)| {
            let lacks = case.lacks.iter().find(|(it, _)| *it == daemon);
            if let Some((_, why)) = lacks {
                return Err(Outcome::Lacks(why));
            }
            let config = self.config(case, host);
            let started = daemon.start(host, &config).await;
            started.map_err(Outcome::Failed)
        }))
        .await;
        let peers = places
            .clone()
            .zip(&routers)
            .filter(|(_, router)| router.is_ok())
            .map(|((daemon, host), _)| peers(case, daemon, host));
        if case.in_turn {
            let first: Vec<String> = peers.clone().filter_map(|it| it.first().cloned()).collect();
            self.world.apply(&first.join("---")).await?;
            // Whoever has none by then is found out when it is judged.
            let _none = join_all(routers.iter().flatten().map(|it| any_session(&**it))).await;
        }
        let all: Vec<String> = peers.flatten().collect();
        self.world.apply(&all.join("---")).await?;
        let outcomes = routers.into_iter().map(async |router| match router {
            Ok(router) => match self.judge(case, &*router).await {
                Ok(()) => (Outcome::Fine, Some(router)),
                Err(error) => (Outcome::Failed(error), Some(router)),
            },
            Err(outcome) => (outcome, None),
        });
        // The routers stay until all are judged and we have stopped to speak with them.
        let (mut outcomes, routers): (Vec<_>, Vec<_>) =
            join_all(outcomes).await.into_iter().unzip();
        if case.restart {
            self.restart(case, &routers, &mut outcomes).await?;
        }
        self.forget_peers().await?;
        drop(routers);
        if case.only_v6 {
            self.node()
                .exec(&["ip", "addr", "add", &v4, "dev", "eth0"])?;
        }
        Ok(Daemon::ALL.into_iter().zip(outcomes).collect())
    }

    /// Kills the speaker and starts it again: those that were fine so far keep its routes meanwhile.
    async fn restart(
        &mut self,
        case: &Case,
        routers: &[Option<Box<dyn Router>>],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        self.world.speakers[0].kill()?;
        let fine = |outcome: &Outcome| matches!(outcome, Outcome::Fine);
        for (router, outcome) in routers.iter().zip(&mut *outcomes) {
            let Some(router) = router else { continue };
            if fine(outcome)
                && let Err(error) = self.kept(&**router).await
            {
                *outcome = Outcome::Failed(error);
            }
        }
        self.world.speakers[0].restart()?;
        for (router, outcome) in routers.iter().zip(outcomes) {
            let Some(router) = router else { continue };
            if fine(outcome)
                && let Err(error) = self.wait_for_routes(case, &**router).await
            {
                *outcome = Outcome::Failed(error.context("after the restart"));
            }
        }
        Ok(())
    }

    async fn kept(&self, router: &dyn Router) -> Result<()> {
        retry_until(PATIENCE, "the session to be lost", async || {
            let sessions = router.sessions()?;
            ensure!(
                !sessions.iter().any(Session::is_established),
                "{sessions:?}"
            );
            Ok(())
        })
        .await?;
        for vip in &self.vips {
            let paths = router.rib(IpNetwork::from(*vip))?;
            ensure!(paths.len() == 1, "{vip} has paths {paths:?}");
        }
        Ok(())
    }

    fn node(&self) -> &Host {
        &self.world.lab.nodes[0].host
    }

    fn config(&self, case: &Case, router: &Host) -> RouterConfig {
        let ends = case.sessions.of(self.node().address());
        let neighbours = ends.into_iter().map(case.neighbour).collect();
        RouterConfig::new(case.asn, router.address().v4, neighbours)
    }

    async fn judge(&self, case: &Case, router: &dyn Router) -> Result<()> {
        self.wait_for_routes(case, router).await.with_context(|| {
            let seen = router.sessions();
            let log = router.log().unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            format!(
                "sessions {seen:?}, its log, last line first:\n{}",
                tail.join("\n")
            )
        })?;
        if case.bfd {
            let sessions = case.sessions.of(self.node().address()).len();
            retry_until(PATIENCE, "BFD", async || {
                let up = router.bfd_up()?;
                ensure!(up == sessions, "{up} of {sessions} are up");
                Ok(())
            })
            .await?;
        }
        if case.refresh {
            site::check_refresh(router).await?;
        }
        Ok(())
    }

    async fn wait_for_routes(&self, case: &Case, router: &dyn Router) -> Result<()> {
        let node = self.node().address();
        for vip in &self.vips {
            let hop = if case.only_v6 {
                node.v6.into()
            } else {
                node.of_family(*vip)
            };
            retry_until(PATIENCE, &format!("{vip} by {hop}"), async || {
                let paths = router.rib(IpNetwork::from(*vip))?;
                let [path] = &paths[..] else {
                    anyhow::bail!("paths {paths:?}")
                };
                ensure!(path.next_hop == Some(hop), "{path:?}");
                ensure!(path.as_path == case.path, "{path:?}");
                ensure!(path.communities == ["65000:100"], "{path:?}");
                ensure!(path.large_communities == ["4200000001:1:2"], "{path:?}");
                let pref = path.local_pref;
                ensure!(
                    case.local_pref.is_none() || pref == case.local_pref,
                    "{path:?}"
                );
                Ok(())
            })
            .await?;
        }
        let expected = case.sessions.of(node).len();
        retry_until(PATIENCE, &format!("{expected} sessions"), async || {
            let sessions = router.sessions()?;
            let up = sessions.iter().filter(|it| it.is_established()).count();
            ensure!(up == expected, "{up}: {sessions:?}");
            Ok(())
        })
        .await
    }

    async fn forget_peers(&self) -> Result<()> {
        let peers: Api<BGPPeer> = Api::all(self.world.cluster.client());
        for peer in peers.list(&ListParams::default()).await? {
            let name = peer.metadata.name.context("a peer without a name")?;
            peers.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }
}

/// A session with routes, on a machine that starts five daemons at once.
const PATIENCE: Duration = Duration::from_secs(20);

async fn any_session(router: &dyn Router) -> Result<()> {
    retry_until(PATIENCE, "a session", async || {
        let sessions = router.sessions()?;
        ensure!(sessions.iter().any(Session::is_established), "{sessions:?}");
        Ok(())
    })
    .await
}

fn peers(case: &Case, daemon: Daemon, router: &Host) -> Vec<String> {
    let ends = case.sessions.of(router.address());
    let peer = |end: IpAddr| {
        let name = format!("{}-{}", daemon.name(), if end.is_ipv4() { 4 } else { 6 });
        format!(
            "
apiVersion: portolan.dev/v1alpha1
kind: BGPPeer
metadata: {{ name: {} }}
spec:
  myASN: {NODE_AS}
  peerAddress: '{end}'
  holdTime: 9s
{}",
            name.to_lowercase(),
            case.peer
        )
    };
    ends.into_iter().map(peer).collect()
}
