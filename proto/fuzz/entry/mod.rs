//! One entry point per decoder and one for each state machine: bytes in, nothing out, a panic where a promise is broken.
//!
//! libFuzzer runs them for hours (`proto/fuzz/fuzz_targets`), `cargo test` for a few seconds over the committed corpus and
//! its mutations (`proto/tests/fuzz.rs`). The promises: nothing panics; what is decoded and encoded again decodes to the
//! same; what is encoded twice is the same bytes; every answer to a fault is itself a sound message; a verdict agrees
//! with a second, simpler reading of the same bytes.

mod bfd;
mod bgp;
mod claim;
mod link;
mod session;

pub use bfd::{bfd_packet, bfd_session};
pub use bgp::{bgp_frame, bgp_notification, bgp_open, bgp_pack, bgp_refresh, bgp_update};
pub use claim::claim;
pub use link::{arp, ndp};
pub use session::bgp_session;

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// All of them by name, which is also that of the target and of the folder of its corpus.
pub const ALL: [(&str, Target); 12] = [
    ("bgp_frame", bgp_frame),
    ("bgp_open", bgp_open),
    ("bgp_update", bgp_update),
    ("bgp_notification", bgp_notification),
    ("bgp_refresh", bgp_refresh),
    ("bgp_pack", bgp_pack),
    ("bgp_session", bgp_session),
    ("bfd_packet", bfd_packet),
    ("bfd_session", bfd_session),
    ("claim", claim),
    ("arp", arp),
    ("ndp", ndp),
];

/// Takes values off the front of the input; zeros when it is used up.
pub struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One octet.
    pub fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// Two octets.
    pub fn u16(&mut self) -> u16 {
        u16::from(self.u8()) << 8 | u16::from(self.u8())
    }

    /// Up to `count` octets.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
