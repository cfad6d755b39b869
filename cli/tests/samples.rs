//! The samples are what they claim: every object in them is accepted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy knows it for test functions, not for their fixtures"
)]

use std::path::Path;

use kube::ResourceExt as _;
use portolan_api::compile::{Sources, compile};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

fn mk_object<K: DeserializeOwned + kube::Resource<DynamicType = ()>>(
    document: Value,
) -> (String, K) {
    let object: K = serde_yaml::from_value(document).expect("a readable object");
    (object.name_any(), object)
}

/// Every object of every sample file, and how many there are of other kinds.
fn mk_sources() -> (Sources, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
    let (mut sources, mut others) = (Sources::default(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let document: Value = serde::Deserialize::deserialize(document).unwrap();
            match document["kind"].as_str().unwrap() {
                "IPAddressPool" => sources.pools.extend([mk_object(document)]),
                "L2Advertisement" => sources.l2.extend([mk_object(document)]),
                "BGPAdvertisement" => sources.bgp.extend([mk_object(document)]),
                "BGPPeer" => sources.peers.extend([mk_object(document)]),
                "Community" => sources.communities.extend([mk_object(document)]),
                "Service" | "Secret" | "Kustomization" => others += 1,
                kind => panic!("a sample of kind {kind}, which this test does not check"),
            }
        }
    }
    (sources, others)
}

#[test]
fn every_sample_is_accepted_with_all_its_references() {
    let (sources, others) = mk_sources();
    assert_eq!(others, 3, "the Service, the Secret, the kustomization");
    let compiled = compile(&sources, None);
    assert_eq!(compiled.judgements.len(), 9, "{:?}", compiled.judgements);
    for judgement in &compiled.judgements {
        for verdict in &judgement.verdicts {
            let (kind, name) = (judgement.kind, &judgement.name);
            assert!(
                !verdict.is_complaint(),
                "{kind:?} {name}: {}",
                verdict.message
            );
        }
    }
}
