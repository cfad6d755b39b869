//! What a Service is given: families, ClusterIPs, node ports (pkg/registry/core/service/storage/alloc.go).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::ServiceSpec;
use serde_json::json;

use super::address::{Held, is_node_port};
use super::error::Cause;
use super::service::{NONE, has_cluster_ip, is_headless, wants_health_check};

/// One Service on its way to its addresses and ports.
pub(super) struct Allocation<'a> {
    /// What the Service says, defaulted.
    pub(super) spec: &'a mut ServiceSpec,
    /// What it said before, with what it holds.
    pub(super) before: Option<&'a ServiceSpec>,
    /// What all Services hold.
    pub(super) held: &'a Held,
    /// Where addresses come from, the default family first.
    pub(super) ranges: &'a [IpNetwork],
    /// Where refusals go.
    pub(super) causes: &'a mut Vec<Cause>,
}

fn family(v6: bool) -> String {
    if v6 { "IPv6" } else { "IPv4" }.to_owned()
}

impl Allocation<'_> {
    /// ipFamilies and ipFamilyPolicy from what the user asked for and the cluster has.
    pub(super) fn families(&mut self) {
        if !has_cluster_ip(self.spec) {
            return;
        }
        let served: Vec<String> = self.ranges.iter().map(|r| family(r.is_ipv6())).collect();
        let asked = self.spec.cluster_ips.clone().filter(|ips| !ips.is_empty());
        let asked = asked
            .or_else(|| self.spec.cluster_ip.clone().map(|ip| vec![ip]))
            .unwrap_or_default();
        let mut families = self.spec.ip_families.clone().unwrap_or_default();
        if families.is_empty() {
            let of = |ip: &String| ip.parse::<IpAddr>().ok().map(|ip| family(ip.is_ipv6()));
            families = asked.iter().filter_map(of).collect();
        }
        let headless_without_selector =
            is_headless(self.spec) && self.spec.selector.as_ref().is_none_or(BTreeMap::is_empty);
        let policy = self.spec.ip_family_policy.get_or_insert_with(|| {
            let dual = headless_without_selector && served.len() > 1 && families.len() != 1;
            if dual {
                "RequireDualStack"
            } else {
                "SingleStack"
            }
            .to_owned()
        });
        let dual = policy != "SingleStack";
        if !dual && families.len() > 1 {
            if self
                .before
                .is_some_and(|b| b.ip_family_policy.as_ref() != Some(policy))
            {
                families.truncate(1);
            } else {
                let why = "may only hold up to 1 value when `ipFamilyPolicy` is SingleStack";
                self.causes
                    .push(Cause::invalid("spec.ipFamilyPolicy", &json!(policy), why));
            }
        }
        if policy == "RequireDualStack" && served.len() < 2 && !headless_without_selector {
            let why = "this cluster is not configured for dual-stack services";
            self.causes
                .push(Cause::invalid("spec.ipFamilyPolicy", &json!(policy), why));
        }
        for wanted in families
            .iter()
            .filter(|f| !served.contains(f) && !is_headless(self.spec))
        {
            let why = "not configured on this cluster";
            self.causes
                .push(Cause::invalid("spec.ipFamilies[0]", &json!(wanted), why));
        }
        let most = if dual { 2 } else { 1 };
        for more in served {
            if families.len() < most && !families.contains(&more) {
                families.push(more);
            }
        }
        self.spec.ip_families = Some(families);
    }

    /// One ClusterIP for each family.
    pub(super) fn cluster_ips(&mut self) {
        if !has_cluster_ip(self.spec) || !self.causes.is_empty() {
            return;
        }
        if is_headless(self.spec) {
            self.spec.cluster_ips = Some(vec![NONE.to_owned()]);
            return;
        }
        let families = self.spec.ip_families.clone().unwrap_or_default();
        let asked = self.spec.cluster_ips.clone().filter(|ips| !ips.is_empty());
        let asked = asked.or_else(|| {
            self.spec
                .cluster_ip
                .clone()
                .filter(|ip| !ip.is_empty())
                .map(|ip| vec![ip])
        });
        let asked = asked.unwrap_or_default();
        let mine = self
            .before
            .and_then(|b| b.cluster_ips.clone())
            .unwrap_or_default();
        let mut given = Vec::new();
        for (i, wanted) in families.iter().enumerate() {
            let ip = match asked.get(i) {
                Some(ip) if mine.contains(ip) => Ok(ip.clone()),
                Some(ip) => self.exact(ip, wanted),
                None => self.next(wanted),
            };
            match ip {
                Ok(ip) => given.push(ip),
                Err(why) => {
                    self.causes
                        .push(Cause::invalid("spec.clusterIPs", &json!(asked), &why));
                }
            }
        }
        self.spec.cluster_ip = given.first().cloned();
        self.spec.cluster_ips = Some(given);
    }

    fn exact(&self, ip: &str, wanted: &str) -> Result<String, String> {
        let failed = |why: &str| format!("failed to allocate IP {ip}: {why}");
        let address: IpAddr = ip
            .parse()
            .map_err(|_| failed("must be a valid IP address"))?;
        if family(address.is_ipv6()) != wanted {
            return Err(failed(&format!(
                "expected an {wanted} value as indicated by `ipFamilies`"
            )));
        }
        if !self.ranges.iter().any(|r| r.contains(address)) {
            return Err(failed(
                "the provided network does not match the current range",
            ));
        }
        if self.held.has_address(address) {
            return Err(failed("provided IP is already allocated"));
        }
        Ok(address.to_string())
    }

    fn next(&self, wanted: &str) -> Result<String, String> {
        let mut ranges = self.ranges.iter().filter(|r| family(r.is_ipv6()) == wanted);
        let free = ranges.find_map(|r| self.held.next_address(*r));
        free.map(|ip| ip.to_string())
            .ok_or_else(|| "range is full".to_owned())
    }

    /// Node ports and the health check port, where the type has them.
    pub(super) fn node_ports(&mut self) {
        let wanted = match self.spec.type_.as_deref() {
            Some("NodePort") => true,
            Some("LoadBalancer") => self.spec.allocate_load_balancer_node_ports == Some(true),
            _ => false,
        };
        let mine = self
            .before
            .and_then(|b| b.ports.clone())
            .unwrap_or_default();
        let mine: Vec<i32> = mine.iter().filter_map(|p| p.node_port).collect();
        let mut taken = Held::default();
        let mut by_port: BTreeMap<i32, i32> = BTreeMap::new();
        for (i, port) in self.spec.ports.iter_mut().flatten().enumerate() {
            let asked = port.node_port.filter(|p| *p != 0);
            if let Some(asked) = asked.filter(|p| !mine.contains(p)) {
                let number = u16::try_from(asked).unwrap_or_default();
                let why = if !is_node_port(number) {
                    Some(
                        "provided port is not in the valid range. The range of valid ports is 30000-32767",
                    )
                } else if self.held.has_port(number) {
                    Some("provided port is already allocated")
                } else {
                    None
                };
                if let Some(why) = why {
                    self.causes.push(Cause::invalid(
                        format!("spec.ports[{i}].nodePort"),
                        &json!(asked),
                        why,
                    ));
                }
            } else if asked.is_none() && wanted {
                // One port over two protocols shares its node port.
                port.node_port = by_port
                    .get(&port.port)
                    .copied()
                    .or_else(|| self.held.next_port(&taken).map(i32::from));
                if port.node_port.is_none() {
                    let why = "failed to allocate a nodePort: range is full";
                    self.causes.push(Cause::invalid(
                        format!("spec.ports[{i}].nodePort"),
                        &json!(0),
                        why,
                    ));
                }
            }
            if let Some(given) = port.node_port {
                by_port.insert(port.port, given);
                taken.take(&json!({"spec": {"ports": [{"nodePort": given}]}}));
            }
        }
        if wants_health_check(self.spec)
            && self.spec.health_check_node_port.unwrap_or_default() == 0
        {
            self.spec.health_check_node_port = self.held.next_port(&taken).map(i32::from);
        }
    }
}
