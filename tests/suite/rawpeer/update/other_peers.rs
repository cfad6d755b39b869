//! Peers that agreed on something else: internal, of two octets, of IPv6 (RFC 7606 §7.5 and following; RFC 6793 §6;
//! RFC 4760 §3).

use anyhow::Result;
use portolan_tests::rawpeer::bytes::{
    Open, attribute, four_octets, ipv6, keepalive, kind, mandatory, sequence, update,
};
use portolan_tests::rawpeer::{PEER_AS, Row, Settings};
use portolan_tests::world::NODE_AS;

use super::{ROUTE, next_hop, origin, path, reach, unreach};

pub(super) fn rows() -> Vec<Row> {
    let row = |name: &'static str,
               settings: Settings,
               open: Open,
               bytes: Vec<u8>,
               answer: Option<(u8, u8)>| {
        Row::on_connection(name, settings, move |_peer, mut session| async move {
            session.establish(&open).await?;
            session.send(&bytes).await?;
            match answer {
                Some((code, subcode)) => session.refused(code, subcode, &[]).await,
                None => still_there(&mut session, 3).await,
            }
        })
    };
    let own = || Settings {
        asn: NODE_AS,
        ..Settings::default()
    };
    let inside = || Open {
        id: [10, 0, 0, 7].into(),
        ..Open::good(NODE_AS)
    };
    let old = || Open {
        hold: 3,
        ..Open::with(PEER_AS, &[])
    };
    let six = || Settings {
        v6: true,
        ..Settings::default()
    };
    let speaks_six = || Open {
        hold: 3,
        ..Open::offering(PEER_AS, &[ipv6(), four_octets(PEER_AS)].concat())
    };
    let two = |path: &[u8]| {
        update(
            &[],
            &[origin(), attribute(0x40, 2, path), next_hop(&[1, 2, 3, 4])].concat(),
            ROUTE,
        )
    };
    let two_with = |extra: Vec<u8>| {
        update(
            &[],
            &[
                origin(),
                attribute(0x40, 2, &[2, 1, 0xfd, 0xe9]),
                next_hop(&[1, 2, 3, 4]),
                extra,
            ]
            .concat(),
            ROUTE,
        )
    };
    let internal = |extra: &[Vec<u8>]| {
        update(
            &[],
            &[&[origin(), path(&[]), next_hop(&[1, 2, 3, 4])], extra]
                .concat()
                .concat(),
            ROUTE,
        )
    };
    let pref = || attribute(0x40, 5, &[0, 0, 0, 100]);
    let by_six = |next_hop: &[u8], nlri: &[u8]| {
        let length = u8::try_from(next_hop.len()).unwrap();
        let mp = reach(&[&[0, 2, 1, length][..], next_hop, &[0], nlri].concat());
        update(
            &[],
            &[mp, origin(), path(&sequence(&[PEER_AS]))].concat(),
            &[],
        )
    };
    let prefix = [&[64][..], &[0x20; 8]].concat();
    vec![
        row(
            "C10 internal: no LOCAL_PREF",
            own(),
            inside(),
            internal(&[]),
            None,
        ),
        row(
            "C21 internal: LOCAL_PREF of 3 octets",
            own(),
            inside(),
            internal(&[attribute(0x40, 5, &[0, 0, 9])]),
            None,
        ),
        row(
            "C21 internal: LOCAL_PREF twice",
            own(),
            inside(),
            internal(&[pref(), pref()]),
            None,
        ),
        row(
            "C21 internal: ORIGINATOR_ID is ours",
            own(),
            inside(),
            internal(&[pref(), attribute(0x80, 9, &[172, 30, 0, 11])]),
            None,
        ),
        row(
            "C21 internal: ORIGINATOR_ID of 5 octets",
            own(),
            inside(),
            internal(&[pref(), attribute(0x80, 9, &[0; 5])]),
            None,
        ),
        row(
            "C21 internal: CLUSTER_LIST empty",
            own(),
            inside(),
            internal(&[pref(), attribute(0x80, 10, &[])]),
            None,
        ),
        row(
            "C16 internal: a confederation's path",
            own(),
            inside(),
            update(
                &[],
                &[
                    origin(),
                    path(&[3, 1, 0, 0, 0, 7]),
                    next_hop(&[1, 2, 3, 4]),
                    pref(),
                ]
                .concat(),
                ROUTE,
            ),
            None,
        ),
        row(
            "C27 two octets: a path",
            Settings::default(),
            old(),
            two(&[2, 1, 0xfd, 0xe9]),
            None,
        ),
        row(
            "C27 two octets: a path of four octets",
            Settings::default(),
            old(),
            two(&[2, 1, 0, 0, 0xfd, 0xe9]),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &sequence(&[PEER_AS]))),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH longer than the path",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &sequence(&[1, 2, 3, 4]))),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH empty",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &[])),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH cut short",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &[2, 2, 0, 0, 0, 1])),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH of AS 0",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &sequence(&[0]))),
            None,
        ),
        row(
            "C27 two octets: AS4_PATH with a confederation",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 17, &[3, 1, 0, 0, 0, 7])),
            None,
        ),
        row(
            "C27 two octets: AGGREGATOR of 8 octets",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 7, &[0; 8])),
            None,
        ),
        row(
            "C27 two octets: AS4_AGGREGATOR of 8 octets",
            Settings::default(),
            old(),
            two_with(attribute(0xc0, 18, &[0; 8])),
            None,
        ),
        row(
            "C15 IPv6: a route",
            six(),
            speaks_six(),
            by_six(&[0xfd; 16], &prefix),
            None,
        ),
        row(
            "C15 IPv6: two next hops",
            six(),
            speaks_six(),
            by_six(&[0xfe; 32], &prefix),
            None,
        ),
        row(
            "C15 IPv6: a next hop of 24, as of VPNs",
            six(),
            speaks_six(),
            by_six(&[0xfe; 24], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 48, as of VPNs",
            six(),
            speaks_six(),
            by_six(&[0xfe; 48], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 0",
            six(),
            speaks_six(),
            by_six(&[], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 15",
            six(),
            speaks_six(),
            by_six(&[0; 15], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 33",
            six(),
            speaks_six(),
            by_six(&[0; 33], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of 255",
            six(),
            speaks_six(),
            by_six(&[0; 255], &prefix),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: a next hop of zeros",
            six(),
            speaks_six(),
            by_six(&[0; 16], &prefix),
            None,
        ),
        row(
            "C15 IPv6: /129",
            six(),
            speaks_six(),
            by_six(&[0xfd; 16], &[&[129][..], &[0; 17]].concat()),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: /128 cut short",
            six(),
            speaks_six(),
            by_six(&[0xfd; 16], &[&[128][..], &[0; 15]].concat()),
            Some((3, 9)),
        ),
        row(
            "C15 IPv6: End-of-RIB",
            six(),
            speaks_six(),
            update(&[], &unreach(&[0, 2, 1]), &[]),
            None,
        ),
        row(
            "C15 IPv6: withdrawals to the brim",
            six(),
            speaks_six(),
            update(
                &[],
                &attribute(
                    0x90,
                    15,
                    &[vec![0, 2, 1], [16, 0x20, 1].repeat(1350)].concat(),
                ),
                &[],
            ),
            None,
        ),
        row(
            "C15 IPv6: classic NLRI on a session of IPv6",
            six(),
            speaks_six(),
            update(&[], &mandatory(PEER_AS), ROUTE),
            None,
        ),
    ]
}

/// As many KEEPALIVEs come as of a healthy session; for those that have no IPv4 routes to ask for.
async fn still_there(
    session: &mut portolan_tests::rawpeer::Connection,
    count: usize,
) -> Result<()> {
    for _ in 0..count {
        session.expect(kind::KEEPALIVE).await?;
        session.send(&keepalive()).await?;
    }
    Ok(())
}
