//! Lists, and the parameters that lists and watches share.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::cluster::Cluster;
use super::error::{Cause, Refusal, Subject};
use super::form::Form;
use super::kind::Kind;
use super::route::Query;
use super::selector::Selector;
use super::store::{Compacted, Key, Object, Store};
use super::watch::Start;
use hyper::body::Bytes;

/// What to list.
#[derive(Debug)]
pub(super) struct Listing {
    namespace: String,
    selector: Selector,
    limit: usize,
    resume: Option<(u64, Key)>,
    exactly: Option<u64>,
}

impl Listing {
    /// Reads the parameters of a list.
    pub(super) fn parse(
        kind: &Kind,
        namespace: &str,
        query: &Query,
        current: u64,
    ) -> Result<Self, Refusal> {
        let limit = match query.get("limit") {
            "" => 0,
            text => text.parse().map_err(|_| bad_parameter("limit", text))?,
        };
        let resume = match query.get("continue") {
            "" => None,
            token => Some(read_token(&kind.storage(), token)?),
        };
        let at = revision(query)?;
        // The token carries its revision.
        if let Some(at) = at.filter(|at| resume.is_none() && *at > current) {
            return Err(from_the_future(at, current));
        }
        let exact = query.get("resourceVersionMatch") == "Exact";
        Ok(Self {
            namespace: namespace.to_owned(),
            selector: selector(kind, query)?,
            limit,
            resume,
            exactly: at.filter(|at| exact && *at > 0),
        })
    }

    /// All objects that it selects, ignoring pages.
    pub(super) fn all(&self, store: &Store, resource: &Arc<str>) -> Vec<Key> {
        let objects = store.range(resource, &self.namespace, None);
        objects
            .filter(|(_, o)| self.selector.matches(&o.value))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// One page.
    pub(super) fn page(
        &self,
        cluster: &Cluster,
        kind: &Kind,
        form: Form,
        now: Timestamp,
    ) -> Result<Bytes, Refusal> {
        let store = &cluster.store;
        let resource = kind.storage();
        let (revision, objects) = match (&self.resume, self.exactly) {
            (Some((revision, start)), _) => (
                *revision,
                self.at(store, &resource, Some(start), *revision)?,
            ),
            (None, Some(revision)) => (revision, self.at(store, &resource, None, revision)?),
            (None, None) => (store.revision(), self.current(store, &resource)),
        };
        let mut selected = objects
            .into_iter()
            .filter(|(_, o)| self.selector.matches(&o.value));
        let limit = if self.limit == 0 {
            usize::MAX
        } else {
            self.limit
        };
        let page: Vec<(Key, Arc<Object>)> = selected.by_ref().take(limit).collect();
        let remaining = if self.limit == 0 { 0 } else { selected.count() };
        let mut meta = Map::new();
        meta.insert("resourceVersion".to_owned(), json!(revision.to_string()));
        if let Some((last, _)) = page.last().filter(|_| remaining > 0) {
            meta.insert("continue".to_owned(), json!(write_token(revision, last)));
            if self.selector.is_empty() {
                meta.insert("remainingItemCount".to_owned(), json!(remaining));
            }
        }
        Ok(form.list(
            kind,
            page.iter().map(|(_, o)| o.as_ref()),
            &Value::Object(meta),
            now,
        ))
    }

    fn current(&self, store: &Store, resource: &Arc<str>) -> Vec<(Key, Arc<Object>)> {
        let pair = |(key, object): (&Key, &Arc<Object>)| (key.clone(), object.clone());
        match self.selector.name() {
            // One name in one place is a lookup.
            Some(name) => {
                let key = Key {
                    resource: resource.clone(),
                    namespace: self.namespace.clone(),
                    name: name.to_owned(),
                };
                match store.get(&key) {
                    Some(object) => vec![(key, object.clone())],
                    None => store
                        .range(resource, &self.namespace, None)
                        .filter(|(k, _)| k.name == name)
                        .map(pair)
                        .collect(),
                }
            }
            None => store
                .range(resource, &self.namespace, None)
                .map(pair)
                .collect(),
        }
    }

    fn at(
        &self,
        store: &Store,
        resource: &Arc<str>,
        start: Option<&Key>,
        revision: u64,
    ) -> Result<Vec<(Key, Arc<Object>)>, Refusal> {
        store
            .range_at(resource, &self.namespace, start, revision)
            .map_err(|gone| expired(&gone))
    }
}

fn expired(gone: &Compacted) -> Refusal {
    Refusal::Expired(format!(
        "The provided continue parameter or resourceVersion is too old to display a consistent list result ({gone}). Please start a new list"
    ))
}

/// A real server waits and then answers 504; here it means that the server is new and has forgotten: list again.
fn from_the_future(asked: u64, current: u64) -> Refusal {
    Refusal::Expired(format!(
        "Too large resource version: {asked}, current: {current}"
    ))
}

fn bad_parameter(name: &str, value: &str) -> Refusal {
    Refusal::BadRequest(format!("invalid value {value:?} of parameter {name}"))
}

fn revision(query: &Query) -> Result<Option<u64>, Refusal> {
    match query.get("resourceVersion") {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| bad_parameter("resourceVersion", text)),
    }
}

/// Both selectors of a query.
pub(super) fn selector(kind: &Kind, query: &Query) -> Result<Selector, Refusal> {
    Selector::parse(
        query.get("labelSelector"),
        query.get("fieldSelector"),
        &kind.selectable,
    )
}

/// How long a watch may last, if the client says.
pub(super) fn timeout(query: &Query) -> Result<Option<Duration>, Refusal> {
    match query.get("timeoutSeconds") {
        "" | "0" => Ok(None),
        text => {
            let seconds = text
                .parse()
                .map_err(|_| bad_parameter("timeoutSeconds", text))?;
            Ok(Some(Duration::from_secs(seconds)))
        }
    }
}

/// Where a watch starts.
pub(super) fn start(query: &Query, current: u64) -> Result<Start, Refusal> {
    let revision = revision(query)?;
    match query.get("sendInitialEvents") {
        "" => Ok(match revision {
            None | Some(0) => Start::Existing { marked: false },
            Some(revision) => Start::After(revision),
        }),
        wanted => {
            let field = |field: &str, why: &str| Refusal::Invalid {
                subject: Subject {
                    group: "meta.k8s.io".into(),
                    kind: "ListOptions".into(),
                    ..Subject::default()
                },
                causes: vec![Cause::forbidden(field, why)],
            };
            if query.get("resourceVersionMatch") != "NotOlderThan" {
                return Err(field(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
            if wanted == "true" && query.flag("allowWatchBookmarks") {
                return Ok(Start::Existing { marked: true });
            }
            Ok(Start::After(revision.filter(|r| *r > 0).unwrap_or(current)))
        }
    }
}

/// Revision, namespace and name of the last object of a page. Opaque to clients.
fn write_token(revision: u64, last: &Key) -> String {
    format!("{revision}/{}/{}", last.namespace, last.name)
}

fn read_token(resource: &Arc<str>, token: &str) -> Result<(u64, Key), Refusal> {
    let mut parts = token.splitn(3, '/');
    let parsed = parts
        .next()
        .and_then(|r| r.parse().ok())
        .zip(parts.next())
        .zip(parts.next());
    let ((revision, namespace), name) =
        parsed.ok_or_else(|| Refusal::BadRequest("continue key is not valid".to_owned()))?;
    let key = Key {
        resource: resource.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    Ok((revision, key))
}
