//! What ExaBGP 4.2 writes to its `process`, one JSON object per line, folded into a table: it keeps none itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::{Path, Session, community, link_bandwidth};

/// Who announced what.
pub(super) type Key = (IpNetwork, IpAddr);

/// All that the lines so far have told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) routes: BTreeMap<Key, Path>,
    pub(super) sessions: BTreeMap<IpAddr, Session>,
}

impl Told {
    /// Takes one line in. The last one may still be half written; that is no error of anyone's.
    pub(super) fn line(&mut self, line: &str) -> Result<()> {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("ExaBGP wrote {line}"))?;
        let Some(neighbour) = line.neighbor else {
            return Ok(());
        };
        let peer = neighbour.address.peer;
        let session = self.sessions.entry(peer).or_insert_with(|| Session {
            peer,
            state: "Idle".into(),
            established_count: Some(0),
            updates: 0,
        });
        if let Some(state) = neighbour.state {
            match &*state {
                "up" => {
                    session.state = "Established".into();
                    session.established_count = session.established_count.map(|count| count + 1);
                }
                "connected" => session.state = "OpenSent".into(),
                _ => {
                    session.state = "Idle".into();
                    self.routes.retain(|(_, from), _| *from != peer);
                }
            }
        }
        if let Some(update) = neighbour.message.and_then(|message| message.update) {
            session.updates += 1;
            self.update(peer, update);
        }
        Ok(())
    }

    fn update(&mut self, peer: IpAddr, update: Update) {
        for nlri in update.withdraw.into_values().flatten() {
            self.routes.remove(&(nlri.nlri, peer));
        }
        let attributes = Path::from(update.attribute);
        // A global and a link-local next hop stand side by side as if there were two routes; the global one is that which
        // others show.
        let (local, global): (Vec<_>, Vec<_>) = update
            .announce
            .into_values()
            .flatten()
            .filter_map(|(hop, nlris)| Some((hop.parse::<IpAddr>().ok()?, nlris)))
            .partition(|(hop, _)| matches!(hop, IpAddr::V6(hop) if hop.is_unicast_link_local()));
        for (hop, nlris) in local.into_iter().chain(global) {
            for nlri in nlris {
                let path = Path {
                    next_hop: Some(hop),
                    peer: Some(peer),
                    ..attributes.clone()
                };
                self.routes.insert((nlri.nlri, peer), path);
            }
        }
    }
}

#[derive(Deserialize)]
struct Line {
    neighbor: Option<Neighbour>,
}

#[derive(Deserialize)]
struct Neighbour {
    address: Addresses,
    state: Option<String>,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Addresses {
    peer: IpAddr,
}

/// An UPDATE, or an End-of-RIB (`eor`) that has no routes.
#[derive(Deserialize)]
struct Message {
    update: Option<Update>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Update {
    attribute: Attributes,
    announce: BTreeMap<String, BTreeMap<String, Vec<Nlri>>>,
    withdraw: BTreeMap<String, Vec<Nlri>>,
}

#[derive(Deserialize)]
struct Nlri {
    nlri: IpNetwork,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Attributes {
    as_path: Vec<u32>,
    local_preference: Option<u32>,
    med: Option<u32>,
    community: Vec<(u32, u32)>,
    large_community: Vec<(u32, u32, u32)>,
    extended_community: Vec<Extended>,
}

#[derive(Deserialize)]
struct Extended {
    value: u64,
}

impl From<Attributes> for Path {
    fn from(attributes: Attributes) -> Self {
        let mut communities: Vec<String> = attributes
            .community
            .into_iter()
            .map(|(high, low)| community(high << 16 | low))
            .collect();
        communities.sort_unstable();
        let mut large: Vec<String> = attributes
            .large_community
            .into_iter()
            .map(|(global, first, second)| format!("{global}:{first}:{second}"))
            .collect();
        large.sort_unstable();
        Self {
            as_path: attributes.as_path,
            local_pref: attributes.local_preference,
            med: attributes.med,
            communities,
            large_communities: large,
            link_bandwidth: attributes
                .extended_community
                .iter()
                .find_map(|extended| link_bandwidth(extended.value)),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{ "exabgp": "4.0.1", "neighbor": { "address": { "local": "10.9.0.2", "peer": "10.9.0.1" }"#;

    fn mk_told(tails: &[&str]) -> Told {
        let mut told = Told::default();
        for tail in tails {
            told.line(&format!("{HEAD}, {tail} }} }}")).unwrap();
        }
        told
    }

    const UP: &str = r#""state": "up""#;
    const ROUTE: &str = r#""message": { "update": { "attribute": { "origin": "igp", "as-path": [ 64512 ], "med": 5,
        "community": [ [ 64512, 1 ], [ 65535, 0 ] ], "large-community": [ [ 64512, 1 , 2 ] ] },
        "announce": { "ipv4 unicast": { "10.9.0.1": [ { "nlri": "192.0.2.1/32" } ] } } } }"#;

    #[test]
    fn a_route_comes_with_its_attributes_and_goes_with_its_session() {
        let told = mk_told(&[UP, ROUTE]);
        let path = told.routes.values().next().unwrap();
        assert_eq!(path.next_hop, Some("10.9.0.1".parse().unwrap()));
        assert_eq!((&path.as_path[..], path.med), (&[64512][..], Some(5)));
        assert_eq!(path.communities, ["64512:1", "65535:0"]);
        assert_eq!(path.large_communities, ["64512:1:2"]);
        let session = told.sessions.values().next().unwrap();
        assert!(session.is_established());
        assert_eq!((session.updates, session.established_count), (1, Some(1)));
        let told = mk_told(&[UP, ROUTE, r#""state": "down", "reason": "peer reset""#]);
        assert_eq!(told.routes.len(), 0);
    }

    #[test]
    fn a_withdrawn_route_is_gone() {
        let gone = r#""message": { "update": { "withdraw": { "ipv4 unicast": [ { "nlri": "192.0.2.1/32" } ] } } }"#;
        assert_eq!(mk_told(&[UP, ROUTE, gone]).routes.len(), 0);
    }
}
