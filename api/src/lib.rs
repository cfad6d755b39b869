//! Portolan's Kubernetes face: the custom resources, lean views of core objects, and the pure rules between them.
//!
//! ```text
//! crd/       what users write and what Portolan writes back
//! view/      the few fields we read of Service, EndpointSlice, Node, Namespace, ServiceCIDR
//! range      address ranges as integers; text only at the edges
//! selector   label selectors, parsed once
//! interfaces names and expressions of interfaces
//! compile    user objects → SpeakerConfig, each object judged alone
//! ```
//!
//! What is absent on purpose: no client, no I/O, no clock. Both daemons, the command-line tool and the tests decide by
//! the same functions.

pub mod annotation;
pub mod compile;
pub mod condition;
pub mod crd;
pub mod duration;
pub mod interfaces;
pub mod range;
pub mod selector;
pub mod view;

/// The API group of all our custom resources.
pub const GROUP: &str = "portolan.dev";
/// The version of all our custom resources.
pub const VERSION: &str = "v1alpha1";
/// Name of the one `SpeakerConfig` object.
pub const SPEAKER_CONFIG: &str = "default";

/// Namespace and name of a namespaced object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two halves.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of any Kubernetes object.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
