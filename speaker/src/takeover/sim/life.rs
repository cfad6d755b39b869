//! What may happen to a cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::Takeover;
use super::world::World;

/// Everything is repaired, told and on; so long after that all must be well.
const CALM: u64 = 12_000;

/// Random trouble, then calm, thrice.
pub(super) fn chaos(world: &mut World) {
    start_all(world);
    for _ in 0..world.dice.between(1, 3) {
        for _ in 0..world.dice.between(1, 7) {
            trouble(world);
            let pause = [0, 30, 300, 1200][world.dice.between(0, 3) as usize];
            let pause = world.dice.between(0, pause);
            world.run(pause.into());
        }
        calm(world);
    }
}

fn start_all(world: &mut World) {
    let together = world.dice.between(0, 1) == 0;
    for node in 0..world.nodes.len() {
        let blind = world.dice.between(1, 300);
        world.begin(node, blind);
        let pause = if together {
            0
        } else {
            world.dice.between(0, 3000)
        };
        world.run(pause.into());
    }
}

fn any_node(world: &mut World) -> usize {
    let count = world.nodes.len();
    world.pick(count)
}

fn any_vip(world: &mut World) -> IpAddr {
    let count = world.placements.len();
    let at = world.pick(count);
    world.placements.keys().copied().nth(at).unwrap()
}

fn trouble(world: &mut World) {
    let node = any_node(world);
    match world.dice.between(0, 13) {
        0 => split(world),
        1 => one_way(world),
        2 => heal(world),
        3 => world.set_power(node, false),
        4 => {
            world.set_power(node, true);
            let blind = world.dice.between(100, 3000);
            world.begin(node, blind);
        }
        5 if world.runs(node) => world.stop(node),
        6 => {
            let blind = world.dice.between(1, 1000);
            world.begin(node, blind);
        }
        7 => world.leave(node),
        8 => world.set_carrier(node, false),
        9 => world.set_carrier(node, true),
        10 => {
            world.set_carrier(node, false);
            let pause = world.dice.between(1, 500);
            world.run(pause.into());
            world.set_carrier(node, true);
        }
        11 | 12 => {
            let (vip, nodes) = (any_vip(world), world.mk_placement());
            world.place(vip, nodes);
        }
        13 => {
            let hears = world.dice.between(0, 1) == 0;
            world.nodes[node].api = hears;
            world.tell(|| format!("n{node} hears the API server: {hears}"));
        }
        _ => {}
    }
}

/// Two sides that do not hear each other; the router is on one of them.
fn split(world: &mut World) {
    let count = world.nodes.len() + 1;
    let sides: Vec<bool> = (0..count).map(|_| world.dice.between(0, 1) == 0).collect();
    for a in 0..count {
        for b in 0..count {
            world.set_cut(a, b, sides[a] != sides[b]);
        }
    }
    world.rewired();
}

/// A node is not heard, or hears nobody, or one does not hear one.
fn one_way(world: &mut World) {
    let (node, other, kind) = (any_node(world), any_node(world), world.dice.between(0, 2));
    for it in (0..=world.nodes.len()).filter(|it| *it != node) {
        match kind {
            0 => world.set_cut(node, it, true),
            1 => world.set_cut(it, node, true),
            _ if it == other => world.set_cut(node, it, true),
            _ => {}
        }
    }
    world.rewired();
}

fn heal(world: &mut World) {
    for a in 0..=world.nodes.len() {
        for b in 0..=world.nodes.len() {
            world.set_cut(a, b, false);
        }
    }
    world.rewired();
}

/// Everything works again; then there is one holder of each address, and all know it.
fn calm(world: &mut World) {
    world.tell(|| "calm".to_owned());
    heal(world);
    for node in 0..world.nodes.len() {
        world.nodes[node].api = true;
        if world.nodes[node].leaving {
            world.stop(node);
        }
        world.set_power(node, true);
        world.set_carrier(node, true);
        let blind = world.dice.between(1, 300);
        world.begin(node, blind);
    }
    world.publish();
    world.run(CALM);
    settled(world);
}

fn settled(world: &World) {
    for (vip, (_, nodes)) in &world.placements {
        let holders = world.holders(*vip);
        let [holder] = holders[..] else {
            panic!("I4: {vip} of {nodes:?} is held by {holders:?}");
        };
        assert!(
            nodes.contains(&holder),
            "I4: n{holder} holds {vip} of {nodes:?}"
        );
        for node in nodes {
            let standing = world.nodes[*node].machine.as_ref().map(Takeover::standing);
            let knows = standing.and_then(|standing| standing.get(vip)?.holder.clone());
            assert_eq!(
                knows.as_deref(),
                Some(&*format!("n{holder}")),
                "I4: what n{node} thinks of {vip}"
            );
        }
    }
}

/// Who answers for what.
fn map(world: &World) -> BTreeMap<IpAddr, Vec<usize>> {
    let vips = world.placements.keys();
    vips.map(|vip| (*vip, world.answering(*vip))).collect()
}

/// A failure of one node, seen by BFD, and its end.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Power,
    Kill,
    Cable,
    Cut,
    Leave,
}

/// One failure after the other, each bridged before the next; then returns, which move nothing.
pub(super) fn failures(world: &mut World) {
    for node in 0..world.nodes.len() {
        world.begin(node, 5);
    }
    world.run(CALM);
    settled(world);
    let mut failed: Vec<(usize, Failure)> = Vec::new();
    for _ in 0..world.dice.between(2, 6) {
        let node = any_node(world);
        match failed.iter().position(|(it, _)| *it == node) {
            Some(at) => {
                let (node, failure) = failed.swap_remove(at);
                give_back(world, node, failure);
            }
            None if world.dice.between(0, 3) == 0 => replace(world, &failed),
            None => {
                let kinds = [
                    Failure::Power,
                    Failure::Kill,
                    Failure::Cable,
                    Failure::Cut,
                    Failure::Leave,
                ];
                let failure = kinds[world.dice.between(0, 4) as usize];
                fail(world, node, failure, &failed);
                failed.push((node, failure));
            }
        }
    }
}

/// A new placement of working nodes moves an address without a moment of silence.
fn replace(world: &mut World, failed: &[(usize, Failure)]) {
    let vip = any_vip(world);
    let mut nodes = world.mk_placement();
    nodes.retain(|node| failed.iter().all(|(it, _)| it != node));
    let held = !world.answering(vip).is_empty();
    let Some(first) = nodes.first().copied().filter(|_| held) else {
        return;
    };
    let stays = world.placements[&vip].1.first() == Some(&first);
    let mut expected = world.answering(vip);
    if !stays || !expected.iter().all(|holder| nodes.contains(holder)) {
        expected = vec![first];
    }
    world.reset();
    world.place(vip, nodes);
    world.run(1500);
    assert_eq!(
        world.gap.get(&vip),
        None,
        "I2: silence in a planned move of {vip}"
    );
    assert_eq!(
        world.answering(vip),
        expected,
        "I2: a planned move of {vip}, or other stand-bys"
    );
    world.run(6000);
}

fn fail(world: &mut World, node: usize, failure: Failure, failed: &[(usize, Failure)]) {
    world.tell(|| format!("n{node} fails: {failure:?}"));
    let works = |it: &usize| *it != node && failed.iter().all(|(other, _)| other != it);
    let bridged: Vec<IpAddr> = world
        .placements
        .iter()
        .filter(|(vip, (_, nodes))| nodes.iter().any(works) && !world.answering(**vip).is_empty())
        .map(|(vip, _)| *vip)
        .collect();
    let before = map(world);
    world.reset();
    match failure {
        Failure::Power => world.set_power(node, false),
        Failure::Kill => world.stop(node),
        Failure::Cable => world.set_carrier(node, false),
        Failure::Cut => {
            let aware = world.router && world.sees_anybody(node);
            world.cut_off.insert(node, aware);
            for other in (0..=world.nodes.len()).filter(|it| *it != node) {
                world.set_cut(node, other, true);
                world.set_cut(other, node, true);
            }
            world.rewired();
        }
        Failure::Leave => world.leave(node),
    }
    world.run(4000);
    for vip in bridged {
        let gap = world.gap.get(&vip).copied().unwrap_or_default();
        let budget = if matches!(failure, Failure::Leave) {
            0
        } else {
            1_000_000
        };
        assert!(gap <= budget, "I2: nobody answered for {vip} for {gap} µs");
        let answering = world.answering(vip);
        assert_eq!(answering.len(), 1, "I2: {vip} is answered by {answering:?}");
        if !before[&vip].contains(&node) {
            assert_eq!(
                before[&vip],
                world.answering(vip),
                "a failure of n{node} moved {vip}"
            );
        }
    }
}

fn give_back(world: &mut World, node: usize, failure: Failure) {
    world.tell(|| format!("n{node} returns from {failure:?}"));
    let vips: Vec<IpAddr> = world.placements.keys().copied().collect();
    let before: BTreeMap<IpAddr, Vec<usize>> = vips
        .iter()
        .map(|vip| (*vip, world.answering(*vip)))
        .collect();
    let blind = world.dice.between(1, 1000);
    // Who has no witness, or had seen nobody, does not know that it is cut off: then both sides are alike, and one of them
    // keeps it, whichever.
    let alike = world.cut_off.get(&node).is_some_and(|aware| !aware);
    match failure {
        Failure::Power => {
            world.set_power(node, true);
            world.begin(node, blind);
        }
        Failure::Kill | Failure::Leave => world.begin(node, blind),
        Failure::Cable => world.set_carrier(node, true),
        Failure::Cut => {
            world.cut_off.remove(&node);
            for other in (0..=world.nodes.len()).filter(|it| *it != node) {
                let still = world.cut_off.contains_key(&other);
                world.set_cut(node, other, still);
                world.set_cut(other, node, still);
            }
            world.rewired();
        }
    }
    world.run(6000);
    for (vip, nodes) in before {
        // Who held it behind a cut while it was placed elsewhere lets go when somebody comes who is named.
        let stray = nodes
            .iter()
            .any(|node| !world.placements[&vip].1.contains(node));
        if alike || stray {
            let answering = world.answering(vip).len();
            assert_eq!(
                answering,
                nodes.len().max(answering.min(1)),
                "I4: {vip} when n{node} came back"
            );
        } else if !nodes.is_empty() {
            assert_eq!(
                world.answering(vip),
                nodes,
                "I3: {vip} moved when n{node} came back"
            );
        }
    }
}
