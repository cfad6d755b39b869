//! Table A: what comes first. Headers and OPENs, from perfect to absurd (RFC 4271 §6.1, §6.2; RFC 5492, 9072, 6793,
//! 6286, 7607, 9234).

mod arrival;
mod configuration;
mod edges;
mod faulty;
mod legal;
mod memory;
mod refusals;
mod roles;

use anyhow::Result;
use portolan_tests::rawpeer::bytes::{Open, kind};
use portolan_tests::rawpeer::{PEER_AS, Row, Settings, Table};

type Faulty = (&'static str, Vec<u8>, (u8, u8, &'static [u8]));

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_first_is_judged_by_the_letter() -> Result<()> {
    let faulty = [faulty::headers(), faulty::fields(), faulty::structures()];
    let legal = legal::cases()
        .into_iter()
        .map(|(name, open)| taken(name, Settings::default(), open));
    let mut rows: Vec<Row> = faulty.into_iter().flatten().map(refused).collect();
    rows.extend(legal);
    rows.extend(configuration::by_configuration());
    rows.extend(configuration::hold_times());
    rows.extend(arrival::rows());
    rows.extend(refusals::rows());
    rows.extend(memory::rows());
    rows.extend(edges::rows());
    rows.extend(roles::rows());
    Table::new("A, header and OPEN", rows).run().await
}

/// Sent instead of an OPEN, answered with this NOTIFICATION and an orderly end.
fn refused((name, bytes, (code, subcode, data)): Faulty) -> Row {
    Row::on_connection(
        name,
        Settings::default(),
        move |_peer, mut session| async move {
            session.expect(kind::OPEN).await?;
            session.send(&bytes).await?;
            session.refused(code, subcode, data).await
        },
    )
}

/// Leads to a session that carries routes.
fn taken(name: &'static str, settings: Settings, open: Open) -> Row {
    Row::on_connection(name, settings, move |_peer, mut session| async move {
        session.establish(&open).await?;
        session.alive().await
    })
}

fn good() -> Open {
    Open::good(PEER_AS)
}

/// Capabilities cut apart.
fn tlvs(mut block: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let length = 2 + usize::from(*block.get(1)?);
        let (one, rest) = block.split_at_checked(length)?;
        block = rest;
        Some(one.to_vec())
    })
}
