//! `/metrics`, `/healthz`, `/readyz` and what a daemon adds: few routes, so one `match` and no framework.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the kernel.
const CONNECTIONS: usize = 64;
/// Longest life of a connection: one request, one answer. A client that does not read can not hold a place for longer,
/// so probes get theirs.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// What `/readyz` says: every named part must be ready.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, bool>>>);

impl Health {
    /// A health whose parts are not ready yet.
    #[must_use]
    pub fn waiting_for(parts: &[&'static str]) -> Self {
        Self(Arc::new(Mutex::new(
            parts.iter().map(|part| (*part, false)).collect(),
        )))
    }

    /// Says whether a part is ready.
    pub fn set(&self, part: &'static str, ready: bool) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, ready);
    }

    /// Parts that are not ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .filter(|(_, ready)| !**ready)
            .map(|(part, _)| *part)
            .collect()
    }
}

/// A page of JSON beside the usual ones, made when it is asked for.
#[derive(Clone)]
pub struct Page {
    /// Where it is, for example `/debug/sessions`.
    pub path: &'static str,
    /// Makes it. Must not wait.
    pub json: Arc<dyn Fn() -> String + Send + Sync>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({})", self.path)
    }
}

/// What is served.
#[derive(Debug)]
struct Pages {
    registry: Arc<Registry>,
    health: Health,
    more: Vec<Page>,
}

/// Serves until the token is cancelled.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    health: Health,
    more: Vec<Page>,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let pages = Arc::new(Pages {
        registry,
        health,
        more,
    });
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: wait rather than spin.
                tracing::warn!(%error, "accepting a metrics connection failed");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                std::future::ready(Ok::<_, Infallible>(answer(&request, &pages)))
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(CONNECTION_TIME)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(CONNECTION_TIME, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "metrics connection"),
                Err(_) => {
                    tracing::debug!("metrics connection took longer than {CONNECTION_TIME:?}");
                }
            }
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/metrics" => metrics(&pages.registry),
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match pages.health.missing().as_slice() {
            [] => text(StatusCode::OK, "ok\n".to_owned()),
            missing => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("waiting for {}\n", missing.join(", ")),
            ),
        },
        path => more(path, &pages.more),
    }
}

fn more(path: &str, pages: &[Page]) -> Response<Full<Bytes>> {
    if let Some(page) = pages.iter().find(|page| page.path == path) {
        let mut response = text(StatusCode::OK, (page.json)());
        let json = hyper::header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        return response;
    }
    let others = pages.iter().map(|page| format!(" or {}", page.path));
    let others: String = others.collect();
    let hint = format!("try /metrics, /healthz, /readyz{others}\n");
    text(StatusCode::NOT_FOUND, hint)
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    match prometheus_client::encoding::text::encode(&mut body, registry) {
        Ok(()) => {
            let mut response = text(StatusCode::OK, body);
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response
                .headers_mut()
                .insert(CONTENT_TYPE, kind.parse().unwrap_or_else(|_| plain()));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, plain());
    response
}

fn plain() -> hyper::header::HeaderValue {
    hyper::header::HeaderValue::from_static("text/plain; charset=utf-8")
}
