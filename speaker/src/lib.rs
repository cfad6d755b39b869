//! To be written.

pub mod l2;
pub mod link;
