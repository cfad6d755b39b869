//! Why a Service has no address: typed, with a stable reason and words that name object, field and remedy.

use std::fmt;
use std::net::IpAddr;

use portolan_api::annotation::{ADDRESS_POOL, ALLOW_SHARED_IP, LOAD_BALANCER_IPS};
use portolan_api::range::Family;

use super::{Collision, ServiceId, Stranger};

/// Why something was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Exact addresses by annotation and by `spec.loadBalancerIP`.
    TwoRequests,
    /// An exact address that is none.
    Malformed {
        /// Where it was written.
        field: &'static str,
        /// What was written.
        text: String,
    },
    /// Addresses in the status that are in no pool, and that we did not give.
    Strange(Vec<IpAddr>),
    /// Exact addresses that do not fit the families of the Service.
    Families {
        /// The families that the Service has.
        wanted: Vec<Family>,
    },
    /// The API server has not given the Service a ClusterIP, so its families are unknown.
    NoFamilies,
    /// An exact address that no pool has.
    NotInAnyPool(IpAddr),
    /// An exact address that its pool keeps back.
    KeptBack {
        /// The address.
        address: IpAddr,
        /// Its pool.
        pool: String,
    },
    /// An exact address outside the pool that the Service names.
    NotInNamedPool {
        /// The address.
        address: IpAddr,
        /// The named pool.
        pool: String,
    },
    /// An exact address that another Service holds.
    Taken {
        /// The address.
        address: IpAddr,
        /// Who holds it.
        holder: ServiceId,
    },
    /// An exact address that a Service holds with which this one can not share it.
    Sharing {
        /// The address.
        address: IpAddr,
        /// Who stands in the way.
        holder: ServiceId,
        /// Why.
        collision: Collision,
    },
    /// An exact address that is kept for somebody else.
    Reserved {
        /// The address.
        address: IpAddr,
        /// Who gets it: `namespace/name`.
        keeper: String,
    },
    /// An exact address that a node uses itself.
    NodeAddress {
        /// The address.
        address: IpAddr,
        /// The node.
        node: String,
    },
    /// An exact address that a station outside the cluster uses.
    Quarantined {
        /// The address.
        address: IpAddr,
        /// The station.
        stranger: Stranger,
    },
    /// The namespace has as many addresses of the pool as it may have.
    Quota {
        /// The pool.
        pool: String,
        /// What is missing.
        family: Family,
        /// The most that it may have.
        limit: usize,
        /// It has room left, but not for both families.
        pair: bool,
    },
    /// The named pool does not exist, or was never accepted.
    UnknownPool(String),
    /// The pool is restricted to other Services.
    Restricted {
        /// The pool.
        pool: String,
    },
    /// The named pool has nothing left of a family.
    PoolExhausted {
        /// The pool.
        pool: String,
        /// What is missing.
        family: Family,
    },
    /// There is no pool with this family that the Service may use.
    NoPool(Family),
    /// No pool that the Service may use has anything left of a family.
    Exhausted(Family),
}

impl Refusal {
    /// Stable reason for conditions, events and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TwoRequests | Self::Malformed { .. } | Self::Families { .. } => "InvalidRequest",
            Self::NoFamilies => "NoClusterIP",
            Self::Strange(_) | Self::NotInAnyPool(_) | Self::NotInNamedPool { .. } => {
                "AddressOutsidePools"
            }
            Self::KeptBack { .. } => "AddressExcluded",
            Self::Taken { .. } => "AddressTaken",
            Self::Sharing { .. } => "SharingConflict",
            Self::Reserved { .. } => "AddressReserved",
            Self::NodeAddress { .. } => "AddressUsedByNode",
            Self::Quarantined { .. } => "AddressQuarantined",
            Self::Quota { .. } => "QuotaReached",
            Self::UnknownPool(_) => "UnknownPool",
            Self::Restricted { .. } => "PoolRestricted",
            Self::PoolExhausted { .. } | Self::Exhausted(_) => "Exhausted",
            Self::NoPool(_) => "NoPool",
        }
    }

    /// The Service that stands in the way, if it is one.
    #[must_use]
    pub fn holder(&self) -> Option<ServiceId> {
        match self {
            Self::Taken { holder, .. } | Self::Sharing { holder, .. } => Some(*holder),
            _ => None,
        }
    }

    /// The family of which no address was found, if that is why.
    #[must_use]
    pub fn lacks(&self) -> Option<Family> {
        match self {
            Self::NoPool(family) | Self::Exhausted(family) | Self::Quota { family, .. } => {
                Some(*family)
            }
            _ => None,
        }
    }

    /// The words for the user; `holder` is the name of [`Self::holder`].
    #[must_use]
    pub fn message(&self, holder: &str) -> String {
        let (address, why) = match self {
            Self::Taken { address, .. } => (address, None),
            Self::Sharing {
                address, collision, ..
            } => (address, Some(collision)),
            other => return other.to_string(),
        };
        let held = format!("{address} is held by Service {holder}");
        match why {
            None => format!("{held}: ask for another address, or delete that Service"),
            Some(Collision::Key) => format!(
                "{held}, which does not share it under this key: give both the same annotation {ALLOW_SHARED_IP}, or ask \
                 for another address"
            ),
            Some(Collision::Backend) => format!(
                "{held}, which has another spec.externalTrafficPolicy, or other pods behind policy Local: make the two \
                 agree, or ask for another address"
            ),
            Some(Collision::Namespace) => format!(
                "{held} of another namespace, and its IPAddressPool does not allow that (spec.sharing.acrossNamespaces): \
                 allow it there, or ask for another address"
            ),
            Some(Collision::Port(port)) => format!(
                "{held}, which uses {port} as well: change the port, or ask for another address"
            ),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoRequests => write!(
                f,
                "annotation {LOAD_BALANCER_IPS} and spec.loadBalancerIP are both set: keep the annotation"
            ),
            Self::Malformed { field, text } => write!(
                f,
                "{field}: {text:?} is not an IP address: write for example 192.0.2.10, or 192.0.2.10,2001:db8::10"
            ),
            Self::Strange(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                write!(
                    f,
                    "status.loadBalancer shows {}, which no IPAddressPool has and Portolan did not give: add it to \
                     spec.addresses of one to keep it, or remove it from the status to get another address",
                    addresses.join(", ")
                )
            }
            Self::Families { wanted } => {
                let families: Vec<String> = wanted.iter().map(Family::to_string).collect();
                write!(
                    f,
                    "the requested addresses do not fit the families of the Service ({}): ask for exactly one address \
                     of each, or change spec.ipFamilies",
                    families.join(", ")
                )
            }
            Self::NoFamilies => f.write_str(
                "spec.ipFamilies and spec.clusterIPs are empty: an address is given as soon as the Service has a ClusterIP",
            ),
            Self::NotInAnyPool(address) => write!(
                f,
                "{address} is in no IPAddressPool: ask for an address of a pool, or add it to spec.addresses of one"
            ),
            Self::KeptBack { address, pool } => write!(
                f,
                "{address} is kept back by IPAddressPool {pool} (spec.excludedAddresses or spec.avoidBuggyIPs): ask \
                 for another address"
            ),
            Self::NotInNamedPool { address, pool } => write!(
                f,
                "{address} is not in IPAddressPool {pool}, which annotation {ADDRESS_POOL} names: make the two agree"
            ),
            Self::Taken { address, .. } | Self::Sharing { address, .. } => {
                write!(f, "{address} is held by another Service")
            }
            Self::Reserved { address, keeper } => write!(
                f,
                "{address} is kept for Service {keeper} (spec.reservations or spec.retain of its IPAddressPool): ask for \
                 another address"
            ),
            Self::NodeAddress { address, node } => write!(
                f,
                "{address} is an address of Node {node} itself: ask for another address, and keep it out with \
                 spec.excludedAddresses of the IPAddressPool"
            ),
            Self::Quarantined { address, stranger } => write!(
                f,
                "{address} is in quarantine, because {stranger} uses it: take it from that station, or ask for another \
                 address, and keep it out with spec.excludedAddresses of the IPAddressPool"
            ),
            Self::Quota {
                pool,
                family,
                limit,
                pair,
            } => quota(f, pool, *family, *limit, *pair),
            Self::UnknownPool(pool) => write!(
                f,
                "annotation {ADDRESS_POOL}: there is no accepted IPAddressPool {pool}: create it, or name another"
            ),
            Self::Restricted { pool } => write!(
                f,
                "IPAddressPool {pool} does not serve this Service (spec.serviceAllocation): widen it there, or ask for \
                 another pool"
            ),
            Self::PoolExhausted { pool, family } => write!(
                f,
                "IPAddressPool {pool} has no free {family} address: add a range to its spec.addresses, or delete a Service"
            ),
            Self::NoPool(family) => write!(
                f,
                "no IPAddressPool that this Service may use has {family} addresses: create one, set spec.autoAssign, or \
                 widen spec.serviceAllocation"
            ),
            Self::Exhausted(family) => write!(
                f,
                "no free {family} address is left in any IPAddressPool that this Service may use: add a range, or delete a Service"
            ),
        }
    }
}

/// `pair`: there is room for one family, and both are wanted.
fn quota(
    f: &mut fmt::Formatter<'_>,
    pool: &str,
    family: Family,
    limit: usize,
    pair: bool,
) -> fmt::Result {
    if pair {
        return write!(
            f,
            "the namespace may have {limit} addresses of IPAddressPool {pool} (spec.quota.addressesPerNamespace), which \
             leaves too few for both families: delete a Service, raise the quota, or want one family only"
        );
    }
    write!(
        f,
        "the namespace has all {limit} addresses that it may have of IPAddressPool {pool} \
         (spec.quota.addressesPerNamespace), so there is no {family} address: delete a Service, or raise the quota"
    )
}
