//! Why a request was refused, and the `Status` object that says so.
//!
//! Codes, reasons and wording follow apimachinery's `api/errors`, because clients branch on the reason and people
//! search for the message.

use serde_json::{Value, json};

/// The object a refusal speaks about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    /// API group, empty for core.
    pub group: String,
    /// Plural resource name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Object name.
    pub name: String,
}

impl Subject {
    fn resource(&self) -> String {
        qualified(&self.plural, &self.group)
    }
}

fn qualified(what: &str, group: &str) -> String {
    if group.is_empty() {
        what.to_owned()
    } else {
        format!("{what}.{group}")
    }
}

/// One field that is wrong, as in `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// Machine-readable, for example `FieldValueRequired`.
    pub reason: &'static str,
    /// JSON path of the field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Cause {
    /// The value is not acceptable.
    pub(super) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        let message = format!("Invalid value: {value}: {why}");
        Self {
            reason: "FieldValueInvalid",
            field: field.into(),
            message,
        }
    }

    /// The value is missing.
    pub(super) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        Self {
            reason: "FieldValueRequired",
            field: field.into(),
            message,
        }
    }

    /// The field may not be set here.
    pub(super) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        let message = format!("Forbidden: {why}");
        Self {
            reason: "FieldValueForbidden",
            field: field.into(),
            message,
        }
    }

    /// The value occurs twice.
    pub(super) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {value}");
        Self {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message,
        }
    }

    /// The value is none of those that the field knows.
    pub(super) fn not_supported(field: impl Into<String>, value: &Value, known: &[String]) -> Self {
        let message = format!(
            "Unsupported value: {value}: supported values: {}",
            known.join(", ")
        );
        Self {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message,
        }
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// 404: the object does not exist.
    #[error("{} \"{}\" not found", .0.resource(), .0.name)]
    NotFound(Subject),
    /// 404: no such path or resource.
    #[error("the server could not find the requested resource")]
    NoRoute,
    /// 409: create of a name that is taken.
    #[error("{} \"{}\" already exists", .0.resource(), .0.name)]
    AlreadyExists(Subject),
    /// 409: stale resourceVersion, or a precondition does not hold.
    #[error("Operation cannot be fulfilled on {} \"{}\": {why}", .subject.resource(), .subject.name)]
    Conflict {
        /// The object.
        subject: Subject,
        /// Which expectation failed.
        why: String,
    },
    /// 409: server-side apply of fields that other managers own.
    #[error("Apply failed with {} conflict{}: {}", .0.len(), if .0.len() == 1 { "" } else { "s" }, list_conflicts(.0))]
    FieldManagerConflict(Vec<Cause>),
    /// 422: the object is not valid.
    #[error("{} \"{}\" is invalid: {}", qualified(&.subject.kind, &.subject.group), .subject.name, list_causes(.causes))]
    Invalid {
        /// The object.
        subject: Subject,
        /// What is wrong with it; never empty.
        causes: Vec<Cause>,
    },
    /// 422: the request cannot be carried out on the object as it is.
    #[error("{0}")]
    Unprocessable(String),
    /// 400: the request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// 410: the resourceVersion is older than what is remembered.
    #[error("{0}")]
    Expired(String),
    /// 405: the resource has no such verb.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// 406: no acceptable representation.
    #[error("only the following media types are accepted: application/json")]
    NotAcceptable,
    /// 413: the body is larger than the limit.
    #[error("Request entity too large: limit is {0}")]
    TooLarge(usize),
    /// 415: the body's content type is not understood.
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(String),
    /// 403: the namespace is going away, or the object is protected.
    #[error("{} \"{}\" is forbidden: {why}", .subject.resource(), .subject.name)]
    Forbidden {
        /// The object.
        subject: Subject,
        /// Why.
        why: String,
    },
    /// 500: a bug of this server.
    #[error("internal error: {0}")]
    Internal(String),
}

fn list_causes(causes: &[Cause]) -> String {
    let one = |c: &Cause| {
        if c.field.is_empty() {
            c.message.clone()
        } else {
            format!("{}: {}", c.field, c.message)
        }
    };
    match causes {
        [only] => one(only),
        many => format!("[{}]", many.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

fn list_conflicts(causes: &[Cause]) -> String {
    let line = |c: &Cause| format!("{}: {}", c.message, c.field);
    causes.iter().map(line).collect::<Vec<_>>().join("; ")
}

impl Refusal {
    /// HTTP status code.
    #[must_use]
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Forbidden { .. } => 403,
            Self::NotFound(_) | Self::NoRoute => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists(_) | Self::Conflict { .. } | Self::FieldManagerConflict(_) => 409,
            Self::Expired(_) => 410,
            Self::TooLarge(_) => 413,
            Self::UnsupportedMediaType(_) => 415,
            Self::Invalid { .. } | Self::Unprocessable(_) => 422,
            Self::Internal(_) => 500,
        }
    }

    /// `metav1.StatusReason`.
    #[must_use]
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::NoRoute => "NotFound",
            Self::AlreadyExists(_) => "AlreadyExists",
            Self::Conflict { .. } | Self::FieldManagerConflict(_) => "Conflict",
            Self::Invalid { .. } | Self::Unprocessable(_) => "Invalid",
            Self::BadRequest(_) => "BadRequest",
            Self::Expired(_) => "Expired",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::UnsupportedMediaType(_) => "UnsupportedMediaType",
            Self::Forbidden { .. } => "Forbidden",
            Self::Internal(_) => "InternalError",
        }
    }

    /// The body that clients read.
    #[must_use]
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.to_string(), "reason": self.reason(), "code": self.code(),
        });
        let details = self.details();
        if details.as_object().is_some_and(|d| !d.is_empty())
            && let Some(status) = status.as_object_mut()
        {
            status.insert("details".to_owned(), details);
        }
        status
    }

    fn details(&self) -> Value {
        let mut details = serde_json::Map::new();
        // As upstream: `kind` carries the resource name, except for Invalid.
        let (subject, kind) = match self {
            Self::NotFound(s) | Self::AlreadyExists(s) => (Some(s), Some(&s.plural)),
            Self::Conflict { subject: s, .. } | Self::Forbidden { subject: s, .. } => {
                (Some(s), Some(&s.plural))
            }
            Self::Invalid { subject: s, .. } => (Some(s), Some(&s.kind)),
            _ => (None, None),
        };
        if let (Some(subject), Some(kind)) = (subject, kind) {
            details.insert("name".to_owned(), json!(subject.name));
            details.insert("kind".to_owned(), json!(kind));
            if !subject.group.is_empty() {
                details.insert("group".to_owned(), json!(subject.group));
            }
        }
        if let Self::Invalid { causes, .. } | Self::FieldManagerConflict(causes) = self {
            let cause =
                |c: &Cause| json!({"reason": c.reason, "message": c.message, "field": c.field});
            details.insert("causes".to_owned(), causes.iter().map(cause).collect());
        }
        Value::Object(details)
    }
}
