//! What was asked of the server: for assertions such as "no status was written".

use std::collections::BTreeMap;

use super::route::Resource;

/// Requests by verb (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`) and resource
/// (`services`, `services/status`, `ipaddresspools.portolan.dev`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(&'static str, String), u64>);

impl Counts {
    pub(super) fn add(&mut self, verb: &'static str, resource: &Resource) {
        let mut name = resource.plural.clone();
        for (mark, part) in [('.', &resource.group), ('/', &resource.subresource)] {
            if !part.is_empty() {
                name.push(mark);
                name.push_str(part);
            }
        }
        *self.0.entry((verb, name)).or_default() += 1;
    }

    /// How many requests of one verb on one resource.
    #[must_use]
    pub fn of(&self, verb: &str, resource: &str) -> u64 {
        self.0
            .iter()
            .filter(|((v, r), _)| *v == verb && r == resource)
            .map(|(_, n)| n)
            .sum()
    }

    /// How many requests on one resource that write.
    #[must_use]
    pub fn writes(&self, resource: &str) -> u64 {
        let verbs = ["create", "update", "patch", "delete", "deletecollection"];
        verbs.into_iter().map(|verb| self.of(verb, resource)).sum()
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let more = |((verb, resource), n): (&(&'static str, String), &u64)| {
            let before = earlier.of(verb, resource);
            (*n > before).then(|| ((*verb, resource.clone()), n - before))
        };
        Self(self.0.iter().filter_map(more).collect())
    }
}
