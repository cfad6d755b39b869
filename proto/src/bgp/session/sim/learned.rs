//! What one side has learned: a helper that keeps routes over a restart and drops what is stale at End-of-RIB or at the
//! end of a marked resend (RFC 4724 §4.2, RFC 7313 §4). A marker too few or too many leaves wrong routes behind.

use std::collections::BTreeMap;

use super::super::super::{Family, Frame, Kind, Prefix, Refresh, RefreshKind};
use crate::read::Reader;

/// Routes, and whether they are stale.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned {
    routes: BTreeMap<Prefix, bool>,
    /// End-of-RIB per family in this session.
    ends: [usize; 2],
    /// BoRR per family that still waits for its EoRR.
    resends: [bool; 2],
    /// What went because it was stale.
    dropped: Vec<Prefix>,
}

impl Learned {
    /// A session is Established: what is known is stale until it is heard again.
    pub(super) fn session(&mut self) {
        self.ends = [0, 0];
        self.resends = [false, false];
        self.routes.values_mut().for_each(|stale| *stale = true);
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        self.routes.keys()
    }

    /// Whether something that has begun never ended: routes that are stale for ever.
    pub(super) fn is_stale(&self) -> bool {
        self.routes.values().any(|stale| *stale) || self.resends != [false, false]
    }

    /// Returns what was dropped because it was not heard again.
    pub(super) fn take_in(&mut self, frame: Frame<'_>) -> Vec<Prefix> {
        match frame.kind {
            Kind::Update => self.update(frame.body),
            Kind::RouteRefresh => self.marker(frame.body),
            Kind::Open | Kind::Notification | Kind::Keepalive => {}
        }
        std::mem::take(&mut self.dropped)
    }

    fn marker(&mut self, body: &[u8]) {
        let marker = Refresh::decode(body).unwrap();
        let family = marker.family.unwrap();
        match marker.kind {
            RefreshKind::Begin => {
                assert_eq!(self.ends[index(family)], 1, "BoRR before End-of-RIB");
                let of_family = self
                    .routes
                    .iter_mut()
                    .filter(|(it, _)| it.family() == family);
                of_family.for_each(|(_, stale)| *stale = true);
                self.resends[index(family)] = true;
            }
            RefreshKind::End => {
                self.resends[index(family)] = false;
                self.drop_stale(family);
            }
            RefreshKind::Request | RefreshKind::Unknown(_) => {}
        }
    }

    fn drop_stale(&mut self, family: Family) {
        let gone = self
            .routes
            .extract_if(.., |prefix, stale| prefix.family() == family && *stale);
        self.dropped.extend(gone.map(|(prefix, _)| prefix));
    }

    /// Reads the three forms that we write: classic, `MP_REACH_NLRI` first, `MP_UNREACH_NLRI` alone.
    fn update(&mut self, body: &[u8]) {
        let mut reader = Reader::new(body);
        let length = reader.u16().unwrap();
        let withdrawn = reader.within(usize::from(length)).unwrap();
        let length = reader.u16().unwrap();
        let mut attributes = reader.within(usize::from(length)).unwrap();
        if body == [0; 4] {
            self.end(Family::V4Unicast);
        }
        for prefix in all(Family::V4Unicast, withdrawn) {
            self.routes.remove(&prefix);
        }
        for prefix in all(Family::V4Unicast, reader) {
            self.routes.insert(prefix, false);
        }
        let (Ok(_), Ok(kind @ 14..=15)) = (attributes.u8(), attributes.u8()) else {
            return;
        };
        let length = if body[4] & 0x10 == 0 {
            usize::from(attributes.u8().unwrap())
        } else {
            usize::from(attributes.u16().unwrap())
        };
        let mut value = attributes.within(length).unwrap();
        let family = Family::from_wire(value.u16().unwrap(), value.u8().unwrap()).unwrap();
        if kind == 15 {
            if value.is_empty() {
                self.end(family);
            }
            for prefix in all(family, value) {
                self.routes.remove(&prefix);
            }
        } else {
            let next_hop = value.u8().unwrap();
            value.take(usize::from(next_hop) + 1).unwrap();
            for prefix in all(family, value) {
                self.routes.insert(prefix, false);
            }
        }
    }

    fn end(&mut self, family: Family) {
        self.ends[index(family)] += 1;
        assert_eq!(self.ends[index(family)], 1, "End-of-RIB once per session");
        self.drop_stale(family);
    }
}

const fn index(family: Family) -> usize {
    match family {
        Family::V4Unicast => 0,
        Family::V6Unicast => 1,
    }
}

fn all(family: Family, mut nlri: Reader<'_>) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    while !nlri.is_empty() {
        prefixes.push(Prefix::decode(family, &mut nlri).unwrap());
    }
    prefixes
}
