//! Interoperation: what a BGPPeer can say, with every routing daemon of Debian.
//!
//! ```text
//! matrix    the sheet: a case per row, a daemon per column, and a reason where a daemon can not take part
//! cases     the rows: kinds of sessions
//! witness   a router's kernel, that notes every route that comes and goes
//! restart   graceful restart with FRR and BIRD
//! watched   what becomes of routes when a speaker stops, crashes or dies with its node, with and without BFD
//! drain     a node leaves and no request fails
//! weights   link bandwidth as weights of FRR's next hops
//! link      unnumbered sessions with FRR
//! bfd       BFD with FRR and BIRD
//! ```

mod bfd;
mod cases;
mod drain;
mod link;
mod matrix;
mod restart;
mod watched;
mod weights;
mod witness;

use anyhow::Result;
use portolan_tests::kubernetes::Face;

/// What needs nothing of the peer but BGP: both relations, keys, dynamic neighbours, refresh.
async fn plain_sessions_with_every_daemon(face: Face) -> Result<()> {
    matrix::run(face, cases::PLAIN).await
}

/// See [`restart`].
async fn a_restart_of_the_speaker_is_not_seen(face: Face) -> Result<()> {
    restart::a_restart_of_the_speaker_is_not_seen(face).await
}

on_both_faces!(
    plain_sessions_with_every_daemon,
    a_restart_of_the_speaker_is_not_seen,
);

/// What a BGPPeer asks for beyond that.
#[tokio::test(flavor = "multi_thread")]
async fn particular_sessions_with_every_daemon() -> Result<()> {
    matrix::run(Face::Embedded, cases::PARTICULAR).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_is_avoided_before_it_goes() -> Result<()> {
    drain::a_drained_node_is_avoided_before_it_goes(Face::Embedded).await
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_follows_the_number_of_endpoints() -> Result<()> {
    weights::traffic_follows_the_number_of_endpoints(Face::Embedded).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unnumbered_sessions_carry_both_families() -> Result<()> {
    link::unnumbered_sessions_carry_both_families(Face::Embedded).await
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_of_one_link_are_told_apart_by_their_link_local_addresses() -> Result<()> {
    link::routers_of_one_link_are_told_apart_by_their_link_local_addresses(Face::Embedded).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_node_is_found_by_bfd() -> Result<()> {
    bfd::a_silent_node_is_found_by_bfd(Face::Embedded).await
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_stay_or_go_as_restart_and_bfd_say() -> Result<()> {
    watched::routes_stay_or_go_as_restart_and_bfd_say(Face::Embedded).await
}
