//! What a router does with the routes of a node when its speaker is replaced or crashes, or when the node dies, with and
//! without graceful restart and BFD. The table is that of docs/bgp.md.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use portolan_api::crd::BGPPeer;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::router::{Neighbour, Router};
use portolan_tests::lab::{Layout, Link, retry_until};
use portolan_tests::world::{BGP, POOL, SOON, Shape, World};

use super::witness::Witness;
use crate::site::{self, Routers};

const PROFILE: &str = "
apiVersion: portolan.dev/v1alpha1
kind: BFDProfile
metadata: { name: fast }
spec: { transmitInterval: 100, receiveInterval: 100, detectMultiplier: 3 }
";
const GRACEFUL: &str = "  enableGracefulRestart: true\n  gracefulRestartTime: 12s\n";
const WATCHED: &str = "  bfdProfile: fast\n";

/// Ten detection times, and half of what is left of the hold time at least: what goes at once is gone by then.
const WATCH: Duration = Duration::from_secs(3);
/// That of both sides; a dead node's routes are watched for so much longer when BFD does not watch it.
const HOLD: Duration = Duration::from_secs(9);

/// What happens to the speaker. A crashed one does not come back before its routes are gone.
#[derive(Clone, Copy, Debug)]
enum End {
    /// SIGTERM.
    Upgrade,
    /// SIGKILL.
    Crash,
    /// The node is silent.
    Death,
}

const ENDS: [End; 3] = [End::Upgrade, End::Crash, End::Death];

/// What becomes of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stay,
    /// Within [`WATCH`].
    Go,
    /// Later, with the hold time.
    Expire,
}

/// A way to set up both sides, and the fates for each of [`ENDS`] at FRR and at BIRD.
struct Row {
    name: &'static str,
    neighbour: fn(Neighbour) -> Neighbour,
    peer: &'static [&'static str],
    frr: [Fate; 3],
    bird: [Fate; 3],
}

use Fate::{Expire, Go, Stay};

const ROWS: &[Row] = &[
    Row {
        name: "neither",
        neighbour: |it| it,
        peer: &[],
        frr: [Go, Go, Expire],
        bird: [Go, Go, Expire],
    },
    Row {
        name: "graceful restart",
        neighbour: Neighbour::graceful_restart,
        peer: &[GRACEFUL],
        frr: [Stay, Stay, Stay],
        // For BIRD a hold timer that expires is an error, and no restart.
        bird: [Stay, Stay, Expire],
    },
    Row {
        name: "BFD",
        neighbour: |it| it.bfd(100, 3),
        peer: &[WATCHED],
        frr: [Go, Go, Go],
        bird: [Go, Go, Go],
    },
    Row {
        name: "both",
        neighbour: |it| it.graceful_restart().bfd(100, 3),
        peer: &[GRACEFUL, WATCHED],
        frr: [Stay, Stay, Go],
        bird: [Go, Go, Go],
    },
    Row {
        name: "both, and the router knows of restarts",
        neighbour: |it| it.graceful_restart().bfd(100, 3).restart_aware(),
        peer: &[GRACEFUL, WATCHED],
        frr: [Stay, Stay, Stay],
        bird: [Stay, Stay, Stay],
    },
];

/// Every row, one after the other, FRR and BIRD side by side.
pub(super) async fn routes_stay_or_go_as_restart_and_bfd_say(face: Face) -> Result<()> {
    let mut world = World::start(Shape {
        layout: Layout {
            nodes: 1,
            routers: 2,
        },
        data_path: false,
        ..Shape::of(face)
    })
    .await?;
    world.apply(&format!("{POOL}---{BGP}---{PROFILE}")).await?;
    let vips = world.service_without_pods("web").await?;
    let mut wrong = String::new();
    for row in ROWS {
        let fates = play(&mut world, row, &vips).await.context(row.name)?;
        for (router, fates, wanted) in [("FRR", fates.0, row.frr), ("BIRD", fates.1, row.bird)] {
            if fates != wanted {
                writeln!(wrong, "{}, {router}: {fates:?}, not {wanted:?}", row.name)?;
            }
        }
    }
    ensure!(wrong.is_empty(), "of {ENDS:?}:\n{wrong}");
    Ok(())
}

/// The fates at FRR and at BIRD.
async fn play(world: &mut World, row: &Row, vips: &[IpAddr]) -> Result<([Fate; 3], [Fate; 3])> {
    let routers = Routers::start(&world.lab, row.neighbour).await?;
    let peers = site::peers(&world.lab, &row.peer.concat());
    world.apply(&peers).await?;
    let bfd = row.peer.contains(&WATCHED);
    let mut fates = [[Stay; 3]; 2];
    for (place, end) in ENDS.into_iter().enumerate() {
        wait_for_all(world, &routers, vips, bfd)
            .await
            .with_context(|| format!("before {end:?}"))?;
        let mut witnesses = Vec::new();
        for host in &world.lab.routers {
            witnesses.push(Witness::start(host).await?);
        }
        match end {
            End::Upgrade => drop(world.speakers[0].stop(SOON).await?),
            End::Crash => drop(world.speakers[0].kill()?),
            End::Death => world.lab.nodes[0].host.unplug(Link::Lan)?,
        }
        tokio::time::sleep(WATCH).await;
        let early = gone(&witnesses, &routers, vips)?;
        if matches!(end, End::Death) && !bfd {
            tokio::time::sleep(HOLD).await;
        }
        let late = gone(&witnesses, &routers, vips)?;
        for ((fates, early), late) in fates.iter_mut().zip(early).zip(late) {
            fates[place] = match (early, late) {
                (true, _) => Go,
                (false, true) => Expire,
                (false, false) => Stay,
            };
        }
        if matches!(end, End::Crash) {
            for host in &world.lab.routers {
                for vip in vips {
                    site::wait_for_kernel(&world.lab, host, *vip, &[]).await?;
                }
            }
        }
        match end {
            End::Upgrade | End::Crash => world.speakers[0].restart()?,
            End::Death => world.lab.nodes[0].host.plug(Link::Lan)?,
        }
    }
    forget_peers(world).await?;
    Ok((fates[0], fates[1]))
}

/// Whether the routes went so far, at FRR and at BIRD.
fn gone(witnesses: &[Witness], routers: &Routers, vips: &[IpAddr]) -> Result<Vec<bool>> {
    let of_router = |(witness, router): (&Witness, &dyn Router)| {
        let gone = vips.iter().map(|vip| Ok(!witness.gone(*vip)?.is_empty()));
        let gone = gone.collect::<Result<Vec<_>>>()?;
        ensure!(
            gone.iter().all(|it| *it == gone[0]),
            "{}: {vips:?} are gone: {gone:?}",
            router.name()
        );
        Ok(gone[0])
    };
    witnesses
        .iter()
        .zip(routers.both())
        .map(of_router)
        .collect()
}

/// Sessions, BFD and the kernel's routes.
async fn wait_for_all(world: &World, routers: &Routers, vips: &[IpAddr], bfd: bool) -> Result<()> {
    for (router, host) in routers.both().into_iter().zip(&world.lab.routers) {
        site::wait_for_sessions(router, 2).await?;
        for vip in vips {
            site::wait_for_kernel(&world.lab, host, *vip, &site::hops(&world.lab, *vip)).await?;
        }
        if bfd {
            wait_for_bfd(router, 2).await?;
        }
    }
    Ok(())
}

/// Waits until this many BFD sessions of a router are up.
pub(super) async fn wait_for_bfd(router: &dyn Router, count: usize) -> Result<()> {
    let what = format!("{count} BFD sessions of {}", router.name());
    retry_until(SOON, &what, async || {
        let up = router.bfd_up()?;
        ensure!(up == count, "{up} are up");
        Ok(())
    })
    .await
}

/// The next row has others, and no route of this one.
async fn forget_peers(world: &World) -> Result<()> {
    let peers: Api<BGPPeer> = Api::all(world.cluster.client());
    for peer in peers.list(&ListParams::default()).await? {
        let name = peer.metadata.name.context("a peer without a name")?;
        peers.delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}
