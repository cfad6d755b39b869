//! Table D: what the speaker says, byte by byte, and what it says when it is asked again (RFC 4271 §5, RFC 4760, 6793,
//! 2918, 7313, 4724).

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portolan_tests::rawpeer::bytes::{
    Open, Update, capability, four_octets, ipv4, ipv6, kind, message, refresh, sequence,
};
use portolan_tests::rawpeer::{
    Connection, Message, PATIENCE, PEER_AS, RawPeer, Row, Settings, Stage, Table,
};
use portolan_tests::world::{NODE_AS, service_yaml};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Time in which everything that is due has come.
const MOMENT: Duration = Duration::from_millis(1500);
/// 65000:100.
const COMMUNITIES: (u8, u8, [u8; 4]) = (0xc0, 8, [0xfd, 0xe8, 0, 100]);
/// Services that rows change, each announced by an advertisement of its own name.
const CHANGING: [&str; 3] = ["flap", "paint", "leave"];

type Attributes = Vec<(u8, u8, Vec<u8>)>;

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
    let mut rows = told();
    rows.extend(changes());
    rows.extend(refreshes());
    rows.extend(enhanced());
    rows.extend(both_families());
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
    let has = |bytes: &[u8]| {
        bytes
            .windows(wanted.len())
            .any(|window| *window == wanted[..])
    };
    let wish = |update: &Update| has(&update.nlri) || update.attribute(14).is_some_and(has);
    session.update_where(wish).await
}

/// What one route looks like to a peer.
fn looks(
    name: &'static str,
    settings: Settings,
    open: Open,
    wanted: impl FnOnce(&RawPeer) -> Attributes + Clone + 'static,
) -> Row {
    Row::on_connection(name, settings, move |peer, mut session| async move {
        session.establish(&open).await?;
        let update = route(&peer, &mut session).await?;
        let wanted = wanted(&peer);
        ensure!(
            update.attributes == wanted,
            "wanted {wanted:?}, got {:?}",
            update.attributes
        );
        ensure!(
            update.withdrawn.is_empty(),
            "withdrawn and announced in one message"
        );
        Ok(())
    })
}

fn told() -> Vec<Row> {
    let communities = || (COMMUNITIES.0, COMMUNITIES.1, COMMUNITIES.2.to_vec());
    let origin = || (0x40, 1, vec![0]);
    let next_hop = |peer: &RawPeer| (0x40, 3, octets(peer.node));
    let inside = |asn| Open {
        id: [10, 0, 0, 7].into(),
        ..Open::good(asn)
    };
    let old_inside = Open {
        id: [10, 0, 0, 7].into(),
        my_as: 64_999,
        ..Open::with(64_999, &[])
    };
    let small = || Settings {
        ours: Some(64_999),
        ..Settings::default()
    };
    vec![
        looks("D9 external", Settings::default(), good(), move |peer| {
            vec![
                origin(),
                (0x40, 2, sequence(&[NODE_AS])),
                next_hop(peer),
                communities(),
            ]
        }),
        looks(
            "D9 external, our AS in two octets",
            small(),
            good(),
            move |peer| {
                vec![
                    origin(),
                    (0x40, 2, sequence(&[64_999])),
                    next_hop(peer),
                    communities(),
                ]
            },
        ),
        looks(
            "D10 internal",
            Settings {
                asn: NODE_AS,
                ..Settings::default()
            },
            inside(NODE_AS),
            move |peer| {
                vec![
                    origin(),
                    (0x40, 2, vec![]),
                    next_hop(peer),
                    (0x40, 5, vec![0, 0, 0, 100]),
                    communities(),
                ]
            },
        ),
        looks(
            "D12 external, two octets",
            Settings::default(),
            Open::with(PEER_AS, &[]),
            move |peer| {
                vec![
                    origin(),
                    (0x40, 2, vec![2, 1, 0x5b, 0xa0]),
                    next_hop(peer),
                    communities(),
                    (0xc0, 17, sequence(&[NODE_AS])),
                ]
            },
        ),
        looks(
            "D12 external, two octets, our AS fits",
            small(),
            Open::with(PEER_AS, &[]),
            move |peer| {
                vec![
                    origin(),
                    (0x40, 2, vec![2, 1, 0xfd, 0xe7]),
                    next_hop(peer),
                    communities(),
                ]
            },
        ),
        looks(
            "D12 internal, two octets",
            Settings {
                asn: 64_999,
                ours: Some(64_999),
                ..Settings::default()
            },
            old_inside,
            move |peer| {
                vec![
                    origin(),
                    (0x40, 2, vec![]),
                    next_hop(peer),
                    (0x40, 5, vec![0, 0, 0, 100]),
                    communities(),
                ]
            },
        ),
        Row::on_connection(
            "D11 IPv6: MP_REACH first, a next hop of one or two addresses",
            six(),
            move |peer, mut session| async move {
                session.establish(&speaks_six()).await?;
                let update = route(&peer, &mut session).await?;
                let kinds: Vec<u8> = update
                    .attributes
                    .iter()
                    .map(|attribute| attribute.1)
                    .collect();
                ensure!(kinds == [14, 1, 2, 8], "attributes {kinds:?}");
                let reach = update.attribute(14).context("no MP_REACH")?;
                let length = reach[3];
                ensure!(
                    reach.starts_with(&[0, 2, 1]) && [16, 32].contains(&length),
                    "{reach:?}"
                );
                ensure!(
                    reach[4..20] == octets(peer.node),
                    "next hop {:?}",
                    &reach[4..20]
                );
                ensure!(length == 16 || reach[20..22] == [0xfe, 0x80], "{reach:?}");
                let rest = &reach[4 + usize::from(length)..];
                ensure!(rest[0] == 0 && rest[1..] == vip(&peer, true), "{rest:?}");
                Ok(())
            },
        ),
        Row::on_connection(
            "D15 IPv6 on the link: the link-local next hop beside the global one",
            six(),
            move |peer, mut session| async move {
                session.establish(&speaks_six()).await?;
                let update = route(&peer, &mut session).await?;
                let reach = update.attribute(14).context("no MP_REACH")?;
                ensure!(reach[3] == 32 && reach[20..22] == [0xfe, 0x80], "{reach:?}");
                Ok(())
            },
        ),
        Row::on_connection(
            "D13 a family that the peer did not offer is not sent",
            Settings::default(),
            |_peer, mut session| async move {
                session
                    .establish(&Open {
                        hold: 0,
                        ..speaks_six()
                    })
                    .await?;
                let came = session.collect(MOMENT).await?;
                ensure!(came.is_empty(), "{came:?}");
                Ok(())
            },
        ),
        Row::on_connection(
            "D21 End-of-RIB once, after the routes",
            Settings::default(),
            |peer, mut session| async move {
                session.establish(&good()).await?;
                one_end(&peer, &mut session).await
            },
        ),
        Row::on_connection(
            "D21 End-of-RIB of IPv6 once, after the routes",
            six(),
            |peer, mut session| async move {
                session.establish(&speaks_six()).await?;
                one_end(&peer, &mut session).await
            },
        ),
        Row::on_connection(
            "D21 the next session hears everything again",
            Settings::default(),
            |peer, mut session| async move {
                for _ in 0..3 {
                    session.establish(&good()).await?;
                    one_end(&peer, &mut session).await?;
                    drop(session);
                    session = peer.accept().await?;
                }
                Ok(())
            },
        ),
    ]
}

/// Routes, then End-of-RIB, and no second one.
async fn one_end(peer: &RawPeer, session: &mut Connection) -> Result<()> {
    route(peer, session).await?;
    session.update_where(Update::ends_rib).await?;
    let more = session.collect(MOMENT).await?;
    let ends = more
        .iter()
        .filter(|message| Update::cut(&message.body).is_some_and(|update| update.ends_rib()));
    ensure!(ends.count() == 0, "a second End-of-RIB in {more:?}");
    Ok(())
}

/// What the cluster does, as a peer hears it.
fn changes() -> Vec<Row> {
    vec![
        Row::established(
            "D6 the last endpoint goes: a withdrawal, and nothing else",
            |peer, mut session| async move {
                let prefix = peer.vip_of("leave").await?;
                session
                    .update_where(|update| update.announced().contains(&prefix))
                    .await?;
                session.collect(MOMENT / 3).await?;
                peer.turn("leave", false).await?;
                let update = session
                    .update_where(|update| update.gone().contains(&prefix))
                    .await?;
                ensure!(
                    update.attributes.is_empty() && update.nlri.is_empty(),
                    "{update:?}"
                );
                peer.turn("leave", true).await?;
                session
                    .update_where(|update| update.announced().contains(&prefix))
                    .await
                    .map(drop)
            },
        ),
        Row::established(
            "D5 an attribute changes: one announcement, no withdrawal",
            |peer, mut session| async move {
                let prefix = peer.vip_of("paint").await?;
                session
                    .update_where(|update| update.announced().contains(&prefix))
                    .await?;
                session.collect(MOMENT / 3).await?;
                peer.advertise(
                    "paint",
                    json!({ "communities": ["65000:7", "large:1:2:3", "65000:7"] }),
                )
                .await?;
                let update = session
                    .update_where(|update| update.announced().contains(&prefix))
                    .await?;
                ensure!(update.gone().is_empty(), "{update:?}");
                ensure!(
                    update.attribute(8) == Some(&[0xfd, 0xe8, 0, 7]),
                    "{update:?}"
                );
                ensure!(
                    update.attribute(32) == Some(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]),
                    "{update:?}"
                );
                let more = session.collect(MOMENT).await?;
                let again = |message: &Message| {
                    Update::cut(&message.body).is_some_and(|update| {
                        update.announced().contains(&prefix) || update.gone().contains(&prefix)
                    })
                };
                ensure!(!more.iter().any(again), "said again: {more:?}");
                Ok(())
            },
        ),
        Row::established(
            "D3 two sets of attributes never share a message",
            |peer, mut session| async move {
                let stage = vip(&peer, false);
                session.collect(MOMENT).await?;
                session.send(&refresh(1, 0, 1)).await?;
                for message in session
                    .collect(MOMENT)
                    .await?
                    .iter()
                    .filter(|message| message.kind == kind::UPDATE)
                {
                    let update = Update::cut(&message.body).context("a malformed UPDATE")?;
                    let has = update
                        .nlri
                        .windows(stage.len())
                        .any(|window| *window == stage[..]);
                    ensure!(!has || update.announced().len() == 1, "{update:?}");
                }
                Ok(())
            },
        ),
        Row::established(
            "D4 a route that flaps ends where it ended",
            |peer, mut session| async move {
                let prefix = peer.vip_of("flap").await?;
                session
                    .update_where(|update| update.announced().contains(&prefix))
                    .await?;
                for _ in 0..2 {
                    peer.turn("flap", false).await?;
                    peer.turn("flap", true).await?;
                }
                // What it says last is what holds; a session that begins now hears the same.
                let mut holds = true;
                for message in session.collect(3 * MOMENT).await? {
                    let update = Update::cut(&message.body).context("a malformed UPDATE")?;
                    holds = update.announced().contains(&prefix)
                        || (holds && !update.gone().contains(&prefix));
                }
                ensure!(holds, "the last word was a withdrawal");
                Ok(())
            },
        ),
    ]
}

/// How often the stage's route is told within a moment.
async fn tellings(peer: &RawPeer, session: &mut Connection, time: Duration) -> Result<usize> {
    let wanted = vip(peer, peer.address.is_ipv6());
    let has = |bytes: &[u8]| {
        bytes
            .windows(wanted.len())
            .any(|window| *window == wanted[..])
    };
    let messages = session.collect(time).await?;
    let tells = |message: &&Message| message.kind == kind::UPDATE && has(&message.body);
    Ok(messages.iter().filter(tells).count())
}

fn refreshes() -> Vec<Row> {
    let asking = |name: &'static str,
                  settings: Settings,
                  open: Open,
                  bytes: Vec<u8>,
                  least: usize,
                  most: usize| {
        Row::on_connection(name, settings, move |peer, mut session| async move {
            session.establish(&open).await?;
            session.end_of_rib().await?;
            session.send(&bytes).await?;
            let count = tellings(&peer, &mut session, MOMENT).await?;
            ensure!((least..=most).contains(&count), "told {count} times");
            Ok(())
        })
    };
    let refused = |name: &'static str, bytes: Vec<u8>, length: u8| {
        Row::established(name, move |_peer, mut session| async move {
            session.send(&bytes).await?;
            session.refused(1, 2, &[0, length]).await
        })
    };
    let basic = Settings::default;
    vec![
        asking("D16 IPv4", basic(), good(), refresh(1, 0, 1), 1, 1),
        asking("D16 IPv6", six(), speaks_six(), refresh(2, 0, 1), 1, 1),
        asking(
            "D16 from a peer that did not offer to ask",
            basic(),
            Open::offering(PEER_AS, &[ipv4(), four_octets(PEER_AS)].concat()),
            refresh(1, 0, 1),
            1,
            1,
        ),
        asking(
            "D17 twenty in one segment",
            basic(),
            good(),
            refresh(1, 0, 1).repeat(20),
            1,
            2,
        ),
        asking(
            "D18 a family that does not exist",
            basic(),
            good(),
            refresh(99, 0, 1),
            0,
            0,
        ),
        asking("D18 multicast", basic(), good(), refresh(1, 0, 2), 0, 0),
        asking("D18 VPN", basic(), good(), refresh(1, 0, 128), 0, 0),
        asking("D18 zeros", basic(), good(), refresh(0, 0, 0), 0, 0),
        asking(
            "D18 IPv6, which was not agreed",
            basic(),
            good(),
            refresh(2, 0, 1),
            0,
            0,
        ),
        asking(
            "D20 begin and end from a peer without enhanced refresh",
            basic(),
            good(),
            [refresh(1, 1, 1), refresh(1, 2, 1)].concat(),
            0,
            0,
        ),
        asking("D20 subtype 3", basic(), good(), refresh(1, 3, 1), 0, 0),
        asking("D20 subtype 255", basic(), good(), refresh(1, 255, 1), 0, 0),
        refused("D19 length 22", message(kind::REFRESH, &[0, 1, 0]), 22),
        refused(
            "D19 length 24",
            message(kind::REFRESH, &[0, 1, 0, 1, 0]),
            24,
        ),
        refused("D19 length 19", message(kind::REFRESH, &[]), 19),
        Row::established(
            "D17 twenty in a second cost two tellings",
            |peer, mut session| async move {
                session.end_of_rib().await?;
                let begin = Instant::now();
                for _ in 0..20 {
                    session.send(&refresh(1, 0, 1)).await?;
                    sleep(Duration::from_millis(50)).await;
                }
                let most = 2 + usize::try_from(begin.elapsed().as_secs())?;
                let count = tellings(&peer, &mut session, MOMENT).await?;
                ensure!((1..=most).contains(&count), "told {count} times");
                Ok(())
            },
        ),
    ]
}

/// In the row of marks: the route that every stage has.
const ROUTE: u8 = 100;
/// In the row of marks: something else.
const STRAY: u8 = 101;

/// RFC 7313 agreed on.
fn enhanced() -> Vec<Row> {
    let open = || {
        Open::offering(
            PEER_AS,
            &[
                ipv4(),
                capability(2, &[]),
                capability(70, &[]),
                four_octets(PEER_AS),
            ]
            .concat(),
        )
    };
    let row = |name: &'static str, bytes: Vec<u8>, wanted: &'static [u8]| {
        Row::on_connection(
            name,
            Settings::default(),
            move |peer, mut session| async move {
                let theirs = session.establish(&open()).await?;
                ensure!(
                    theirs.windows(2).any(|two| two == [70, 0]),
                    "capability 70 is not offered"
                );
                session.end_of_rib().await?;
                session.send(&bytes).await?;
                let (messages, stage) = (session.collect(MOMENT).await?, vip(&peer, false));
                // Routes of other rows may change at any time: what counts are marks, and the route that never changes.
                let told = |message: &Message| {
                    message
                        .body
                        .windows(stage.len())
                        .any(|window| *window == stage[..])
                };
                let marks = messages.iter().filter_map(|message| match message.kind {
                    kind::REFRESH if message.body[..2] == [0, 1] && message.body[3] == 1 => {
                        Some(message.body[2])
                    }
                    kind::UPDATE => told(message).then_some(ROUTE),
                    _ => Some(STRAY),
                });
                let marks: Vec<u8> = marks.collect();
                // Two requests of twenty may be answered, as long as they are answered one after the other.
                ensure!(marks == wanted || marks == wanted.repeat(2), "{marks:?}");
                Ok(())
            },
        )
    };
    let refused = |name: &'static str, body: &'static [u8]| {
        Row::on_connection(
            name,
            Settings::default(),
            move |_peer, mut session| async move {
                let theirs = session.establish(&open()).await?;
                ensure!(
                    theirs.windows(2).any(|two| two == [70, 0]),
                    "capability 70 is not offered"
                );
                let bytes = message(kind::REFRESH, body);
                session.send(&bytes).await?;
                session.refused(7, 1, &bytes).await
            },
        )
    };
    vec![
        row("D16 begin, routes, end", refresh(1, 0, 1), &[1, ROUTE, 2]),
        row(
            "D17 twenty at once where 7313 is agreed",
            refresh(1, 0, 1).repeat(20),
            &[1, ROUTE, 2],
        ),
        row(
            "D20 begin and end from the peer",
            [refresh(1, 1, 1), refresh(1, 2, 1)].concat(),
            &[],
        ),
        row("D20 begin without end", refresh(1, 1, 1), &[]),
        row(
            "D20 subtype 255 where 7313 is agreed",
            refresh(1, 255, 1),
            &[],
        ),
        row(
            "D18 another family where 7313 is agreed",
            refresh(2, 0, 1),
            &[],
        ),
        refused("D19 length 22 where 7313 is agreed", &[0, 1, 0]),
        refused("D19 length 24 where 7313 is agreed", &[0, 1, 0, 1, 0]),
        refused(
            "D19 begin of length 24 where 7313 is agreed",
            &[0, 1, 1, 1, 0],
        ),
    ]
}

fn both_families() -> Vec<Row> {
    let both = || {
        Open::offering(
            PEER_AS,
            &[ipv4(), ipv6(), capability(2, &[]), four_octets(PEER_AS)].concat(),
        )
    };
    let settings = |v6| Settings {
        v6,
        ..Settings::with("dualStackAddressFamily: true")
    };
    let row = |name: &'static str, v6: bool| {
        Row::on_connection(name, settings(v6), move |peer, mut session| async move {
            session.establish(&both()).await?;
            let (mut four, mut six, mut ends) = (false, false, 0);
            let (wanted4, wanted6) = (vip(&peer, false), vip(&peer, true));
            let begin = Instant::now();
            while !(four && six && ends == 2) {
                ensure!(
                    begin.elapsed() < PATIENCE,
                    "IPv4 {four}, IPv6 {six}, {ends} ends"
                );
                let update = session.update().await?;
                four |= update.nlri.windows(5).any(|window| *window == wanted4[..]);
                six |= update
                    .attribute(14)
                    .is_some_and(|reach| reach.windows(17).any(|window| *window == wanted6[..]));
                ends += usize::from(update.ends_rib());
                ensure!(
                    update.nlri.is_empty() || update.attribute(14).is_none(),
                    "two families in one message"
                );
            }
            Ok(())
        })
    };
    vec![
        row("D30 both families over IPv4", false),
        row("D30 both families over IPv6", true),
    ]
}
