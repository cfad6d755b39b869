//! The shipped CRDs are the code's CRDs.
//!
//! `PORTOLAN_BLESS=1 cargo test -p portolan-api --test manifests` writes them anew.

use std::path::Path;

#[test]
fn crds_in_manifests_equal_those_of_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    let bless = std::env::var_os("PORTOLAN_BLESS").is_some();
    let mut expected = Vec::new();
    for crd in portolan_api::crd::all() {
        let file = format!("{}.yaml", crd.spec.names.plural);
        let text = format!(
            "# Generated from the Rust types in api/src/crd. Do not edit.\n{}",
            serde_yaml::to_string(&crd).unwrap()
        );
        let path = folder.join(&file);
        if bless {
            std::fs::write(&path, &text).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shipped == text,
            "{} differs from the code: run with PORTOLAN_BLESS=1",
            path.display()
        );
        expected.push(file);
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            expected.contains(&name) || name == "kustomization.yaml",
            "{name} belongs to no kind"
        );
    }
}
