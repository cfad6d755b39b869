//! Which addresses this node answers for: the takeover machine. Pure: no sockets, no clock.

mod api;
pub(crate) mod shell;
pub(crate) mod wire;

pub use api::{
    Cause, Checked, Duty, Effect, PathState, Rival, SessionKey, SessionWish, Standing, State, Took,
};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use portolan_api::crd::NodeRule;
use portolan_proto::claim::Message;
use portolan_proto::ethernet::MacAddr;

use crate::l2::Interfaces;
use crate::link::{Exclude, Links};

/// The machine of one node.
#[derive(Debug)]
pub struct Takeover {
    node: String,
    sessions: BTreeMap<SessionKey, SessionWish>,
}

impl Takeover {
    /// A node that knows nothing yet, and answers for nothing.
    #[must_use]
    pub fn new(node: String) -> Self {
        Self {
            node,
            sessions: BTreeMap::new(),
        }
    }

    /// Replaces the duties: the VIPs whose placement names us, and those that we hold whose placement names us no longer
    /// although they still exist. What is not among them is not answered for any more on return.
    ///
    /// Not to be called before everything is known: blind is silent.
    pub fn set_duties(&mut self, duties: BTreeMap<IpAddr, Duty>, now: Instant) {
        let _ = (duties, now);
    }

    /// Replaces what is known of the nodes that take part in placements (`SpeakerConfigSpec::nodes`).
    pub fn set_nodes(&mut self, nodes: &[NodeRule], now: Instant) {
        let _ = (nodes, now);
    }

    /// Replaces the links of this node.
    pub fn set_links(&mut self, links: Arc<Links>, exclude: &Exclude, now: Instant) {
        let _ = (links, exclude, now);
    }

    /// Replaces the stations of a segment that can be asked whether we are still connected, beside the nodes: gateways and
    /// neighbours that the kernel knows. Without any, and without nodes there, a segment always counts as connected.
    pub fn set_witnesses(&mut self, interface: u32, stations: BTreeSet<IpAddr>, now: Instant) {
        let _ = (interface, stations, now);
    }

    /// The BFD sessions that are wanted, by node and interface.
    #[must_use]
    pub fn sessions(&self) -> &BTreeMap<SessionKey, SessionWish> {
        &self.sessions
    }

    /// A session changed its state. Reports of sessions that are not wanted change nothing.
    pub fn path(&mut self, key: &SessionKey, state: PathState, now: Instant) {
        let _ = (key, state, now);
    }

    /// An authentic message arrived, be it twice: the machine sorts out repetitions.
    pub fn hear(&mut self, interface: u32, message: &Message, now: Instant) {
        let _ = (interface, message, now);
    }

    /// A station was heard to use an address by ARP or NDP. Says whose station it is.
    pub fn heard_on_wire(
        &mut self,
        interface: u32,
        vip: IpAddr,
        mac: MacAddr,
        now: Instant,
    ) -> Rival {
        let _ = (interface, vip, mac, now);
        Rival::Stranger
    }

    /// A station that was asked by [`Effect::Ask`] answered.
    pub fn witnessed(&mut self, interface: u32, now: Instant) {
        let _ = (interface, now);
    }

    /// The result of an [`Effect::Check`].
    pub fn checked(&mut self, vip: IpAddr, verdict: Checked, now: Instant) {
        let _ = (vip, verdict, now);
    }

    /// The speaker stops in order: others are told, and each address is answered for until another node claims it, three
    /// seconds at most. It is done when [`Self::held`] is empty.
    pub fn leave(&mut self, now: Instant) {
        let _ = now;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// The next thing to do, in order. To be emptied after each call of any other method.
    pub fn poll(&mut self) -> Option<Effect> {
        None
    }

    /// What is to be answered for, and on which interfaces: always by name.
    #[must_use]
    pub fn held(&self) -> BTreeMap<IpAddr, Interfaces> {
        BTreeMap::new()
    }

    /// How it stands with each VIP, for reports and explanations.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<IpAddr, Standing> {
        let _ = &self.node;
        BTreeMap::new()
    }
}
