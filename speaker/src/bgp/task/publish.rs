//! What the task tells others: status, history, log.

use std::fmt::Display;

use portolan_proto::bgp::session::{Event, Negotiated};
use portolan_proto::bgp::{Family, Unsent};

use super::super::Remote;
use super::super::path::Path;
use super::super::shared::Agreed;
use super::{Task, now};
use crate::bfd::BfdStatus;

/// What the peer has been told.
#[derive(Default)]
struct Told {
    advertised: usize,
    unsent: usize,
    why: Vec<String>,
}

impl Task {
    pub(super) fn publish(&mut self) {
        let told = self.tell_of_routes();
        let established = self.peer.established_count();
        let error = self.peer.last_error();
        let error = error.filter(|error| self.told.as_deref() != Some(error));
        let error = error.map(str::to_owned);
        let address = self.address();
        let left_out = self.peer.offer().left_out();
        let bfd = self.path.as_ref().and_then(Path::status);
        let history = self.chronicle.update(self.peer.history());
        self.shared.report(|status| {
            status.name.clone_from(&self.spec.name);
            status.address = address;
            status.state = self.peer.state();
            if error.is_some() {
                status.last_error.clone_from(&error);
            }
            if let Some(history) = history {
                status.history = history;
            }
            status.agreed = self.peer.negotiated().map(agreed);
            status.problem = self.problem(bfd.as_ref());
            status.bfd = bfd;
            status.left_out = left_out;
            status.established += established - self.counted;
            status.advertised = told.advertised;
            status.unsent = told.unsent;
            status.unsent_why = told.why;
        });
        if let Some(search) = &self.search {
            search.set_calm(self.peer.live().is_some());
        }
        self.told = error.or(self.told.take());
        self.counted = established;
    }

    fn tell_of_routes(&self) -> Told {
        let mut rib = self.shared.rib();
        let Some(adj) = self.peer.adj_out() else {
            // The peer holds nothing of ours: there is nothing to take back.
            rib.leave(&self.spec.name);
            return Told::default();
        };
        let mut told = Told {
            advertised: adj.advertised(),
            unsent: adj.oversized(),
            why: Vec::new(),
        };
        if told.unsent > 0 {
            told.why
                .push("their attributes do not fit into a message".to_owned());
        }
        for family in Family::ALL {
            let wanted = rib.wanted(&self.spec.name, family);
            if let Some(why) = adj.why_not(family).filter(|_| wanted > 0) {
                told.unsent += wanted;
                told.why.push(match why {
                    Unsent::NotAgreed => format!("the peer does not take {family} on this session"),
                    Unsent::NoNextHop => {
                        format!(
                            "there is no address on the session's interface for {family} to go to"
                        )
                    }
                });
            }
        }
        told
    }

    /// What stands in the way of something, while the session may work.
    fn problem(&self, bfd: Option<&BfdStatus>) -> Option<String> {
        let of_bfd = || bfd.and_then(|bfd| bfd.problem.as_ref().map(|why| format!("BFD: {why}")));
        let of_listener = || self.unregistered.clone();
        let problem = self.neighbour().problem.or_else(of_listener);
        problem.or_else(of_bfd)
    }

    /// Who the peer is, for people.
    pub(super) fn address(&self) -> String {
        match (&self.spec.remote, self.neighbour().address) {
            (Remote::Interface { name, .. }, Some(address)) => format!("{}%{name}", address.ip()),
            (remote, _) => remote.to_string(),
        }
    }

    /// Something that the machine does not know of went wrong.
    pub(super) fn complain(&mut self, words: &str) {
        if self.shared.status().last_error.as_deref() != Some(words) {
            self.write(true, &words);
        }
        self.shared
            .report(|status| status.last_error = Some(words.to_owned()));
    }

    pub(super) fn log(&mut self, event: &Event) {
        self.write(event.is_error(), event);
    }

    /// Writes a line into the log, if there is room for one.
    fn write(&mut self, is_error: bool, words: &dyn Display) {
        let (peer, address) = (&self.spec.name, &self.spec.remote);
        let Some(skipped) = self.diary.line(now()) else {
            return;
        };
        if skipped > 0 {
            tracing::warn!(%peer, %address, skipped, "bgp: events came too fast for the log; /debug/sessions has the newest");
        }
        if is_error {
            tracing::warn!(%peer, %address, "bgp: {words}");
        } else {
            tracing::info!(%peer, %address, "bgp: {words}");
        }
    }
}

fn agreed(negotiated: &Negotiated) -> Agreed {
    Agreed {
        peer_id: negotiated.peer_id,
        peer_as: negotiated.peer_as,
        hold: negotiated.hold,
        families: negotiated.families,
        graceful_restart: negotiated.graceful_restart.is_some(),
    }
}
