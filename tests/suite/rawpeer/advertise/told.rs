//! What a session hears at its beginning: attributes of routes, both families, End-of-RIB.

use anyhow::{Context, Result, ensure};
use portolan_tests::rawpeer::bytes::{Open, Update, capability, four_octets, ipv4, ipv6, sequence};
use portolan_tests::rawpeer::{Connection, PATIENCE, PEER_AS, RawPeer, Row, Settings};
use portolan_tests::world::NODE_AS;
use tokio::time::Instant;

use super::{MOMENT, good, holds, octets, route, six, speaks_six, vip};

/// 65000:100.
const COMMUNITIES: (u8, u8, [u8; 4]) = (0xc0, 8, [0xfd, 0xe8, 0, 100]);

type Attributes = Vec<(u8, u8, Vec<u8>)>;

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

pub(super) fn routes() -> Vec<Row> {
    let communities = || (COMMUNITIES.0, COMMUNITIES.1, COMMUNITIES.2.to_vec());
    let origin = || (0x40, 1, vec![0]);
    let next_hop = |peer: &RawPeer| (0x40, 3, octets(peer.node));
    let external = move |path: Vec<u8>| {
        move |peer: &RawPeer| {
            vec![
                origin(),
                (0x40, 2, path.clone()),
                next_hop(peer),
                communities(),
            ]
        }
    };
    let internal = move |peer: &RawPeer| {
        vec![
            origin(),
            (0x40, 2, vec![]),
            next_hop(peer),
            (0x40, 5, vec![0, 0, 0, 100]),
            communities(),
        ]
    };
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
        looks(
            "D9 external",
            Settings::default(),
            good(),
            external(sequence(&[NODE_AS])),
        ),
        looks(
            "D9 external, our AS in two octets",
            small(),
            good(),
            external(sequence(&[64_999])),
        ),
        looks(
            "D10 internal",
            Settings {
                asn: NODE_AS,
                ..Settings::default()
            },
            inside(NODE_AS),
            internal,
        ),
        looks(
            "D12 external, two octets",
            Settings::default(),
            Open::with(PEER_AS, &[]),
            move |peer| {
                let mut attributes = external(vec![2, 1, 0x5b, 0xa0])(peer);
                attributes.push((0xc0, 17, sequence(&[NODE_AS])));
                attributes
            },
        ),
        looks(
            "D12 external, two octets, our AS fits",
            small(),
            Open::with(PEER_AS, &[]),
            external(vec![2, 1, 0xfd, 0xe7]),
        ),
        looks(
            "D12 internal, two octets",
            Settings {
                asn: 64_999,
                ours: Some(64_999),
                ..Settings::default()
            },
            old_inside,
            internal,
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

pub(super) fn both_families() -> Vec<Row> {
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
                four |= holds(&update.nlri, &wanted4);
                six |= update
                    .attribute(14)
                    .is_some_and(|reach| holds(reach, &wanted6));
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
