//! The suite: one binary, a file per topic. Needs root; `hack/test.sh` brings what is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "fixtures fail loudly as well; clippy.toml exempts only the test functions themselves"
)]

/// Makes a test of each scenario on each API server: what passes on one only proves nothing.
macro_rules! on_both_faces {
    ($($scenario:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() -> anyhow::Result<()> {
                super::$scenario(portolan_tests::kubernetes::Face::Embedded).await
            })*
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() -> anyhow::Result<()> {
                super::$scenario(portolan_tests::kubernetes::Face::Real).await
            })*
        }
    };
}

mod allocation;
mod bad_input;
mod bfd;
mod bgp;
mod bgp_keys;
mod bgp_routes;
mod interop;
mod kubernetes_smoke;
mod lab_faults;
mod lab_life;
mod lab_smoke;
mod layer2;
mod rawpeer;
mod site;
mod survival;
