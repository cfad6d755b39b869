//! Kubernetes Events: the least important thing that we write, and still one request each.
//!
//! ```text
//!            ┌── news ──────(1024 waiting)──────────────────────┐ first
//!  Note ─────┤                                                  ├──► one at a time ──► API server
//!            └── routine ───(64 at once, then 10 a second)──────┘ when there is no news
//! ```
//!
//! Thousands of Services that get their addresses at once would cost the API server twice as much with an Event for each,
//! and each would only say what the status of its Service says as well. So those are few, and news is never crowded out
//! by them. Whatever finds no room is dropped and counted: nobody waits for an Event.

use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use super::{CONTROLLER, Note};
use crate::metrics::Metrics;

/// News waiting to be sent.
const NEWS: usize = 1024;
/// Routine Events that may be sent at once after a time without any; no more can be waiting.
const BURST: u16 = 64;
/// Time between two routine Events in the long run.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest time for one Event.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where notes are left. Never waits.
#[derive(Debug)]
pub(super) struct Outbox {
    news: mpsc::Sender<Note>,
    routine: mpsc::Sender<Note>,
    rate: Rate,
}

/// What waits to be sent. It ends once its [`Outbox`] is gone and nothing waits any more.
#[derive(Debug)]
pub(super) struct Waiting {
    news: mpsc::Receiver<Note>,
    routine: mpsc::Receiver<Note>,
}

/// Both ends.
pub(super) fn open() -> (Outbox, Waiting) {
    let (news, news_out) = mpsc::channel(NEWS);
    let (routine, routine_out) = mpsc::channel(BURST.into());
    let outbox = Outbox {
        news,
        routine,
        rate: Rate::default(),
    };
    let waiting = Waiting {
        news: news_out,
        routine: routine_out,
    };
    (outbox, waiting)
}

impl Outbox {
    /// Leaves a note. Returns whether it will be sent.
    pub(super) fn post(&mut self, note: Note, now: Instant) -> bool {
        if !is_routine(&note) {
            return self.news.try_send(note).is_ok();
        }
        self.rate.take(now) && self.routine.try_send(note).is_ok()
    }
}

impl Waiting {
    /// The next one to send: news first, each kind in its order.
    async fn next(&mut self) -> Option<Note> {
        tokio::select! {
            biased;
            Some(note) = self.news.recv() => Some(note),
            Some(note) = self.routine.recv() => Some(note),
            else => None,
        }
    }
}

/// Whether a note only says that all went as it should.
fn is_routine(note: &Note) -> bool {
    !note.warning && matches!(note.reason, "AddressAssigned" | "AddressReleased")
}

/// A leaky bucket: [`BURST`] at once, one more every [`INTERVAL`].
#[derive(Debug, Default)]
struct Rate {
    /// When everything that was taken has leaked out.
    empty: Option<Instant>,
}

impl Rate {
    /// Takes a place, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let empty = self.empty.map_or(now, |empty| empty.max(now)) + INTERVAL;
        let fits = empty.duration_since(now) <= INTERVAL * u32::from(BURST);
        if fits {
            self.empty = Some(empty);
        }
        fits
    }
}

/// Sends one by one what waits.
pub(super) async fn publish(client: Client, mut waiting: Waiting, metrics: Metrics) {
    let reporter = Reporter {
        controller: CONTROLLER.to_owned(),
        instance: None,
    };
    while let Some(note) = waiting.next().await {
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.to_owned(),
            note: Some(truncated(note.message)),
            action: "Allocate".to_owned(),
            secondary: None,
        };
        // A new recorder each time, on purpose. One that lives takes an Event of the same object and reason for the same
        // Event whatever its words, and sends the old words again; and it keeps every Event for six minutes.
        let recorder = Recorder::new(client.clone(), reporter.clone());
        let sent = recorder.publish(&event, &note.regarding);
        match tokio::time::timeout(TIMEOUT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                metrics.events_dropped.inc();
                tracing::debug!(%error, "an Event could not be sent");
            }
            Err(_) => drop(metrics.events_dropped.inc()),
        }
    }
}

/// The API server takes notes of at most 1024 bytes.
fn truncated(mut text: String) -> String {
    const LONGEST: usize = 1000;
    if text.len() > LONGEST {
        let end = text
            .char_indices()
            .map(|(at, _)| at)
            .take_while(|at| *at <= LONGEST)
            .last();
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn mk_note(warning: bool, reason: &'static str, message: &str) -> Note {
        Note {
            regarding: ObjectReference::default(),
            warning,
            reason,
            message: message.to_owned(),
        }
    }

    fn mk_start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// All that waits, in the order in which it would be sent.
    fn drain(waiting: &mut Waiting) -> Vec<Note> {
        std::iter::from_fn(|| waiting.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn news_in_the_middle_of_a_burst_is_kept_and_goes_first() {
        let now = mk_start();
        let (mut outbox, mut waiting) = open();
        let mut sent = 0;
        for number in 0..10_000 {
            let assigned = mk_note(false, "AddressAssigned", "");
            sent += usize::from(outbox.post(assigned, now));
            if number % 100 == 0 {
                let refused = mk_note(true, "AllocationFailed", &number.to_string());
                assert!(outbox.post(refused, now), "number {number}");
            }
        }
        assert_eq!(sent, usize::from(BURST));
        let order = drain(&mut waiting);
        let (news, routine) = order.split_at(100);
        for (number, note) in news.iter().enumerate() {
            assert_eq!(note.message, (number * 100).to_string());
        }
        assert_eq!(routine.len(), sent);
        assert!(routine.iter().all(|note| note.reason == "AddressAssigned"));
    }

    #[test]
    fn only_what_went_as_it_should_is_routine() {
        for (warning, reason, routine) in [
            (false, "AddressAssigned", true),
            (false, "AddressReleased", true),
            (true, "AddressReleased", false),
            (false, "PartiallyAssigned", false),
            (true, "AllocationFailed", false),
            (true, "AddressConflict", false),
            (true, "Invalid", false),
        ] {
            let note = mk_note(warning, reason, "");
            assert_eq!(is_routine(&note), routine, "{reason}, warning {warning}");
        }
    }

    #[test]
    fn after_a_burst_routine_is_sent_ten_times_a_second_and_after_a_rest_all_at_once_again() {
        let start = mk_start();
        let mut rate = Rate::default();
        for (millis, offered, taken) in [
            (0, 1000, 64),
            (99, 1000, 0),
            (100, 1000, 1),
            (1100, 1000, 10),
            (1250, 1000, 1),
            (1300, 1000, 1),
            (60_000, 1000, 64),
        ] {
            let now = start + Duration::from_millis(millis);
            let count = (0..offered).filter(|_| rate.take(now)).count();
            assert_eq!(count, taken, "at {millis} ms");
        }
    }

    #[test]
    fn news_that_finds_no_room_is_reported_as_dropped() {
        let now = mk_start();
        let (mut outbox, mut waiting) = open();
        let mut post = || outbox.post(mk_note(true, "AllocationFailed", ""), now);
        let sent = (0..2 * NEWS).filter(|_| post()).count();
        assert_eq!((sent, drain(&mut waiting).len()), (NEWS, NEWS));
        assert!(post(), "there is room again");
    }

    #[test]
    fn what_waits_is_still_sent_when_the_outbox_is_gone() {
        let (mut outbox, mut waiting) = open();
        for reason in ["AddressAssigned", "Invalid"] {
            assert!(outbox.post(mk_note(reason == "Invalid", reason, ""), mk_start()));
        }
        drop(outbox);
        let next = |waiting: &mut Waiting| waiting.next().now_or_never();
        let reasons = [(); 2].map(|()| next(&mut waiting).flatten().map(|note| note.reason));
        assert_eq!(reasons, [Some("Invalid"), Some("AddressAssigned")]);
        assert_eq!(next(&mut waiting), Some(None), "the end");
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let cut = truncated("ä".repeat(2000));
        assert!(cut.len() <= 1024 && cut.ends_with('…'), "{}", cut.len());
    }
}
