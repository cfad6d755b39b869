//! What one Service wants, read from its spec and annotations.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_api::annotation::{ADDRESS_POOL, LOAD_BALANCER_IPS};
use portolan_api::range::Family;
use portolan_api::selector::Labels;
use portolan_api::view;

use super::{Holding, Refusal, ServiceId};
use crate::model::Service;

/// Address families that a Service wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// One family.
    One(Family),
    /// Both, but one will do; the primary one first.
    Prefer(Family, Family),
    /// Both or nothing; the primary one first.
    Require(Family, Family),
}

impl Families {
    /// The families, the primary one first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        let (first, second) = match self {
            Self::One(family) => (family, None),
            Self::Prefer(a, b) | Self::Require(a, b) => (a, Some(b)),
        };
        std::iter::once(first).chain(second)
    }

    /// Whether the family is one of them.
    #[must_use]
    pub fn contains(self, family: Family) -> bool {
        self.iter().any(|wanted| wanted == family)
    }

    /// The families of a Service; `None` if it names none and has no address in the cluster.
    pub(crate) fn of(service: &view::Service) -> Option<Self> {
        let spec = &service.spec;
        let named = spec
            .ip_families
            .iter()
            .filter_map(|name| match name.as_str() {
                "IPv4" => Some(Family::V4),
                "IPv6" => Some(Family::V6),
                _ => None,
            });
        let held = spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok());
        let mut named: Vec<Family> = named.collect();
        if named.is_empty() {
            named = held.map(Family::of).collect();
        }
        named.dedup();
        match (named.as_slice(), spec.ip_family_policy.as_deref()) {
            ([], _) => None,
            ([a, b, ..], Some("PreferDualStack")) => Some(Self::Prefer(*a, *b)),
            ([a, b, ..], Some("RequireDualStack") | None) => Some(Self::Require(*a, *b)),
            ([a, ..], _) => Some(Self::One(*a)),
        }
    }
}

/// What one Service wants.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Who asks.
    pub holder: ServiceId,
    /// Families.
    pub families: Families,
    /// Exact addresses, at most one of each family; empty means any.
    pub exact: Holding,
    /// The one pool to take addresses from.
    pub pool: Option<&'a str>,
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// Name of the Service: addresses may be kept for it.
    pub name: &'a str,
    /// Labels of the namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// Labels of the Service.
    pub labels: &'a dyn Labels,
}

impl<'a> Request<'a> {
    /// Whether it could be satisfied with this address of this pool.
    pub(super) fn accepts(&self, address: IpAddr, pool: &str) -> bool {
        self.families.contains(Family::of(address))
            && self.pool.is_none_or(|name| name == pool)
            && (self.exact.is_empty() || self.exact.contains(address))
    }

    /// What is known of a Service whatever it asks for: who it is, and its families as far as they are known.
    #[must_use]
    pub fn known(
        holder: ServiceId,
        service: &'a Service,
        namespace_labels: Option<&'a BTreeMap<String, String>>,
    ) -> Self {
        let any = Families::Prefer(Family::V4, Family::V6);
        Self {
            holder,
            families: service.families.unwrap_or(any),
            exact: Holding::default(),
            pool: None,
            namespace: &service.key.namespace,
            name: &service.key.name,
            namespace_labels: namespace_labels.unwrap_or(&super::pool::NO_LABELS),
            labels: &service.labels,
        }
    }

    /// Reads the request of a Service.
    pub fn of(
        holder: ServiceId,
        service: &'a Service,
        namespace_labels: Option<&'a BTreeMap<String, String>>,
    ) -> Result<Self, Refusal> {
        let families = service.families.ok_or(Refusal::NoFamilies)?;
        let exact = exact(service, families)?;
        let fits = exact.is_empty() || families.iter().all(|family| exact.of(family).is_some());
        if !fits
            || exact
                .iter()
                .any(|address| !families.contains(Family::of(address)))
        {
            return Err(Refusal::Families {
                wanted: families.iter().collect(),
            });
        }
        Ok(Self {
            exact,
            pool: service.annotation(ADDRESS_POOL),
            ..Self::known(holder, service, namespace_labels)
        })
    }
}

fn exact(service: &Service, families: Families) -> Result<Holding, Refusal> {
    let annotation = service.annotation(LOAD_BALANCER_IPS);
    let field = service.load_balancer_ip.as_deref();
    let field = field.filter(|text| !text.is_empty());
    let (field, text) = match (annotation, field) {
        (Some(_), Some(_)) => return Err(Refusal::TwoRequests),
        (Some(text), None) => (LOAD_BALANCER_IPS, Some(text)),
        (None, text) => ("spec.loadBalancerIP", text),
    };
    let mut exact = Holding::default();
    for text in text.into_iter().flat_map(|text| text.split(',')) {
        let text = text.trim();
        let address: IpAddr = text.parse().map_err(|_| Refusal::Malformed {
            field,
            text: text.to_owned(),
        })?;
        if exact.of(Family::of(address)).is_some() {
            return Err(Refusal::Families {
                wanted: families.iter().collect(),
            });
        }
        exact.push(address);
    }
    Ok(exact)
}
