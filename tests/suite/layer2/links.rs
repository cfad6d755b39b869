//! LAN interfaces that are not plain Ethernet. (Bonds and VLANs are served as their masters are; the kernels that this
//! suite was written on have neither.)

use anyhow::{Context, Result, ensure};
use kube::Api;
use portolan_api::crd::NodeReport;
use portolan_proto::ethernet::MacAddr;
use portolan_tests::drill::Drill;
use portolan_tests::kubernetes::{Cluster, Face};
use portolan_tests::lab::frames::Meaning;
use portolan_tests::lab::{Half, Lab, Node, last_claimant, retry_until};
use portolan_tests::world::{SOON, World};

use super::{POOL, mk_shape, sole_answerer};

/// A rule that names no interface: whatever is usable.
const ANYWHERE: &str = "
apiVersion: portolan.dev/v1alpha1
kind: L2Advertisement
metadata: { name: l2 }
spec: { interfaceExpressions: ['br.*|eth.*'] }
";

/// The LAN cable becomes the port of a bridge, which gets the node's addresses, as hypervisors have it.
fn bridge_the_cable(node: &Node) -> Result<()> {
    let lan = node.host.address();
    node.host.netns().ip(&[
        "link add br0 type bridge mcast_snooping 0".into(),
        "link set eth0 master br0".into(),
        "addr flush dev eth0".into(),
        "link set br0 up".into(),
        format!("addr add {}/16 dev br0", lan.v4),
        format!("addr add {}/64 dev br0 nodad", lan.v6),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_answers_in_place_of_its_port() -> Result<()> {
    let shape = mk_shape(Face::Embedded);
    let lab = Lab::start(shape.layout)?;
    lab.nodes.iter().try_for_each(bridge_the_cable)?;
    let cluster = Cluster::start(shape.face, &lab).await?;
    let world = World::around(lab, cluster, shape).await?;
    world.apply(&format!("{POOL}---{ANYWHERE}")).await?;
    let pods: Vec<_> = world.pods.iter().collect();
    for vip in world.service("web", "Cluster", &pods).await? {
        let holder = sole_answerer(&world, vip).await?;
        let reports: Api<NodeReport> = Api::all(world.cluster.client());
        retry_until(SOON, "a report of where it is answered", async || {
            let report = reports.get(world.lab.nodes[holder].name()).await?;
            let vips = report.status.unwrap_or_default().l2_vips;
            let entry = vips.iter().find(|it| it.address == vip.to_string());
            let entry = entry.with_context(|| format!("{vip} is not among {vips:?}"))?;
            ensure!(entry.interfaces == ["br0"], "{entry:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A NIC was replaced, or a bond chose another one: what clients remember is wrong from now on, and they are told.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_hardware_address_is_announced() -> Result<()> {
    let drill = Drill::start(Face::Embedded, "").await?;
    let holder = drill.settled().await?;
    let node = &drill.world.lab.nodes[holder];
    let new = MacAddr([2, 0, 0x5e, 0, 0, 0x77]);
    drill.tap.forget();
    node.host
        .netns()
        .ip(&[format!("link set eth0 address {new}")])?;
    for vip in &drill.vips {
        retry_until(
            SOON,
            "the new hardware address to be announced and answered",
            async || {
                let seen = drill.tap.seen();
                let mut said = seen.iter().map(|it| it.meaning);
                ensure!(
                    said.any(|it| it == Meaning::Announces(*vip, new)),
                    "{vip} is not announced"
                );
                let last = last_claimant(&drill.tap.heard(Half::Main, *vip));
                ensure!(last == Some(new), "the last to claim {vip} was {last:?}");
                Ok(())
            },
        )
        .await?;
        let entries = drill.world.lab.lan_client.neighbours()?;
        let believed = entries
            .into_iter()
            .find(|it| it.address == *vip)
            .and_then(|it| it.mac);
        assert_eq!(
            believed,
            Some(new.to_string()),
            "what the client believes of {vip}"
        );
    }
    Ok(())
}
