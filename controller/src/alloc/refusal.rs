//! Why a Service has no address: typed, with a stable reason and words that name object, field and remedy.

use std::fmt;
use std::net::IpAddr;

use portolan_api::annotation::{ADDRESS_POOL, ALLOW_SHARED_IP, LOAD_BALANCER_IPS};
use portolan_api::range::Family;

use super::ServiceId;

/// Why something was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The Service wants to share an address.
    Sharing,
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
            Self::Sharing => "NotImplemented",
            Self::TwoRequests | Self::Malformed { .. } | Self::Families { .. } => "InvalidRequest",
            Self::NoFamilies => "NoClusterIP",
            Self::Strange(_) | Self::NotInAnyPool(_) | Self::NotInNamedPool { .. } => {
                "AddressOutsidePools"
            }
            Self::KeptBack { .. } => "AddressExcluded",
            Self::Taken { .. } => "AddressTaken",
            Self::UnknownPool(_) => "UnknownPool",
            Self::Restricted { .. } => "PoolRestricted",
            Self::PoolExhausted { .. } | Self::Exhausted(_) => "Exhausted",
            Self::NoPool(_) => "NoPool",
        }
    }

    /// The words for the user. `name` turns the holder of an address into `namespace/name`.
    #[must_use]
    pub fn message(&self, name: impl Fn(ServiceId) -> String) -> String {
        match self {
            Self::Taken { address, holder } => format!(
                "{address} is held by Service {}: ask for another address, or delete that Service",
                name(*holder)
            ),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sharing => write!(
                f,
                "annotation {ALLOW_SHARED_IP}: sharing an address is not implemented yet: remove the annotation to get \
                 an address of its own"
            ),
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
            Self::Taken { address, .. } => write!(f, "{address} is held by another Service"),
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
                "IPAddressPool {pool} has no free {family} address: add a range to its spec.addresses"
            ),
            Self::NoPool(family) => write!(
                f,
                "no IPAddressPool that this Service may use has {family} addresses: create one, set spec.autoAssign, or \
                 widen spec.serviceAllocation"
            ),
            Self::Exhausted(family) => write!(
                f,
                "no free {family} address is left in any IPAddressPool that this Service may use: add a range"
            ),
        }
    }
}
