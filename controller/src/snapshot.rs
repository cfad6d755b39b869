//! A consistent reading of the cluster, for the begin of a term.
//!
//! Watches may lag behind what the former leader wrote last; a decision on that would give an address twice. So a new
//! leader reads everything that decisions about addresses depend on afresh, without `resourceVersion`: such a list is
//! answered from the storage, not from a cache.
//!
//! Services come in pages that the model takes in one by one: of a large cluster there is never a second copy.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, Resource};
use portolan_api::SPEAKER_CONFIG;
use portolan_api::view::Service;
use portolan_daemon::watch::Change;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::model::{Listed, Snapshot};

/// Objects in one page.
const PAGE: u32 = 500;
/// Longest time for the whole reading: a server that is slower than this is not one to lead on.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why the cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A list failed.
    #[error("listing: {0}")]
    List(#[from] kube::Error),
    /// It took too long.
    #[error("listing took longer than {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// Nobody takes the pages.
    #[error("the term is over")]
    Unwanted,
}

/// Reads everything. Services go to `pages`; what is returned completes them.
pub async fn read(
    client: &Client,
    pages: mpsc::Sender<Vec<Service>>,
) -> Result<Snapshot, SnapshotError> {
    let all = async {
        let (services, namespaces, pools, l2, bgp, peers, communities, config) = futures::try_join!(
            in_pages(Api::all(client.clone()), pages),
            list(Api::all(client.clone())),
            guarded(client),
            guarded(client),
            guarded(client),
            guarded(client),
            guarded(client),
            config(client),
        )?;
        Ok(Snapshot {
            services,
            pools,
            l2,
            bgp,
            peers,
            communities,
            namespaces,
            config,
        })
    };
    tokio::time::timeout(TIMEOUT, Box::pin(all))
        .await
        .map_err(|_| SnapshotError::TimedOut)?
}

async fn config(
    client: &Client,
) -> Result<Option<portolan_api::crd::SpeakerConfig>, SnapshotError> {
    Ok(Api::all(client.clone()).get_opt(SPEAKER_CONFIG).await?)
}

async fn list<K>(api: Api<K>) -> Result<Listed<K>, SnapshotError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let (tx, mut pages) = mpsc::channel(1);
    let mut items = Vec::new();
    let collect = async {
        while let Some(page) = pages.recv().await {
            items.extend(page);
        }
        Ok(())
    };
    let (listed, ()) = futures::try_join!(in_pages(api, tx), collect)?;
    Ok(Listed { items, ..listed })
}

/// Lists, and sends each page away. Returns the list without its items.
async fn in_pages<K>(api: Api<K>, pages: mpsc::Sender<Vec<K>>) -> Result<Listed<K>, SnapshotError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        let sent = pages.send(page.items).await;
        sent.map_err(|_| SnapshotError::Unwanted)?;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => {
                // All pages of one list describe the same moment.
                return Ok(Listed {
                    items: Vec::new(),
                    version: page.metadata.resource_version,
                });
            }
        }
    }
}

/// As [`list`], for kinds that users write: one object that can not be decoded spoils no other.
async fn guarded<K>(client: &Client) -> Result<Listed<Change<K>>, SnapshotError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let listed: Listed<DeserializeGuard<K>> = list(Api::all(client.clone())).await?;
    let change = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(object) => Change::Apply(object),
        Err(bad) => {
            let name = bad.metadata.name.unwrap_or_default();
            Change::Unreadable((String::new(), name), bad.error)
        }
    };
    Ok(Listed {
        items: listed.items.into_iter().map(change).collect(),
        version: listed.version,
    })
}
