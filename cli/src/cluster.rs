//! Reading the cluster: every call pages, and ends after [`TIMEOUT`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use portolan_api::ObjectKey;
use portolan_api::annotation::SERVICE_NAME;
use portolan_api::crd::{
    BGPAdvertisement, BGPPeer, IPAddressPool, L2Advertisement, NodeReport, SpeakerConfig,
};
use portolan_api::view::{EndpointSlice, Node, Service};
use serde::de::DeserializeOwned;

use crate::snapshot::{Judged, Lease, Snapshot};

/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// How far the clocks of this machine and of a node may differ before a live Lease is called dead.
const CLOCK_SLACK: Duration = Duration::from_secs(30);

/// Which Services to read.
pub(crate) enum Scope {
    /// Every Service of type LoadBalancer.
    All,
    /// Those of one namespace.
    Namespace(String),
    /// One Service, whatever its type.
    Service(ObjectKey),
}

/// Why the cluster could not be read. Each variant names what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No usable kubeconfig.
    #[error("kubeconfig: {0} (give --kubeconfig or --context, or set KUBECONFIG)")]
    Kubeconfig(#[source] KubeconfigError),
    /// The kubeconfig does not make a client.
    #[error("kubeconfig: {0} (check the user and the certificates of the context)")]
    Client(#[source] kube::Error),
    /// The API server lacks a kind of ours.
    #[error(
        "the API server does not know {kind}: install Portolan with `kubectl apply -k manifests`"
    )]
    NotInstalled {
        /// Plural name of the kind.
        kind: String,
    },
    /// The user may not read a kind.
    #[error(
        "you may not list {kind}: ask for a role with get and list on it (`kubectl auth can-i list {kind}`)"
    )]
    Forbidden {
        /// Plural name of the kind, with its group.
        kind: String,
    },
    /// No answer in time.
    #[error(
        "no answer for {kind} within {TIMEOUT:?}: check that the API server of the context is up"
    )]
    Timeout {
        /// Plural name of the kind.
        kind: String,
    },
    /// Anything else.
    #[error("reading {kind}: {source}")]
    Api {
        /// Plural name of the kind.
        kind: String,
        /// What the client says.
        source: Box<kube::Error>,
    },
}

impl ReadError {
    fn of<K: Resource<DynamicType = ()>>(error: kube::Error) -> Self {
        let (plural, group) = (K::plural(&()), K::group(&()));
        let kind = if group.is_empty() {
            plural.to_string()
        } else {
            format!("{plural}.{group}")
        };
        match error {
            // By code: for a kind that it does not know the server answers in plain text, without a reason.
            kube::Error::Api(status) if status.code == 404 => Self::NotInstalled { kind },
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden { kind },
            error => Self::Api {
                kind,
                source: Box::new(error),
            },
        }
    }
}

/// A cluster that can be read.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    system_namespace: String,
}

impl Cluster {
    /// Access by a kubeconfig. Nothing is sent yet.
    pub(crate) async fn connect(
        kubeconfig: Option<&Path>,
        context: Option<String>,
        system_namespace: String,
    ) -> Result<Self, ReadError> {
        let options = KubeConfigOptions {
            context,
            ..KubeConfigOptions::default()
        };
        let config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(ReadError::Kubeconfig)?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let mut config = config.map_err(ReadError::Kubeconfig)?;
        config.connect_timeout = Some(TIMEOUT);
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(ReadError::Client)?;
        Ok(Self {
            client,
            namespace,
            system_namespace,
        })
    }

    /// Namespace of the context.
    pub(crate) fn default_namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads everything that the answers need.
    pub(crate) async fn read(
        &self,
        scope: Scope,
        lb_class: Option<String>,
    ) -> Result<Snapshot, ReadError> {
        // Our own kinds first: where Portolan is not installed, that is the answer.
        let pools = self.all::<IPAddressPool>().await?;
        let mut configs = self.all::<SpeakerConfig>().await?;
        let services = self.services(&scope).await?;
        Ok(Snapshot {
            lb_class,
            services: services
                .into_iter()
                .map(|s| (ObjectKey::of(&s), s))
                .collect(),
            slices: self.slices(&scope).await?,
            nodes: by_name(self.all::<Node>().await?),
            pools: by_name(pools),
            judged: self.judged().await?,
            config: configs
                .iter()
                .position(|config| config.name_any() == portolan_api::SPEAKER_CONFIG)
                .map(|at| configs.swap_remove(at)),
            reports: by_name(self.all::<NodeReport>().await?),
            leases: self.leases().await?,
        })
    }

    async fn services(&self, scope: &Scope) -> Result<Vec<Service>, ReadError> {
        let load_balancers = ListParams::default().fields("spec.type=LoadBalancer");
        match scope {
            Scope::All => list(&Api::all(self.client.clone()), load_balancers).await,
            Scope::Namespace(name) => {
                list(&Api::namespaced(self.client.clone(), name), load_balancers).await
            }
            Scope::Service(key) => {
                let api = Api::namespaced(self.client.clone(), &key.namespace);
                list(
                    &api,
                    ListParams::default().fields(&format!("metadata.name={}", key.name)),
                )
                .await
            }
        }
    }

    async fn slices(
        &self,
        scope: &Scope,
    ) -> Result<BTreeMap<ObjectKey, Vec<EndpointSlice>>, ReadError> {
        let (api, params) = match scope {
            Scope::All => (Api::all(self.client.clone()), ListParams::default()),
            Scope::Namespace(name) => (
                Api::namespaced(self.client.clone(), name),
                ListParams::default(),
            ),
            Scope::Service(key) => (
                Api::namespaced(self.client.clone(), &key.namespace),
                ListParams::default().labels(&format!("{SERVICE_NAME}={}", key.name)),
            ),
        };
        let mut by_service: BTreeMap<ObjectKey, Vec<EndpointSlice>> = BTreeMap::new();
        for slice in list::<EndpointSlice>(&api, params).await? {
            if let Some(service) = slice.service() {
                by_service.entry(service).or_default().push(slice);
            }
        }
        Ok(by_service)
    }

    async fn judged(&self) -> Result<Vec<Judged>, ReadError> {
        let mut judged = Vec::new();
        for object in self.all::<L2Advertisement>().await? {
            let conditions = object.status.clone().unwrap_or_default().conditions;
            judged.push(Judged {
                kind: "L2Advertisement",
                name: object.name_any(),
                conditions,
            });
        }
        for object in self.all::<BGPAdvertisement>().await? {
            let conditions = object.status.clone().unwrap_or_default().conditions;
            judged.push(Judged {
                kind: "BGPAdvertisement",
                name: object.name_any(),
                conditions,
            });
        }
        for object in self.all::<BGPPeer>().await? {
            let conditions = object.status.clone().unwrap_or_default().conditions;
            judged.push(Judged {
                kind: "BGPPeer",
                name: object.name_any(),
                conditions,
            });
        }
        Ok(judged)
    }

    /// Leases of Portolan's namespace; not being allowed to read them spoils nothing else.
    async fn leases(&self) -> Result<Option<BTreeMap<String, Lease>>, ReadError> {
        let api = Api::<LeaseObject>::namespaced(self.client.clone(), &self.system_namespace);
        let now = jiff::Timestamp::now();
        match list(&api, ListParams::default()).await {
            Ok(leases) => {
                let lease = |object: LeaseObject| (object.name_any(), lease(object.spec, now));
                Ok(Some(leases.into_iter().map(lease).collect()))
            }
            Err(ReadError::Forbidden { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn all<K>(&self) -> Result<Vec<K>, ReadError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        list(&Api::all(self.client.clone()), ListParams::default()).await
    }
}

/// All pages of a list.
async fn list<K>(api: &Api<K>, params: ListParams) -> Result<Vec<K>, ReadError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut params = params.limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = tokio::time::timeout(TIMEOUT, api.list(&params)).await;
        let page = page
            .map_err(|_| ReadError::Timeout {
                kind: K::plural(&()).to_string(),
            })?
            .map_err(ReadError::of::<K>)?;
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        objects.extend(page.items);
        if params.continue_token.is_none() {
            return Ok(objects);
        }
    }
}

fn by_name<K: Resource<DynamicType = ()>>(objects: Vec<K>) -> BTreeMap<String, K> {
    objects
        .into_iter()
        .map(|object| (object.name_any(), object))
        .collect()
}

/// Judges a Lease by our clock, with slack for the difference between clocks.
fn lease(spec: Option<LeaseSpec>, now: jiff::Timestamp) -> Lease {
    let spec = spec.unwrap_or_default();
    let seconds =
        u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
    let allowed = Duration::from_secs(seconds) + CLOCK_SLACK;
    let fresh = spec.renew_time.is_some_and(|renewed| {
        let age = Duration::try_from(now.duration_since(renewed.0)).unwrap_or_default();
        age <= allowed
    });
    Lease {
        holder: spec.holder_identity.unwrap_or_default(),
        fresh,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    #[test]
    fn a_lease_is_fresh_within_its_duration_and_the_slack_between_clocks() {
        let now: jiff::Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        for (renewed, fresh) in [
            (Some("2026-01-01T11:59:59Z"), true),
            (Some("2026-01-01T11:59:24Z"), true),
            (Some("2026-01-01T11:59:23Z"), false),
            // A node whose clock runs ahead of ours.
            (Some("2026-01-01T12:05:00Z"), true),
            (None, false),
        ] {
            let spec = LeaseSpec {
                lease_duration_seconds: Some(6),
                renew_time: renewed.map(|at| MicroTime(at.parse().unwrap())),
                ..LeaseSpec::default()
            };
            assert_eq!(lease(Some(spec), now).fresh, fresh, "{renewed:?}");
        }
    }
}
