//! What is about to happen, and what it does when its time has come.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::rc::Rc;

use portolan_proto::claim::Message;

use super::super::{Checked, Takeover};
use super::oracle::Verdict;
use super::world::{World, mk_mac};

/// What is about to happen.
#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        from: usize,
        to: usize,
        boot: u64,
        message: Rc<Message>,
    },
    Timer {
        node: usize,
        boot: u64,
    },
    Bfd(Verdict),
    Probe {
        node: usize,
        boot: u64,
        vip: IpAddr,
        check: u64,
        left: u8,
    },
    Witness {
        node: usize,
        boot: u64,
    },
    Claim {
        from: usize,
        to: usize,
        vip: IpAddr,
    },
    /// The API server tells a node the placements.
    Api {
        node: usize,
        boot: u64,
    },
    /// A process that leaves has ended.
    End {
        node: usize,
        boot: u64,
    },
    /// Looks at who holds what.
    Look,
}

/// By time, then in order.
pub(super) struct Queued(pub(super) u64, pub(super) u64, pub(super) Event);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl World {
    /// Lets the world turn for so many milliseconds.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + millis * 1000;
        while let Some(Reverse(Queued(at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            if let Some(Reverse(Queued(at, _, event))) = self.queue.pop() {
                self.now = at;
                self.happen(event);
            }
        }
        self.now = end;
        self.look();
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Deliver {
                from,
                to,
                boot,
                message,
            } => {
                if self.nodes[to].boot == boot && self.hears(to, from) {
                    self.with(to, |machine| machine.hear(2, &message, now));
                }
            }
            Event::Timer { node, boot } => {
                if self.nodes[node].boot == boot && self.nodes[node].timer == Some(self.now) {
                    self.nodes[node].timer = None;
                    self.with(node, |machine| machine.handle_timeout(now));
                    let machine = self.nodes[node].machine.as_ref();
                    let next = machine.and_then(Takeover::next_deadline);
                    assert!(
                        next.is_none_or(|next| next > now),
                        "n{node}: a deadline stays due"
                    );
                }
            }
            Event::Bfd(verdict) => self.pronounce(verdict),
            Event::Probe {
                node,
                boot,
                vip,
                check,
                left,
            } => self.probe(node, boot, vip, check, left),
            Event::Witness { node, boot } => {
                if self.nodes[node].boot == boot {
                    self.with(node, |machine| machine.witnessed(2, now));
                }
            }
            Event::Claim { from, to, vip } => {
                let both =
                    self.nodes[from].held.contains(&vip) && self.nodes[to].held.contains(&vip);
                if both && self.hears(to, from) {
                    self.with(to, |machine| {
                        drop(machine.heard_on_wire(2, vip, mk_mac(from), now));
                    });
                }
            }
            Event::Api { node, boot } => self.inform(node, boot),
            Event::End { node, boot } => {
                if self.nodes[node].boot == boot && self.nodes[node].leaving {
                    self.stop(node);
                }
            }
            Event::Look => self.look(),
        }
    }

    fn probe(&mut self, node: usize, boot: u64, vip: IpAddr, check: u64, left: u8) {
        let current = self.nodes[node].checks.get(&vip) == Some(&check);
        if self.nodes[node].boot != boot || !current {
            return;
        }
        let now = self.instant();
        if left == 0 {
            self.nodes[node].checks.remove(&vip);
            self.with(node, |machine| machine.checked(vip, Checked::Free, now));
            return;
        }
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let users: Vec<usize> = others
            .filter(|other| {
                let it = &self.nodes[*other];
                it.held.contains(&vip) && self.both_ways(node, *other)
                    || it.checks.contains_key(&vip) && self.hears(node, *other)
            })
            .collect();
        for user in users {
            if !self.is_lost() {
                self.nodes[node].checks.remove(&vip);
                let verdict = Checked::Taken {
                    mac: mk_mac(user),
                    interface: 2,
                };
                self.tell(|| format!("n{node} finds {vip} at n{user}"));
                return self.with(node, |machine| machine.checked(vip, verdict, now));
            }
        }
        self.after(
            100_000,
            Event::Probe {
                node,
                boot,
                vip,
                check,
                left: left - 1,
            },
        );
    }
}
