//! Histories: VIPs come and go, nodes die and return.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    Add,
    Remove(usize),
    Die(usize),
    Return(usize),
    Drain(usize),
}

/// Nodes that are equal, and the VIPs on them.
#[derive(Debug)]
struct Cluster {
    board: Board,
    all: Nodes,
    alive: BTreeSet<usize>,
    seats: Vec<(ServiceId, SeatId)>,
    next: u32,
    now: Instant,
}

impl Cluster {
    fn new(nodes: usize) -> Self {
        Self {
            board: Board::default(),
            all: (0..nodes).map(|n| Arc::from(format!("node-{n}"))).collect(),
            alive: (0..nodes).collect(),
            seats: Vec::new(),
            next: 0,
            now: mk_start(),
        }
    }

    fn candidates(&self) -> Vec<Candidate<'_>> {
        let alive = self.alive.iter().map(|node| &self.all[*node]);
        let candidate = |name| Candidate {
            name,
            zone: None,
            score: 0,
            draining: false,
            unreported: false,
            unseen: false,
        };
        alive.map(candidate).collect()
    }

    fn arrange(&mut self, service: ServiceId, seat: SeatId, review: bool) -> bool {
        let all = self.all.clone();
        let alive = self.alive.clone();
        let candidates: Vec<Candidate<'_>> = alive
            .iter()
            .map(|node| Candidate {
                name: &all[*node],
                zone: None,
                score: 0,
                draining: false,
                unreported: false,
                unseen: false,
            })
            .collect();
        let key = format!("shop/s{}", service.0);
        self.board.place(seat, None, 0, self.now, |current, load| {
            let wish = Wish {
                key: &key,
                current,
                acting: None,
                review,
            };
            place(wish, &candidates, load)
        })
    }

    fn add(&mut self) {
        let service = ServiceId(self.next);
        self.next += 1;
        let members = BTreeMap::from([(service, Holding::default())]);
        let (seat, _) = self.board.gather(service, &members);
        self.seats.push((service, seat));
        self.arrange(service, seat, false);
    }

    fn arrange_all(&mut self) {
        for (service, seat) in self.seats.clone() {
            self.arrange(service, seat, false);
        }
    }

    /// Reviews stand-bys until there is nothing to improve. Returns how many were changed.
    fn review(&mut self) -> usize {
        let mut changed = 0;
        loop {
            let names: Nodes = self
                .candidates()
                .iter()
                .map(|c| Arc::clone(c.name))
                .collect();
            let uneven = self.board.uneven(&names);
            let seats = self.seats.clone();
            let seats = seats.into_iter().filter(|(_, seat)| uneven.contains(seat));
            let round = seats.filter(|(service, seat)| self.arrange(*service, *seat, true));
            let round = round.count();
            changed += round;
            assert!(changed <= 100 * self.seats.len(), "reviewed for ever");
            if round == 0 {
                return changed;
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Add => self.add(),
            Step::Remove(which) if !self.seats.is_empty() => {
                let (service, _) = self.seats.swap_remove(which % self.seats.len());
                self.board.leave(service);
            }
            Step::Die(which) | Step::Drain(which) if self.alive.len() > 1 => {
                let node = *self.alive.iter().nth(which % self.alive.len()).unwrap();
                self.alive.remove(&node);
                self.arrange_all();
            }
            Step::Return(which) => {
                self.alive.insert(which % self.all.len());
                self.arrange_all();
            }
            Step::Remove(_) | Step::Die(_) | Step::Drain(_) => {}
        }
    }

    fn placements(&self) -> BTreeMap<ServiceId, Nodes> {
        let placement = |(service, seat): &(ServiceId, SeatId)| {
            let nodes = self.board.get(*seat).unwrap().nodes.clone();
            (*service, nodes)
        };
        self.seats.iter().map(placement).collect()
    }

    /// Loads of the nodes that live: the smallest and the largest.
    fn extremes(&self) -> (u32, u32) {
        let loads = self.candidates().into_iter();
        let loads = loads.map(|node| self.board.load().answering(node.name));
        let loads: Vec<u32> = loads.collect();
        (*loads.iter().min().unwrap(), *loads.iter().max().unwrap())
    }

    /// The same after the death of a node, as its stand-bys would take over by themselves.
    fn extremes_after(&self, dead: &Arc<str>) -> (u32, u32) {
        let others = self
            .candidates()
            .into_iter()
            .filter(|node| node.name != dead);
        let loads = others.map(|node| self.board.load().after(dead, node.name));
        let loads: Vec<u32> = loads.collect();
        (*loads.iter().min().unwrap(), *loads.iter().max().unwrap())
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Add),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => (0_usize..8).prop_map(Step::Die),
        1 => (0_usize..8).prop_map(Step::Return),
        1 => (0_usize..8).prop_map(Step::Drain),
    ]
}

proptest! {
    #[test]
    fn vips_that_come_are_balanced_to_within_one_and_so_they_are_after_each_death(
        nodes in 2_usize..9,
        steps in prop::collection::vec(prop_oneof![8 => Just(Step::Add), 1 => (0_usize..8).prop_map(Step::Die)], 1..100),
    ) {
        let mut cluster = Cluster::new(nodes);
        for step in steps {
            cluster.step(step);
            let (min, max) = cluster.extremes();
            prop_assert!(max - min <= 1 + max / SLACK, "after {step:?}: {min} to {max}");
            cluster.review();
            if cluster.alive.len() > 1 {
                for dead in cluster.candidates() {
                    let (min, max) = cluster.extremes_after(dead.name);
                    prop_assert!(max - min <= 1 + max / SLACK, "if {} died after {step:?}: {min} to {max}", dead.name);
                }
            }
        }
    }

    #[test]
    fn only_the_vips_of_a_node_that_is_lost_move_and_to_their_first_stand_by(
        nodes in 2_usize..9,
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut cluster = Cluster::new(nodes);
        for step in steps {
            let before = cluster.placements();
            let lived = cluster.alive.clone();
            let least = cluster.extremes().0;
            cluster.step(step);
            let lost: Vec<&Arc<str>> = lived
                .difference(&cluster.alive)
                .map(|node| &cluster.all[*node])
                .collect();
            for (service, now) in cluster.placements() {
                let names: BTreeSet<&Arc<str>> = now.iter().collect();
                prop_assert_eq!(names.len(), now.len(), "a node stands twice: {:?}", now);
                prop_assert_eq!(now.len(), DEPTH.min(cluster.alive.len()));
                match before.get(&service) {
                    Some(was) if lost.contains(&&was[0]) => prop_assert_eq!(&now[0], &was[1]),
                    Some(was) => prop_assert_eq!(&now[0], &was[0], "{:?} moved {:?}", step, service),
                    None => {
                        let load = cluster.board.load().answering(&now[0]);
                        prop_assert_eq!(load, least + 1, "a new one goes where the fewest are");
                    }
                }
            }
            let settled = cluster.placements();
            cluster.arrange_all();
            prop_assert_eq!(cluster.placements(), settled.clone(), "deciding again changes nothing");
            cluster.review();
            for (service, now) in cluster.placements() {
                prop_assert_eq!(&now[0], &settled[&service][0], "a review moved {:?}", service);
            }
        }
    }

    #[test]
    fn spreading_ends_within_one_and_moves_no_more_than_it_must(
        nodes in 2_usize..9,
        steps in prop::collection::vec(any_step(), 1..150),
    ) {
        let mut cluster = Cluster::new(nodes);
        for step in steps {
            cluster.step(step);
        }
        let excess: u32 = {
            let total = u32::try_from(cluster.seats.len()).unwrap();
            let share = total.div_ceil(u32::try_from(cluster.alive.len()).unwrap());
            let loads = cluster.candidates().into_iter();
            loads.map(|node| cluster.board.load().answering(node.name).saturating_sub(share)).sum()
        };
        let mut moves = 0;
        loop {
            let all = cluster.all.clone();
            let alive: Nodes = cluster.alive.iter().map(|node| all[*node].clone()).collect();
            let words = vec!["n"; alive.len()];
            let candidates = mk_candidates(&alive, &words);
            let load = |seat: SeatId, board: &Board| board.load().answering(&board.get(seat).unwrap().nodes[0]);
            let mut seats: Vec<SeatId> = cluster.seats.iter().map(|(_, seat)| *seat).collect();
            seats.sort_by_key(|seat| (Reverse(load(*seat, &cluster.board)), *seat));
            let now = cluster.now;
            let moved = seats.into_iter().any(|seat| cluster.board.place(seat, None, 0, now, |current, load| {
                rebalance(mk_wish(current, None), &candidates, load).unwrap_or_else(|| current.to_vec())
            }));
            if !moved {
                break;
            }
            moves += 1;
        }
        let (min, max) = cluster.extremes();
        prop_assert!(max - min <= 1, "{min} to {max}");
        let bound = excess + u32::try_from(cluster.alive.len()).unwrap();
        prop_assert!(moves <= bound, "{moves} moves for {excess} too many");
    }
}

#[test]
fn five_hundred_vips_of_five_nodes_are_spread_over_the_others_when_one_dies_and_stay_when_it_returns()
 {
    let mut cluster = Cluster::new(5);
    (0..500).for_each(|_| cluster.add());
    assert_eq!(cluster.extremes(), (100, 100));
    cluster.step(Step::Die(0));
    let (min, max) = cluster.extremes();
    assert!(min >= 123 && max <= 127, "{min} to {max}");
    let before = cluster.placements();
    let changed = cluster.review();
    assert!(changed <= 100, "{changed} stand-bys changed");
    cluster.step(Step::Return(0));
    let moved = cluster.placements().into_iter();
    let moved = moved.filter(|(service, nodes)| nodes[0] != before[service][0]);
    assert_eq!(moved.count(), 0);
}

#[test]
fn one_death_in_a_large_cluster_rewrites_little_more_than_what_named_the_node() {
    let mut cluster = Cluster::new(100);
    (0..5000).for_each(|_| cluster.add());
    cluster.review();
    let before = cluster.placements();
    let named = before
        .values()
        .filter(|nodes| nodes.contains(&cluster.all[7]))
        .count();
    cluster.step(Step::Die(7));
    cluster.review();
    let after = cluster.placements();
    let rewritten = after
        .iter()
        .filter(|(service, nodes)| before[service] != **nodes)
        .count();
    assert!(
        rewritten <= named + named / 2,
        "{rewritten} rewritten, {named} named it"
    );
    let (min, max) = cluster.extremes();
    assert!(max - min <= 3, "{min} to {max}");
}
