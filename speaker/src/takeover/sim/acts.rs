//! What the machines do: each effect becomes something that others see, later, or not at all.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;

use portolan_proto::claim::{Message, Statement};

use super::super::{Effect, Takeover};
use super::events::Event;
use super::world::{World, mk_address};

/// Most statements that a node may say within one second.
const CHATTER: u32 = 150;

impl World {
    /// Calls a machine and does what it asks for.
    pub(super) fn with(&mut self, node: usize, call: impl FnOnce(&mut Takeover)) {
        let Some(mut machine) = self.nodes[node].machine.take() else {
            return;
        };
        call(&mut machine);
        let mut effects = Vec::new();
        while let Some(effect) = machine.poll() {
            effects.push(effect);
        }
        let next = machine.next_deadline();
        let held = effects
            .contains(&Effect::Answers)
            .then(|| machine.held().into_keys().collect());
        self.nodes[node].machine = Some(machine);
        if let Some(held) = held {
            self.holds(node, held);
        }
        for effect in effects {
            self.act(node, effect);
        }
        let next = next.map(|next| {
            let micros = next
                .saturating_duration_since(self.start)
                .as_nanos()
                .div_ceil(1000);
            u64::try_from(micros).unwrap().max(self.now)
        });
        if next != self.nodes[node].timer {
            self.nodes[node].timer = next;
            if let Some(at) = next {
                let boot = self.nodes[node].boot;
                self.after(at - self.now, Event::Timer { node, boot });
            }
        }
    }

    fn holds(&mut self, node: usize, held: BTreeSet<IpAddr>) {
        let before = std::mem::replace(&mut self.nodes[node].held, held);
        let held = self.nodes[node].held.clone();
        for vip in held.difference(&before) {
            self.tell(|| format!("n{node} begins {vip}"));
            *self.begun.entry(*vip).or_default() += 1;
            for to in (0..self.nodes.len()).filter(|to| *to != node) {
                for pause in [0, 300_000, 900_000] {
                    let delay = self.delay();
                    self.after(
                        pause + delay,
                        Event::Claim {
                            from: node,
                            to,
                            vip: *vip,
                        },
                    );
                }
            }
        }
        for vip in before.difference(&held) {
            self.tell(|| format!("n{node} stops {vip}"));
        }
        self.look();
    }

    fn act(&mut self, node: usize, effect: Effect) {
        let boot = self.nodes[node].boot;
        match effect {
            Effect::Answers => {}
            Effect::Send { statement, .. } => self.send(node, statement),
            Effect::Check { vip, .. } => {
                self.sequence += 1;
                let check = self.sequence;
                self.nodes[node].checks.insert(vip, check);
                self.tell(|| format!("n{node} looks for {vip}"));
                self.after(
                    0,
                    Event::Probe {
                        node,
                        boot,
                        vip,
                        check,
                        left: 3,
                    },
                );
            }
            Effect::Ask { witnesses, .. } => {
                for witness in witnesses {
                    let of = |at: &usize| mk_address(*at).starts_with(&format!("{witness}/"));
                    let at = (0..self.nodes.len()).find(of).unwrap_or(self.nodes.len());
                    if self.both_ways(node, at) && !self.is_lost() {
                        let delay = self.delay();
                        self.after(delay, Event::Witness { node, boot });
                    }
                }
            }
            Effect::Took(took) => self.tell(|| format!("n{node} took {took:?}")),
            Effect::Yielded { vip, to } => self.tell(|| format!("n{node} yields {vip} to {to}")),
        }
    }

    fn send(&mut self, from: usize, statement: Statement) {
        let second = self.now / 1_000_000;
        let node = &mut self.nodes[from];
        node.sequence += 1;
        if node.said.0 != second {
            node.said = (second, 0);
        }
        node.said.1 += 1;
        let said = node.said.1;
        assert!(
            said <= CHATTER,
            "I5: n{from} said {said} statements in a second"
        );
        let message = Message {
            sender: node.name.clone(),
            boot: node.boot,
            sequence: node.sequence,
            part: 0,
            parts: 1,
            statement,
        };
        if self.telling {
            let Statement {
                ask,
                all,
                leaving,
                entries,
            } = &message.statement;
            let entries: Vec<String> = entries
                .iter()
                .map(|it| {
                    format!(
                        "{}{}=({},{})",
                        if it.held { "" } else { "!" },
                        it.vip,
                        it.claim.term,
                        it.claim.turn
                    )
                })
                .collect();
            let line = format!("n{from} says ask {ask} all {all} leaving {leaving} {entries:?}");
            self.tell(|| line);
        }
        let message = Rc::new(message);
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.hears(to, from) && self.runs(to) && !self.is_lost() {
                let (delay, boot) = (self.delay(), self.nodes[to].boot);
                self.after(
                    delay,
                    Event::Deliver {
                        from,
                        to,
                        boot,
                        message: message.clone(),
                    },
                );
            }
        }
    }
}
