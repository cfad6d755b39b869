//! What a Service may not say (pkg/apis/core/validation, as far as it concerns load balancing).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use serde_json::json;

use super::error::Cause;
use super::service::{
    NONE, has_cluster_ip, has_node_ports, is_headless, is_type, key, set_ip_mode,
};

/// What a write of the status subresource may not say.
#[must_use]
pub(super) fn check_status(service: &mut Service) -> Vec<Cause> {
    service
        .status
        .get_or_insert_default()
        .load_balancer
        .get_or_insert_default();
    set_ip_mode(service);
    let status = service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref());
    let ingress = status
        .and_then(|lb| lb.ingress.as_deref())
        .unwrap_or_default();
    let mut causes = Vec::new();
    if !ingress.is_empty() && !is_type(service.spec.as_ref(), "LoadBalancer") {
        let why = "may only be used when `spec.type` is \"LoadBalancer\"";
        causes.push(Cause::forbidden("status.loadBalancer.ingress", why));
    }
    for (i, point) in ingress.iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{i}].ip");
        if let Some(ip) = &point.ip
            && ip.parse::<IpAddr>().is_err()
        {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(Cause::invalid(field, &json!(ip), why));
        } else if point.ip.is_none() && point.ip_mode.is_some() {
            let field = format!("status.loadBalancer.ingress[{i}].ipMode");
            causes.push(Cause::forbidden(
                field,
                "may not be specified when `ip` is not set",
            ));
        }
    }
    causes
}

/// What is wrong with a spec that replaces `before`.
#[must_use]
pub(super) fn check(spec: &ServiceSpec, before: Option<&ServiceSpec>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut one_of = |field: &str, value: &Option<String>, known: &[&str]| {
        if let Some(value) = value.as_ref().filter(|v| !known.contains(&v.as_str())) {
            let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
            causes.push(Cause::not_supported(
                format!("spec.{field}"),
                &json!(value),
                &known,
            ));
        }
    };
    one_of(
        "type",
        &spec.type_,
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    one_of(
        "sessionAffinity",
        &spec.session_affinity,
        &["ClientIP", NONE],
    );
    one_of(
        "externalTrafficPolicy",
        &spec.external_traffic_policy,
        &["Cluster", "Local"],
    );
    one_of(
        "internalTrafficPolicy",
        &spec.internal_traffic_policy,
        &["Cluster", "Local"],
    );
    one_of(
        "ipFamilyPolicy",
        &spec.ip_family_policy,
        &["SingleStack", "PreferDualStack", "RequireDualStack"],
    );
    check_ports(spec, &mut causes);
    let balanced = is_type(Some(spec), "LoadBalancer");
    if !balanced && spec.load_balancer_class.is_some() {
        causes.push(Cause::forbidden(
            "spec.loadBalancerClass",
            "may only be used when `type` is 'LoadBalancer'",
        ));
    }
    if !has_node_ports(spec)
        && spec.external_ips.as_ref().is_none_or(Vec::is_empty)
        && spec.external_traffic_policy.is_some()
    {
        let why = "may only be set for externally-accessible services";
        causes.push(Cause::invalid(
            "spec.externalTrafficPolicy",
            &json!(spec.external_traffic_policy),
            why,
        ));
    }
    if let Some(before) = before {
        let stays = balanced && is_type(Some(before), "LoadBalancer");
        if stays && spec.load_balancer_class != before.load_balancer_class {
            let why = "may not change once set";
            causes.push(Cause::invalid(
                "spec.loadBalancerClass",
                &json!(spec.load_balancer_class),
                why,
            ));
        }
        let held = before.cluster_ip.as_deref().unwrap_or_default();
        if has_cluster_ip(spec) && !held.is_empty() && spec.cluster_ip != before.cluster_ip {
            let why = "may not change once set";
            causes.push(Cause::invalid(
                "spec.clusterIPs[0]",
                &json!([spec.cluster_ip]),
                why,
            ));
        }
    }
    causes
}

fn check_ports(spec: &ServiceSpec, causes: &mut Vec<Cause>) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless(spec) && has_cluster_ip(spec) {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (i, port) in ports.iter().enumerate() {
        let at = |field: &str| format!("spec.ports[{i}].{field}");
        if !(1..=65_535).contains(&port.port) {
            causes.push(Cause::invalid(
                at("port"),
                &json!(port.port),
                "must be between 1 and 65535, inclusive",
            ));
        }
        if ports.len() > 1 && port.name.as_deref().unwrap_or_default().is_empty() {
            causes.push(Cause::required(at("name"), ""));
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            let known = ["\"SCTP\"", "\"TCP\"", "\"UDP\""].map(str::to_owned);
            causes.push(Cause::not_supported(
                at("protocol"),
                &json!(protocol),
                &known,
            ));
        }
        let earlier = ports.get(..i).unwrap_or_default();
        if port.name.is_some() && earlier.iter().any(|p| p.name == port.name) {
            causes.push(Cause::duplicate(at("name"), &json!(port.name)));
        }
        if earlier.iter().any(|p| key(p) == key(port)) {
            causes.push(Cause::duplicate(
                format!("spec.ports[{i}]"),
                &json!({"port": port.port, "protocol": protocol}),
            ));
        }
        if !has_node_ports(spec) && port.node_port.unwrap_or_default() != 0 {
            causes.push(Cause::forbidden(
                at("nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
    }
}
