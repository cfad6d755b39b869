//! Judges each write of a controller: is what it gives lawful, and is what it takes away forced by a user?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use portolan_api::ObjectKey;
use portolan_api::crd::IPAddressPoolSpec;
use portolan_api::range::Family;
use portolan_api::view::Service;

use super::rules;
use super::server::{Author, Kind, Object, Server, State};
use super::strangers;
use super::user::POOLS;

/// What a Service was given in a term.
#[derive(Debug, Default, Clone)]
struct Given {
    term: u64,
    /// Each address with the version since which it is promised.
    addresses: BTreeMap<IpAddr, u64>,
}

/// What controllers have promised by writing it.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// By UID.
    given: BTreeMap<String, Given>,
    /// Version at which the present term began.
    begun: u64,
}

impl Promises {
    pub(crate) fn begin(&mut self, _term: u64, server: &Server) {
        self.begun = server.head();
    }

    /// A controller's write turned `before` into `after`.
    pub(crate) fn judge(
        &mut self,
        server: &Server,
        term: u64,
        wall: Timestamp,
        before: &Service,
        after: &Service,
    ) -> Result<(), String> {
        let key = ObjectKey::of(after);
        let uid = after.metadata.uid.clone().unwrap();
        let mut held = self.given.remove(&uid).unwrap_or_default();
        if held.term != term {
            held = Given::default();
        }
        for address in before.vips() {
            let since = since(server, &uid, address).map_or(0, |(version, _)| version);
            held.addresses.entry(address).or_insert(since);
        }
        let now = after.vips();
        for address in &now {
            if !before.vips().contains(address) {
                // What was promised to it while its status was another program's is its own as well.
                let promised = rules::promised(before).contains(address);
                let mut known = promised || held.addresses.contains_key(address);
                // What it had when the term began or since is its own, whatever its status said in between.
                replay(server, self.begun, |state| {
                    known |= rules::service(state, &key).is_some_and(|held| {
                        held.metadata.uid == after.metadata.uid
                            && held.metadata.resource_version != after.metadata.resource_version
                            && held.vips().contains(address)
                    });
                });
                self.may_give(server, wall, &key, after, *address, known)?;
            }
        }
        if now == before.vips()
            && rules::verdict(after).is_some_and(|(_, r)| r == "StatusContested")
        {
            // The status is another program's, for a while. What was promised before is still kept.
            held.term = term;
            self.given.insert(uid, held);
            return Ok(());
        }
        for (address, since) in &held.addresses {
            if !now.contains(address) && !may_take(server, *since, before, after, *address) {
                return Err(format!(
                    "{key} loses {address}, which it had since version {since}, and no user forced that"
                ));
            }
        }
        let kept = now.iter().map(|address| {
            let since = held.addresses.get(address).copied();
            (*address, since.unwrap_or(server.head()))
        });
        let addresses = kept.collect();
        self.given.insert(uid, Given { term, addresses });
        Ok(())
    }

    /// Whether the Service may be given the address.
    fn may_give(
        &self,
        server: &Server,
        wall: Timestamp,
        key: &ObjectKey,
        service: &Service,
        address: IpAddr,
        known: bool,
    ) -> Result<(), String> {
        for (other, theirs) in rules::services(&server.state) {
            if other == key || !theirs.vips().contains(&address) {
                continue;
            }
            let uid = theirs.metadata.uid.clone().unwrap();
            let by_hand = since(server, &uid, address).is_none_or(|(_, by)| by == Author::User);
            if !by_hand && !could_share(server, service, other, &uid, address) {
                return Err(format!("{address} is given to {key}, and {other} has it"));
            }
        }
        let throughout = |holds: &dyn Fn(&State) -> bool| {
            let mut all = true;
            replay(server, self.begun, |state| all &= holds(state));
            all
        };
        let closed = |state: &State| {
            let written = rules::written(state);
            !rules::is_open(state, &written, service, address)
                && !rules::is_open(state, &rules::in_force(state), service, address)
        };
        if throughout(&closed) {
            return Err(format!(
                "{address} is given to {key}, and no pool has it for that one"
            ));
        }
        let of_a_node = |state: &State| rules::is_of_a_node(state, address);
        if !known && throughout(&of_a_node) {
            return Err(format!("{address} is given to {key}, and a node uses it"));
        }
        let reserved = |state: &State| {
            let of = |pools: &[_]| rules::is_reserved_for_others(pools, key, address);
            of(&rules::written(state)) && of(&rules::in_force(state))
        };
        if !known && throughout(&reserved) {
            return Err(format!(
                "{address} is given to {key}, and it is reserved for others"
            ));
        }
        let retained = |state: &State| {
            rules::keeps_at_all(state, address)
                && rules::is_retained_for_others(state, wall, key, address)
        };
        if !known && throughout(&retained) {
            return Err(format!(
                "{address} is given to {key}, and it is retained for another one"
            ));
        }
        let shut = |state: &State| strangers::is_shut(state, wall, address);
        if !known && throughout(&shut) {
            return Err(format!(
                "{address} is given to {key}, and a stranger uses it"
            ));
        }
        self.gets_its_own(server, wall, key, service, address)
    }

    /// What is kept for its name goes before anything else.
    fn gets_its_own(
        &self,
        server: &Server,
        wall: Timestamp,
        key: &ObjectKey,
        service: &Service,
        address: IpAddr,
    ) -> Result<(), String> {
        let state = &server.state;
        let pools = rules::in_force(state);
        let asks = rules::exact(service) != Ok(Vec::new()) || rules::named_pool(service).is_some();
        let young = service.metadata.resource_version.as_ref() == Some(&server.head().to_string());
        if asks || !young {
            return Ok(());
        }
        for own in rules::kept_for(state, wall, key) {
            let mut always = Family::of(own) == Family::of(address);
            replay(server, self.begun, |state| {
                let (written, force) = (rules::written(state), rules::in_force(state));
                always &= rules::kept_for(state, wall, key).contains(&own)
                    && rules::is_open(state, &written, service, own)
                    && rules::is_open(state, &force, service, own)
                    && rules::has_all_room(&written, own)
                    && !rules::is_of_a_node(state, own)
                    && !strangers::is_suspect(state, own)
                    && rules::services(state)
                        .all(|(other, theirs)| other == key || !theirs.vips().contains(&own));
            });
            let of_it = rules::kept_for(state, wall, key).contains(&address);
            if always && !of_it && own != address && rules::is_open(state, &pools, service, own) {
                return Err(format!("{key} gets {address}, and {own} is kept for it"));
            }
        }
        Ok(())
    }
}

/// Calls `look` with each state since a version.
fn replay(server: &Server, since: u64, mut look: impl FnMut(&State)) {
    let mut state = server.at(since);
    look(&state);
    for entry in server.log.iter().filter(|entry| entry.version > since) {
        let key = (entry.kind, entry.key.clone());
        match &entry.object {
            Some(object) => drop(state.insert(key, object.clone())),
            None => drop(state.remove(&key)),
        }
        look(&state);
    }
}

/// Since when, and by whom, the Service has shown the address without a break, up to the last version that showed it.
fn since(server: &Server, uid: &str, address: IpAddr) -> Option<(u64, Author)> {
    let mut found = None;
    for entry in server.log.iter().rev() {
        let Some(Object::Service(service)) = &entry.object else {
            continue;
        };
        if service.metadata.uid.as_deref() != Some(uid) {
            continue;
        }
        if service.vips().contains(&address) {
            found = Some((entry.version, entry.author));
        } else if found.is_some() {
            break;
        }
    }
    found
}

/// Whether the two could share the address as the other one's specification stood at any time.
fn could_share(
    server: &Server,
    service: &Service,
    other: &ObjectKey,
    uid: &str,
    address: IpAddr,
) -> bool {
    let mut crosses = false;
    replay(server, 0, |state| {
        crosses |= rules::crosses(&rules::written(state), address);
    });
    let versions = server.log.iter().filter(|entry| entry.key == *other);
    let mut versions = versions.filter_map(|entry| match &entry.object {
        Some(Object::Service(theirs)) if entry.kind == Kind::Service => Some(theirs),
        _ => None,
    });
    versions.any(|theirs| {
        theirs.metadata.uid.as_deref() == Some(uid) && rules::may_share(service, theirs, crosses)
    })
}

/// Whether something that a user did since a version forces the Service off the address.
fn may_take(
    server: &Server,
    version: u64,
    before: &Service,
    after: &Service,
    address: IpAddr,
) -> bool {
    let uid = before.metadata.uid.clone().unwrap();
    let family = Family::of(address);
    let of_family = |service: &Service| {
        let vips = service.vips().into_iter();
        vips.filter(|a| Family::of(*a) == family)
            .collect::<Vec<_>>()
    };
    let by_hand =
        |address: IpAddr| since(server, &uid, address).is_some_and(|(_, by)| by == Author::User);
    let replaced = of_family(after).first().copied();
    // Somebody wrote too many, or this one, or another one that is adopted.
    if of_family(before).len() > 1 || by_hand(address) || replaced.is_some_and(by_hand) {
        return true;
    }
    let mut forced = false;
    // Pools that had the address on duty, and pools that users closed to it.
    let (mut homes, mut closed) = (BTreeSet::new(), BTreeSet::new());
    // How it stood, and how those stood who had the address with it: a controller may know of one change without the other.
    let (mut own, mut others) = (Vec::new(), Vec::new());
    let mut asked = false;
    let mut is_asked_for = false;
    replay(server, version, |state| {
        let key = ObjectKey::of(before);
        let Some(service) = rules::service(state, &key) else {
            return;
        };
        if service.metadata.uid != before.metadata.uid {
            return;
        }
        let written = rules::written(state);
        let open_to_it = |(_, spec): &(&str, &IPAddressPoolSpec)| {
            rules::offers(spec, address) && rules::admits(state, spec, service)
        };
        let open: BTreeSet<&str> = written
            .iter()
            .filter(|pool| open_to_it(pool))
            .map(|(name, _)| *name)
            .collect();
        let on_duty = rules::in_force(state).into_iter();
        homes.extend(on_duty.filter(open_to_it).map(|(name, _)| name.to_owned()));
        closed.extend(POOLS.into_iter().filter(|name| !open.contains(name)));
        if own.last().is_none_or(|last: &Service| {
            last.spec != service.spec || last.metadata.annotations != service.metadata.annotations
        }) {
            own.push(service.clone());
        }
        let beside = rules::services(state).filter(|(other, _)| **other != key);
        let beside = beside.filter(|(_, theirs)| theirs.vips().contains(&address));
        others.extend(beside.map(|(_, theirs)| theirs.clone()));
        let wanted = rules::families(service).contains(&family);
        forced |= !rules::is_ours(service) || !wanted || open.is_empty();
        asked |= !rules::is_asked(&written, service, address)
            || !rules::is_asked(&rules::in_force(state), service, address);
        is_asked_for |= rules::services(state).any(|(other, theirs)| {
            *other != key && rules::exact(theirs).is_ok_and(|exact| exact.contains(&address))
        });
    });
    let collide = |one: &Service| {
        others
            .iter()
            .any(|other| !rules::may_share(one, other, true))
    };
    forced |= own.iter().any(collide);
    forced |= homes.iter().any(|home| closed.contains(home.as_str()));
    forced |= replaced.is_some() && strangers::may_move(server, version, before, address);
    forced || (asked && (replaced.is_some() || is_asked_for))
}
