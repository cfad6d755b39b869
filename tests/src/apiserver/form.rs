//! In which form objects are shown: whole, as a table, or only their metadata. Clients ask by `Accept`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::Refusal;
use super::events;
use super::kind::Kind;
use super::store::Object;
use super::table;
use hyper::body::Bytes;

/// What a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The objects themselves.
    Whole,
    /// `as=Table`: cells, with metadata, the object or nothing beside them.
    Table(Beside),
    /// `as=PartialObjectMetadata`.
    Metadata,
    /// `as=APIGroupDiscoveryList`; only for discovery.
    AggregatedDiscovery,
}

/// What stands beside the cells of a row (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Metadata, the default.
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

impl Form {
    /// The first form of an Accept header that this server has.
    pub(super) fn negotiate(accept: &str, include: &str) -> Result<Self, Refusal> {
        let beside = match include {
            "Object" => Beside::Object,
            "None" => Beside::None,
            _ => Beside::Metadata,
        };
        if accept.trim().is_empty() {
            return Ok(Self::Whole);
        }
        accept
            .split(',')
            .find_map(|range| one_form(range, beside))
            .ok_or(Refusal::NotAcceptable)
    }

    /// The content type of an answer in this form.
    #[must_use]
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::AggregatedDiscovery => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            _ => "application/json",
        }
    }

    /// One object.
    #[must_use]
    pub(super) fn object(self, kind: &Kind, object: &Object, now: Timestamp) -> Bytes {
        match self {
            Self::Whole | Self::AggregatedDiscovery => whole(kind, object),
            Self::Metadata => Bytes::from(metadata_only(&object.value).to_string()),
            Self::Table(beside) => {
                let revision =
                    json!({"resourceVersion": object.value.pointer("/metadata/resourceVersion")});
                let row = (object.value.clone(), beside.of(kind, &object.value));
                let rows = std::iter::once(row);
                Bytes::from(table::table(&table::printers(kind), rows, &revision, now).to_string())
            }
        }
    }

    /// A list of objects.
    #[must_use]
    pub(super) fn list<'a>(
        self,
        kind: &Kind,
        objects: impl Iterator<Item = &'a Object>,
        meta: &Value,
        now: Timestamp,
    ) -> Bytes {
        match self {
            Self::Whole | Self::AggregatedDiscovery => {
                let head = json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(), "metadata": meta});
                joined(&head, objects.map(|o| item(kind, o)))
            }
            Self::Metadata => {
                let head = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta});
                joined(
                    &head,
                    objects.map(|o| Bytes::from(metadata_only(&o.value).to_string())),
                )
            }
            Self::Table(beside) => {
                let rows = objects.map(|o| (o.value.clone(), beside.of(kind, &o.value)));
                Bytes::from(table::table(&table::printers(kind), rows, meta, now).to_string())
            }
        }
    }
}

impl Beside {
    fn of(self, kind: &Kind, value: &Value) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Metadata => metadata_only(value),
            Self::Object => events::shown(kind, value),
        }
    }
}

fn one_form(range: &str, beside: Beside) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !["application/json", "application/*", "*/*"].contains(&media) {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
    let parameter = |name: &str| parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    match (parameter("as"), parameter("v")) {
        (None, _) => Some(Form::Whole),
        (Some("Table"), Some("v1")) => Some(Form::Table(beside)),
        (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => {
            Some(Form::Metadata)
        }
        (Some("APIGroupDiscoveryList"), Some("v2")) => Some(Form::AggregatedDiscovery),
        _ => None,
    }
}

fn whole(kind: &Kind, object: &Object) -> Bytes {
    if events::shown_as_stored(kind, &object.value) {
        object.json().clone()
    } else {
        Bytes::from(events::shown(kind, &object.value).to_string())
    }
}

/// An item of a list. Those of built-in kinds do not repeat their type, in a real server, so clients must not rely on it.
fn item(kind: &Kind, object: &Object) -> Bytes {
    if kind.custom.is_none() && events::shown_as_stored(kind, &object.value) {
        object.untyped().clone()
    } else {
        whole(kind, object)
    }
}

fn metadata_only(value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value.get("metadata")})
}

/// `head` with `items`, without building one value of all of them.
fn joined(head: &Value, items: impl Iterator<Item = Bytes>) -> Bytes {
    let head = head.to_string();
    let mut text = head.trim_end_matches('}').as_bytes().to_vec();
    // The head ends with the braces of its metadata and its own: put the former back.
    text.extend(std::iter::repeat_n(
        b'}',
        head.len() - head.trim_end_matches('}').len() - 1,
    ));
    text.extend_from_slice(b",\"items\":[");
    for (i, item) in items.enumerate() {
        if i > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&item);
    }
    text.extend_from_slice(b"]}");
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_we_have_is_chosen() {
        for (accept, want) in [
            ("", Ok(Form::Whole)),
            ("*/*", Ok(Form::Whole)),
            (
                "application/vnd.kubernetes.protobuf, application/json",
                Ok(Form::Whole),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Ok(Form::Table(Beside::Metadata)),
            ),
            (
                "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
                Ok(Form::Whole),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Ok(Form::Metadata),
            ),
            ("application/yaml", Err(Refusal::NotAcceptable)),
        ] {
            assert_eq!(Form::negotiate(accept, ""), want, "{accept}");
        }
    }

    #[test]
    fn a_list_is_json_whatever_its_head() {
        for (head, items, want) in [
            (
                json!({"kind": "L", "metadata": {}}),
                vec![],
                json!({"kind": "L", "metadata": {}, "items": []}),
            ),
            (
                json!({"kind": "L", "metadata": {"a": {"b": 1}}}),
                vec![Bytes::from("1"), Bytes::from("2")],
                json!({"kind": "L", "metadata": {"a": {"b": 1}}, "items": [1, 2]}),
            ),
        ] {
            let text = joined(&head, items.into_iter());
            let read: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(read, want);
        }
    }
}
