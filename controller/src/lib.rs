//! Portolan's controller: gives addresses to Services, compiles the speakers' configuration, and places layer-2 VIPs.
//!
//! ```text
//!            API server
//!       watch │        ▲ status, events, SpeakerConfig (leader only)
//!             ▼        │
//!           model ──► decide ──► write
//!                      │  │
//!                      │  └─ place    which node answers for a VIP, which stand by
//!                      └──── alloc    which address a Service has
//!
//! leader     who may write, and until when         snapshot   what a new leader reads before its first decision
//! ledger     what is being written, what rests      metrics    what can be seen from outside
//! complaint  which failures were said already       run        the tasks and channels around it
//! speaker_key  the Secret that speakers authenticate each other by
//! ```
//!
//! `model`, `decide`, `alloc` and `place` are pure: no clock, no client. What they hold to:
//!
//! 1. An address in any Service's status is taken; holders are adopted before anyone new is served.
//! 2. An address changes only when the user changed something that forces it.
//! 3. Only the holder of the Lease writes, and never beyond its time; a stale write fails by `resourceVersion`.
//! 4. A relist, an outage or an invalid object changes nothing.
//! 5. One bad object is refused alone, with its reason in its own status.

pub mod alloc;
pub mod complaint;
pub mod decide;
pub mod leader;
pub mod ledger;
pub mod metrics;
pub mod model;
pub mod place;
pub mod run;
pub mod snapshot;
mod speaker_key;
pub mod write;
