//! A request, read: its parameters, its body, and what follows from its headers.

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, USER_AGENT};
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::cluster::{Writing, Written};
use super::error::Refusal;
use super::form::Form;
use super::http::{Answer, Reply};
use super::kind::Kind;
use super::ownership::Manager;
use super::protobuf;
use super::route::{Query, Resource};

/// A request, read.
pub(super) struct Call {
    /// What is asked for.
    pub(super) method: Method,
    /// Its parameters.
    pub(super) query: Query,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body, whole.
    pub(super) body: Bytes,
    /// How the answer is to look.
    pub(super) form: Form,
    /// When it came.
    pub(super) now: Timestamp,
}

impl Call {
    fn header(&self, name: hyper::header::HeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// The media type of its body.
    pub(super) fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
    }

    /// The body: JSON, YAML, or the protobuf of a few kinds.
    pub(super) fn json(&self) -> Result<Value, Refusal> {
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

    /// Who writes, and how.
    pub(super) fn writing(&self, kind: &Kind, status: bool, applies: bool) -> Writing {
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

    /// The answer to a write.
    pub(super) fn answer(&self, kind: &Kind, written: &Written) -> Reply {
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

/// The verb as RBAC and audit logs name it.
pub(super) fn verb(method: &Method, resource: &Resource, query: &Query) -> &'static str {
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
