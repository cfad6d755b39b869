//! What the addresses of one interface are to us: the table that its thread looks in.
//!
//! Each part is never changed, only replaced, so that an answer waits for nobody.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use portolan_proto::ndp::Nonce;
use portolan_proto::responder::Role;
use tokio::time::Instant;

/// The table as the engine and the thread share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    held: ArcSwap<HashSet<IpAddr>>,
    checked: ArcSwap<HashMap<IpAddr, Nonce>>,
    asked: ArcSwap<HashSet<IpAddr>>,
}

/// The table at one moment, held by a thread while it answers one frame.
pub(super) struct View {
    held: Guard<Arc<HashSet<IpAddr>>>,
    checked: Guard<Arc<HashMap<IpAddr, Nonce>>>,
    asked: Guard<Arc<HashSet<IpAddr>>>,
}

impl View {
    pub(super) fn role(&self, ip: IpAddr) -> Role {
        if self.held.contains(&ip) {
            return Role::Held;
        }
        match self.checked.get(&ip) {
            Some(nonce) => Role::Checked(*nonce),
            None if self.asked.contains(&ip) => Role::Asked,
            None => Role::None,
        }
    }
}

/// A thread holds the table while it answers one frame: microseconds, unless the machine is busy.
const LAST_READER: Duration = Duration::from_millis(50);

impl Table {
    pub(super) fn load(&self) -> View {
        View {
            held: self.0.held.load(),
            checked: self.0.checked.load(),
            asked: self.0.asked.load(),
        }
    }

    /// The addresses that are answered for.
    pub(super) fn held(&self) -> Guard<Arc<HashSet<IpAddr>>> {
        self.0.held.load()
    }

    /// The addresses under check.
    pub(super) fn check(&self, checked: HashMap<IpAddr, Nonce>) {
        self.0.checked.store(Arc::new(checked));
    }

    /// The addresses that were asked whether they are there.
    pub(super) fn ask(&self, asked: HashSet<IpAddr>) {
        self.0.asked.store(Arc::new(asked));
    }

    /// Replaces the addresses that are answered for, and waits until nobody answers for others any more.
    ///
    /// `swap` turns the readers' borrows into counted references, so the count tells when the last
    /// one is done. A lock would tell too, but then an answer might wait for us.
    pub(super) fn hold(&self, vips: HashSet<IpAddr>) {
        if !self.hold_within(vips, LAST_READER) {
            tracing::warn!("a responder has been answering one frame for {LAST_READER:?}");
        }
    }

    /// Replaces the addresses. Returns whether the last reader of the old ones was done in time.
    fn hold_within(&self, vips: HashSet<IpAddr>, patience: Duration) -> bool {
        let old = self.0.held.swap(Arc::new(vips));
        let deadline = Instant::now() + patience;
        while Arc::strong_count(&old) > 1 {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    const NONCE: Nonce = [1, 2, 3, 4, 5, 6];

    fn mk_vip(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[test]
    fn an_address_that_is_held_is_nothing_else() {
        let table = Table::default();
        table.hold([mk_vip(1)].into());
        table.check([1, 2].map(|number| (mk_vip(number), NONCE)).into());
        table.ask([1, 2, 3].map(mk_vip).into());
        let rows = [
            (1, Role::Held),
            (2, Role::Checked(NONCE)),
            (3, Role::Asked),
            (4, Role::None),
        ];
        for (number, role) in rows {
            assert_eq!(table.load().role(mk_vip(number)), role, "{number}");
        }
    }

    #[test]
    fn replacing_waits_for_a_reader_of_the_old_addresses() {
        let table = Table::default();
        table.hold([mk_vip(1)].into());
        let (reading, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let view = table.load();
                reading.store(true, Ordering::SeqCst);
                for _ in 0..1000 {
                    std::thread::yield_now();
                }
                assert_eq!(view.role(mk_vip(1)), Role::Held);
                done.store(true, Ordering::SeqCst);
            });
            while !reading.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            // More patience than in life: the machine may be busy, and that is not what is tested.
            assert!(table.hold_within(HashSet::new(), Duration::from_secs(30)));
            assert!(
                done.load(Ordering::SeqCst),
                "the old addresses were still in use"
            );
        });
        assert_eq!(table.load().role(mk_vip(1)), Role::None);
    }
}
