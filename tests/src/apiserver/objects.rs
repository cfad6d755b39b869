//! Requests about objects: which verb on which kind, and what becomes of it.

use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};

use super::Shared;
use super::call::Call;
use super::cluster::{Cluster, PatchKind, Preconditions, Target, Writing};
use super::error::{Cause, Refusal, Subject};
use super::http::{Reply, plain};
use super::kind::Kind;
use super::list::{self, Listing};
use super::route::Resource;
use super::watch::{Feed, View};

/// Finds the kind and the object that a path names.
fn target(cluster: &Cluster, resource: &Resource) -> Result<Target, Refusal> {
    let kind = cluster
        .kinds
        .get(&resource.group, &resource.version, &resource.plural)
        .ok_or(Refusal::NoRoute)?;
    let known = match resource.subresource.as_str() {
        "" => true,
        "status" => kind.status,
        _ => false,
    };
    let placed = resource.namespace.is_empty() || kind.namespaced;
    let complete = !kind.namespaced || !resource.namespace.is_empty() || resource.name.is_empty();
    if !known || !placed || !complete {
        return Err(Refusal::NoRoute);
    }
    Ok(Target {
        kind,
        namespace: resource.namespace.clone(),
        name: resource.name.clone(),
    })
}

/// Answers a request about objects.
pub(super) fn answer(
    shared: &Arc<Shared>,
    call: &Call,
    resource: &Resource,
) -> Result<Reply, Refusal> {
    if call.method == Method::GET {
        return read(shared, call, resource);
    }
    shared.write(|cluster| write(cluster, call, resource))
}

fn read(shared: &Arc<Shared>, call: &Call, resource: &Resource) -> Result<Reply, Refusal> {
    let cluster = shared.cluster();
    let target = target(&cluster, resource)?;
    let kind = &target.kind;
    let answer = |body| Ok(plain(call.form.content_type(), body));
    if !resource.name.is_empty() && !call.query.flag("watch") {
        return answer(call.form.object(kind, cluster.get(&target)?, call.now));
    }
    let current = cluster.store.revision();
    if !call.query.flag("watch") {
        let listing = Listing::parse(kind, &resource.namespace, &call.query, current)?;
        return answer(listing.page(&cluster, kind, call.form, call.now)?);
    }
    let view = View {
        kind: kind.clone(),
        namespace: resource.namespace.clone(),
        selector: list::selector(kind, &call.query)?,
        form: call.form,
    };
    let start = list::start(&call.query, current)?;
    let timeout = list::timeout(&call.query)?;
    // The feed takes the lock itself.
    drop(cluster);
    let bookmarks = call.query.flag("allowWatchBookmarks");
    Ok(Reply::Watch(Box::new(Feed::new(
        shared.clone(),
        view,
        start,
        bookmarks,
        timeout,
    ))))
}

fn write(cluster: &mut Cluster, call: &Call, resource: &Resource) -> Result<Reply, Refusal> {
    let target = target(cluster, resource)?;
    let status = resource.subresource == "status";
    let how = call.writing(
        &target.kind,
        status,
        call.content_type() == "application/apply-patch+yaml",
    );
    let written = match (call.method.as_str(), resource.name.is_empty(), status) {
        ("POST", true, false) if !target.kind.namespaced || !target.namespace.is_empty() => {
            cluster.create(&target, call.json()?, &how)?
        }
        ("PUT", false, _) => cluster.update(&target, call.json()?, &how)?,
        ("PATCH", false, _) => {
            let kind = patch_kind(call, &target.kind)?;
            cluster.patch(&target, call.json()?, kind, &how)?
        }
        ("DELETE", false, false) => return delete(cluster, call, &target, &how),
        ("DELETE", true, false) => return delete_collection(cluster, call, &target, &how),
        _ => return Err(Refusal::MethodNotAllowed),
    };
    Ok(call.answer(&target.kind, &written))
}

fn patch_kind(call: &Call, kind: &Kind) -> Result<PatchKind, Refusal> {
    let known =
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    match call.content_type() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        // As upstream: there is no strategic merge for custom resources.
        "application/strategic-merge-patch+json" if kind.custom.is_none() => {
            Ok(PatchKind::Strategic)
        }
        "application/apply-patch+yaml" if call.query.get("fieldManager").is_empty() => {
            Err(Refusal::Invalid {
                subject: Subject {
                    group: "meta.k8s.io".to_owned(),
                    kind: "PatchOptions".to_owned(),
                    ..Subject::default()
                },
                causes: vec![Cause::required(
                    "fieldManager",
                    "is required for apply patch",
                )],
            })
        }
        "application/apply-patch+yaml" => Ok(PatchKind::Apply {
            force: call.query.flag("force"),
        }),
        _ => Err(Refusal::UnsupportedMediaType(known.to_owned())),
    }
}

fn preconditions(call: &Call) -> Result<(Preconditions, bool), Refusal> {
    let options = if call.body.is_empty() {
        json!({})
    } else {
        call.json()?
    };
    let text = |pointer| {
        options
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let only_if = Preconditions {
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
    };
    Ok((only_if, options.pointer("/dryRun/0") == Some(&json!("All"))))
}

fn delete(
    cluster: &mut Cluster,
    call: &Call,
    target: &Target,
    how: &Writing,
) -> Result<Reply, Refusal> {
    let (only_if, dry_run) = preconditions(call)?;
    let how = Writing {
        dry_run: how.dry_run || dry_run,
        ..how.clone()
    };
    let written = cluster.delete(target, &only_if, &how)?;
    if !written.deleted || target.kind.shows_deleted {
        return Ok(call.answer(&target.kind, &written));
    }
    let kind = &target.kind;
    Ok(Reply::from(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {
            "name": target.name, "group": kind.group, "kind": kind.plural,
            "uid": written.object.value.pointer("/metadata/uid"),
        },
    })))
}

fn delete_collection(
    cluster: &mut Cluster,
    call: &Call,
    target: &Target,
    how: &Writing,
) -> Result<Reply, Refusal> {
    let (_, dry_run) = preconditions(call)?;
    let how = Writing {
        dry_run: how.dry_run || dry_run,
        ..how.clone()
    };
    let kind = &target.kind;
    let current = cluster.store.revision();
    let listing = Listing::parse(kind, &target.namespace, &call.query, current)?;
    let mut gone = Vec::new();
    for key in listing.all(&cluster.store, &kind.storage()) {
        let one = Target {
            kind: kind.clone(),
            namespace: key.namespace,
            name: key.name,
        };
        gone.push(
            cluster
                .delete(&one, &Preconditions::default(), &how)?
                .object,
        );
    }
    let meta = json!({"resourceVersion": cluster.store.revision().to_string()});
    let body = call
        .form
        .list(kind, gone.iter().map(AsRef::as_ref), &meta, call.now);
    Ok(plain(call.form.content_type(), body))
}
