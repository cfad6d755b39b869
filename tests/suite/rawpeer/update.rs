//! Table C: UPDATEs that come. The speaker wants no route, so the question is always whether the session goes on
//! (RFC 7606), and the answer depends on whether the message can be cut into its blocks and prefixes.

mod arrival;
mod attributes;
mod fatal;
mod multiprotocol;
mod other_peers;
mod routes;

use anyhow::Result;
use portolan_tests::rawpeer::bytes::{attribute, kind, mandatory, message, update};
use portolan_tests::rawpeer::{PEER_AS, Row, Table};

const ROUTE: &[u8] = &[32, 198, 51, 100, 1];
/// No prefix that an IPv6 family can have lacks this.
const MP: (u8, u8, u8) = (0x80, 14, 15);

type Fatal = (&'static str, Vec<u8>, (u8, u8, &'static [u8]));
type Endured = (&'static str, Vec<u8>);

#[tokio::test(flavor = "multi_thread")]
async fn only_what_cannot_be_cut_costs_the_session() -> Result<()> {
    let endured = [routes::cases(), attributes::cases(), multiprotocol::cases()];
    let mut rows: Vec<Row> = fatal::cases().into_iter().map(refused).collect();
    rows.extend(endured.into_iter().flatten().map(taken));
    rows.extend(other_peers::rows());
    rows.extend(arrival::rows());
    Table::new("C, UPDATE", rows).run().await
}

fn refused((name, bytes, (code, subcode, data)): Fatal) -> Row {
    Row::established(name, move |_peer, mut session| async move {
        session.send(&bytes).await?;
        session.refused(code, subcode, data).await
    })
}

fn taken((name, bytes): Endured) -> Row {
    Row::established(name, move |_peer, mut session| async move {
        session.send(&bytes).await?;
        session.alive().await
    })
}

/// A route with these attributes beside the mandatory ones.
fn beside(extra: &[Vec<u8>]) -> Vec<u8> {
    update(&[], &[mandatory(PEER_AS), extra.concat()].concat(), ROUTE)
}

/// A route with exactly these attributes.
fn exactly(attributes: &[Vec<u8>]) -> Vec<u8> {
    update(&[], &attributes.concat(), ROUTE)
}

fn origin() -> Vec<u8> {
    attribute(0x40, 1, &[0])
}

fn path(value: &[u8]) -> Vec<u8> {
    attribute(0x40, 2, value)
}

fn next_hop(value: &[u8]) -> Vec<u8> {
    attribute(0x40, 3, value)
}

/// A route with this AS_PATH.
fn along(value: &[u8]) -> Vec<u8> {
    exactly(&[origin(), path(value), next_hop(&[172, 30, 0, 1])])
}

fn reach(value: &[u8]) -> Vec<u8> {
    attribute(MP.0, MP.1, value)
}

fn unreach(value: &[u8]) -> Vec<u8> {
    attribute(MP.0, MP.2, value)
}

/// An UPDATE body with any lengths.
fn raw(body: &[u8]) -> Vec<u8> {
    message(kind::UPDATE, body)
}
