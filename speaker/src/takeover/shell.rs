//! The shell of the takeover machine: one task on a thread that nothing else keeps busy.
//!
//! ```text
//!            Orders (newest only)                    News (bounded), Picture (newest only)
//!   core ───────────────────────────► ┌────────────┐ ───────────────────────────► log, report, metrics, events
//!   BFD ── Liveness ── paths ───────► │            │
//!   segment ── Heard ── wire ───────► │  Takeover  │ ──► Layer2::apply, check, ask
//!   Layer2 ── claims, checks ───────► │   (pure)   │ ──► wire ──► segment
//!   netlink ── Links, stations ─────► └────────────┘ ──► paths ──► BFD
//! ```
//!
//! From BFD's word that a node is dead to the first frame that says who has its addresses now, nothing waits: no log, no
//! report, no API call, no lock that the core holds for long. Those come after it, by [`News`], on the core's own time.

mod keyring;
mod news;
mod paths;
mod stations;
mod task;

pub(crate) use news::{News, Picture, Watched};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use portolan_api::crd::NodeRule;
use portolan_proto::claim::Key;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Duty;
use super::wire::Numbers;
use crate::bfd;
use crate::l2::{self, Layer2};
use crate::link::{Exclude, Links};
use news::Digest;
use task::{Outward, Task};

/// News that may wait for the core. What does not fit is counted with the next that does.
const NEWS: usize = 64;

/// What the core wants. Nothing is done before it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    /// See `Plan::l2`.
    pub(crate) duties: Arc<BTreeMap<IpAddr, Duty>>,
    /// See `SpeakerConfigSpec::nodes`.
    pub(crate) nodes: Arc<[NodeRule]>,
    /// What speakers authenticate each other by.
    pub(crate) key: Option<Key>,
    /// The node is to answer for nothing: hand everything over.
    pub(crate) leaving: bool,
}

/// What the shell works with.
pub(crate) struct Surroundings {
    pub(crate) node: String,
    pub(crate) links: watch::Receiver<Arc<Links>>,
    pub(crate) exclude: Exclude,
    pub(crate) layer2: Layer2,
    pub(crate) bfd: bfd::Engine,
    pub(crate) numbers: Numbers,
}

/// The core's hold on the shell.
#[derive(Debug)]
pub(crate) struct Shell {
    orders: watch::Sender<Orders>,
    picture: watch::Receiver<Arc<Picture>>,
    held: watch::Receiver<usize>,
    news: mpsc::Receiver<News>,
    inspector: l2::Inspector,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Shell {
    /// Starts on `prompt`, a runtime that nothing keeps busy; what may wait runs on the one around.
    pub(crate) fn start(prompt: &Handle, surroundings: Surroundings) -> Self {
        let (orders, to_follow) = watch::channel(Orders::default());
        let (pictures, picture) = watch::channel(Arc::default());
        let (count, held) = watch::channel(0);
        let (news_out, news) = mpsc::channel(NEWS);
        let inspector = surroundings.layer2.inspector();
        let stations = stations::follow();
        let stop = CancellationToken::new();
        let outward = Outward {
            pictures,
            held: count,
            news: Digest::new(news_out),
        };
        let _on_prompt = prompt.enter();
        let task = Task::new(surroundings, to_follow, stations, outward);
        let stopped = stop.clone();
        let task = prompt.spawn(task.run(stopped));
        Self {
            orders,
            picture,
            held,
            news,
            inspector,
            stop,
            task,
        }
    }

    /// Changes what is wanted.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    /// How things stand, as the report shows them.
    pub(crate) fn picture(&self) -> watch::Receiver<Arc<Picture>> {
        self.picture.clone()
    }

    /// The next news; none once the task has ended, which it never does by itself.
    pub(crate) async fn news(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// News that wait already, one by one.
    pub(crate) fn waiting_news(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Looks at layer 2.
    pub(crate) fn layer2(&self) -> &l2::Inspector {
        &self.inspector
    }

    /// How many addresses are answered for.
    pub(crate) fn held(&self) -> watch::Receiver<usize> {
        self.held.clone()
    }

    /// Stops answering, and waits until all threads are gone.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "takeover task failed");
        }
    }
}
