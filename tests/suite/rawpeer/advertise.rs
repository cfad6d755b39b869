//! Table D: what the speaker says, byte by byte, and what it says when it is asked again (RFC 4271 §5, RFC 4760, 6793,
//! 2918, 7313, 4724).

mod changes;
mod refreshes;
mod told;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use portolan_tests::rawpeer::bytes::{Open, Update, capability, four_octets, ipv6};
use portolan_tests::rawpeer::{Connection, PEER_AS, RawPeer, Settings, Stage, Table};
use portolan_tests::world::service_yaml;

/// Time in which everything that is due has come.
const MOMENT: Duration = Duration::from_millis(1500);
/// Services that rows change, each announced by an advertisement of its own name.
const CHANGING: [&str; 3] = ["flap", "paint", "leave"];

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_that_the_speaker_says_is_as_the_rfcs_want_it() -> Result<()> {
    let mut stage = Stage::set().await?;
    for name in CHANGING {
        let service = service_yaml(name, "Cluster").replace(
            "namespace: default",
            &format!("namespace: default, labels: {{ own: {name} }}"),
        );
        let advertisement = format!(
            "
apiVersion: portolan.dev/v1alpha1
kind: BGPAdvertisement
metadata: {{ name: {name} }}
spec: {{ serviceSelectors: [{{ matchLabels: {{ own: {name} }} }}] }}
"
        );
        stage
            .world
            .apply(&format!("{advertisement}---{service}"))
            .await?;
        stage.endpoint(name).await?;
        stage.world.vips(name, 2).await?;
    }
    let mut rows = told::routes();
    rows.extend(told::both_families());
    rows.extend(changes::rows());
    rows.extend(refreshes::plain());
    rows.extend(refreshes::enhanced());
    Table::new("D, advertising", rows).run_on(&mut stage).await
}

fn good() -> Open {
    Open::good(PEER_AS)
}

fn six() -> Settings {
    Settings {
        v6: true,
        ..Settings::default()
    }
}

fn speaks_six() -> Open {
    Open::offering(
        PEER_AS,
        &[ipv6(), capability(2, &[]), four_octets(PEER_AS)].concat(),
    )
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The prefix of the Service that every stage has, as NLRI.
fn vip(peer: &RawPeer, v6: bool) -> Vec<u8> {
    let found = peer.vips.iter().find(|vip| vip.is_ipv6() == v6).copied();
    let octets = octets(found.expect("a dual-stack Service"));
    [
        vec![u8::try_from(8 * octets.len()).expect("at most 128")],
        octets,
    ]
    .concat()
}

/// The UPDATE that announces the stage's Service.
async fn route(peer: &RawPeer, session: &mut Connection) -> Result<Update> {
    let wanted = vip(peer, peer.address.is_ipv6());
    session.update_where(|update| tells(update, &wanted)).await
}

/// Whether a route of either family is announced.
fn tells(update: &Update, vip: &[u8]) -> bool {
    let reach = update.attribute(14);
    holds(&update.nlri, vip) || reach.is_some_and(|reach| holds(reach, vip))
}

/// Whether these bytes stand anywhere in those.
fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
