//! Allocation, seen from outside: who has which address, who keeps it, who gets it next, and what the others are told.
//!
//! ```text
//! test ── put, edit, remove ──► API server ◄── controllers
//!  ▲                               │
//!  └── witness: every event of every Service and pool, in order
//! ```

mod heirs;
mod judge;
mod pools;
mod promises;
mod reserves;
mod rivals;
mod shared_path;
mod sharing;
mod standing;
mod strangers;
mod turmoil;
mod witness;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use portolan_tests::kubernetes::Face;
use portolan_tests::lab::{Layout, retry_until};
use portolan_tests::world::{SOON, Shape, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use portolan_api::annotation::{ADDRESS_POOL, ALLOW_SHARED_IP, LOAD_BALANCER_IPS};

/// One node, no traffic.
async fn mk_world(face: Face, controllers: u8) -> Result<World> {
    let layout = Layout {
        nodes: 1,
        routers: 1,
    };
    let shape = Shape {
        layout,
        controllers,
        data_path: false,
        ..Shape::of(face)
    };
    World::start(shape).await
}

fn mk_pool(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "portolan.dev/v1alpha1", "kind": "IPAddressPool",
        "metadata": { "name": name }, "spec": spec,
    })
}

/// A pool of these ranges, for everybody.
fn mk_ranges(name: &str, ranges: &[&str]) -> Value {
    mk_pool(name, &json!({ "addresses": ranges }))
}

/// A Service of type LoadBalancer, with `more` merged into it. Services are called `namespace/name`, or `name` in
/// namespace default.
fn mk_service(name: &str, more: &Value) -> Value {
    let (namespace, name) = parts(name);
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": false,
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
        },
    });
    json_patch::merge(&mut object, more);
    object
}

/// A Service that asks for something by annotation.
fn mk_asking(name: &str, annotation: &str, value: &str) -> Value {
    mk_service(name, &annotated(annotation, value))
}

/// A Service that shares an address under a key, with one port.
fn mk_sharing(name: &str, key: &str, protocol: &str, port: u16) -> Value {
    let ports = json!([{ "name": "http", "port": port, "protocol": protocol }]);
    let mut more = annotated(ALLOW_SHARED_IP, key);
    json_patch::merge(&mut more, &json!({ "spec": { "ports": ports } }));
    mk_service(name, &more)
}

/// Both together.
fn and(mut object: Value, more: &Value) -> Value {
    json_patch::merge(&mut object, more);
    object
}

/// A Service with both families.
fn mk_dual(name: &str) -> Value {
    mk_service(
        name,
        &json!({ "spec": { "ipFamilyPolicy": "RequireDualStack" } }),
    )
}

fn mk_namespace(name: &str, labels: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// A patch that sets one annotation.
fn annotated(annotation: &str, value: &str) -> Value {
    json!({ "metadata": { "annotations": { annotation: value } } })
}

fn parts(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("default", name))
}

fn services(world: &World, name: &str) -> Api<Service> {
    Api::namespaced(world.cluster.client(), parts(name).0)
}

fn pool_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "portolan.dev",
        "v1alpha1",
        "IPAddressPool",
    ))
}

fn pools(world: &World) -> Api<DynamicObject> {
    Api::all_with(world.cluster.client(), &pool_resource())
}

/// Applies objects as a user's `kubectl apply` does.
async fn put(world: &World, objects: &[Value]) -> Result<()> {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    world.apply(&documents.join("\n---\n")).await.map(drop)
}

/// Merges a patch into a Service.
async fn edit(world: &World, name: &str, patch: &Value) -> Result<()> {
    let patched = services(world, name)
        .patch(parts(name).1, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched
        .map(drop)
        .with_context(|| format!("changing Service {name}"))
}

/// Writes the entries of a status, as a person or another load balancer does.
async fn edit_status(world: &World, name: &str, ingress: &Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": { "loadBalancer": { "ingress": ingress } } }));
    let patched = services(world, name)
        .patch_status(parts(name).1, &PatchParams::default(), &patch)
        .await;
    patched
        .map(drop)
        .with_context(|| format!("changing the status of Service {name}"))
}

/// Merges a patch into the specification of a pool.
async fn edit_pool(world: &World, name: &str, spec: &Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let patched = pools(world)
        .patch(name, &PatchParams::default(), &patch)
        .await;
    patched
        .map(drop)
        .with_context(|| format!("changing pool {name}"))
}

async fn remove(world: &World, name: &str) -> Result<()> {
    let deleted = services(world, name)
        .delete(parts(name).1, &DeleteParams::default())
        .await;
    deleted
        .map(drop)
        .with_context(|| format!("deleting Service {name}"))
}

async fn remove_pool(world: &World, name: &str) -> Result<()> {
    let deleted = pools(world).delete(name, &DeleteParams::default()).await;
    deleted
        .map(drop)
        .with_context(|| format!("deleting pool {name}"))
}

/// The addresses of a status, in their order.
async fn shown(world: &World, name: &str) -> Result<Vec<String>> {
    let service = services(world, name).get(parts(name).1).await;
    let service = service.with_context(|| format!("reading Service {name}"))?;
    let status = service.status.unwrap_or_default();
    let entries = status.load_balancer.unwrap_or_default().ingress;
    Ok(entries
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| entry.ip)
        .collect())
}

/// Waits until the status of a Service shows exactly these addresses.
async fn has(world: &World, name: &str, addresses: &[&str]) -> Result<()> {
    let what = format!("Service {name} to have {addresses:?}");
    retry_until(SOON, &what, async || {
        let held = shown(world, name).await?;
        ensure!(
            held == addresses,
            "it has {held:?}: {:?}",
            verdict(world, name).await
        );
        Ok(())
    })
    .await
}

/// Waits until a Service has that many addresses.
async fn served(world: &World, name: &str, count: usize) -> Result<Vec<String>> {
    let what = format!("{count} addresses of Service {name}");
    retry_until(SOON, &what, async || {
        let held = shown(world, name).await?;
        ensure!(
            held.len() == count,
            "it has {held:?}: {:?}",
            verdict(world, name).await
        );
        Ok(held)
    })
    .await
}

/// Our condition on a Service.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    status: String,
    reason: String,
    message: String,
}

async fn verdict(world: &World, name: &str) -> Result<Told> {
    let status = services(world, name).get(parts(name).1).await?.status;
    let conditions = status.unwrap_or_default().conditions.unwrap_or_default();
    let found = conditions
        .into_iter()
        .find(|condition| condition.type_ == "portolan.dev/Assigned");
    let condition = found.with_context(|| format!("Service {name} has no condition of ours"))?;
    Ok(Told {
        status: condition.status,
        reason: condition.reason,
        message: condition.message,
    })
}

/// Waits until a Service is refused for a reason, in words that contain all of these. Returns the words.
async fn refused(world: &World, name: &str, reason: &str, words: &[&str]) -> Result<String> {
    let what = format!("Service {name} to be refused for {reason} with {words:?}");
    retry_until(SOON, &what, async || {
        let told = verdict(world, name).await?;
        ensure!(
            told.status == "False" && told.reason == reason,
            "it is told {told:?}"
        );
        for word in words {
            ensure!(told.message.contains(word), "it is told {told:?}");
        }
        Ok(told.message)
    })
    .await
}

/// Asks a controller over HTTP; returns the whole answer, head and body.
async fn ask(world: &World, controller: u16, path: &str) -> Result<String> {
    let at = SocketAddr::new(world.lab.management().into(), 7472 + controller);
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The notes of the events about a Service that have a reason, each with how often it was told.
async fn events(world: &World, name: &str, reason: &str) -> Result<Vec<(String, i32)>> {
    let (namespace, name) = parts(name);
    let api: Api<Event> = Api::namespaced(world.cluster.client(), namespace);
    let list = api.list(&ListParams::default()).await?;
    let about = |event: &&Event| {
        let regarding = event.regarding.as_ref();
        regarding.is_some_and(|it| it.name.as_deref() == Some(name))
            && event.reason.as_deref() == Some(reason)
    };
    let told = |event: &Event| {
        let count = event.series.as_ref().map_or(1, |series| series.count);
        (event.note.clone().unwrap_or_default(), count)
    };
    Ok(list.iter().filter(about).map(told).collect())
}

/// Waits until a condition of a pool has a status and a reason. Returns its message.
async fn pool_says(
    world: &World,
    name: &str,
    condition: &str,
    status: &str,
    reason: Option<&str>,
) -> Result<String> {
    let what = format!("pool {name} to say {condition}={status} {reason:?}");
    retry_until(SOON, &what, async || {
        let pool = pools(world).get(name).await?;
        let conditions = &pool.data["status"]["conditions"];
        let found = conditions
            .as_array()
            .into_iter()
            .flatten()
            .find(|it| it["type"] == condition);
        let found = found.with_context(|| format!("it says {conditions}"))?;
        ensure!(
            found["status"] == status && reason.is_none_or(|reason| found["reason"] == reason),
            "it says {found}"
        );
        ensure!(
            found["observedGeneration"].as_i64() == pool.metadata.generation,
            "it speaks of an older version: {found}"
        );
        Ok(found["message"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|ip| ip.parse().unwrap()).collect()
}
