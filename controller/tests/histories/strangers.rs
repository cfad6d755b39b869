//! What strangers allow, forbid, and leave open, in its plainest form.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use portolan_api::crd::{IPAddressPool, Quarantined};
use portolan_api::view::{NodeReport, Service};

use super::rules;
use super::server::{Object, Server, State};

/// How long a report counts that is not renewed, and a quarantine lasts without one.
const HOLD: SignedDuration = SignedDuration::from_secs(600);
/// How long after it was given an address moves nobody any more.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// Whatever was reported longer ago than this has no bearing on anything.
const OVER: SignedDuration = SignedDuration::from_secs(1300);

fn reports(state: &State) -> impl Iterator<Item = &NodeReport> {
    state.values().filter_map(|object| match object {
        Object::Report(report) => Some(report),
        _ => None,
    })
}

fn pools(state: &State) -> impl Iterator<Item = (&str, &IPAddressPool)> {
    state.iter().filter_map(|((_, key), object)| match object {
        Object::Pool(pool) => Some((key.name.as_str(), pool)),
        _ => None,
    })
}

/// What is in quarantine, with the pool that says so.
fn records(state: &State) -> impl Iterator<Item = (&str, &Quarantined)> {
    pools(state).flat_map(|(name, pool)| {
        let records = pool.status.iter().flat_map(|status| &status.quarantined);
        records.map(move |record| (name, record))
    })
}

fn is(text: &str, address: IpAddr) -> bool {
    text.parse() == Ok(address)
}

/// Whether a node reports a stranger now, and it counts: `before_use` asks for one kind only.
pub(crate) fn is_reported(
    state: &State,
    wall: Timestamp,
    address: IpAddr,
    before_use: Option<bool>,
) -> bool {
    let mut conflicts = reports(state).flat_map(|report| &report.status.conflicts);
    conflicts.any(|one| {
        let last: Timestamp = one.last.parse().unwrap();
        is(&one.address, address)
            && last.saturating_add(HOLD).unwrap() > wall
            && before_use.is_none_or(|wanted| wanted == one.before_use)
    })
}

/// Whether a pool says that nobody gets the address, and can not have meant to end that yet.
pub(crate) fn is_shut(state: &State, wall: Timestamp, address: IpAddr) -> bool {
    let mut records = records(state).filter(|(_, record)| is(&record.address, address));
    records.any(|(_, record)| match &record.until {
        Some(until) => until.0 > wall,
        None => is_reported(state, wall, address, Some(true)),
    })
}

/// Whether a pool says that nobody gets the address.
pub(crate) fn is_recorded(state: &State, address: IpAddr) -> bool {
    records(state).any(|(_, record)| is(&record.address, address))
}

/// Whether anybody says that a stranger uses the address, be it long ago.
pub(crate) fn is_suspect(state: &State, address: IpAddr) -> bool {
    let mut conflicts = reports(state).flat_map(|report| &report.status.conflicts);
    conflicts.any(|one| is(&one.address, address)) || is_recorded(state, address)
}

/// Whether a stranger may still be spoken of.
pub(crate) fn lingers(server: &Server, wall: Timestamp, address: IpAddr) -> bool {
    let mut last = None;
    for entry in &server.log {
        // A report counts until it is replaced.
        if let Some(Object::Report(report)) = &entry.object {
            let told = report.status.conflicts.iter();
            let told = told.filter(|one| is(&one.address, address)).count() > 0;
            if told || last.is_some_and(|(_, open)| open) {
                last = Some((entry.at, told));
            }
        }
    }
    last.is_some_and(|(at, open)| open || at.saturating_add(OVER).unwrap() > wall)
        || is_recorded(&server.state, address)
}

/// Whether a stranger moved a Service off an address that it had since a version: it had just got it, did not ask for it by
/// name, and nobody answered.
pub(crate) fn may_move(server: &Server, version: u64, service: &Service, address: IpAddr) -> bool {
    let given = server.log.iter().find(|entry| entry.version == version);
    let Some(limit) = given.map(|entry| entry.at.saturating_add(FRESH).unwrap()) else {
        return false;
    };
    let mut state = server.at(version);
    let key = portolan_api::ObjectKey::of(service);
    let justified = |state: &State| {
        let mut conflicts = reports(state).flat_map(|report| &report.status.conflicts);
        let found = conflicts.any(|one| one.before_use && is(&one.address, address));
        let mut answered = reports(state).flat_map(|report| &report.status.l2_vips);
        found && !answered.any(|vip| is(&vip.address, address))
    };
    let by_name = |state: &State| {
        let service = rules::service(state, &key);
        service.is_some_and(|service| rules::exact(service) != Ok(Vec::new()))
    };
    let (mut found, mut free) = (justified(&state), !by_name(&state));
    for entry in server.log.iter().filter(|entry| entry.version > version) {
        let at = (entry.kind, entry.key.clone());
        match &entry.object {
            Some(object) => drop(state.insert(at, object.clone())),
            None => drop(state.remove(&at)),
        }
        found |= entry.at <= limit && justified(&state);
        free |= !by_name(&state);
    }
    found && free
}

/// At rest: every record has a reason, and every stranger that counts has a record.
pub(crate) fn look(server: &Server, wall: Timestamp, addresses: &[IpAddr]) -> Result<(), String> {
    let state = &server.state;
    for (pool, record) in records(state) {
        let address: IpAddr = record.address.parse().unwrap();
        let left = record
            .until
            .as_ref()
            .map(|until| until.0.duration_since(wall));
        if left.is_some_and(|left| left <= SignedDuration::ZERO) {
            return Err(format!(
                "{address} is in quarantine beyond its time in pool {pool}"
            ));
        }
        // The record has whole seconds.
        if left.is_some_and(|left| left > HOLD + SignedDuration::from_secs(1)) {
            return Err(format!(
                "{address} is in quarantine for {left:?} in pool {pool}"
            ));
        }
        if !lingers(server, wall, address) {
            return Err(format!(
                "{address} is in quarantine for nothing in pool {pool}"
            ));
        }
    }
    for (name, pool) in pools(state) {
        let status = pool.status.clone().unwrap_or_default();
        let count = i64::try_from(status.quarantined.len()).unwrap();
        if status.quarantined_count != count {
            return Err(format!(
                "pool {name} counts {} of {count}",
                status.quarantined_count
            ));
        }
    }
    let in_force = rules::in_force(state);
    for address in addresses {
        let mut homes = in_force
            .iter()
            .filter(|(_, spec)| rules::offers(spec, *address));
        let Some((home, _)) = homes.next() else {
            continue;
        };
        let recorded =
            records(state).any(|(pool, record)| pool == *home && is(&record.address, *address));
        if is_reported(state, wall, *address, Some(true)) && !recorded {
            return Err(format!(
                "{address} is used by a stranger, and pool {home} does not say so"
            ));
        }
    }
    Ok(())
}
