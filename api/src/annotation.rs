//! Names of annotations, labels and conditions on objects that are not ours.

/// What all annotations begin with that we read or write.
pub const PREFIX: &str = "portolan.dev/";

/// Read on Services: allocate only from this pool.
pub const ADDRESS_POOL: &str = "portolan.dev/address-pool";
/// Read on Services: exactly these addresses, comma separated, at most one per family.
pub const LOAD_BALANCER_IPS: &str = "portolan.dev/loadBalancerIPs";
/// Read on Services: sharing key. Services with the same key may have the same address.
pub const ALLOW_SHARED_IP: &str = "portolan.dev/allow-shared-ip";
/// Written on Services: the pool or pools that the addresses came from, comma separated.
pub const POOL: &str = "portolan.dev/pool";
/// Written on Services: the `loadBalancerClass` that the controller serves, if it serves one. Whoever serves another class, or
/// none, leaves the Service alone.
pub const CLASS: &str = "portolan.dev/class";
/// Written on Services whose status another program rewrites: the addresses that stay taken for it, comma separated.
pub const HELD: &str = "portolan.dev/held";
/// Written on Services: the layer-2 placement, nodes in order, comma separated; the first one answers.
pub const L2_NODES: &str = "portolan.dev/l2-nodes";
/// Written on Services: the number of the layer-2 placement. It grows when another node comes first in `l2-nodes`, so that
/// speakers that know different placements agree which of them is the newer.
pub const L2_TERM: &str = "portolan.dev/l2-term";
/// Read on L2Advertisements: when its value changes, the VIPs that the rule covers are spread evenly once, gently.
pub const REBALANCE: &str = "portolan.dev/rebalance";

/// Name of the Secret in our own namespace with the key that speakers authenticate each other by.
pub const SPEAKER_SECRET: &str = "portolan-speakers";
/// Label of Nodes: the failure domain they are in.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Nodes with this label (any value) never announce.
pub const EXCLUDE_NODE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Nodes with this condition `True` never announce.
pub const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";
/// Read on Nodes, as annotation or label: with any value but `false` the node drains.
pub const DRAIN: &str = "portolan.dev/drain";
/// Nodes with one of these taints are about to be removed: by the cluster autoscaler, by Karpenter.
pub const LEAVING_TAINTS: [&str; 2] = ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"];
/// Links an EndpointSlice to its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Condition written on Services: it has the addresses that it wants.
pub const ASSIGNED: &str = "portolan.dev/Assigned";

/// Label of all our Leases; its value is `controller` or `speaker`.
pub const COMPONENT: &str = "portolan.dev/component";
/// Name of a speaker's Lease, before the name of its node.
pub const SPEAKER_LEASE_PREFIX: &str = "portolan-speaker-";
