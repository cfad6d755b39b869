//! Which addresses are answered for, and where: the table that the threads look in.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::interfaces::Interfaces;

/// The complete set of announced addresses. Never changed, only replaced.
#[derive(Debug, Default)]
pub(super) struct Vips(HashMap<IpAddr, Interfaces>);

impl Vips {
    pub(super) fn new(vips: BTreeMap<IpAddr, Interfaces>) -> Self {
        Self(vips.into_iter().collect())
    }

    /// Whether the address is answered for on the interface.
    pub(super) fn holds(&self, vip: IpAddr, interface: &str) -> bool {
        self.0
            .get(&vip)
            .is_some_and(|interfaces| interfaces.covers(interface))
    }

    /// The addresses that are answered for on the interface.
    pub(super) fn on(&self, interface: &str) -> impl Iterator<Item = IpAddr> {
        self.0
            .iter()
            .filter(move |(_, on)| on.covers(interface))
            .map(|(vip, _)| *vip)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.0.keys().copied()
    }
}

/// The table as the threads share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Arc<ArcSwap<Vips>>);

/// A thread holds the table while it answers one frame: microseconds, unless the machine is busy.
const LAST_READER: Duration = Duration::from_millis(50);

impl Table {
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Vips>> {
        self.0.load()
    }

    /// Replaces the table and waits until nobody answers from the old one any more.
    ///
    /// `swap` turns the readers' borrows into counted references, so the count tells when the last
    /// one is done. A lock would tell too, but then an answer might wait for us.
    pub(super) fn replace(&self, vips: Vips) {
        if !self.replace_within(vips, LAST_READER) {
            tracing::warn!("a responder has been answering one frame for {LAST_READER:?}");
        }
    }

    /// Replaces the table. Returns whether the last reader of the old one was done in time.
    fn replace_within(&self, vips: Vips, patience: Duration) -> bool {
        let old = self.0.swap(Arc::new(vips));
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
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn mk_vips(vips: &[(&str, Interfaces)]) -> Vips {
        Vips::new(
            vips.iter()
                .map(|(ip, on)| (ip.parse().unwrap(), on.clone()))
                .collect(),
        )
    }

    #[test]
    fn an_address_is_held_only_where_it_is_to_be_announced() {
        let vips = mk_vips(&[
            ("192.0.2.1", Interfaces::All),
            ("192.0.2.2", Interfaces::Named(["eth0".to_owned()].into())),
            ("192.0.2.3", Interfaces::Named(BTreeSet::new())),
        ]);
        let table = [
            ("192.0.2.1", "eth0", true),
            ("192.0.2.1", "lan0", true),
            ("192.0.2.2", "eth0", true),
            ("192.0.2.2", "eth01", false),
            ("192.0.2.3", "eth0", false),
            ("192.0.2.4", "eth0", false),
        ];
        for (ip, interface, expected) in table {
            let ip = ip.parse().unwrap();
            assert_eq!(vips.holds(ip, interface), expected, "{ip} on {interface}");
            assert_eq!(
                vips.on(interface).any(|vip| vip == ip),
                expected,
                "{ip} on {interface}"
            );
        }
    }

    #[test]
    fn replacing_waits_for_a_reader_of_the_old_table() {
        let table = Table::default();
        let vip = "192.0.2.1".parse().unwrap();
        table.replace(mk_vips(&[("192.0.2.1", Interfaces::All)]));
        let (reading, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let guard = table.load();
                reading.store(true, Ordering::SeqCst);
                for _ in 0..1000 {
                    std::thread::yield_now();
                }
                assert!(guard.holds(vip, "eth0"));
                done.store(true, Ordering::SeqCst);
            });
            while !reading.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            // More patience than in life: the machine may be busy, and that is not what is tested.
            assert!(table.replace_within(Vips::default(), Duration::from_secs(30)));
            assert!(
                done.load(Ordering::SeqCst),
                "the old table was still in use"
            );
        });
        assert!(!table.load().holds(vip, "eth0"));
    }
}
