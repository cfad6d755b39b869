//! BGP roles: what the OPENs may say of them, and the mark on routes (RFC 9234).

use std::time::Duration;

use anyhow::ensure;
use portolan_tests::rawpeer::bytes::{
    Open, attribute, capability, four_octets, ipv4, kind, mandatory, notification, update,
};
use portolan_tests::rawpeer::{PEER_AS, Row, Settings};
use portolan_tests::world::NODE_AS;

use super::tlvs;

const PROVIDER: u8 = 0;
const ROUTE_SERVER: u8 = 1;
const CLIENT: u8 = 2;
const CUSTOMER: u8 = 3;
const PEER: u8 = 4;

/// Ours as a line of the BGPPeer and on the wire, and what the other side has to be.
const ROLES: [(&str, u8, u8); 5] = [
    ("role: Customer", CUSTOMER, PROVIDER),
    ("role: Provider", PROVIDER, CUSTOMER),
    ("role: Peer", PEER, PEER),
    ("role: RouteServer", ROUTE_SERVER, CLIENT),
    ("role: RouteServerClient", CLIENT, ROUTE_SERVER),
];

/// An OPEN with these values of capability 9.
fn saying(roles: &[&[u8]]) -> Open {
    let roles: Vec<u8> = roles.iter().flat_map(|role| capability(9, role)).collect();
    Open::offering(
        PEER_AS,
        &[ipv4(), capability(2, &[]), four_octets(PEER_AS), roles].concat(),
    )
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (line, ours, fitting) in ROLES {
        rows.push(taken(
            format!("H1 {line}: offered, and taken by who belongs to it"),
            line,
            saying(&[&[fitting]]),
            Some(ours),
        ));
        for theirs in [PROVIDER, ROUTE_SERVER, CLIENT, CUSTOMER, PEER] {
            if theirs != fitting {
                rows.push(refused(
                    format!("H2 {line} and a peer of role {theirs}"),
                    line,
                    saying(&[&[theirs]]),
                ));
            }
        }
        rows.push(marked(line, ours));
    }
    let customer = ROLES[0].0;
    rows.extend([
        refused("H2 a role that does not exist", customer, saying(&[&[5]])),
        refused("H2 role 255", customer, saying(&[&[255]])),
        refused(
            "H2 two roles, the right one first",
            customer,
            saying(&[&[PROVIDER], &[PEER]]),
        ),
        refused(
            "H2 two roles, the right one last",
            customer,
            saying(&[&[PEER], &[PROVIDER]]),
        ),
        taken(
            "H1 the same role three times",
            customer,
            saying(&[&[PROVIDER], &[PROVIDER], &[PROVIDER]]),
            Some(CUSTOMER),
        ),
        taken(
            "H1 a peer without a role",
            customer,
            saying(&[]),
            Some(CUSTOMER),
        ),
        taken(
            "H1 capability 9 of two octets is none",
            customer,
            saying(&[&[PEER, PEER]]),
            Some(CUSTOMER),
        ),
        taken(
            "H1 whoever has no role offers none, and takes any",
            "",
            saying(&[&[PROVIDER], &[PEER], &[200]]),
            None,
        ),
        Row::on_connection(
            "H2 the mismatch is shown with both roles",
            Settings::with(customer),
            |peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&saying(&[&[ROUTE_SERVER]]).bytes()).await?;
                session.refused(2, 11, &[]).await?;
                let words = peer.last_error().await?;
                ensure!(
                    words.contains("route server") && words.contains("customer"),
                    "it says {words:?}"
                );
                Ok(())
            },
        ),
        Row::on_connection(
            "H2 a peer that refuses our role is asked again, and not without it",
            Settings::with(customer),
            |peer, mut session| async move {
                session.expect(kind::OPEN).await?;
                session.send(&notification(2, 11, &[])).await?;
                session.dropped().await?;
                let mut session = peer.accept().await?;
                let body = session.establish(&saying(&[&[PROVIDER]])).await?;
                ensure!(offers(&body) == Some(CUSTOMER), "its OPEN: {body:?}");
                session.alive().await
            },
        ),
        Row::on_connection(
            "H3 Only-to-Customer from the peer, whatever it looks like",
            Settings::with(customer),
            |_peer, mut session| async move {
                session.establish(&saying(&[&[PROVIDER]])).await?;
                let marks: [&[u8]; 4] = [&PEER_AS.to_be_bytes(), &[0, 0, 1], &[], &[0; 8]];
                for value in marks {
                    for flags in [0xc0, 0xe0, 0x40] {
                        let mark = attribute(flags, 35, value);
                        let route = [mandatory(PEER_AS), mark].concat();
                        session.send(&update(&[], &route, &[8, 10])).await?;
                    }
                }
                session.alive().await
            },
        ),
        Row::on_connection(
            "H1 the role is changed: one new session",
            Settings::with(customer),
            |peer, mut session| async move {
                session.establish(&saying(&[&[PROVIDER]])).await?;
                peer.reconfigure(serde_json::json!({ "role": "Peer" }))
                    .await?;
                session.refused(6, 6, &[]).await?;
                let mut session = peer.accept().await?;
                let body = session.establish(&saying(&[&[PEER]])).await?;
                ensure!(offers(&body) == Some(PEER), "its OPEN: {body:?}");
                session.alive().await?;
                peer.left_alone(Duration::from_secs(1)).await
            },
        ),
    ]);
    rows
}

/// The role in the body of an OPEN.
fn offers(body: &[u8]) -> Option<u8> {
    let mut capabilities = tlvs(body.get(12..).unwrap_or_default());
    let role = capabilities.find(|one| one.first() == Some(&9))?;
    role.get(2).copied()
}

fn taken(name: impl Into<String>, line: &'static str, open: Open, wanted: Option<u8>) -> Row {
    Row::on_connection(
        name,
        Settings::with(line),
        move |_peer, mut session| async move {
            let body = session.establish(&open).await?;
            ensure!(offers(&body) == wanted, "its OPEN: {body:?}");
            session.alive().await
        },
    )
}

fn refused(name: impl Into<String>, line: &'static str, open: Open) -> Row {
    Row::on_connection(
        name,
        Settings::with(line),
        move |_peer, mut session| async move {
            session.expect(kind::OPEN).await?;
            session.send(&open.bytes()).await?;
            session.refused(2, 11, &[]).await
        },
    )
}

/// Routes that go down or sideways are marked, whether the peer has a role or not (RFC 9234 §5).
fn marked(line: &'static str, ours: u8) -> Row {
    Row::on_connection(
        format!("H4 {line}: Only-to-Customer"),
        Settings::with(line),
        move |_peer, mut session| async move {
            session.establish(&saying(&[])).await?;
            let route = session
                .update_where(|update| !update.nlri.is_empty())
                .await?;
            let mark = [PROVIDER, ROUTE_SERVER, PEER]
                .contains(&ours)
                .then(|| (0xc0, 35, NODE_AS.to_be_bytes().to_vec()));
            let found = route.attributes.iter().find(|it| it.1 == 35).cloned();
            ensure!(found == mark, "wanted {mark:?}, got {:?}", route.attributes);
            Ok(())
        },
    )
}
