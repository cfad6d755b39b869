//! Stands in for the controllers of Kubernetes that do not run in the demo: EndpointSlices for every Service, and
//! endpoints that are not ready any more once their node is lost.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::ResourceExt;
use kube::api::ListParams;
use portolan_tests::kubernetes::Endpoint;
use portolan_tests::world::World;

/// On a Service: names of nodes, comma separated, whose pods it has. Without it, those of all nodes.
const PODS_ON: &str = "demo.portolan.dev/pods-on";

/// What was written last, by Service.
#[derive(Default)]
pub(crate) struct Endpoints {
    written: BTreeMap<Identity, Vec<Endpoint>>,
    /// Nodes without power.
    pub(crate) lost: BTreeSet<String>,
}

/// A Service that is deleted and made again is another one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    name: String,
    uid: Option<String>,
}

impl Endpoints {
    /// Brings the EndpointSlices of all Services in namespace default up to date. Returns what could not be written, in
    /// words: a Service with a named target port, for example, whose container nobody knows.
    pub(crate) async fn sync(&mut self, world: &World) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut alive = BTreeSet::new();
        for service in services(world).await? {
            let identity = Identity {
                name: service.name_any(),
                uid: service.uid(),
            };
            alive.insert(identity.clone());
            let wanted = self.wanted(world, &service);
            if self.written.get(&identity) == Some(&wanted) {
                continue;
            }
            let name = &identity.name;
            match world.cluster.set_endpoints("default", name, &wanted).await {
                Ok(()) => drop(self.written.insert(identity, wanted)),
                Err(error) => problems.push(format!("endpoints of Service {name}: {error:#}")),
            }
        }
        self.written.retain(|identity, _| alive.contains(identity));
        Ok(problems)
    }

    fn wanted(&self, world: &World, service: &Service) -> Vec<Endpoint> {
        let chosen = service.annotations().get(PODS_ON);
        let is_chosen =
            |node: &str| chosen.is_none_or(|names| names.split(',').any(|it| it.trim() == node));
        let pods = world.pods.iter().filter(|pod| is_chosen(pod.node()));
        let endpoint = |pod| {
            let endpoint = Endpoint::ready(pod);
            if self.lost.contains(&endpoint.node) {
                endpoint.unready()
            } else {
                endpoint
            }
        };
        pods.map(endpoint).collect()
    }
}

/// The Services of namespace default, by name, without that of the API server itself.
pub(crate) async fn services(world: &World) -> Result<Vec<Service>> {
    let api: Api<Service> = Api::default_namespaced(world.cluster.client());
    let mut services = api.list(&ListParams::default()).await?.items;
    services.retain(|service| service.name_any() != "kubernetes");
    services.sort_by_key(ResourceExt::name_any);
    Ok(services)
}
