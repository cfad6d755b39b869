//! The cluster: Services as Helm charts make them and their endpoints, in JSON as the API server writes it.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Services are spread over these.
const NAMESPACES: usize = 50;
const CREATED: &str = "2026-03-04T05:06:07Z";

/// The answer to a request for `path`: status and text. A `continue` token is the index of the first object.
pub(crate) fn answer(path: &str, query: &str, count: usize) -> (u16, String) {
    let (make, total): (fn(usize) -> Value, usize) = match path.rsplit('/').next() {
        Some("services") => (service, count),
        Some("endpointslices") => (slice, count),
        Some("namespaces") => (namespace, NAMESPACES),
        Some("ipaddresspools") => (pool, 1),
        Some("default") => {
            let status = json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "message": "no", "code": 404 });
            return (404, status.to_string());
        }
        _ => (|_| Value::Null, 0),
    };
    let number = |name| {
        let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = parameters.find(|(key, _)| *key == name)?;
        value.parse::<usize>().ok()
    };
    let first = number("continue").unwrap_or(0);
    let end = total.min(first + number("limit").unwrap_or(total));
    let token = (end < total).then(|| end.to_string());
    let metadata = json!({ "resourceVersion": "9000000", "continue": token.unwrap_or_default() });
    // One after the other: a page of values would weigh more than all that is measured.
    let mut list = format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{metadata},"items":["#);
    for index in first..end {
        let comma = if index > first { "," } else { "" };
        write!(list, "{comma}{}", make(index)).unwrap_or_default();
    }
    list.push_str("]}");
    (200, list)
}

/// What is common to objects: `managedFields` alone are most of it.
fn metadata(index: usize, name: &str, labels: &Value, annotations: &Value) -> Value {
    let manager = |manager: &str, subresource: &str| {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": "v1", "time": CREATED, "fieldsType": "FieldsV1",
            "subresource": subresource,
            "fieldsV1": {
                "f:metadata": { "f:annotations": { ".": {}, "f:meta.helm.sh/release-name": {} }, "f:labels": { ".": {} } },
                "f:spec": { "f:ports": { ".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:port": {} } } },
            },
        })
    };
    json!({
        "name": name,
        "namespace": format!("team-{:02}", index % NAMESPACES),
        "uid": format!("3f2504e0-4f89-41d3-9a0c-{index:012x}"),
        "resourceVersion": (100_000 + index).to_string(),
        "creationTimestamp": CREATED,
        "labels": labels,
        "annotations": annotations,
        "finalizers": ["service.kubernetes.io/load-balancer-cleanup"],
        "managedFields": [manager("helm", ""), manager("portolan-controller", "status")],
    })
}

fn name(index: usize) -> String {
    format!("storefront-{index}-web")
}

fn service(index: usize) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "storefront",
        "app.kubernetes.io/instance": name(index),
        "app.kubernetes.io/component": "web",
        "app.kubernetes.io/version": "4.18.2",
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": "storefront-4.18.2",
    });
    let applied =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "labels": labels } });
    let annotations = json!({
        "kubectl.kubernetes.io/last-applied-configuration": applied.to_string(),
        "meta.helm.sh/release-name": name(index),
        "meta.helm.sh/release-namespace": "production",
        "portolan.dev/pool": "default",
    });
    let vip = address(10, index);
    let condition = json!({
        "type": "portolan.dev/Assigned", "status": "True", "reason": "Assigned",
        "message": format!("{vip} from IPAddressPool default"), "lastTransitionTime": CREATED,
    });
    let port = |name: &str, port: usize, node_port: usize| json!({ "name": name, "protocol": "TCP", "port": port, "targetPort": name, "nodePort": node_port });
    json!({
        "metadata": metadata(index, &name(index), &labels, &annotations),
        "spec": {
            "type": "LoadBalancer",
            "ports": [port("http", 80, 30000 + index % 2768), port("https", 443, 30000 + (index + 1) % 2768)],
            "selector": { "app.kubernetes.io/name": "storefront", "app.kubernetes.io/instance": name(index) },
            "clusterIP": address(172, index), "clusterIPs": [address(172, index)],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "allocateLoadBalancerNodePorts": true, "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
        },
        "status": {
            "loadBalancer": { "ingress": [{ "ip": vip, "ipMode": "VIP" }] },
            "conditions": [condition],
        },
    })
}

fn slice(index: usize) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "storefront",
        "app.kubernetes.io/instance": name(index),
        "app.kubernetes.io/managed-by": "Helm",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": name(index),
    });
    let endpoint = |node: usize| {
        json!({
            "addresses": [address(172, index)], "nodeName": format!("worker-{:03}", (index + node) % 100),
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "targetRef": { "kind": "Pod", "name": format!("{}-6d4cf56db6-{node}", name(index)), "namespace": "production" },
        })
    };
    json!({
        "metadata": metadata(index, &format!("{}-x7k2p", name(index)), &labels, &json!({})),
        "addressType": "IPv4",
        "endpoints": [endpoint(0), endpoint(1), endpoint(2)],
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    })
}

fn namespace(index: usize) -> Value {
    let name = format!("team-{index:02}");
    let labels = json!({ "kubernetes.io/metadata.name": name, "team": name });
    json!({ "metadata": { "name": name, "uid": format!("namespace-{index}"), "resourceVersion": "7", "labels": labels } })
}

fn pool(_: usize) -> Value {
    json!({
        "apiVersion": "portolan.dev/v1alpha1", "kind": "IPAddressPool",
        "metadata": { "name": "default", "uid": "pool", "resourceVersion": "8", "generation": 1 },
        "spec": { "addresses": ["10.0.0.0/8"] },
    })
}

/// The address of this index in a /8.
fn address(net: u8, index: usize) -> String {
    let base = u32::from(Ipv4Addr::new(net, 0, 0, 0));
    let offset = u32::try_from(index).unwrap_or(u32::MAX >> 8);
    Ipv4Addr::from(base + offset).to_string()
}
