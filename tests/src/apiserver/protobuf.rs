//! The little protobuf that kubectl insists on: `kubectl create namespace|service|configmap|secret` send nothing else.
//!
//! Bodies are read, answers stay JSON, which every client accepts. The tables below are k8s.io/api/core/v1/generated.proto
//! for these four kinds and for DeleteOptions; a field that is not in them is refused rather than dropped.
//! Wire format: <https://protobuf.dev/programming-guides/encoding/>.

use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

use super::error::Refusal;

/// Before every object (apimachinery/pkg/runtime/serializer/protobuf).
const MAGIC: &[u8] = b"k8s\0";

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Int,
    /// A flag that is sent even when it is unset.
    Flag,
    /// A flag whose false means something.
    Choice,
    Texts,
    TextMap,
    BytesMap,
    Message(Table),
    Messages(Table),
    IntOrText,
    /// What a client cannot decide.
    Nothing,
}

/// Number, name, content.
type Table = &'static [(u64, &'static str, Holds)];

use Holds::{
    BytesMap, Choice, Flag, Int, IntOrText, Message, Messages, Nothing, Text, TextMap, Texts,
};

const OWNER: Table = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Choice),
    (7, "blockOwnerDeletion", Choice),
];
const META: Table = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Nothing),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Nothing),
    (8, "creationTimestamp", Nothing),
    (9, "deletionTimestamp", Nothing),
    (10, "deletionGracePeriodSeconds", Nothing),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Messages(OWNER)),
    (14, "finalizers", Texts),
    (17, "managedFields", Nothing),
];
const NAMESPACE: Table = &[
    (1, "metadata", Message(META)),
    (2, "spec", Message(&[(1, "finalizers", Texts)])),
    (3, "status", Nothing),
];
const CONFIG_MAP: Table = &[
    (1, "metadata", Message(META)),
    (2, "data", TextMap),
    (3, "binaryData", BytesMap),
    (4, "immutable", Choice),
];
const SECRET: Table = &[
    (1, "metadata", Message(META)),
    (2, "data", BytesMap),
    (3, "type", Text),
    (4, "stringData", TextMap),
    (5, "immutable", Choice),
];
const PORT: Table = &[
    (1, "name", Text),
    (2, "protocol", Text),
    (3, "port", Int),
    (4, "targetPort", IntOrText),
    (5, "nodePort", Int),
    (6, "appProtocol", Text),
];
const SERVICE_SPEC: Table = &[
    (1, "ports", Messages(PORT)),
    (2, "selector", TextMap),
    (3, "clusterIP", Text),
    (4, "type", Text),
    (5, "externalIPs", Texts),
    (7, "sessionAffinity", Text),
    (8, "loadBalancerIP", Text),
    (9, "loadBalancerSourceRanges", Texts),
    (10, "externalName", Text),
    (11, "externalTrafficPolicy", Text),
    (12, "healthCheckNodePort", Int),
    (13, "publishNotReadyAddresses", Flag),
    (
        14,
        "sessionAffinityConfig",
        Message(&[(1, "clientIP", Message(&[(1, "timeoutSeconds", Int)]))]),
    ),
    (17, "ipFamilyPolicy", Text),
    (18, "clusterIPs", Texts),
    (19, "ipFamilies", Texts),
    (20, "allocateLoadBalancerNodePorts", Choice),
    (21, "loadBalancerClass", Text),
    (22, "internalTrafficPolicy", Text),
    (23, "trafficDistribution", Text),
];
const SERVICE: Table = &[
    (1, "metadata", Message(META)),
    (2, "spec", Message(SERVICE_SPEC)),
    (3, "status", Nothing),
];
const DELETE_OPTIONS: Table = &[
    (1, "gracePeriodSeconds", Int),
    (
        2,
        "preconditions",
        Message(&[(1, "uid", Text), (2, "resourceVersion", Text)]),
    ),
    (3, "orphanDependents", Choice),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
];
const INT_OR_TEXT: Table = &[(1, "type", Int), (2, "int", Int), (3, "text", Text)];

/// Reads an object that a client sent as `application/vnd.kubernetes.protobuf`.
pub(super) fn read(body: &[u8]) -> Result<Value, Refusal> {
    let bad = || Refusal::BadRequest("the body is not protobuf of a Kubernetes object".to_owned());
    let envelope = fields(body.strip_prefix(MAGIC).ok_or_else(bad)?).ok_or_else(bad)?;
    let part = |number: u64| {
        envelope.iter().rev().find_map(|(n, wire)| match wire {
            Wire::Bytes(bytes) if *n == number => Some(*bytes),
            _ => None,
        })
    };
    let known: Table = &[(1, "apiVersion", Text), (2, "kind", Text)];
    let mut object = message(part(1).ok_or_else(bad)?, known)?;
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let table = match kind {
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "Service" => SERVICE,
        "DeleteOptions" => DELETE_OPTIONS,
        _ => {
            return Err(Refusal::UnsupportedMediaType(format!(
                "application/json, for {kind}"
            )));
        }
    };
    object.extend(message(part(2).ok_or_else(bad)?, table)?);
    Ok(Value::Object(object))
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Splits a message into its fields; none if it is cut or malformed.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut rest)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Wire::Bytes(bytes)
            }
            _ => return None,
        };
        found.push((tag >> 3, wire));
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn message(bytes: &[u8], table: Table) -> Result<Map<String, Value>, Refusal> {
    let bad = |what: &str| Refusal::BadRequest(format!("protobuf: cannot read {what}"));
    let mut object = Map::new();
    for (number, wire) in fields(bytes).ok_or_else(|| bad("the message"))? {
        let known = table.iter().find(|(n, ..)| *n == number);
        let (_, name, holds) = known.ok_or_else(|| bad(&format!("field {number}")))?;
        put(&mut object, name, *holds, &wire)?.ok_or_else(|| bad(name))?;
    }
    Ok(object)
}

/// Adds one field; none if its content is not what the table says.
fn put(
    object: &mut Map<String, Value>,
    name: &str,
    holds: Holds,
    wire: &Wire<'_>,
) -> Result<Option<()>, Refusal> {
    let value = match (holds, wire) {
        (Nothing, _) => return Ok(Some(())),
        (Text, Wire::Bytes(bytes)) => text(bytes),
        (Int, Wire::Number(n)) => Some(json!(n.cast_signed())),
        (Flag | Choice, Wire::Number(n)) => Some(json!(*n != 0)),
        (Message(table), Wire::Bytes(bytes)) => Some(Value::Object(message(bytes, table)?)),
        (IntOrText, Wire::Bytes(bytes)) => {
            let either = message(bytes, INT_OR_TEXT)?;
            let field = if either.get("type") == Some(&json!(1)) {
                "text"
            } else {
                "int"
            };
            Some(either.get(field).cloned().unwrap_or_default())
        }
        (Texts, Wire::Bytes(bytes)) => return Ok(text(bytes).and_then(|v| push(object, name, v))),
        (Messages(table), Wire::Bytes(bytes)) => {
            let item = Value::Object(message(bytes, table)?);
            return Ok(push(object, name, item));
        }
        (TextMap | BytesMap, Wire::Bytes(bytes)) => {
            return Ok(
                entry(bytes, matches!(holds, BytesMap)).and_then(|(key, value)| {
                    let map = object.entry(name).or_insert_with(|| json!({}));
                    map.as_object_mut()?.insert(key, value);
                    Some(())
                }),
            );
        }
        _ => None,
    };
    let Some(value) = value else { return Ok(None) };
    // Fields that are not pointers are always sent: their zero means that they are unset.
    let unset = match holds {
        Text => value == "",
        Int => value == 0,
        Flag => value == false,
        IntOrText => value.is_null(),
        _ => false,
    };
    if !unset {
        object.insert(name.to_owned(), value);
    }
    Ok(Some(()))
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

fn push(object: &mut Map<String, Value>, name: &str, item: Value) -> Option<()> {
    object
        .entry(name)
        .or_insert_with(|| json!([]))
        .as_array_mut()?
        .push(item);
    Some(())
}

/// Key and value of a map entry.
fn entry(bytes: &[u8], binary: bool) -> Option<(String, Value)> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for (number, wire) in fields(bytes)? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = bytes,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return None,
        }
    }
    let key = std::str::from_utf8(key).ok()?.to_owned();
    let value = if binary {
        json!(ByteString(value.to_vec()))
    } else {
        text(value)?
    };
    Some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        field.extend_from_slice(content);
        field
    }

    fn mk_object(kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [mk_field(1, b"v1"), mk_field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), mk_field(1, &types), mk_field(2, raw)].concat()
    }

    #[test]
    fn a_service_is_read_as_kubectl_sends_it() {
        let label = [mk_field(1, b"app"), mk_field(2, b"web")].concat();
        let meta = [
            mk_field(1, b"web"),
            mk_field(2, b""),
            mk_field(8, b""),
            mk_field(11, &label),
        ]
        .concat();
        let target = [vec![8, 0, 16, 0x90, 0x3f], mk_field(3, b"")].concat();
        let port = [
            mk_field(1, b""),
            mk_field(2, b"TCP"),
            vec![24, 80],
            mk_field(4, &target),
            vec![40, 0],
        ]
        .concat();
        let spec = [
            mk_field(1, &port),
            mk_field(4, b"LoadBalancer"),
            vec![13 << 3, 0],
        ]
        .concat();
        let raw = [mk_field(1, &meta), mk_field(2, &spec)].concat();
        let want = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"type": "LoadBalancer", "ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080}]},
        });
        assert_eq!(read(&mk_object("Service", &raw)), Ok(want));
    }

    #[test]
    fn secrets_carry_bytes_and_unknown_kinds_are_refused() {
        let data = [mk_field(1, b"k"), mk_field(2, &[0xff])].concat();
        let secret = read(&mk_object("Secret", &mk_field(2, &data))).unwrap();
        assert_eq!(secret["data"], json!({"k": "/w=="}));
        assert_eq!(read(&mk_object("Deployment", b"")).unwrap_err().code(), 415);
        assert_eq!(
            read(&mk_object("Secret", &mk_field(15, b"x")))
                .unwrap_err()
                .code(),
            400
        );
    }

    #[test]
    fn no_prefix_of_a_message_panics() {
        let whole = mk_object("ConfigMap", &mk_field(1, &mk_field(1, b"name")));
        for end in 0..whole.len() {
            assert!(read(whole.get(..end).unwrap()).is_err(), "{end} bytes");
        }
        assert!(
            read(&[MAGIC, &[0xff; 40]].concat()).is_err(),
            "an endless number"
        );
    }
}
