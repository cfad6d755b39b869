//! What is said of it: to the log, the report, the metrics and the API, when everything is done.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{REPORT_PAUSE, Speaker};
use crate::notices::Notice;
use crate::report::{self, Findings, Owner};
use crate::takeover::Cause;
use crate::takeover::shell::News;

impl Speaker {
    /// Says what the takeover machine did, after it is done.
    pub(super) fn tell(&mut self, news: News) {
        self.metrics.news(&news);
        let takeover = report::layer2::takeover(self.last_takeover.as_ref(), &news);
        self.last_takeover = takeover.or(self.last_takeover.take());
        match news {
            News::Took {
                from,
                cause,
                vips,
                silence,
                ..
            } => {
                let milliseconds = silence.map(|it| it.as_millis());
                tracing::warn!(from, %cause, vips = vips.len(), milliseconds, "took VIPs over");
                // That a placement was changed is told where it was.
                if cause != Cause::Placed {
                    self.notice(from, cause, &vips, silence);
                }
            }
            News::Yielded { to, vips } => {
                self.yielded += vips.len();
                tracing::info!(to, vips = vips.len(), "another node answers for VIPs now");
            }
            News::Conflict(conflict) => {
                let (vip, mac, interface) = (conflict.vip, conflict.mac, conflict.interface);
                tracing::warn!(%vip, %mac, interface, "a station outside the cluster uses a VIP");
            }
            News::Lost(news) => {
                tracing::warn!(news, "takeovers happened faster than they could be told");
            }
        }
        self.report_soon();
    }

    fn notice(&self, from: String, cause: Cause, vips: &[IpAddr], silence: Option<Duration>) {
        let services = self.model.services_of(vips).take(Notice::SERVICES);
        let notice = Notice {
            node: self.owner(),
            from,
            cause,
            vips: vips.len(),
            silence,
            services: services.collect(),
        };
        if self.notices.try_send(notice).is_err() {
            tracing::debug!("no Event of a takeover: others wait");
        }
    }

    fn owner(&self) -> Owner {
        Owner {
            name: self.model.node_name().to_owned(),
            uid: self.model.node_uid().unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn report_soon(&mut self) {
        self.report_at
            .get_or_insert_with(|| Instant::now() + REPORT_PAUSE);
    }

    pub(super) fn report(&mut self) {
        self.report_at = None;
        let sessions = self.sessions.status();
        self.metrics.sessions(&self.sessions);
        let generation = self.model.config_generation();
        let layer2 = self.shell.layer2().status();
        let picture = Arc::clone(&self.shell.picture().borrow());
        let links = Arc::clone(&self.links.borrow());
        let interfaces = report::layer2::interfaces(&links, &self.exclude);
        self.metrics.layer2(&picture, &layer2);
        let mut status = report::make(Findings {
            plan: &self.plan,
            sessions: &sessions,
            layer2: &layer2,
            picture: &picture,
            interfaces,
            last_takeover: self.last_takeover.clone(),
            config_generation: generation,
        });
        status.problems.extend(self.model.problems());
        status.problems.extend(self.unreachable.problem());
        self.metrics.held_back(self.model.held_back());
        self.metrics.reported(&status);
        let owner = self.owner();
        // Without a Node there is nothing to hang a report on.
        if !owner.uid.is_empty() {
            self.report.send_if_modified(|current| {
                let next = (owner, status);
                let differs = *current != next;
                *current = next;
                differs
            });
        }
    }
}
