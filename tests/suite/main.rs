//! The suite: one binary, a file per topic. Needs root; `hack/test.sh` brings what is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "fixtures fail loudly as well; clippy.toml exempts only the test functions themselves"
)]

mod kubernetes_smoke;
mod lab_life;
mod lab_smoke;
