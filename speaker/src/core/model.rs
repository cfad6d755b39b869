//! What the speaker knows of the cluster, reduced to what its decisions read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use portolan_api::ObjectKey;
use portolan_api::crd::{PeerRule, SecretReference, SpeakerConfig, SpeakerConfigSpec};
use portolan_api::range::Family;
use portolan_api::view::{EndpointSlice, Node, Service, TrafficPolicy, usable_nodes};
use portolan_daemon::watch::Change;

use super::pools::Pools;

/// Something became known.
#[derive(Debug)]
pub enum Event {
    /// Services of type LoadBalancer.
    Service(Change<Service>),
    /// Endpoints of Services.
    Slice(Change<EndpointSlice>),
    /// The compiled configuration.
    Config(Change<SpeakerConfig>),
    /// Our own Node.
    Node(Change<Node>),
    /// Secrets of our own namespace; watched from the moment that a peer names one.
    Secret(Change<Secret>),
}

/// A Secret: only the key that a peer may need.
#[derive(Debug, Clone, Default, kube::Resource, serde::Serialize, serde::Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Secret")]
pub struct Secret {
    /// Name and namespace.
    pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    /// The data, as the API has it.
    #[serde(default)]
    pub data: SecretData,
}

/// The one value of a Secret that we read.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SecretData {
    /// `password` of type `kubernetes.io/basic-auth`.
    pub password: Option<k8s_openapi::ByteString>,
}

impl std::fmt::Debug for SecretData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretData(…)")
    }
}

/// Usable endpoints of one slice, as this node needs to know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usable {
    family: Family,
    anywhere: bool,
    here: bool,
}

/// The key in a Secret.
#[derive(Debug, Default, PartialEq, Eq)]
struct Key {
    /// The last usable one: a Secret that is deleted or spoilt takes no running session down.
    usable: Option<String>,
    /// What is wrong with the Secret as it is now.
    problem: Option<&'static str>,
}

/// A Service, reduced to what announcements depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownService {
    pub(super) vips: Vec<IpAddr>,
    pub(super) policy: TrafficPolicy,
    pub(super) labels: BTreeMap<String, String>,
    /// The layer-2 placement names this node first.
    pub(super) answers: bool,
}

/// How much of the plan is out of date.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    #[default]
    Nothing,
    /// What these addresses have a part in: a Service or its endpoints changed.
    Vips(BTreeSet<IpAddr>),
    /// All of it: the configuration, the Node or a key changed, or more addresses than are worth looking up one by one.
    Everything,
}

impl Due {
    /// Above this, looking for the Services of each address costs more than one look at all of them.
    const VIPS: usize = 64;

    fn vips(&mut self, vips: &[IpAddr]) {
        match self {
            Self::Nothing if vips.is_empty() => {}
            Self::Nothing => *self = Self::Vips(vips.iter().copied().collect()),
            Self::Vips(known) => known.extend(vips),
            Self::Everything => {}
        }
        if matches!(self, Self::Vips(known) if known.len() > Self::VIPS) {
            *self = Self::Everything;
        }
    }

    fn everything_if(&mut self, changed: bool) {
        if changed {
            *self = Self::Everything;
        }
    }
}

/// Everything that the speaker knows.
#[derive(Debug)]
pub struct Model {
    node_name: String,
    lb_class: Option<String>,
    namespace: String,
    pub(super) services: BTreeMap<ObjectKey, KnownService>,
    slices: HashMap<ObjectKey, HashMap<String, Usable>>,
    slice_owner: HashMap<ObjectKey, ObjectKey>,
    pub(super) config: SpeakerConfigSpec,
    pub(super) pools: Pools,
    config_generation: i64,
    pub(super) node: Option<Node>,
    secrets: HashMap<String, Key>,
    config_seen: ConfigSeen,
    waiting_for: Vec<&'static str>,
    due: Due,
}

/// What is known about the configuration object, beside its content.
#[derive(Debug, Clone, Copy, Default)]
struct ConfigSeen {
    /// The list of configurations was complete once.
    listed: bool,
    /// One was read since we started.
    read: bool,
    /// The one that exists can not be read by this version.
    unreadable: bool,
}

/// Kinds that must be known before anything is announced or withdrawn.
const REQUIRED: [&str; 4] = ["services", "endpointslices", "speakerconfig", "node"];

impl Model {
    /// An empty model of the cluster as this node sees it.
    #[must_use]
    pub fn new(node_name: String, namespace: String, lb_class: Option<String>) -> Self {
        Self {
            node_name,
            lb_class,
            namespace,
            services: BTreeMap::new(),
            slices: HashMap::new(),
            slice_owner: HashMap::new(),
            config: SpeakerConfigSpec::default(),
            pools: Pools::default(),
            config_generation: 0,
            node: None,
            secrets: HashMap::new(),
            config_seen: ConfigSeen::default(),
            waiting_for: REQUIRED.to_vec(),
            due: Due::Nothing,
        }
    }

    /// Takes an event in.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Service(change) => self.service(change),
            Event::Slice(change) => self.slice(change),
            Event::Config(change) => self.config(change),
            Event::Node(change) => self.node(change),
            Event::Secret(change) => self.secret(change),
        }
    }

    /// What has to be planned anew since the last call. Nothing before everything required is known: a speaker that has
    /// just started must not announce, or end a list of routes, from half a picture.
    pub fn take_due(&mut self) -> Due {
        if self.waiting_for.is_empty() {
            std::mem::take(&mut self.due)
        } else {
            Due::Nothing
        }
    }

    /// Kinds that are not known yet.
    #[must_use]
    pub fn waiting_for(&self) -> &[&'static str] {
        &self.waiting_for
    }

    /// Generation of the configuration that is followed.
    #[must_use]
    pub fn config_generation(&self) -> i64 {
        self.config_generation
    }

    /// The node that this is.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Our own namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The UID of the Node object, for ownership of the report.
    #[must_use]
    pub fn node_uid(&self) -> Option<&str> {
        self.node.as_ref()?.metadata.uid.as_deref()
    }

    /// Whether some peer takes its key from a Secret.
    #[must_use]
    pub fn needs_secrets(&self) -> bool {
        let takes = |peer: &PeerRule| {
            peer.password_secret.is_some() || peer.tcp_authentication_option.is_some()
        };
        self.config.peers.iter().any(takes)
    }

    /// The key in a Secret of our own namespace with what is wrong with the Secret now, or why there is no key. `field`
    /// is where the Secret is named.
    pub(super) fn key(
        &self,
        field: &str,
        secret: &SecretReference,
    ) -> Result<(&str, Option<String>), String> {
        let name = &secret.name;
        let ours = &self.namespace;
        if let Some(other) = secret.namespace.as_ref().filter(|other| *other != ours) {
            return Err(format!(
                "{field} {other}/{name}: Secrets are read from namespace {ours} only: move it there"
            ));
        }
        let says = |problem: &str| format!("{field} {ours}/{name} {problem}");
        match self.secrets.get(name) {
            None => Err(says(Self::NO_SECRET)),
            Some(Key {
                usable: None,
                problem,
            }) => Err(says(problem.unwrap_or(Self::NO_SECRET))),
            Some(Key {
                usable: Some(key),
                problem,
            }) => {
                let going_on =
                    |problem| format!("{}; its last usable key stays in use", says(problem));
                Ok((key, problem.map(going_on)))
            }
        }
    }

    const NO_SECRET: &str = "does not exist, or is not of type kubernetes.io/basic-auth: create it with the key under password";
    const NO_KEY: &str = "has no usable value under password: 1 to 80 bytes of text";

    /// Usable endpoints of a Service in one family: anywhere in the cluster, and on this node.
    pub(super) fn usable(&self, service: &ObjectKey, family: Family) -> (bool, bool) {
        let slices = self
            .slices
            .get(service)
            .into_iter()
            .flat_map(HashMap::values);
        let slices = slices.filter(|slice| slice.family == family);
        slices.fold((false, false), |(anywhere, here), slice| {
            (anywhere || slice.anywhere, here || slice.here)
        })
    }

    fn synced(&mut self, kind: &'static str) {
        let before = self.waiting_for.len();
        self.waiting_for.retain(|waiting| *waiting != kind);
        self.due.everything_if(self.waiting_for.len() != before);
    }

    fn service(&mut self, change: Change<Service>) {
        match change {
            Change::Apply(service) => {
                let known = service
                    .wants(self.lb_class.as_deref())
                    .then(|| self.reduce(&service));
                self.replace_service(ObjectKey::of(&service), known);
            }
            Change::Delete((namespace, name)) => {
                self.replace_service(ObjectKey { namespace, name }, None);
            }
            Change::Unreadable(..) => {}
            Change::Synced => self.synced("services"),
        }
    }

    /// Most changes of a Service do not concern us: equal means nothing happened.
    fn replace_service(&mut self, key: ObjectKey, known: Option<KnownService>) {
        if self.services.get(&key) == known.as_ref() {
            return;
        }
        if let Some(known) = &known {
            self.due.vips(&known.vips);
        }
        let before = match known {
            Some(known) => self.services.insert(key, known),
            None => self.services.remove(&key),
        };
        if let Some(before) = before {
            self.due.vips(&before.vips);
        }
    }

    /// The endpoints of a Service changed.
    fn endpoints_of(&mut self, service: &ObjectKey) {
        if let Some(known) = self.services.get(service) {
            self.due.vips(&known.vips);
        }
    }

    fn reduce(&self, service: &Service) -> KnownService {
        let placement = service
            .annotation(portolan_api::annotation::L2_NODES)
            .unwrap_or_default();
        KnownService {
            vips: service.vips(),
            policy: service.spec.external_traffic_policy,
            labels: service.labels().clone(),
            answers: placement
                .split(',')
                .next()
                .is_some_and(|first| first.trim() == self.node_name),
        }
    }

    fn slice(&mut self, change: Change<EndpointSlice>) {
        match change {
            Change::Apply(slice) => {
                let key = ObjectKey::of(&slice);
                let Some(family) = slice.family() else {
                    return self.forget_slice(&key);
                };
                let nodes = usable_nodes(&slice);
                let usable = Usable {
                    family,
                    anywhere: !nodes.is_empty(),
                    here: nodes.contains(self.node_name.as_str()),
                };
                let owner = slice.service();
                if self.slice_owner.get(&key) != owner.as_ref() {
                    self.forget_slice(&key);
                }
                let Some(owner) = owner else { return };
                let slices = self.slices.entry(owner.clone()).or_default();
                let before = slices.insert(key.name.clone(), usable);
                if before != Some(usable) {
                    self.endpoints_of(&owner);
                }
                self.slice_owner.insert(key, owner);
            }
            Change::Delete((namespace, name)) => self.forget_slice(&ObjectKey { namespace, name }),
            Change::Unreadable(..) => {}
            Change::Synced => self.synced("endpointslices"),
        }
    }

    fn forget_slice(&mut self, key: &ObjectKey) {
        let Some(owner) = self.slice_owner.remove(key) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&owner) {
            slices.remove(&key.name);
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.endpoints_of(&owner);
    }

    fn config(&mut self, change: Change<SpeakerConfig>) {
        match change {
            Change::Apply(config) => {
                self.config_generation = config.metadata.generation.unwrap_or_default();
                self.due = Due::Everything;
                self.config_seen.read = true;
                self.config_seen.unreadable = false;
                if self.config != config.spec {
                    self.pools = Pools::new(&config.spec);
                    self.config = config.spec;
                }
            }
            // The controller writes it again. Until then its last content stands: a deleted configuration, like a
            // missing controller, never withdraws anything.
            Change::Delete(_) => {
                tracing::warn!(
                    "SpeakerConfig was deleted: its last content stays in force until the controller writes it again"
                );
                self.config_seen.unreadable = false;
            }
            Change::Unreadable(..) => self.config_seen.unreadable = true,
            Change::Synced => self.config_seen.listed = true,
        }
        // One that exists and has never been read is no empty one: a speaker of an older version must not start by
        // announcing nothing, and call itself ready.
        let ConfigSeen {
            listed,
            read,
            unreadable,
        } = self.config_seen;
        if listed && (read || !unreadable) {
            self.synced("speakerconfig");
        }
    }

    fn node(&mut self, change: Change<Node>) {
        match change {
            Change::Apply(node) => {
                let same = self.node.as_ref().is_some_and(|known| {
                    known.labels() == node.labels()
                        && known.excluded() == node.excluded()
                        && known.metadata.uid == node.metadata.uid
                        && known.status.addresses == node.status.addresses
                });
                // Kubelets write their Node every few minutes: heartbeats are no news.
                if !same {
                    self.node = Some(node);
                    self.due = Due::Everything;
                }
            }
            Change::Delete(_) => {
                self.node = None;
                self.due = Due::Everything;
            }
            Change::Unreadable(..) => {}
            Change::Synced => self.synced("node"),
        }
    }

    fn secret(&mut self, change: Change<Secret>) {
        let (name, found) = match change {
            Change::Apply(secret) => {
                let key = secret
                    .data
                    .password
                    .and_then(|bytes| String::from_utf8(bytes.0).ok());
                let key = key.filter(|key| (1..=80).contains(&key.len()));
                (
                    secret.metadata.name.unwrap_or_default(),
                    key.ok_or(Self::NO_KEY),
                )
            }
            Change::Delete((_, name)) => (name, Err(Self::NO_SECRET)),
            Change::Unreadable((_, name), _) => (name, Err(Self::NO_KEY)),
            Change::Synced => return,
        };
        let held = self.secrets.remove(&name).unwrap_or_default();
        let next = match found {
            Ok(key) => Key {
                usable: Some(key),
                problem: None,
            },
            Err(problem) => Key {
                usable: held.usable.clone(),
                problem: Some(problem),
            },
        };
        self.due.everything_if(held != next);
        self.secrets.insert(name, next);
    }
}
