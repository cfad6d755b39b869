//! The key that speakers authenticate each other by: a Secret of our namespace, drawn by the leader when there is none.
//!
//! Whoever wants another key changes or deletes the Secret; speakers take both for a while. What the key is never leaves
//! this file: it is neither logged nor kept.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use portolan_api::annotation::SPEAKER_SECRET;
use tokio::sync::watch;

use crate::leader::Leadership;

/// Where the key is in the Secret.
const ENTRY: &str = "key";
/// Bytes that we draw: what HMAC-SHA256 can use.
const LENGTH: usize = 32;
/// Bytes that a key of somebody else must have.
const SHORTEST: usize = 16;
/// Time between two looks: a Secret that was deleted is missed by speakers that start later.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time to the next look after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The API server did not let us see the Secret.
    #[error("reading Secret {SPEAKER_SECRET}: {0}")]
    Read(#[source] kube::Error),
    /// The kernel gave no random bytes.
    #[error("drawing a key: {0}")]
    Draw(#[source] std::io::Error),
    /// The API server did not take the Secret.
    #[error("creating Secret {SPEAKER_SECRET}: {0}")]
    Create(#[source] kube::Error),
    /// No answer in time.
    #[error("the API server did not answer in time about Secret {SPEAKER_SECRET}")]
    TimedOut,
    /// Somebody made a Secret that speakers can not use.
    #[error(
        "Secret {SPEAKER_SECRET} has no entry {ENTRY:?} of at least {SHORTEST} bytes, so layer 2 does not fail over: delete \
         it to have one made"
    )]
    Unusable,
}

/// Sees to it, as long as we lead, that there is a key. Runs until the election is over.
pub(crate) async fn keep(secrets: Api<Secret>, mut leadership: watch::Receiver<Leadership>) {
    let mut told = String::new();
    loop {
        if leadership
            .wait_for(|state| state.holds(now()))
            .await
            .is_err()
        {
            return;
        }
        let wait = match tokio::time::timeout(TIMEOUT, ensure(&secrets)).await {
            Ok(Ok(())) => {
                told.clear();
                INTERVAL
            }
            Ok(Err(error)) => complain(&error, &mut told),
            Err(_) => complain(&Error::TimedOut, &mut told),
        };
        tokio::time::sleep(wait).await;
    }
}

/// Says each thing once, however long it lasts.
fn complain(error: &Error, told: &mut String) -> Duration {
    let text = error.to_string();
    if *told != text {
        tracing::warn!(%error, "speakers have no key to authenticate each other by");
        *told = text;
    }
    RETRY
}

async fn ensure(secrets: &Api<Secret>) -> Result<(), Error> {
    match secrets.get_opt(SPEAKER_SECRET).await.map_err(Error::Read)? {
        Some(secret) if is_usable(&secret) => return Ok(()),
        Some(_) => return Err(Error::Unusable),
        None => {}
    }
    let secret = secret(&Key::draw().map_err(Error::Draw)?);
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => tracing::info!(secret = SPEAKER_SECRET, "drew a key for the speakers"),
        // Somebody was faster: the next look tells whether theirs is of use.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(Error::Create(error)),
    }
    Ok(())
}

fn is_usable(secret: &Secret) -> bool {
    let data = secret.data.as_ref().and_then(|data| data.get(ENTRY));
    data.is_some_and(|key| key.0.len() >= SHORTEST)
}

fn secret(key: &Key) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(SPEAKER_SECRET.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            ENTRY.to_owned(),
            ByteString(key.0.to_vec()),
        )])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// A key that shows itself to nobody.
struct Key([u8; LENGTH]);

impl Key {
    fn draw() -> std::io::Result<Self> {
        let mut key = [0; LENGTH];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Self(key))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Method, Request, Response, StatusCode};
    use kube::client::{Body, Client};
    use serde_json::{Value, json};

    use super::*;

    /// An API server that has the Secret, or not, and counts what is created.
    fn mk_secrets(held: Option<Value>) -> (Api<Secret>, Arc<AtomicUsize>) {
        let created = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&created);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (held, count) = (held.clone(), Arc::clone(&count));
            async move {
                let (status, body) = match (request.method(), held) {
                    (&Method::GET, Some(held)) => (StatusCode::OK, held),
                    (&Method::GET, None) => {
                        let why = json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404 });
                        (StatusCode::NOT_FOUND, why)
                    }
                    (&Method::POST, _) => {
                        count.fetch_add(1, Ordering::SeqCst);
                        (
                            StatusCode::CREATED,
                            json!({ "metadata": { "name": SPEAKER_SECRET } }),
                        )
                    }
                    other => panic!("{other:?}"),
                };
                let body = serde_json::to_vec(&body).unwrap();
                let response = Response::builder().status(status).body(Body::from(body));
                Ok::<_, std::convert::Infallible>(response.unwrap())
            }
        });
        (
            Api::namespaced(Client::new(service, "portolan-system"), "portolan-system"),
            created,
        )
    }

    fn mk_held(entry: &str, bytes: usize) -> Value {
        let key = ByteString(vec![7; bytes]);
        json!({ "metadata": { "name": SPEAKER_SECRET }, "data": { entry: key } })
    }

    #[tokio::test]
    async fn a_key_is_drawn_only_where_there_is_none() {
        for (row, held, fine, creations) in [
            ("none", None, true, 1),
            ("ours", Some(mk_held("key", 32)), true, 0),
            ("the user's", Some(mk_held("key", 16)), true, 0),
            ("too short", Some(mk_held("key", 15)), false, 0),
            ("of another name", Some(mk_held("secret", 32)), false, 0),
        ] {
            let (secrets, created) = mk_secrets(held);
            assert_eq!(ensure(&secrets).await.is_ok(), fine, "{row}");
            assert_eq!(created.load(Ordering::SeqCst), creations, "{row}");
        }
    }

    #[test]
    fn two_keys_differ_and_none_is_shown() {
        let (one, other) = (Key::draw().unwrap(), Key::draw().unwrap());
        assert_ne!(one.0, other.0);
        assert_eq!(format!("{one:?}"), "Key(…)");
        assert!(is_usable(&secret(&one)));
    }
}
