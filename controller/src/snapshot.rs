//! A consistent reading of the cluster, for the begin of a term.
//!
//! Watches may lag behind what the former leader wrote last; a decision on that would give an address twice. So a new
//! leader reads everything that decisions about addresses depend on afresh, without `resourceVersion`: such a list is
//! answered from the storage, not from a cache.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, Resource};
use portolan_api::SPEAKER_CONFIG;
use portolan_daemon::watch::Change;
use serde::de::DeserializeOwned;

use crate::model::{Listed, Snapshot};

/// Objects in one page.
const PAGE: u32 = 1000;
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
}

/// Reads everything.
pub async fn read(client: &Client) -> Result<Snapshot, SnapshotError> {
    let all = async {
        let (services, namespaces, pools, l2, bgp, peers, communities, config) = futures::try_join!(
            list(Api::all(client.clone())),
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
    let mut parameters = ListParams::default().limit(PAGE);
    let mut listed = Listed::default();
    loop {
        let page = api.list(&parameters).await?;
        listed.items.extend(page.items);
        // All pages of one list describe the same moment.
        listed.version = page.metadata.resource_version;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(listed),
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
