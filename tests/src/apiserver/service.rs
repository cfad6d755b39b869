//! What the real API server does to a Service: defaults, ClusterIPs, node ports, rules.
//!
//! From pkg/apis/core/v1/defaults.go, pkg/registry/core/service/{strategy,storage/alloc}.go and core validation, as far
//! as a load balancer or its users can see it. Works on the typed Service, which is the shortest way to say it.

use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{LoadBalancerStatus, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::address::Held;
use super::allocation::Allocation;
use super::error::Cause;
use super::service_rules::check;

/// clusterIP of a headless Service; sessionAffinity without affinity.
pub(super) const NONE: &str = "None";

/// Completes `new`, which replaces `old`, and says what is wrong with it. Ranges are those of the cluster's ServiceCIDRs,
/// the default family first.
pub(super) fn admit(
    new: &mut Service,
    old: Option<&Service>,
    held: &Held,
    ranges: &[IpNetwork],
) -> Vec<Cause> {
    let before = old.and_then(|s| s.spec.clone());
    let spec = new.spec.get_or_insert_default();
    set_defaults(spec);
    if let Some(before) = &before {
        keep_allocations(spec, before);
        drop_what_the_type_has_not(spec, before);
    }
    let mut causes = check(spec, before.as_ref());
    if causes.is_empty() {
        let mut step = Allocation {
            spec,
            before: before.as_ref(),
            held,
            ranges,
            causes: &mut causes,
        };
        step.families();
        step.cluster_ips();
        step.node_ports();
    }
    new.status
        .get_or_insert_default()
        .load_balancer
        .get_or_insert_default();
    // Who is no load balancer has no address of one.
    if !is_type(new.spec.as_ref(), "LoadBalancer")
        && let Some(status) = &mut new.status
    {
        status.load_balancer = Some(LoadBalancerStatus::default());
    }
    set_ip_mode(new);
    causes
}

/// The Service is of this type.
pub(super) fn is_type(spec: Option<&ServiceSpec>, type_: &str) -> bool {
    spec.and_then(|s| s.type_.as_deref()) == Some(type_)
}

/// Addresses of a load balancer are virtual unless it says that it proxies.
pub(super) fn set_ip_mode(service: &mut Service) {
    if !is_type(service.spec.as_ref(), "LoadBalancer") {
        return;
    }
    let ingress = service
        .status
        .as_mut()
        .and_then(|s| s.load_balancer.as_mut()?.ingress.as_mut());
    for point in ingress.into_iter().flatten().filter(|p| p.ip.is_some()) {
        point.ip_mode.get_or_insert_with(|| "VIP".to_owned());
    }
}

fn set_defaults(spec: &mut ServiceSpec) {
    let unset = |field: &Option<String>| field.as_deref().unwrap_or_default().is_empty();
    if unset(&spec.type_) {
        spec.type_ = Some("ClusterIP".to_owned());
    }
    if unset(&spec.session_affinity) {
        spec.session_affinity = Some(NONE.to_owned());
    }
    if spec.session_affinity.as_deref() == Some("ClientIP") {
        let client = spec
            .session_affinity_config
            .get_or_insert_default()
            .client_ip
            .get_or_insert_default();
        client.timeout_seconds.get_or_insert(10_800);
    }
    for port in spec.ports.iter_mut().flatten() {
        if unset(&port.protocol) {
            port.protocol = Some("TCP".to_owned());
        }
        let none = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if none {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    let external = has_node_ports(spec)
        || spec
            .external_ips
            .as_ref()
            .is_some_and(|ips| !ips.is_empty());
    if external && unset(&spec.external_traffic_policy) {
        spec.external_traffic_policy = Some("Cluster".to_owned());
    }
    if has_cluster_ip(spec) && unset(&spec.internal_traffic_policy) {
        spec.internal_traffic_policy = Some("Cluster".to_owned());
    }
    if is_type(Some(spec), "LoadBalancer") {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// The type has a ClusterIP, if only `None`.
pub(super) fn has_cluster_ip(spec: &ServiceSpec) -> bool {
    !is_type(Some(spec), "ExternalName")
}

/// The type may have node ports.
pub(super) fn has_node_ports(spec: &ServiceSpec) -> bool {
    is_type(Some(spec), "NodePort") || is_type(Some(spec), "LoadBalancer")
}

/// There is no ClusterIP on purpose.
pub(super) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some(NONE)
}

/// kube-proxy answers health checks for it.
pub(super) fn wants_health_check(spec: &ServiceSpec) -> bool {
    is_type(Some(spec), "LoadBalancer") && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// What makes two ports the same.
pub(super) fn key(port: &ServicePort) -> (Option<&str>, i32) {
    (port.protocol.as_deref(), port.port)
}

/// An update that leaves allocated fields out keeps them (patchAllocatedValues).
fn keep_allocations(spec: &mut ServiceSpec, before: &ServiceSpec) {
    if has_cluster_ip(spec) && has_cluster_ip(before) {
        if spec.cluster_ip.as_deref().unwrap_or_default().is_empty() {
            spec.cluster_ip.clone_from(&before.cluster_ip);
        }
        if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty)
            && spec.cluster_ip == before.cluster_ip
        {
            spec.cluster_ips.clone_from(&before.cluster_ips);
        }
        if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
            spec.ip_families.clone_from(&before.ip_families);
        }
        if spec.ip_family_policy.is_none() {
            spec.ip_family_policy.clone_from(&before.ip_family_policy);
        }
    }
    if has_node_ports(spec) && has_node_ports(before) {
        let known = before.ports.as_deref().unwrap_or_default();
        for port in spec
            .ports
            .iter_mut()
            .flatten()
            .filter(|p| p.node_port.unwrap_or_default() == 0)
        {
            port.node_port = known
                .iter()
                .find(|p| key(p) == key(port))
                .and_then(|p| p.node_port);
        }
    }
    if wants_health_check(spec)
        && wants_health_check(before)
        && spec.health_check_node_port.is_none()
    {
        spec.health_check_node_port = before.health_check_node_port;
    }
}

/// A change of type takes with it what only the old type had, unless the user changed that too (dropTypeDependentFields).
fn drop_what_the_type_has_not(spec: &mut ServiceSpec, before: &ServiceSpec) {
    if has_node_ports(before) && !has_node_ports(spec) {
        let known = before.ports.as_deref().unwrap_or_default();
        for port in spec.ports.iter_mut().flatten() {
            if known
                .iter()
                .any(|p| key(p) == key(port) && p.node_port == port.node_port)
            {
                port.node_port = None;
            }
        }
        if spec.external_ips.as_ref().is_none_or(Vec::is_empty)
            && spec.external_traffic_policy == before.external_traffic_policy
        {
            spec.external_traffic_policy = None;
        }
    }
    if wants_health_check(before)
        && !wants_health_check(spec)
        && spec.health_check_node_port == before.health_check_node_port
    {
        spec.health_check_node_port = None;
    }
    if is_type(Some(before), "LoadBalancer") && !is_type(Some(spec), "LoadBalancer") {
        if spec.allocate_load_balancer_node_ports == before.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if spec.load_balancer_class == before.load_balancer_class {
            spec.load_balancer_class = None;
        }
    }
    if has_cluster_ip(before) && !has_cluster_ip(spec) {
        if spec.internal_traffic_policy == before.internal_traffic_policy {
            spec.internal_traffic_policy = None;
        }
        if spec.cluster_ip == before.cluster_ip {
            spec.cluster_ip = None;
            spec.cluster_ips = None;
            spec.ip_families = None;
            spec.ip_family_policy = None;
        }
    }
}

/// Reads ranges from ServiceCIDR objects.
pub(super) fn ranges<'a>(cidrs: impl Iterator<Item = &'a Value>) -> Vec<IpNetwork> {
    let lists = cidrs.filter_map(|c| c.pointer("/spec/cidrs").and_then(Value::as_array));
    lists
        .flatten()
        .filter_map(|c| c.as_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::service_rules::check_status;
    use super::*;

    fn mk_service(spec: &Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
    }

    fn mk_ranges() -> Vec<IpNetwork> {
        vec![
            "10.96.0.0/12".parse().unwrap(),
            "fd00:96::/112".parse().unwrap(),
        ]
    }

    fn admitted(spec: &Value, old: Option<&Service>) -> Result<Service, Vec<Cause>> {
        let mut held = Held::default();
        if let Some(old) = old {
            held.take(&serde_json::to_value(old).unwrap());
        }
        let mut service = mk_service(spec);
        let causes = admit(&mut service, old, &held, &mk_ranges());
        if causes.is_empty() {
            Ok(service)
        } else {
            Err(causes)
        }
    }

    #[test]
    fn a_load_balancer_gets_the_defaults_of_a_real_server() {
        let got = admitted(
            &json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
            None,
        )
        .unwrap();
        let want = json!({
            "type": "LoadBalancer", "allocateLoadBalancerNodePorts": true, "sessionAffinity": "None",
            "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "clusterIP": "10.96.0.16", "clusterIPs": ["10.96.0.16"],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30_000}],
        });
        assert_eq!(serde_json::to_value(got.spec).unwrap(), want);
        assert_eq!(
            serde_json::to_value(got.status).unwrap(),
            json!({"loadBalancer": {}})
        );
    }

    #[test]
    fn families_follow_the_policy() {
        let port = json!([{"port": 1}]);
        for (spec, ips) in [
            (
                json!({"ports": port, "ipFamilyPolicy": "PreferDualStack"}),
                json!(["10.96.0.16", "fd00:96::10"]),
            ),
            (
                json!({"ports": port, "ipFamilies": ["IPv6"]}),
                json!(["fd00:96::10"]),
            ),
            (
                json!({"ports": port, "ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"}),
                json!(["fd00:96::10", "10.96.0.16"]),
            ),
            (
                json!({"ports": port, "clusterIP": "fd00:96::5"}),
                json!(["fd00:96::5"]),
            ),
            (json!({"ports": port, "clusterIP": "None"}), json!(["None"])),
            (
                json!({"type": "ExternalName", "externalName": "a.b"}),
                json!(null),
            ),
        ] {
            let got = admitted(&spec, None).unwrap();
            assert_eq!(json!(got.spec.unwrap().cluster_ips), ips, "{spec}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (spec, field) in [
            (json!({}), "spec.ports"),
            (json!({"ports": [{"port": 0}]}), "spec.ports[0].port"),
            (
                json!({"ports": [{"port": 1, "protocol": "X"}]}),
                "spec.ports[0].protocol",
            ),
            (
                json!({"ports": [{"port": 1}, {"port": 2, "name": "b"}]}),
                "spec.ports[0].name",
            ),
            (json!({"ports": [{"port": 1}], "type": "Odd"}), "spec.type"),
            (
                json!({"ports": [{"port": 1}], "clusterIP": "1.2.3.4"}),
                "spec.clusterIPs",
            ),
            (
                json!({"ports": [{"port": 1}], "loadBalancerClass": "x/y"}),
                "spec.loadBalancerClass",
            ),
            (
                json!({"ports": [{"port": 1, "nodePort": 80}], "type": "NodePort"}),
                "spec.ports[0].nodePort",
            ),
            (
                json!({"ports": [{"port": 1}], "ipFamilies": ["IPv4", "IPv6"]}),
                "spec.ipFamilyPolicy",
            ),
        ] {
            let causes = admitted(&spec, None).unwrap_err();
            assert_eq!(causes[0].field, field, "{spec}");
        }
    }

    #[test]
    fn an_update_keeps_what_was_allocated_and_a_new_type_drops_it() {
        let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "a/b", "ports": [{"port": 80}]});
        let old = admitted(&spec, None).unwrap();
        let before = old.spec.clone().unwrap();
        assert_eq!(before.health_check_node_port, Some(30_001));
        assert_eq!(
            admitted(&spec, Some(&old)).unwrap().spec,
            old.spec,
            "same spec, same ports"
        );
        let mut wider = serde_json::to_value(&before).unwrap();
        wider["ipFamilyPolicy"] = json!("PreferDualStack");
        let got = admitted(&wider, Some(&old)).unwrap().spec.unwrap();
        assert_eq!(got.cluster_ips.unwrap(), ["10.96.0.16", "fd00:96::10"]);
        let mut plain = serde_json::to_value(&before).unwrap();
        plain["type"] = json!("ClusterIP");
        let got = admitted(&plain, Some(&old)).unwrap().spec.unwrap();
        assert_eq!(got.ports.unwrap()[0].node_port, None);
        assert_eq!(
            (
                got.health_check_node_port,
                got.load_balancer_class,
                got.external_traffic_policy
            ),
            (None, None, None)
        );
    }

    #[test]
    fn status_belongs_to_load_balancers_only() {
        let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let mut service = mk_service(&json!({"type": "LoadBalancer"}));
        service.status = serde_json::from_value(status.clone()).unwrap();
        assert_eq!(check_status(&mut service), []);
        let shown = serde_json::to_value(&service.status).unwrap();
        assert_eq!(
            shown.pointer("/loadBalancer/ingress/0/ipMode"),
            Some(&json!("VIP"))
        );
        let mut service = mk_service(&json!({"type": "ClusterIP"}));
        service.status = serde_json::from_value(status).unwrap();
        assert_eq!(check_status(&mut service).len(), 1);
    }
}
