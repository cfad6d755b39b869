//! Any history, against the simplest model there is: for each peer a copy of what it should know, a copy of what it holds,
//! and the difference between the two.

use super::*;

const PEERS: [&str; 3] = ["a", "b", "c"];

/// Communities by last octet of the address.
type Routes = BTreeMap<u32, u16>;

#[derive(Clone, Debug)]
enum Step {
    /// These are all routes now: for each its community at each peer, 0 for a peer that is not told.
    Replace(BTreeMap<u32, [u16; 3]>),
    /// One route changes.
    Set(u32, [u16; 3]),
    /// A peer takes about so many octets.
    Pull(usize, usize),
    /// A peer wants to hear everything again.
    Refresh(usize),
    /// A session ends, and another begins.
    Reconnect(usize),
    /// A session ends, and the rib is told.
    Leave(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let hosts = || 0u32..12;
    let told = || [0u16..3, 0u16..3, 0u16..3];
    let room = prop_oneof![Just(1usize), Just(40), Just(ROOM)];
    prop_oneof![
        2 => proptest::collection::btree_map(hosts(), told(), 0..10).prop_map(Step::Replace),
        4 => (hosts(), told()).prop_map(|(host, told)| Step::Set(host, told)),
        4 => (0..PEERS.len(), room).prop_map(|(peer, room)| Step::Pull(peer, room)),
        1 => (0..PEERS.len()).prop_map(Step::Refresh),
        1 => (0..PEERS.len()).prop_map(Step::Reconnect),
        1 => (0..PEERS.len()).prop_map(Step::Leave),
    ]
}

fn mk_audience(told: [u16; 3]) -> Arc<Audience> {
    let told = PEERS.into_iter().zip(told);
    let told = told.filter(|(_, community)| *community > 0);
    let audience = told.map(|(peer, community)| (peer, mk_attrs(community)));
    Arc::new(audience.collect())
}

/// One rib, three sessions, and the model of each.
struct Site {
    rib: Rib,
    sessions: [AdjOut; 3],
    wanted: [Routes; 3],
    held: [Routes; 3],
    /// What was announced since a refresh that is not over.
    resent: [Option<Routes>; 3],
}

impl Site {
    fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Replace(routes) => {
                self.wanted = Default::default();
                for (host, told) in routes {
                    self.want(*host, *told);
                }
                let routes = routes.iter();
                let routes = routes.map(|(host, told)| (mk_route(*host, 0).0, mk_audience(*told)));
                self.rib.replace(&routes.collect());
            }
            Step::Set(host, told) => {
                self.want(*host, *told);
                let audience = mk_audience(*told);
                let audience = (!audience.is_empty()).then_some(&audience);
                self.rib.set(mk_route(*host, 0).0, audience);
            }
            Step::Pull(peer, room) => return self.pull(*peer, *room),
            Step::Refresh(peer) => {
                self.sessions[*peer].refresh(V4);
                self.resent[*peer] = Some(Routes::new());
            }
            Step::Reconnect(peer) => self.reconnect(*peer),
            Step::Leave(peer) => {
                self.reconnect(*peer);
                self.rib.leave(PEERS[*peer]);
            }
        }
        Ok(())
    }

    fn want(&mut self, host: u32, told: [u16; 3]) {
        for (wanted, community) in self.wanted.iter_mut().zip(told) {
            wanted.remove(&host);
            if community > 0 {
                wanted.insert(host, community);
            }
        }
    }

    fn reconnect(&mut self, peer: usize) {
        self.sessions[peer] = mk_adj();
        self.held[peer].clear();
        self.resent[peer] = None;
    }

    /// What is sent is exactly what the peer lacks; all of it if there is room, and everything after a refresh.
    fn pull(&mut self, peer: usize, room: usize) -> Result<(), TestCaseError> {
        let (wanted, held) = (&self.wanted[peer], &mut self.held[peer]);
        let lacks: Routes = wanted
            .iter()
            .filter(|(host, community)| held.get(*host) != Some(*community))
            .map(|(host, community)| (*host, *community))
            .collect();
        let surplus: BTreeSet<u32> = held
            .keys()
            .filter(|host| !wanted.contains_key(*host))
            .copied()
            .collect();
        let mut out = Vec::new();
        let rib = self.rib.follower(PEERS[peer]);
        let pulled = self.sessions[peer].pull(rib, room, &mut out);
        let (announced, withdrawn) = read(&out);
        prop_assert_eq!(pulled.announced, announced.len(), "each once");
        prop_assert_eq!(pulled.withdrawn, withdrawn.len(), "each once");
        let may = self.resent[peer].as_ref().map_or(&lacks, |_| wanted);
        prop_assert!(announced.iter().all(|(host, it)| may.get(host) == Some(it)));
        prop_assert!(
            withdrawn.is_subset(&surplus),
            "{:?} of {:?}",
            withdrawn,
            surplus
        );
        held.retain(|host, _| !withdrawn.contains(host));
        held.extend(&announced);
        if let Some(resent) = &mut self.resent[peer] {
            resent.extend(&announced);
        }
        if room == ROOM {
            prop_assert_eq!(&*held, wanted);
            if let Some(resent) = self.resent[peer].take() {
                let again = wanted.iter().all(|(host, it)| resent.get(host) == Some(it));
                prop_assert!(again, "{:?} of {:?}", resent, wanted);
            }
        }
        prop_assert_eq!(self.sessions[peer].advertised(), self.held[peer].len());
        Ok(())
    }
}

/// What messages announce and withdraw.
fn read(mut bytes: &[u8]) -> (Routes, BTreeSet<u32>) {
    let (mut announced, mut withdrawn) = (Routes::new(), BTreeSet::new());
    let hosts =
        |nlri: &[u8]| -> Vec<u32> { nlri.chunks(5).map(|chunk| u32::from(chunk[4])).collect() };
    while let Ok(Peek::Whole(frame, taken)) = Frame::peek(bytes) {
        bytes = &bytes[taken..];
        let seen = examine(frame.body, Relation::External, true);
        let (gone, came) = (2 + 5 * seen.withdrawn, 5 * seen.announced);
        withdrawn.extend(hosts(&frame.body[2..gone]));
        let nlri = frame.body.len() - came;
        // The community is the last attribute.
        let community = u16::from(frame.body[nlri - 1]);
        let routes = hosts(&frame.body[nlri..]);
        announced.extend(routes.into_iter().map(|host| (host, community)));
    }
    (announced, withdrawn)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn each_peer_is_told_exactly_the_difference_whatever_happened(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut site = Site {
            rib: Rib::default(),
            sessions: PEERS.map(|_| mk_adj()),
            wanted: Default::default(),
            held: Default::default(),
            resent: Default::default(),
        };
        for step in &steps {
            site.play(step)?;
        }
        for (peer, name) in PEERS.into_iter().enumerate() {
            site.pull(peer, ROOM)?;
            prop_assert_eq!(site.rib.wanted(name, V4), site.wanted[peer].len());
        }
        let everybody: BTreeSet<&u32> = site.wanted.iter().flat_map(BTreeMap::keys).collect();
        let kept = site.rib.follower(PEERS[0]).changes(V4, Version::START).count();
        prop_assert!(kept >= everybody.len());
        site.rib.replace(&BTreeMap::new());
        for peer in 0..PEERS.len() {
            site.wanted[peer].clear();
            site.pull(peer, ROOM)?;
        }
        let kept = site.rib.follower(PEERS[0]).changes(V4, Version::START).count();
        prop_assert_eq!(kept, 0, "everybody has heard of every end");
    }
}
