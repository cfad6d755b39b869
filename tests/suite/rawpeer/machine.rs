//! Table B: messages in states where they do not belong, timers, closing, collisions, and what the peer's parting words
//! do (RFC 4271 §6.3 to §6.8, §8; RFC 4486, 6608, 9003).

mod clocks;
mod collisions;
mod crowds;
mod endings;
mod misplaced;
mod parting_words;
mod restarting;
mod silence;

use std::time::Duration;

use anyhow::Result;
use portolan_tests::rawpeer::bytes::{Open, keepalive, kind};
use portolan_tests::rawpeer::{Connection, PEER_AS, RawPeer, Row, Settings, Table};

/// A second, less the quarter that jitter may take, less a moment for the clock of the other side.
const BACK_OFF: Duration = Duration::from_millis(650);

#[tokio::test(flavor = "multi_thread")]
async fn every_state_answers_what_does_not_belong_there() -> Result<()> {
    let mut rows = misplaced::rows();
    rows.extend(parting_words::rows());
    rows.extend(silence::rows());
    rows.extend(endings::lost());
    rows.extend(endings::reconfigured());
    rows.extend(clocks::rows());
    Table::new("B, state machine", rows).run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_end_as_one() -> Result<()> {
    let mut rows = collisions::rows();
    rows.extend(crowds::rows());
    rows.extend(restarting::rows());
    Table::new("B, collisions", rows).run().await
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    OpenSent,
    OpenConfirm,
    Established,
}

const STATES: [State; 3] = [State::OpenSent, State::OpenConfirm, State::Established];

fn good() -> Open {
    Open::good(PEER_AS)
}

/// Comes as far as this state and no further.
async fn come_to(state: State, session: &mut Connection) -> Result<()> {
    session.expect(kind::OPEN).await?;
    if state != State::OpenSent {
        session.send(&good().bytes()).await?;
        session.expect(kind::KEEPALIVE).await?;
    }
    if state == State::Established {
        session.send(&keepalive()).await?;
        session.alive().await?;
    }
    Ok(())
}

/// A row that begins in this state.
fn in_state<F, T>(state: State, name: &str, script: F) -> Row
where
    F: FnOnce(RawPeer, Connection) -> T + Clone + 'static,
    T: Future<Output = Result<()>> + 'static,
{
    let name = format!("{name} in {state:?}");
    Row::on_connection(
        name,
        Settings::default(),
        move |peer, mut session| async move {
            come_to(state, &mut session).await?;
            script(peer, session).await
        },
    )
}
