//! The end of a speaker, in order.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Speaker;
use crate::bgp;
use crate::core::{Due, Event};

/// Longest time to go on answering for VIPs that no other node has taken over yet.
const HANDOVER: Duration = Duration::from_secs(3);
/// What the shutdown communication says (RFC 9003).
const GOODBYE: &str = "portolan-speaker is stopping";

impl Speaker {
    /// A speaker that stops is started again, as a rule, and its node goes on forwarding meanwhile: routers that agreed to
    /// it may keep the routes. They must not if the node is to be left alone. Returns whether some router keeps them.
    async fn leave_routers(&mut self) -> bool {
        if self.model.draining().is_some() || self.plan.excluded.is_some() {
            tokio::join!(self.sessions.shutdown(GOODBYE), self.bfd.shutdown());
            false
        } else {
            let keeps = |status: &bgp::SessionStatus| {
                status.agreed.is_some_and(|agreed| agreed.graceful_restart)
            };
            let kept = self.sessions.status().iter().any(keeps);
            // BGP first: FRR 8.4 and BIRD 2.0 take AdminDown for a failure in spite of RFC 5882 §3.2, and would drop the routes
            // of a session that stands. Once it is closed, FRR keeps them whatever becomes of BFD.
            self.sessions.restart(GOODBYE).await;
            self.bfd.shutdown().await;
            kept
        }
    }

    /// Stops in order.
    pub(super) async fn stop(mut self, rx: mpsc::Receiver<Event>) {
        self.heart.cancel();
        // The other speakers first: BFD has no farewell left for them once it has ended.
        self.stopping = true;
        self.yielded = 0;
        let held = *self.shell.held().borrow();
        self.order();
        let still_announced = self.leave_routers().await;
        if let Some(beating) = self.beating.take() {
            let _ = tokio::time::timeout(HANDOVER, beating).await;
        }
        self.hand_over(rx).await;
        let left = held.saturating_sub(self.yielded);
        if left > 0 {
            tracing::warn!(
                vips = left,
                "no other node took these over within {HANDOVER:?}; stopping anyway"
            );
        }
        if !still_announced {
            self.unreachable.clear().await;
        }
        self.shell.shutdown().await;
        self.tasks.abort_all();
    }

    /// Waits until each VIP is another node's. New placements without us come in meanwhile.
    async fn hand_over(&mut self, mut rx: mpsc::Receiver<Event>) {
        let deadline = Instant::now() + HANDOVER;
        let mut held = self.shell.held();
        loop {
            if *held.borrow_and_update() == 0 {
                break;
            }
            tokio::select! {
                Some(event) = rx.recv() => {
                    self.model.handle(event);
                    if self.model.take_due() != Due::Nothing {
                        self.plan = self.model.plan();
                        self.order();
                    }
                }
                Some(news) = self.shell.news() => self.tell(news),
                Ok(()) = held.changed() => {}
                () = sleep_until(deadline) => break,
            }
        }
        while let Some(news) = self.shell.waiting_news() {
            self.tell(news);
        }
    }
}
