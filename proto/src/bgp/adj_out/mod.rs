//! How far one session has come with telling its peer the [`super::Rib`] (the Adj-RIB-Out of RFC 4271 §3.2): a cursor,
//! and for each route what the peer holds, which is never sent a second time.
//!
//! Nothing is pushed. When the socket has room, the driver pulls, and gets packed messages for what the peer
//! lacks at this moment. A reconnect starts at zero; so does a route refresh, except that withdrawals which the
//! peer has not heard yet are still owed to it. If both sides know enhanced refresh (RFC 7313), markers stand around
//! what is sent again:
//!
//! ```text
//!  routes ... End-of-RIB      (request)   BoRR  all routes  EoRR      (changes as they come)
//! ```

#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::told::Told;
use super::rib::Number;
use super::{
    Export, Families, Family, Follower, NextHop, NextHops, Prefix, Refresh, RouteAttrs, Version,
    announce, end_of_rib, withdraw,
};

/// One session's way through the [`super::Rib`].
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct AdjOut {
    export: Export,
    families: Families,
    enhanced_refresh: bool,
    v4: Lane,
    v6: Lane,
    /// Routes whose attributes do not fit into a message; normally none.
    oversized: BTreeSet<Prefix>,
}

/// One family's way.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// Everything up to here has been sent.
    cursor: Version,
    /// How far the cursor ever was: withdrawals before are done.
    reached: Version,
    /// What the peer holds.
    told: Told,
    end_of_rib_sent: bool,
    /// Everything is to be sent again, and none of it has been.
    asked: bool,
    /// Everything is sent again, even what the peer holds.
    repeats: bool,
    /// A resend with markers, asked for or going on.
    resend: Option<Resend>,
}

/// How far a resend with markers has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resend {
    /// BoRR is still to be sent.
    Asked,
    /// EoRR is still to be sent.
    Begun,
}

/// Why routes of a family are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsent {
    /// Not both sides offered the family.
    NotAgreed,
    /// We have no address that the peer could send the traffic to.
    NoNextHop,
}

/// What one pull wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Messages, End-of-RIB and the markers of a refresh included.
    pub messages: usize,
    /// Routes announced.
    pub announced: usize,
    /// Routes withdrawn.
    pub withdrawn: usize,
}

/// What fits into one pull, sorted out.
#[derive(Default)]
struct Window<'a> {
    newest: Version,
    bytes: usize,
    withdrawn: Vec<Prefix>,
    announced: BTreeMap<&'a Arc<RouteAttrs>, Vec<(Number, Prefix)>>,
}

/// Routes with the same attributes on the wire.
#[derive(Default)]
struct Group<'a> {
    prefixes: Vec<Prefix>,
    told: Vec<(Number, &'a Arc<RouteAttrs>)>,
}

impl AdjOut {
    /// Starts at zero. `families` are those that both sides agreed on.
    #[must_use]
    pub fn new(export: Export, families: Families) -> Self {
        Self {
            export,
            families,
            enhanced_refresh: false,
            v4: Lane::default(),
            v6: Lane::default(),
            oversized: BTreeSet::new(),
        }
    }

    /// With markers around what is sent again, if that was `agreed` (RFC 7313).
    #[must_use]
    pub fn enhanced_refresh(self, agreed: bool) -> Self {
        Self {
            enhanced_refresh: agreed,
            ..self
        }
    }

    /// Why routes of `family` cannot be told; `None` if they can.
    #[must_use]
    pub fn why_not(&self, family: Family) -> Option<Unsent> {
        if !self.families.has(family) {
            Some(Unsent::NotAgreed)
        } else if self.export.next_hop(family).is_none() {
            Some(Unsent::NoNextHop)
        } else {
            None
        }
    }

    /// Whether routes of `family` can be told at all: agreed on, and with a next hop.
    #[must_use]
    pub fn carries(&self, family: Family) -> bool {
        self.why_not(family).is_none()
    }

    /// Our addresses that routes are told with.
    #[must_use]
    pub const fn next_hops(&self) -> NextHops {
        self.export.next_hops
    }

    /// How many routes the peer holds.
    #[must_use]
    pub const fn advertised(&self) -> usize {
        self.v4.told.len() + self.v6.told.len()
    }

    /// Routes that cannot be told because their attributes fill a whole message.
    #[must_use]
    pub fn oversized(&self) -> usize {
        self.oversized.len()
    }

    /// Up to where the peer has been told; withdrawals before need not be remembered for it. Who is told nothing needs
    /// no withdrawals at all.
    fn heard(&self, family: Family) -> Version {
        if self.carries(family) {
            self.lane(family).reached
        } else {
            Version::END
        }
    }

    /// The peer wants to hear everything of `family` again (RFC 2918). Many requests before the next pull cost
    /// one resend.
    pub fn refresh(&mut self, family: Family) {
        let markers = self.enhanced_refresh && self.families.has(family);
        let lane = self.lane_mut(family);
        lane.cursor = Version::START;
        lane.asked = true;
        lane.repeats = true;
        // Before End-of-RIB the first table is still on its way, and BoRR is not allowed (RFC 7313 §4).
        if markers && lane.end_of_rib_sent {
            lane.resend = Some(Resend::Asked);
        }
    }

    /// Whether everything of `family` is going to be sent again: another request now would change nothing.
    #[must_use]
    pub const fn will_refresh(&self, family: Family) -> bool {
        self.lane(family).asked
    }

    /// Appends messages for what the peer lacks, of about `room` bytes at most. What is written counts as told.
    pub fn pull(&mut self, mut rib: Follower<'_>, room: usize, out: &mut Vec<u8>) -> Pulled {
        let mut pulled = Pulled::default();
        let limit = out.len() + room;
        for family in self.families.iter() {
            self.pull_family(family, &rib, limit, out, &mut pulled);
        }
        for family in Family::ALL {
            rib.heard(family, self.heard(family));
        }
        pulled
    }

    fn pull_family(
        &mut self,
        family: Family,
        rib: &Follower<'_>,
        limit: usize,
        out: &mut Vec<u8>,
        pulled: &mut Pulled,
    ) {
        let lane = self.lane_mut(family);
        lane.asked = false;
        if lane.resend == Some(Resend::Asked) {
            lane.resend = Some(Resend::Begun);
            Refresh::begin(family, out);
            pulled.messages += 1;
        }
        let next_hop = self.export.next_hop(family);
        if let Some(next_hop) = next_hop {
            while out.len() < limit && self.lane(family).cursor < rib.head(family) {
                let window = self.window(family, rib, limit - out.len());
                let lane = self.lane_mut(family);
                // Only forgotten withdrawals are left when the window saw nothing.
                lane.cursor = window.newest.max(lane.cursor);
                lane.reached = lane.reached.max(lane.cursor);
                self.write(family, next_hop, window, out, pulled);
            }
        }
        let lane = self.lane_mut(family);
        if next_hop.is_some() && lane.cursor < rib.head(family) {
            return;
        }
        lane.repeats = false;
        if lane.resend.take().is_some() {
            Refresh::end(family, out);
            pulled.messages += 1;
        }
        if rib.is_synced() && !lane.end_of_rib_sent {
            lane.end_of_rib_sent = true;
            end_of_rib(family, out);
            pulled.messages += 1;
        }
    }

    /// Takes changes from the log until about `room` bytes are full; at least one.
    fn window<'a>(&mut self, family: Family, rib: &'a Follower<'_>, room: usize) -> Window<'a> {
        let mut window = Window::default();
        let lane = self.lane(family);
        let (cursor, repeats) = (lane.cursor, lane.repeats);
        for change in rib.changes(family, cursor) {
            if window.bytes >= room {
                return window;
            }
            window.newest = change.version;
            let told = &mut self.lane_mut(family).told;
            match change.attrs {
                Some(attrs) if !repeats && told.is(change.number, attrs) => continue,
                Some(attrs) => {
                    let group = window.announced.entry(attrs).or_default();
                    if group.is_empty() {
                        window.bytes += attrs.wire_estimate();
                    }
                    group.push((change.number, change.prefix));
                }
                None => {
                    let held = told.take_back(change.number);
                    self.oversized.remove(&change.prefix);
                    if !held {
                        continue; // Came and went without this peer.
                    }
                    window.withdrawn.push(change.prefix);
                }
            }
            window.bytes += change.prefix.wire_len();
        }
        window.newest = rib.head(family);
        window
    }

    fn write(
        &mut self,
        family: Family,
        next_hop: NextHop,
        mut window: Window<'_>,
        out: &mut Vec<u8>,
        pulled: &mut Pulled,
    ) {
        // Sets that differ only in what this peer is not told have the same bytes.
        let mut groups: BTreeMap<Vec<u8>, Group<'_>> = BTreeMap::new();
        for (attrs, routes) in window.announced {
            let bytes = self.export.attributes(attrs, next_hop);
            let group = groups.entry(bytes).or_default();
            for (number, prefix) in routes {
                group.prefixes.push(prefix);
                group.told.push((number, attrs));
            }
        }
        let mut announced = Vec::new();
        for (attributes, group) in &groups {
            match announce(
                family,
                next_hop,
                attributes,
                &group.prefixes,
                &mut announced,
            ) {
                Ok(messages) => {
                    pulled.messages += messages;
                    pulled.announced += group.prefixes.len();
                    self.told(family, group);
                }
                // The peer may hold them with what they had before: that is no longer true.
                Err(_) => window.withdrawn.extend(self.give_up(family, group)),
            }
        }
        let classic = next_hop.is_classic();
        pulled.messages += withdraw(family, classic, &window.withdrawn, out);
        pulled.withdrawn += window.withdrawn.len();
        out.append(&mut announced);
    }

    /// Notes that the peer holds these.
    fn told(&mut self, family: Family, group: &Group<'_>) {
        for prefix in &group.prefixes {
            self.oversized.remove(prefix);
        }
        let told = &mut self.lane_mut(family).told;
        for (number, attrs) in &group.told {
            told.tell(*number, attrs);
        }
    }

    /// Notes that these can not be told; returns those that the peer holds with other attributes.
    fn give_up(&mut self, family: Family, group: &Group<'_>) -> Vec<Prefix> {
        self.oversized.extend(&group.prefixes);
        let told = &mut self.lane_mut(family).told;
        let routes = group.prefixes.iter().zip(&group.told);
        let held = routes.filter(|(_, (number, _))| told.take_back(*number));
        held.map(|(prefix, _)| *prefix).collect()
    }

    const fn lane(&self, family: Family) -> &Lane {
        match family {
            Family::V4Unicast => &self.v4,
            Family::V6Unicast => &self.v6,
        }
    }

    const fn lane_mut(&mut self, family: Family) -> &mut Lane {
        match family {
            Family::V4Unicast => &mut self.v4,
            Family::V6Unicast => &mut self.v6,
        }
    }
}
