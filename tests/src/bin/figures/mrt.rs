//! A dump of a table (RFC 6396, TABLE_DUMP_V2): the one way to give `GoBGP` many routes at once.

use std::net::Ipv4Addr;

/// `TABLE_DUMP_V2`, `PEER_INDEX_TABLE`, `RIB_IPV4_UNICAST` (RFC 6396 §4.3).
const TABLE_DUMP_V2: u16 = 13;
const PEER_INDEX_TABLE: u16 = 1;
const RIB_IPV4_UNICAST: u16 = 2;

/// Host routes with the least that a route must have: ORIGIN, an empty AS_PATH, NEXT_HOP.
pub(crate) fn table(own: Ipv4Addr, prefixes: impl Iterator<Item = Ipv4Addr>) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
    attributes.extend(own.octets());
    let mut dump = Vec::new();
    // One peer with 32 bits for its AS (type 2): ourselves.
    let mut peers = own.octets().to_vec();
    peers.extend([0, 0, 0, 1, 2]);
    peers.extend(own.octets());
    peers.extend(own.octets());
    peers.extend(0_u32.to_be_bytes());
    record(&mut dump, PEER_INDEX_TABLE, &peers);
    for (number, prefix) in (0_u32..).zip(prefixes) {
        let mut route = number.to_be_bytes().to_vec();
        route.push(32);
        route.extend(prefix.octets());
        route.extend([0, 1, 0, 0, 0, 0, 0, 0]); // one entry, of peer 0, at the beginning of time
        route.extend(
            u16::try_from(attributes.len())
                .unwrap_or_default()
                .to_be_bytes(),
        );
        route.extend(&attributes);
        record(&mut dump, RIB_IPV4_UNICAST, &route);
    }
    dump
}

fn record(dump: &mut Vec<u8>, subtype: u16, body: &[u8]) {
    dump.extend(0_u32.to_be_bytes());
    dump.extend(TABLE_DUMP_V2.to_be_bytes());
    dump.extend(subtype.to_be_bytes());
    dump.extend(u32::try_from(body.len()).unwrap_or_default().to_be_bytes());
    dump.extend(body);
}
