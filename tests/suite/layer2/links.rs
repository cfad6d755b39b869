//! LAN interfaces that are not plain Ethernet. (Bonds and VLANs are served as their masters are; the kernels that this
//! suite was written on have neither.)

use anyhow::{Context, Result, ensure};
use kube::Api;
use portolan_api::crd::NodeReport;
use portolan_tests::kubernetes::{Cluster, Face};
use portolan_tests::lab::{Lab, Node, retry_until};
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
