//! What the speaker knows of the cluster, reduced to what its decisions read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_api::ObjectKey;
use portolan_api::crd::{NodeRule, PeerRule, SecretReference, SpeakerConfig, SpeakerConfigSpec};
use portolan_api::view::{EndpointSlice, Node, Service};
use portolan_daemon::watch::Change;
use portolan_proto::claim;

use super::bfd::BfdProfiles;
use super::due::Due;
use super::duties::Segments;
use super::endpoints::Endpoints;
use super::patience::{Patience, Side};
use super::pools::Pools;
use super::secrets::{Secret, Secrets, SpeakerKey};
use super::services::{KnownService, Services};
use super::standing::Good;

/// Something became known.
#[derive(Debug)]
pub enum Event {
    /// Services of type LoadBalancer.
    Service(Change<Service>),
    /// Services of the other types, and the generation of the watch that says so; see [`Model::others_wanted`].
    OtherService(u32, Change<Service>),
    /// Endpoints of Services.
    Slice(Change<EndpointSlice>),
    /// The compiled configuration.
    Config(Change<SpeakerConfig>),
    /// Our own Node.
    Node(Change<Node>),
    /// Secrets of our own namespace; watched from the moment that a peer or a BFDProfile names one.
    Secret(Change<Secret>),
    /// The Secret with the key of the speakers.
    SpeakerKey(Change<Secret>),
}

/// Everything that the speaker knows.
#[derive(Debug)]
pub struct Model {
    pub(super) node_name: String,
    lb_class: Option<String>,
    namespace: String,
    pub(super) services: Services,
    pub(super) endpoints: Endpoints,
    pub(super) patience: Patience,
    pub(super) now: Option<Instant>,
    pub(super) config: SpeakerConfigSpec,
    /// By name, versions of peers that stood when something changed last.
    pub(super) last_good: BTreeMap<String, Good>,
    pub(super) pools: Pools,
    /// Some rule announces weights.
    pub(super) weighs: bool,
    config_generation: i64,
    pub(super) node: Option<Node>,
    /// The Node as it was before it was deleted: its speaker still has to hand over.
    pub(super) former_node: Option<Node>,
    pub(super) segments: Segments,
    secrets: Secrets,
    pub(super) bfd_profiles: BfdProfiles,
    speaker_key: SpeakerKey,
    config_seen: ConfigSeen,
    pub(super) waiting_for: Vec<&'static str>,
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

/// The kind that must be known as well if a rule asks for it from the start.
const OTHER_SERVICES: &str = "services of other types";
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
            services: Services::default(),
            endpoints: Endpoints::default(),
            patience: Patience::default(),
            now: None,
            config: SpeakerConfigSpec::default(),
            last_good: BTreeMap::new(),
            pools: Pools::default(),
            weighs: false,
            config_generation: 0,
            node: None,
            former_node: None,
            segments: Segments::default(),
            secrets: Secrets::default(),
            bfd_profiles: BfdProfiles::default(),
            speaker_key: SpeakerKey::default(),
            config_seen: ConfigSeen::default(),
            waiting_for: REQUIRED.to_vec(),
            due: Due::Nothing,
        }
    }

    /// Takes an event in.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Service(change) => self.service(change),
            Event::OtherService(generation, change) => self.other_service(generation, change),
            Event::Slice(change) => self.slice(change),
            Event::Config(change) => self.config(change),
            Event::Node(change) => self.node(change),
            Event::Secret(change) => {
                self.remember_peers();
                let changed = self.secrets.take(change);
                self.follow_keys();
                self.due.everything_if(changed);
            }
            Event::SpeakerKey(change) => {
                let changed = self.speaker_key.take(change);
                self.due.everything_if(changed);
            }
        }
    }

    /// Tells the time: what comes in from here on happens now, and what waited until now is due.
    pub fn advance(&mut self, now: Instant) {
        self.now = Some(now);
        for service in self.patience.handle_timeout(now) {
            self.concerns(&service);
        }
    }

    /// When [`Model::advance`] has something to do, if nothing comes in before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.patience.next_deadline()
    }

    /// The generation of the watch of Services of other types than LoadBalancer that has to run, if a rule asks for one.
    #[must_use]
    pub fn others_wanted(&self) -> Option<u32> {
        self.services.others_wanted()
    }

    /// Why the node is about to go, if it is: its routes are a last resort then.
    #[must_use]
    pub fn draining(&self) -> Option<&'static str> {
        self.node.as_ref()?.draining()
    }

    /// What is not announced although a rule asks for it, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let words = |((service, family, _), wait): (&Side, Duration)| {
            format!(
                "Service {service}: its {family} endpoints came and went too often, so its routes are held back for {} s",
                wait.as_secs()
            )
        };
        let mut problems: Vec<String> = self.patience.held().map(words).collect();
        problems.sort_unstable();
        problems.extend(self.left_out());
        problems.extend(self.segments.problems());
        problems.extend(self.speaker_key_problem());
        problems
    }

    /// How many Services (by family) are held back because their endpoints came and went too often.
    #[must_use]
    pub fn held_back(&self) -> usize {
        self.patience.held().count()
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

    /// Whether some peer or BFDProfile takes its key from a Secret.
    #[must_use]
    pub fn needs_secrets(&self) -> bool {
        let takes = |peer: &PeerRule| {
            peer.password_secret.is_some() || peer.tcp_authentication_option.is_some()
        };
        let bfd = &self.config.bfd;
        self.config.peers.iter().any(takes) || bfd.iter().any(|it| it.authentication.is_some())
    }

    /// The key in a Secret; see [`Secrets::key`].
    pub(super) fn key(&self, field: &str, secret: &SecretReference) -> Result<&str, String> {
        self.secrets.key(&self.namespace, field, secret)
    }

    /// The key that the speakers have in common, if it is known.
    #[must_use]
    pub fn speaker_key(&self) -> Option<&claim::Key> {
        self.speaker_key.usable()
    }

    /// Nodes that take part in placements, as their speakers reported them.
    #[must_use]
    pub fn nodes(&self) -> &[NodeRule] {
        &self.config.nodes
    }

    /// Services that have one of these addresses, each with the first of them.
    pub fn services_of<'a>(
        &'a self,
        vips: &'a [IpAddr],
    ) -> impl Iterator<Item = (ObjectKey, IpAddr)> + 'a {
        self.services.iter().filter_map(|(key, service)| {
            let vip = service.vips.iter().find(|vip| vips.contains(vip))?;
            Some((key.clone(), *vip))
        })
    }

    /// Matters only where somebody would have to be watched.
    fn speaker_key_problem(&self) -> Option<String> {
        if !self.waiting_for.is_empty() {
            return None;
        }
        let problem = self.speaker_key.problem(&self.namespace)?;
        (!self.config.l2.is_empty()).then_some(problem)
    }

    pub(super) fn synced(&mut self, kind: &'static str) {
        let before = self.waiting_for.len();
        self.waiting_for.retain(|waiting| *waiting != kind);
        self.due.everything_if(self.waiting_for.len() != before);
    }

    fn service(&mut self, change: Change<Service>) {
        let (key, known) = match change {
            Change::Apply(service) => {
                let ours = service.wants(self.lb_class.as_deref());
                let known = KnownService::of(&service, ours, &self.node_name);
                (ObjectKey::of(&service), Some(known))
            }
            Change::Delete((namespace, name)) => (ObjectKey { namespace, name }, None),
            Change::Unreadable(..) => return,
            Change::Synced => return self.synced("services"),
        };
        // Most changes of a Service do not concern us.
        let concerned = self.services.load_balancer(key, known);
        self.due.vips(concerned);
    }

    fn other_service(&mut self, generation: u32, change: Change<Service>) {
        let (key, known) = match change {
            Change::Apply(service) => {
                let known = KnownService::of(&service, false, &self.node_name);
                (ObjectKey::of(&service), Some(known))
            }
            Change::Delete((namespace, name)) => (ObjectKey { namespace, name }, None),
            Change::Unreadable(..) => return,
            Change::Synced => {
                if let Some(gone) = self.services.others_complete(generation) {
                    self.due.vips(gone);
                    self.synced(OTHER_SERVICES);
                }
                return;
            }
        };
        let concerned = self.services.other(generation, key, known);
        self.due.vips(concerned);
    }

    /// Everything that a Service has a part in is out of date.
    pub(super) fn concerns(&mut self, service: &ObjectKey) {
        if let Some(known) = self.services.get(service) {
            self.due.vips(known.addresses());
        }
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
                    self.segments = Segments::of(&config.spec.l2);
                    self.weighs = config.spec.bgp.iter().any(|rule| rule.bandwidth.is_some());
                    self.follow(&config.spec);
                    self.remember_peers();
                    self.config = config.spec;
                    self.follow_keys();
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

    fn follow_keys(&mut self) {
        let Self {
            bfd_profiles,
            config,
            secrets,
            namespace,
            ..
        } = self;
        bfd_profiles.follow(&config.bfd, secrets, namespace);
    }

    /// Asks for Services of other types, or no longer. Whoever has not begun to announce waits for them; who has goes on.
    fn follow(&mut self, config: &SpeakerConfigSpec) {
        let starting = !self.waiting_for.is_empty();
        let asks = self.services.follow(&config.bgp);
        if self.services.others_wanted().is_none() {
            self.waiting_for.retain(|kind| *kind != OTHER_SERVICES);
        } else if asks && starting && !self.waiting_for.contains(&OTHER_SERVICES) {
            self.waiting_for.push(OTHER_SERVICES);
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
                        && known.draining() == node.draining()
                        && known.spec.pod_cidrs == node.spec.pod_cidrs
                });
                // Kubelets write their Node every few minutes: heartbeats are no news.
                if !same {
                    self.remember_peers();
                    self.node = Some(node);
                    self.due = Due::Everything;
                }
            }
            Change::Delete(_) => {
                self.former_node = self.node.take().or(self.former_node.take());
                self.due = Due::Everything;
            }
            Change::Unreadable(..) => {}
            Change::Synced => self.synced("node"),
        }
    }
}
