//! A watch: the tail of the history, as one client wants to see it.
//!
//! A feed holds a position, not a queue. It sleeps until the store has moved, takes the changes after its position, and
//! turns them into events as its selector sees them: what begins to match is ADDED, what ceases to match is DELETED. The
//! connection's own back-pressure decides when it looks again. A feed whose position is forgotten ends with 410 Gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::error::Refusal;
use super::form::Form;
use super::kind::Kind;
use super::selector::Selector;
use super::store::{Change, Object, Store};

/// Events sent in one piece.
const BATCH: usize = 500;

/// How often a quiet watch that allows bookmarks hears of the current revision. A real server: once a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);

/// How long a watch lasts that does not say. A real server: 30 to 60 minutes.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// What a watch is to show.
#[derive(Debug)]
pub(super) struct View {
    /// The kind.
    pub kind: Arc<Kind>,
    /// Only this namespace, unless empty.
    pub namespace: String,
    /// Only what this selects.
    pub selector: Selector,
    /// In this form.
    pub form: Form,
}

/// Where a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Show what exists, then what changes.
    Existing {
        /// Say when everything that exists has been shown (`sendInitialEvents`).
        marked: bool,
    },
    /// Show what changes after a revision.
    After(u64),
}

/// One running watch.
pub(super) struct Feed {
    shared: Arc<Shared>,
    view: View,
    moved: watch::Receiver<u64>,
    seen: u64,
    pending: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    ended: bool,
}

impl Feed {
    /// Starts at `start`, in one step with reading what exists.
    pub(super) fn new(
        shared: Arc<Shared>,
        view: View,
        start: Start,
        bookmarks: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        let moved = shared.moved();
        let mut feed = Self {
            shared,
            view,
            moved,
            seen: 0,
            pending: VecDeque::new(),
            bookmarks,
            next_bookmark: now + BOOKMARK_EVERY,
            deadline: now + timeout.unwrap_or(TIMEOUT),
            ended: false,
        };
        match start {
            Start::After(revision) => feed.seen = revision,
            Start::Existing { marked } => feed.show_existing(marked),
        }
        feed
    }

    fn show_existing(&mut self, marked: bool) {
        let shared = self.shared.clone();
        let cluster = shared.cluster();
        self.seen = cluster.store.revision();
        let now = Timestamp::now();
        let resource = self.view.kind.storage();
        let mut chunk = Vec::new();
        for (i, (_, object)) in cluster
            .store
            .range(&resource, &self.view.namespace, None)
            .enumerate()
        {
            if self.view.selector.matches(&object.value) {
                self.view.write(&mut chunk, "ADDED", object, now);
            }
            if i % BATCH == BATCH - 1 {
                self.pending
                    .push_back(Bytes::from(std::mem::take(&mut chunk)));
            }
        }
        if marked {
            chunk.extend_from_slice(&self.view.bookmark(self.seen, true));
        }
        self.pending.push_back(Bytes::from(chunk));
        self.pending.retain(|chunk| !chunk.is_empty());
    }

    /// The next piece of the stream; none when it ends.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.pending.pop_front() {
                return Some(chunk);
            }
            if self.ended {
                return None;
            }
            // Mark the position before looking, so that a change while looking wakes us.
            self.moved.borrow_and_update();
            let chunk = self.catch_up();
            if !chunk.is_empty() {
                return Some(chunk);
            }
            if let Some(chunk) = self.sleep().await {
                return Some(chunk);
            }
        }
    }

    fn catch_up(&mut self) -> Bytes {
        let shared = self.shared.clone();
        let changes = self.view.changes(&shared.cluster().store, self.seen);
        let now = Timestamp::now();
        match changes {
            Ok((changes, seen)) => {
                self.seen = seen;
                let mut chunk = Vec::new();
                for change in changes {
                    self.view.write_change(&mut chunk, &change, now);
                }
                Bytes::from(chunk)
            }
            Err(refusal) => {
                self.ended = true;
                Bytes::from(format!(
                    "{}\n",
                    json!({"type": "ERROR", "object": refusal.status()})
                ))
            }
        }
    }

    async fn sleep(&mut self) -> Option<Bytes> {
        let until = if self.bookmarks {
            self.next_bookmark.min(self.deadline)
        } else {
            self.deadline
        };
        tokio::select! {
            changed = self.moved.changed() => {
                self.ended = changed.is_err();
                None
            }
            () = tokio::time::sleep_until(until) => {
                self.ended = Instant::now() >= self.deadline;
                self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                self.bookmarks.then(|| self.view.bookmark(self.seen, false))
            }
        }
    }
}

impl View {
    /// What happened to this view's kind after `seen`, and the revision up to which that is all.
    fn changes(&self, store: &Store, seen: u64) -> Result<(Vec<Arc<Change>>, u64), Refusal> {
        let resource = self.kind.storage();
        let mut found = Vec::new();
        let mut position = seen;
        let changes = store
            .changes(seen)
            .map_err(|e| Refusal::Expired(e.to_string()))?;
        for change in changes {
            position = change.revision;
            let here = self.namespace.is_empty() || change.key.namespace == self.namespace;
            if change.key.resource == resource && here {
                found.push(change.clone());
            }
            if found.len() >= BATCH {
                break;
            }
        }
        Ok((found, position))
    }

    fn write_change(&self, chunk: &mut Vec<u8>, change: &Change, now: Timestamp) {
        let was_seen = change
            .before
            .as_ref()
            .filter(|b| self.selector.matches(&b.value));
        let is_seen = !change.deleted && self.selector.matches(&change.after.value);
        match (was_seen, is_seen) {
            (None, true) => self.write(chunk, "ADDED", &change.after, now),
            (Some(_), true) => self.write(chunk, "MODIFIED", &change.after, now),
            (Some(_), false) if change.deleted => self.write(chunk, "DELETED", &change.after, now),
            // It lives on, out of sight: its last state in sight, at the revision at which it left.
            (Some(before), false) => {
                let mut last = before.value.clone();
                if let Some(revision) = last.pointer_mut("/metadata/resourceVersion") {
                    *revision = Value::String(change.revision.to_string());
                }
                self.write(chunk, "DELETED", &Object::unstored(last), now);
            }
            (None, false) => {}
        }
    }

    fn write(&self, chunk: &mut Vec<u8>, event: &str, object: &Object, now: Timestamp) {
        chunk.extend_from_slice(b"{\"type\":\"");
        chunk.extend_from_slice(event.as_bytes());
        chunk.extend_from_slice(b"\",\"object\":");
        chunk.extend_from_slice(&self.form.object(&self.kind, object, now));
        chunk.extend_from_slice(b"}\n");
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end && let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(
                "annotations".to_owned(),
                json!({"k8s.io/initial-events-end": "true"}),
            );
        }
        let (kind, api_version) = match self.form {
            Form::Metadata => (
                "PartialObjectMetadata".to_owned(),
                "meta.k8s.io/v1".to_owned(),
            ),
            _ => (self.kind.kind.clone(), self.kind.api_version()),
        };
        let object = match self.form {
            Form::Table(_) => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": [],
                "rows": [{"cells": [], "object": {"kind": kind, "apiVersion": api_version, "metadata": metadata}}],
            }),
            _ => json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}),
        };
        Bytes::from(format!(
            "{}\n",
            json!({"type": "BOOKMARK", "object": object})
        ))
    }
}
