//! The server as its clients see it: kube-rs over HTTP.

mod serving;
mod watching;
mod writing;

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher;
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn mk_crd() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "harbours.test.dev"},
        "spec": {
            "group": "test.dev", "scope": "Cluster",
            "names": {"plural": "harbours", "singular": "harbour", "kind": "Harbour", "shortNames": ["hb"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Ships", "type": "integer", "jsonPath": ".spec.ships"}],
                "schema": {"openAPIV3Schema": {
                    "type": "object", "description": "A harbour.", "required": ["spec"], "properties": {
                        "spec": {"type": "object", "properties": {
                            "ships": {"type": "integer", "minimum": 0, "default": 3, "description": "How many."},
                            "berths": {"type": "integer"},
                        }, "x-kubernetes-validations": [
                            {"rule": "!has(self.berths) || self.ships <= self.berths", "message": "more ships than berths"},
                            {"rule": "!has(oldSelf.berths) || has(self.berths)", "message": "berths stay"},
                        ]},
                        "status": {"type": "object", "properties": {"full": {"type": "boolean"}}},
                    },
                }},
            }],
        },
    }))
    .unwrap()
}

fn mk_harbour(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({"apiVersion": "test.dev/v1", "kind": "Harbour", "metadata": {"name": name}, "spec": spec}))
        .unwrap()
}

fn mk_service(name: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    }))
    .unwrap()
}

fn mk_secret(name: &str) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"n": name}}})).unwrap()
}

async fn mk_server() -> (ApiServer, Client) {
    let server = ApiServer::start("127.0.0.1:0".parse().unwrap(), vec![mk_crd()])
        .await
        .unwrap();
    let config = Kubeconfig::from_yaml(&server.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    (server, client)
}

fn harbours(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("test.dev", "v1", "Harbour");
    Api::all_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "harbours"),
    )
}

fn services(client: &Client) -> Api<Service> {
    Api::namespaced(client.clone(), "default")
}

fn status_of(error: kube::Error) -> kube::core::Status {
    match error {
        kube::Error::Api(status) => *status,
        other => panic!("not a Status: {other}"),
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

/// Events of a watch, as (type, name), until `n` have come.
async fn events(
    api: &Api<Secret>,
    params: &WatchParams,
    from: &str,
    n: usize,
) -> Vec<(String, String)> {
    let stream = within(api.watch(params, from)).await.unwrap();
    let name = |event| match event {
        WatchEvent::Added(o) => ("ADDED".to_owned(), Secret::name_any(&o)),
        WatchEvent::Modified(o) => ("MODIFIED".to_owned(), o.name_any()),
        WatchEvent::Deleted(o) => ("DELETED".to_owned(), o.name_any()),
        WatchEvent::Bookmark(b) => (
            "BOOKMARK".to_owned(),
            b.metadata.annotations.keys().cloned().collect(),
        ),
        WatchEvent::Error(e) => ("ERROR".to_owned(), e.reason),
    };
    within(stream.map_ok(name).take(n).try_collect())
        .await
        .unwrap()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

fn secret_key(name: &str) -> store::Key {
    store::Key {
        resource: "secrets".into(),
        namespace: "default".into(),
        name: name.into(),
    }
}

fn http_request(path: &str, body: &Value) -> ::http::Request<Vec<u8>> {
    let request = ::http::Request::post(path).header("content-type", "application/json");
    request.body(body.to_string().into_bytes()).unwrap()
}
