//! HTTP: from a request to what it means, and from what happened to an answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, USER_AGENT, WARNING};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cluster::{Cluster, PatchKind, Preconditions, Target, Writing, Written};
use super::error::Refusal;
use super::form::Form;
use super::kind::Kind;
use super::list::{self, Listing};
use super::ownership::Manager;
use super::route::{Query, Resource, Route};
use super::watch::{Feed, View};
use super::{Shared, discovery, openapi, protobuf};

/// The largest body a real server takes.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

struct Answer {
    code: StatusCode,
    content_type: &'static str,
    warnings: Vec<String>,
    body: Bytes,
}

enum Reply {
    Now(Answer),
    Watch(Box<Feed>),
}

fn plain(content_type: &'static str, body: Bytes) -> Reply {
    Reply::Now(Answer {
        code: StatusCode::OK,
        content_type,
        warnings: Vec::new(),
        body,
    })
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        plain("application/json", Bytes::from(value.to_string()))
    }
}

/// A request, read.
struct Call {
    method: Method,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
    form: Form,
    now: Timestamp,
}

impl Call {
    fn header(&self, name: hyper::header::HeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
    }

    /// The body: JSON, YAML, or the protobuf of a few kinds.
    fn json(&self) -> Result<Value, Refusal> {
        let bad = |why: String| {
            Refusal::BadRequest(format!(
                "couldn't get version/kind; json parse error: {why}"
            ))
        };
        match self.content_type() {
            ""
            | "application/json"
            | "application/merge-patch+json"
            | "application/json-patch+json"
            | "application/strategic-merge-patch+json" => {
                serde_json::from_slice(&self.body).map_err(|e| bad(e.to_string()))
            }
            "application/yaml" | "application/apply-patch+yaml" => {
                serde_json::from_slice(&self.body)
                    .or_else(|_| serde_yaml::from_slice(&self.body))
                    .map_err(|e: serde_yaml::Error| bad(e.to_string()))
            }
            "application/vnd.kubernetes.protobuf" => protobuf::read(&self.body),
            _ => Err(Refusal::UnsupportedMediaType(
                "application/json, application/yaml".to_owned(),
            )),
        }
    }

    fn writing(&self, kind: &Kind, status: bool, applies: bool) -> Writing {
        let agent = self
            .header(USER_AGENT)
            .split('/')
            .next()
            .unwrap_or_default();
        let asked = self.query.get("fieldManager");
        let name = [asked, agent]
            .into_iter()
            .find(|n| !n.is_empty())
            .unwrap_or("unknown");
        Writing {
            manager: Manager {
                name: name.to_owned(),
                applies,
                status,
                api_version: kind.api_version(),
            },
            now: self.now,
            dry_run: self.query.get("dryRun") == "All",
            strict: self.query.get("fieldValidation") == "Strict",
        }
    }

    fn answer(&self, kind: &Kind, written: &Written) -> Reply {
        let warn = self.query.get("fieldValidation") != "Ignore";
        Reply::Now(Answer {
            code: if written.created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            },
            content_type: self.form.content_type(),
            warnings: if warn {
                written.warnings.clone()
            } else {
                Vec::new()
            },
            body: self.form.object(kind, &written.object, self.now),
        })
    }
}

/// Answers one request; refusals become Status objects.
pub(super) async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    match answer(shared, request).await {
        Ok(Reply::Now(answer)) => respond(answer),
        Ok(Reply::Watch(feed)) => stream_of(*feed),
        Err(refusal) => respond(Answer {
            code: StatusCode::from_u16(refusal.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            content_type: "application/json",
            warnings: Vec::new(),
            body: Bytes::from(refusal.status().to_string()),
        }),
    }
}

fn respond(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Full::new(answer.body).boxed_unsync());
    *response.status_mut() = answer.code;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(answer.content_type),
    );
    for warning in answer.warnings {
        // RFC 9111 §5.5: code 299, agent unknown, quoted text.
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = format!("299 - \"{quoted}\"").parse() {
            headers.append(WARNING, value);
        }
    }
    response
}

fn stream_of(feed: Feed) -> Response<Body> {
    let frames = stream::unfold(feed, |mut feed| async move {
        let chunk = feed.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(chunk)), feed))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let route = Route::parse(head.uri.path()).ok_or(Refusal::NoRoute)?;
    let query = Query::parse(head.uri.query().unwrap_or_default());
    if let Route::Resource(resource) = &route {
        shared.count(verb(&head.method, resource, &query), resource);
    }
    let accept = head
        .headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let form = match &route {
        Route::Health | Route::OpenApiV2 => Form::Whole,
        _ => Form::negotiate(accept, query.get("includeObject"))?,
    };
    let body = read_body(body).await?;
    let now = Timestamp::now();
    let call = Call {
        method: head.method,
        query,
        headers: head.headers,
        body,
        form,
        now,
    };
    match route {
        Route::Resource(resource) => objects(&shared, &call, &resource),
        _ if call.method != Method::GET => Err(Refusal::MethodNotAllowed),
        route => documents(&shared, &call, &route),
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let read = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refusal::TooLarge(BODY_LIMIT))
        }
        Ok(Err(error)) => Err(Refusal::BadRequest(format!("reading the body: {error}"))),
        Err(_) => Err(Refusal::BadRequest(
            "reading the body: timed out".to_owned(),
        )),
    }
}

/// The verb as RBAC and audit logs name it.
fn verb(method: &Method, resource: &Resource, query: &Query) -> &'static str {
    let one = !resource.name.is_empty();
    match method.as_str() {
        "GET" if query.flag("watch") => "watch",
        "GET" if one => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if one => "delete",
        "DELETE" => "deletecollection",
        _ => "other",
    }
}

fn documents(shared: &Shared, call: &Call, route: &Route) -> Result<Reply, Refusal> {
    let cluster = shared.cluster();
    let kinds = &cluster.kinds;
    let aggregated = call.form == Form::AggregatedDiscovery;
    let document = match route {
        Route::Health => {
            return Ok(plain(
                "text/plain; charset=utf-8",
                Bytes::from_static(b"ok"),
            ));
        }
        Route::OpenApiV2 => {
            return Ok(plain(
                openapi::V2_TYPE,
                Bytes::from_static(openapi::NOTHING_V2),
            ));
        }
        Route::Version => Some(discovery::version()),
        Route::CoreVersions | Route::Groups if aggregated => {
            let document = discovery::aggregated(kinds, *route == Route::CoreVersions);
            return Ok(plain(
                call.form.content_type(),
                Bytes::from(document.to_string()),
            ));
        }
        Route::CoreVersions => Some(discovery::core_versions(&shared.address())),
        Route::Groups => Some(discovery::groups(kinds)),
        Route::Group(group) => discovery::group(kinds, group),
        Route::Resources { group, version } => discovery::resources(kinds, group, version),
        Route::OpenApi => Some(openapi::index(kinds, cluster.store.revision())),
        Route::OpenApiDocument { group, version } => openapi::document(kinds, group, version),
        Route::Resource(_) => None,
    };
    document.map(Reply::from).ok_or(Refusal::NoRoute)
}

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

fn objects(shared: &Arc<Shared>, call: &Call, resource: &Resource) -> Result<Reply, Refusal> {
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
        "application/strategic-merge-patch+json" if kind.custom.is_none() => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" if call.query.get("fieldManager").is_empty() => {
            Err(Refusal::BadRequest("PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch".to_owned()))
        }
        "application/apply-patch+yaml" => Ok(PatchKind::Apply { force: call.query.flag("force") }),
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
    if !written.deleted {
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
