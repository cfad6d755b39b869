//! What FRR 8.4 writes for `show bgp … json`, as far as the lab reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::{Path, community_number};

#[derive(Deserialize)]
pub(super) struct Table {
    pub(super) routes: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct FrrNeighbour {
    #[serde(rename = "bgpState")]
    pub(super) state: String,
    #[serde(rename = "connectionsEstablished", default)]
    pub(super) established_count: u64,
    /// The address of one that was found on a link; `none` before.
    #[serde(rename = "bgpNeighborAddr", default)]
    pub(super) address: String,
    #[serde(rename = "messageStats", default)]
    pub(super) messages: MessageStats,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MessageStats {
    #[serde(rename = "updatesRecv")]
    pub(super) updates: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FrrPath {
    #[serde(default)]
    nexthops: Vec<FrrNextHop>,
    peer: Option<FrrPeer>,
    aspath: Option<AsPath>,
    community: Option<Communities>,
    large_community: Option<Communities>,
    extended_community: Option<ExtendedCommunities>,
    #[serde(alias = "localpref")]
    loc_prf: Option<u32>,
    #[serde(alias = "med")]
    metric: Option<u32>,
}

#[derive(Deserialize)]
struct FrrNextHop {
    ip: IpAddr,
    scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FrrPeer {
    peer_id: Option<IpAddr>,
}

#[derive(Deserialize)]
struct AsPath {
    #[serde(default)]
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    #[serde(default)]
    list: Vec<u32>,
}

#[derive(Default, Deserialize)]
struct Communities {
    #[serde(default)]
    list: Vec<String>,
}

impl Communities {
    fn numbers(self) -> Vec<String> {
        let mut numbers: Vec<String> = self
            .list
            .iter()
            .map(|name| community_number(name))
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

#[derive(Deserialize)]
struct ExtendedCommunities {
    string: String,
}

impl ExtendedCommunities {
    /// `LB:65000:125000000 (1000.000 Mbps)` among others.
    fn link_bandwidth(&self) -> Option<u64> {
        let (_, rest) = self.string.split_once("LB:")?;
        let value = rest.split(' ').next()?.split(':').nth(1)?;
        value.parse().ok()
    }
}

impl From<FrrPath> for Path {
    fn from(path: FrrPath) -> Self {
        let global = path
            .nexthops
            .iter()
            .find(|hop| hop.scope.as_deref() != Some("link-local"));
        let segments = path
            .aspath
            .map(|aspath| aspath.segments)
            .unwrap_or_default();
        Self {
            next_hop: global.or(path.nexthops.first()).map(|hop| hop.ip),
            peer: path.peer.and_then(|peer| peer.peer_id),
            as_path: segments
                .into_iter()
                .flat_map(|segment| segment.list)
                .collect(),
            communities: path.community.unwrap_or_default().numbers(),
            large_communities: path.large_community.unwrap_or_default().numbers(),
            local_pref: path.loc_prf,
            med: path.metric,
            link_bandwidth: path
                .extended_community
                .and_then(|extended| extended.link_bandwidth()),
        }
    }
}
