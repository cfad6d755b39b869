//! Watches that a relist can not hurt.
//!
//! ```text
//! kube watcher:  Init  InitApply(a)  InitApply(b)  InitDone  Apply(c)  Delete(a)   Init …
//! Change:              Apply(a)      Apply(b)      Delete(gone)… Synced  Apply(c)  Delete(a)
//! ```
//!
//! A consumer sees objects come, change and go. When a watch breaks and everything is listed again, nothing disappears
//! in between: what the new list lacks is deleted only after the list is complete. An object that can not be decoded is
//! reported once and counts as present.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// First wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// Longest wait after a failure: with jitter, the time that it takes to notice that the API server is back.
const BACKOFF_LAST: Duration = Duration::from_secs(3);
/// Shortest life of one watch request. Connections that die silently are noticed after it.
const WATCH_SECONDS: u32 = 120;
/// Objects in one page of a list.
const PAGE: u32 = 500;

/// Namespace and name.
pub type Key = (String, String);

/// What happened to one kind of objects.
#[derive(Debug)]
pub enum Change<K> {
    /// The object is there, as it is now. May repeat what is known.
    Apply(K),
    /// The object is gone.
    Delete(Key),
    /// The object is there and can not be read: it says why. The last readable version stays valid.
    Unreadable(Key, String),
    /// Everything that exists has been reported. Repeats after each relist.
    Synced,
}

/// Watches one kind for ever and sends each change to `tx`, wrapped by `wrap`. Returns when the receiver is gone.
///
/// `spread` in 0..1 moves this process's requests away from those of its siblings: a hash of the node's name does.
pub async fn watch<K, E>(
    api: Api<K>,
    config: watcher::Config,
    spread: f64,
    tx: mpsc::Sender<E>,
    wrap: impl Fn(Change<K>) -> E,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = tuned(config, spread);
    let events = watcher(api, config).map_ok(|event| map(event, Ok));
    run(events, spread, false, tx, wrap).await;
}

/// As [`watch`], for kinds that users write: an object that can not be decoded spoils no other.
pub async fn watch_guarded<K, E>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    spread: f64,
    tx: mpsc::Sender<E>,
    wrap: impl Fn(Change<K>) -> E,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = tuned(config, spread);
    let events = watcher(api, config).map_ok(|event| {
        map(event, |guard: DeserializeGuard<K>| {
            guard.0.map_err(|bad| {
                let key = (
                    bad.metadata.namespace.unwrap_or_default(),
                    bad.metadata.name.unwrap_or_default(),
                );
                (key, bad.error)
            })
        })
    });
    run(events, spread, false, tx, wrap).await;
}

/// As [`watch`], for kinds that an old API server may not have: then there are none.
pub async fn watch_optional<K, E>(
    api: Api<K>,
    config: watcher::Config,
    spread: f64,
    tx: mpsc::Sender<E>,
    wrap: impl Fn(Change<K>) -> E,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = tuned(config, spread);
    let events = watcher(api, config).map_ok(|event| map(event, Ok));
    run(events, spread, true, tx, wrap).await;
}

/// A decoded object, or the key and reason of one that can not be decoded.
type Decoded<K> = Result<K, (Key, String)>;

/// Page size and a watch timeout that differs from process to process, so that speakers started together do not ask
/// together for ever.
fn tuned(config: watcher::Config, spread: f64) -> watcher::Config {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 120"
    )]
    let extra = (f64::from(WATCH_SECONDS) * spread.clamp(0.0, 1.0)) as u32;
    config.page_size(PAGE).timeout(WATCH_SECONDS + extra)
}

fn map<T, K>(event: Event<T>, decode: impl Fn(T) -> Decoded<K>) -> Event<Decoded<K>> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(decode(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(decode(object)),
        Event::Delete(object) => Event::Delete(decode(object)),
    }
}

async fn run<K, E>(
    events: impl Stream<Item = Result<Event<Decoded<K>>, watcher::Error>>,
    spread: f64,
    optional: bool,
    tx: mpsc::Sender<E>,
    wrap: impl Fn(Change<K>) -> E,
) where
    K: Resource<DynamicType = ()>,
{
    let kind = K::kind(&()).into_owned();
    let mut events = std::pin::pin!(events);
    let mut backoff = Backoff::new(spread);
    let mut known = Known::default();
    let mut failing = false;
    while let Some(event) = events.next().await {
        let mut wait = None;
        let changes = match event {
            Ok(event) => {
                // The watcher says `Init` before it has asked anything: no sign of life.
                if !matches!(event, Event::Init) {
                    backoff.reset();
                    if std::mem::take(&mut failing) {
                        tracing::info!(kind, "watch works again");
                    }
                }
                known.step(event)
            }
            Err(error) => {
                let absent = optional && is_absent(&error);
                let changes = if absent { known.absent() } else { Vec::new() };
                // Once per outage at full volume: the retries of a long one would fill the log.
                if std::mem::replace(&mut failing, true) || absent {
                    tracing::debug!(kind, %error, "watch still fails");
                } else {
                    tracing::warn!(kind, %error, "watch failed; going on with what is known, retrying");
                }
                wait = Some(backoff.next());
                changes
            }
        };
        for change in changes {
            if let Change::Unreadable((namespace, name), error) = &change {
                tracing::error!(kind, namespace, name, error, "object can not be decoded");
            }
            if tx.send(wrap(change)).await.is_err() {
                return;
            }
        }
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }
}

/// The server does not know the kind.
fn is_absent(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

/// Waits between attempts: doubling, longer for some processes than for others, short again after a success.
struct Backoff {
    next: Duration,
    stretch: f64,
}

impl Backoff {
    fn new(spread: f64) -> Self {
        Self {
            next: BACKOFF_FIRST,
            stretch: 1.0 + spread.clamp(0.0, 1.0) / 2.0,
        }
    }

    fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(self.stretch);
        self.next = (self.next * 2).min(BACKOFF_LAST);
        wait
    }

    fn reset(&mut self) {
        self.next = BACKOFF_FIRST;
    }
}

/// Keys that the consumer has been told of.
#[derive(Debug, Default)]
struct Known {
    /// Each with the number of the list during or after which it was told last. A second set for what is being listed
    /// would hold everything twice.
    told: HashMap<Packed, u32>,
    /// Number of the latest list.
    list: u32,
    synced: bool,
}

/// A key in one piece: with thousands of objects, two strings each are most of what a watch keeps.
type Packed = Box<str>;

/// Neither half can contain a slash.
fn pack((namespace, name): &Key) -> Packed {
    format!("{namespace}/{name}").into_boxed_str()
}

fn unpack(key: &str) -> Key {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    (namespace.to_owned(), name.to_owned())
}

impl Known {
    fn step<K: Resource<DynamicType = ()>>(&mut self, event: Event<Decoded<K>>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.list = self.list.wrapping_add(1);
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let (key, change) = there(object);
                self.told.insert(pack(&key), self.list);
                vec![change]
            }
            Event::InitDone => {
                self.synced = true;
                let latest = self.list;
                let gone = self.told.extract_if(|_, list| *list != latest);
                gone.map(|(key, _)| Change::Delete(unpack(&key)))
                    .chain([Change::Synced])
                    .collect()
            }
            Event::Delete(object) => {
                let (Ok(key) | Err((key, _))) = object.map(|object| key_of(&object));
                self.told.remove(&pack(&key));
                vec![Change::Delete(key)]
            }
        }
    }

    /// The kind does not exist on this server, and never did as far as we know.
    fn absent<K>(&mut self) -> Vec<Change<K>> {
        if std::mem::replace(&mut self.synced, true) {
            Vec::new()
        } else {
            vec![Change::Synced]
        }
    }
}

fn there<K: Resource<DynamicType = ()>>(object: Decoded<K>) -> (Key, Change<K>) {
    match object {
        Ok(object) => (key_of(&object), Change::Apply(object)),
        Err((key, error)) => (key.clone(), Change::Unreadable(key, error)),
    }
}

fn key_of<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what the watcher hands over")]
    fn mk(name: &str) -> Decoded<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        Ok(object)
    }

    fn told(changes: Vec<Change<ConfigMap>>) -> Vec<String> {
        let words = |change| match change {
            Change::Apply(object) => format!("+{}", key_of::<ConfigMap>(&object).1),
            Change::Delete((_, name)) => format!("-{name}"),
            Change::Unreadable((_, name), _) => format!("?{name}"),
            Change::Synced => "=".to_owned(),
        };
        changes.into_iter().map(words).collect()
    }

    #[test]
    fn a_relist_deletes_only_what_is_gone_and_only_when_it_is_complete() {
        let mut known = Known::default();
        let script = [
            (Event::Init, vec![]),
            (Event::InitApply(mk("a")), vec!["+a"]),
            (Event::InitApply(mk("b")), vec!["+b"]),
            (Event::InitDone, vec!["="]),
            (Event::Apply(mk("c")), vec!["+c"]),
            (Event::Init, vec![]),
            (Event::InitApply(mk("a")), vec!["+a"]),
            // The list breaks off here and begins again: nothing may be deleted.
            (Event::Init, vec![]),
            (Event::InitApply(mk("b")), vec!["+b"]),
            (Event::InitApply(mk("c")), vec!["+c"]),
            (Event::InitDone, vec!["-a", "="]),
            (Event::Delete(mk("b")), vec!["-b"]),
        ];
        for (step, (event, expected)) in script.into_iter().enumerate() {
            assert_eq!(told(known.step(event)), expected, "step {step}");
        }
    }

    #[test]
    fn an_object_that_can_not_be_decoded_counts_as_present() {
        let mut known = Known::default();
        known.step::<ConfigMap>(Event::Init);
        known.step(Event::InitApply(mk("a")));
        known.step::<ConfigMap>(Event::InitDone);
        known.step::<ConfigMap>(Event::Init);
        let bad = Err(((String::new(), "a".to_owned()), "broken".to_owned()));
        assert_eq!(told(known.step(Event::InitApply(bad))), ["?a"]);
        assert_eq!(told(known.step(Event::InitDone)), ["="]);
    }

    #[test]
    fn attempts_come_less_often_until_something_is_heard() {
        let mut backoff = Backoff::new(0.0);
        let waits: Vec<u128> = (0..6).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3000, 3000]);
        backoff.reset();
        assert_eq!(backoff.next(), BACKOFF_FIRST);
        assert!(
            Backoff::new(1.0).next() > BACKOFF_FIRST,
            "processes spread out"
        );
    }

    #[test]
    fn a_kind_that_the_server_lacks_is_synced_once() {
        let mut known = Known::default();
        assert_eq!(told(known.absent()), ["="]);
        assert!(known.absent::<ConfigMap>().is_empty());
    }
}
