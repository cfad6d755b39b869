//! Messages that were damaged on the way: where the other implementation, which forgives nothing, still reads a whole
//! message, we lose no session over it, and count the same routes.

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::path_attribute::{MpReach, MpUnreach, PathAttributeValue};
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use portolan_proto::bgp::{Verdict, examine_within};
use proptest::prelude::*;
use proptest::sample::Index;

use super::theirs::any_update;
use super::{mk_context, written};

/// Routes announced and withdrawn in the families of the session; `None` if the message has more multiprotocol attributes
/// than it may, or some of other families.
fn routes(message: &BgpMessage) -> Option<(usize, usize)> {
    let BgpMessage::Update(update) = message else {
        return None;
    };
    let (mut reaches, mut unreaches) = (0, 0);
    let (mut came, mut gone) = (update.nlri().len(), update.withdraw_routes().len());
    for attribute in update.path_attributes() {
        match attribute.value() {
            PathAttributeValue::MpReach(reach) => {
                reaches += 1;
                came += match reach {
                    MpReach::Ipv4Unicast { nlri, .. } => nlri.len(),
                    MpReach::Ipv6Unicast { nlri, .. } => nlri.len(),
                    _ => return None,
                };
            }
            PathAttributeValue::MpUnreach(unreach) => {
                unreaches += 1;
                gone += match unreach {
                    MpUnreach::Ipv4Unicast { nlri } => nlri.len(),
                    MpUnreach::Ipv6Unicast { nlri } => nlri.len(),
                    _ => return None,
                };
            }
            _ => {}
        }
    }
    (reaches <= 1 && unreaches <= 1).then_some((came, gone))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn what_a_strict_reader_reads_costs_no_session(
        said in any_update(), damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..3),
    ) {
        let mut bytes = written(&said.message);
        for (at, octet) in damage {
            let body = bytes.len() - 19;
            bytes[19 + at.index(body)] = octet;
        }
        let context = &mut mk_context(said.terms.as4);
        let Ok(message) = BgpMessage::parse(&mut SliceReader::new(&bytes), context) else {
            return Ok(());
        };
        // It passes over next hops of odd lengths; then what it writes is something else.
        let Some((came, gone)) = routes(&message).filter(|_| written(&message) == bytes) else {
            return Ok(());
        };
        let examined = examine_within(said.terms, &bytes[19..]);
        if let Verdict::Reset(answer) = &examined.verdict {
            // What it does not look for: routes that are missing (RFC 7606 §5.2).
            prop_assert_eq!(came, 0, "{:?} of {:?}", answer, message);
        } else {
            prop_assert_eq!((examined.announced, examined.withdrawn), (came, gone), "{:?}", message);
        }
    }
}
