//! HTTP: from a request to what it means, and from what happened to an answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, WARNING};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::call::{Call, verb};
use super::error::Refusal;
use super::form::Form;
use super::route::{Query, Route};
use super::watch::Feed;
use super::{Shared, discovery, objects, openapi};

/// The largest body a real server takes.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer that is whole.
pub(super) struct Answer {
    /// Its status.
    pub(super) code: StatusCode,
    /// The media type of its body.
    pub(super) content_type: &'static str,
    /// For the user.
    pub(super) warnings: Vec<String>,
    /// Its body.
    pub(super) body: Bytes,
}

/// What a request gets.
pub(super) enum Reply {
    /// An answer.
    Now(Answer),
    /// Events, until the watch ends.
    Watch(Box<Feed>),
}

/// 200, with this body.
pub(super) fn plain(content_type: &'static str, body: Bytes) -> Reply {
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
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
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
    let json = HeaderValue::from_static("application/json");
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
        Route::Resource(resource) => objects::answer(&shared, &call, &resource),
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
