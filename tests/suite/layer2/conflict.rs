//! Another machine has the address, or says so.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::ListParams;
use portolan_api::crd::{ConflictReport, NodeReport};
use portolan_proto::ethernet::MacAddr;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{frames, now, retry_until};
use portolan_tests::world::{L2, SOON, World, service_yaml};

use super::{mk_shape, mk_world, sole_answerer};

const FOREIGN: MacAddr = MacAddr([2, 0xbd, 0, 0, 0, 1]);

/// Conflicts that any node reports.
async fn conflicts(world: &World) -> Result<Vec<ConflictReport>> {
    let reports: Api<NodeReport> = Api::all(world.cluster.client());
    let reports = reports.list(&ListParams::default()).await?;
    let statuses = reports.into_iter().filter_map(|report| report.status);
    Ok(statuses.flat_map(|status| status.conflicts).collect())
}

async fn reported(world: &World, vip: IpAddr, mac: &str, before_use: bool) -> Result<()> {
    retry_until(
        SOON,
        &format!("a report that {mac} has {vip}"),
        async || {
            let all = conflicts(world).await?;
            let found = all.iter().any(|it| {
                it.address == vip.to_string() && it.mac == mac && it.before_use == before_use
            });
            ensure!(found, "conflicts {all:?}");
            Ok(())
        },
    )
    .await
}

/// A printer has the first address of the pool: the Service gets the next one, and nobody disturbs the printer.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_another_machine_has_is_not_used_but_the_next() -> Result<()> {
    let world = World::start(mk_shape(Face::Embedded)).await?;
    let printer = &world.lab.routers[0];
    printer.netns().ip(&[
        "addr add 172.30.201.1/32 dev eth0",
        "addr add fd00:30::ab01/128 dev eth0 nodad",
    ])?;
    let taken: [IpAddr; 2] = ["172.30.201.1".parse()?, "fd00:30::ab01".parse()?];
    let pool = "
apiVersion: portolan.dev/v1alpha1
kind: IPAddressPool
metadata: { name: lan }
spec: { addresses: [172.30.201.1-172.30.201.4, 'fd00:30::ab01-fd00:30::ab04'] }
";
    let tap = world.lab.tap()?;
    world.apply(&format!("{pool}---{L2}")).await?;
    let pods: Vec<_> = world.pods.iter().collect();
    let first = world.service("web", "Cluster", &pods).await?;
    let mac = printer.mac("eth0")?;
    for vip in taken.iter().filter(|vip| first.contains(vip)) {
        reported(&world, *vip, &mac, true).await?;
    }
    let vips = retry_until(SOON, "addresses that nobody else has", async || {
        let held = world.held("web").await?;
        ensure!(
            held.len() == 2 && held.iter().all(|vip| !taken.contains(vip)),
            "it has {held:?}"
        );
        Ok(held)
    })
    .await?;
    for vip in vips {
        sole_answerer(&world, vip).await?;
    }
    for vip in taken {
        let nodes = world
            .lab
            .nodes
            .iter()
            .map(|node| node.host.hardware_address("eth0"));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let said = tap
            .said(vip)
            .into_iter()
            .filter(|claim| nodes.contains(&claim.mac));
        assert_eq!(said.count(), 0, "a node claimed {vip}");
    }
    Ok(())
}

/// A Service that names its address gets no other one: it waits and is told who has it.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_asked_for_is_checked_until_it_is_free() -> Result<()> {
    let world = World::start(mk_shape(Face::Embedded)).await?;
    world.apply(&format!("{}---{L2}", super::POOL)).await?;
    let vip: IpAddr = "172.30.200.77".parse()?;
    let printer = &world.lab.routers[0];
    printer
        .netns()
        .ip(&[format!("addr add {vip}/32 dev eth0")])?;
    let wanted = service_yaml("web", "Cluster")
        .replace("RequireDualStack", "SingleStack")
        .replace(
            "namespace: default",
            &format!("namespace: default, annotations: {{ portolan.dev/loadBalancerIPs: {vip} }}"),
        );
    world.apply(&wanted).await?;
    let endpoints: Vec<_> = world
        .pods
        .iter()
        .map(portolan_tests::kubernetes::Endpoint::ready)
        .collect();
    world
        .cluster
        .set_endpoints("default", "web", &endpoints)
        .await?;
    reported(&world, vip, &printer.mac("eth0")?, true).await?;
    printer
        .netns()
        .ip(&[format!("addr del {vip}/32 dev eth0")])?;
    // Checked again every 30 s.
    let answered = retry_until(SOON * 2, "a node to answer", async || {
        sole_answerer(&world, vip).await
    });
    answered.await.map(drop)
}

/// Issue: "another machine claims the VIP: never defended, never reported" is what others do.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_claim_is_reported_and_answered_at_most_every_ten_seconds() -> Result<()> {
    let (world, vips) = mk_world(mk_shape(Face::Embedded)).await?;
    let (vip, tap) = (vips[0], world.lab.tap()?);
    let holder = sole_answerer(&world, vip).await?;
    let own = world.lab.nodes[holder].host.hardware_address("eth0")?;
    let liar = world.lab.lan_client.station("eth0")?;
    tokio::time::sleep(Duration::from_secs(6)).await; // the burst after the first claim is over
    for vip in &vips {
        tap.forget();
        let began = now();
        for _ in 0..48 {
            liar.send(&frames::announcement(FOREIGN, *vip))?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let seen = tap.seen();
        let defended = seen
            .iter()
            .filter(|it| it.at >= began && &*it.port == "lan" && it.source == own);
        let defended: Vec<_> = defended
            .filter(|it| it.meaning == frames::Meaning::Announces(*vip, own))
            .map(|it| it.at)
            .collect();
        // A defence of ARP is a request and a reply.
        let mut rounds = defended.clone();
        rounds
            .dedup_by(|later, earlier| later.saturating_sub(*earlier) < Duration::from_millis(100));
        assert!(
            (1..=2).contains(&rounds.len()),
            "{vip}: defended {} times in 12 s: {defended:?}",
            rounds.len()
        );
        reported(&world, *vip, &FOREIGN.to_string(), false).await?;
    }
    assert_eq!(sole_answerer(&world, vip).await?, holder, "it goes on");
    Ok(())
}
