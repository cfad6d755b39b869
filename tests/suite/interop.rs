//! Interoperation: what a BGPPeer can say, with every routing daemon of Debian.
//!
//! ```text
//! matrix    the sheet: a case per row, a daemon per column, and a reason where a daemon can not take part
//! cases     the rows: kinds of sessions
//! witness   a router's kernel, that notes every route that comes and goes
//! restart   graceful restart with FRR and BIRD
//! drain     a node leaves and no request fails
//! weights   link bandwidth as weights of FRR's next hops
//! link      unnumbered sessions with FRR
//! bfd       BFD with FRR and BIRD
//! ```

mod cases;
mod matrix;

use anyhow::Result;
use portolan_tests::kubernetes::Face;

/// What needs nothing of the peer but BGP: both relations, keys, dynamic neighbours, refresh.
async fn plain_sessions_with_every_daemon(face: Face) -> Result<()> {
    matrix::run(face, cases::PLAIN).await
}

on_both_faces!(plain_sessions_with_every_daemon);

/// What a BGPPeer asks for beyond that.
#[tokio::test(flavor = "multi_thread")]
async fn particular_sessions_with_every_daemon() -> Result<()> {
    matrix::run(Face::Embedded, cases::PARTICULAR).await
}
