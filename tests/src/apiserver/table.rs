//! Server-side printing: the columns that `kubectl get` shows.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::jsonpath::JsonPath;
use super::kind::{Column, Kind};

/// One column and how to fill it.
pub(super) struct Printer {
    name: String,
    type_: String,
    format: String,
    description: String,
    priority: i32,
    cell: Cell,
}

type Cell = Box<dyn Fn(&Value, Timestamp) -> Value>;

impl Printer {
    fn text(name: &str, cell: impl Fn(&Value) -> String + 'static) -> Self {
        Self {
            name: name.to_owned(),
            type_: "string".to_owned(),
            format: if name == "Name" {
                "name".to_owned()
            } else {
                String::new()
            },
            description: String::new(),
            priority: 0,
            cell: Box::new(move |object, _| json!(cell(object))),
        }
    }

    fn at(name: &str, pointer: &'static str) -> Self {
        Self::text(name, move |object| or_none(text(object, pointer)))
    }

    fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    fn since(name: &str, pointers: &'static [&'static str]) -> Self {
        let cell = move |object: &Value, now| {
            let at = pointers
                .iter()
                .map(|p| text(object, p))
                .find(|t| !t.is_empty());
            json!(age(at.unwrap_or_default(), now))
        };
        Self {
            cell: Box::new(cell),
            ..Self::text(name, |_| String::new())
        }
    }

    fn of_column(column: &Column) -> Self {
        let (path, type_) = (JsonPath::parse(&column.json_path), column.type_.clone());
        let cell = move |object: &Value, now| {
            let found = path.as_ref().map(|p| p.find(object)).unwrap_or_default();
            let Some(first) = found.first() else {
                return Value::Null;
            };
            match type_.as_str() {
                "string" => json!(found.iter().map(|v| plain(v)).collect::<Vec<_>>().join(" ")),
                "date" => json!(age(first.as_str().unwrap_or_default(), now)),
                _ => (*first).clone(),
            }
        };
        Self {
            name: column.name.clone(),
            type_: column.type_.clone(),
            format: column.format.clone(),
            description: column.description.clone(),
            priority: column.priority,
            cell: Box::new(cell),
        }
    }

    fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.type_, "format": self.format,
            "description": self.description, "priority": self.priority,
        })
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>" } else { text }.to_owned()
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    or_none(&texts.collect::<Vec<_>>().join(","))
}

fn count(object: &Value, pointer: &str) -> usize {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

/// The columns of a kind.
#[must_use]
pub(super) fn printers(kind: &Kind) -> Vec<Printer> {
    let name = Printer::at("Name", "/metadata/name");
    let age = || Printer::since("Age", &["/metadata/creationTimestamp"]);
    if let Some(custom) = &kind.custom {
        let columns = custom.columns.iter().map(Printer::of_column);
        let all = std::iter::once(name).chain(columns);
        return if custom.columns.is_empty() {
            all.chain([age()]).collect()
        } else {
            all.collect()
        };
    }
    let mut columns = vec![name];
    columns.extend(match kind.plural.as_str() {
        "namespaces" => vec![Printer::at("Status", "/status/phase"), age()],
        "nodes" => node(),
        "services" => service(),
        "pods" => vec![
            Printer::at("Status", "/status/phase"),
            age(),
            Printer::at("IP", "/status/podIP").wide(),
            Printer::at("Node", "/spec/nodeName").wide(),
        ],
        "secrets" => vec![
            Printer::at("Type", "/type"),
            Printer::text("Data", |o| count(o, "/data").to_string()),
            age(),
        ],
        "configmaps" => vec![
            Printer::text("Data", |o| count(o, "/data").to_string()),
            age(),
        ],
        "endpointslices" => slice(),
        "leases" => vec![Printer::at("Holder", "/spec/holderIdentity"), age()],
        "servicecidrs" => vec![
            Printer::text("CIDRs", |o| {
                joined(items(o, "/spec/cidrs").filter_map(Value::as_str))
            }),
            age(),
        ],
        "customresourcedefinitions" => {
            vec![Printer::at("Created At", "/metadata/creationTimestamp")]
        }
        "events" => return event(),
        _ => vec![age()],
    });
    columns
}

fn event() -> Vec<Printer> {
    let object = |o: &Value| {
        let kind = text(o, "/involvedObject/kind").to_lowercase();
        let name = text(o, "/involvedObject/name");
        if name.is_empty() {
            kind
        } else {
            format!("{kind}/{name}")
        }
    };
    let seen = &[
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ];
    vec![
        Printer::since("Last Seen", seen),
        Printer::at("Type", "/type"),
        Printer::at("Reason", "/reason"),
        Printer::text("Object", object),
        Printer::at("Source", "/reportingComponent").wide(),
        Printer::text("Message", |o| text(o, "/message").trim().to_owned()),
        Printer::at("Name", "/metadata/name").wide(),
    ]
}

fn node() -> Vec<Printer> {
    let status = |o: &Value| {
        let ready = items(o, "/status/conditions").find(|c| text(c, "/type") == "Ready");
        let mut words = vec![match ready.map(|c| text(c, "/status")) {
            Some("True") => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        }];
        if o.pointer("/spec/unschedulable") == Some(&json!(true)) {
            words.push("SchedulingDisabled");
        }
        words.join(",")
    };
    let roles = |o: &Value| {
        let labels = o.pointer("/metadata/labels").and_then(Value::as_object);
        let role = |l: &'static str| move |k: &'_ String| k.strip_prefix(l).map(str::to_owned);
        let roles = labels
            .into_iter()
            .flat_map(|l| l.keys().filter_map(role("node-role.kubernetes.io/")));
        or_none(&roles.collect::<Vec<_>>().join(","))
    };
    let addresses = |o: &Value| {
        let internal = items(o, "/status/addresses").filter(|a| text(a, "/type") == "InternalIP");
        joined(internal.map(|a| text(a, "/address")))
    };
    vec![
        Printer::text("Status", status),
        Printer::text("Roles", roles),
        Printer::since("Age", &["/metadata/creationTimestamp"]),
        Printer::text("Version", |o| {
            text(o, "/status/nodeInfo/kubeletVersion").to_owned()
        }),
        Printer::text("Internal-IP", addresses).wide(),
    ]
}

fn service() -> Vec<Printer> {
    vec![
        Printer::at("Type", "/spec/type"),
        Printer::at("Cluster-IP", "/spec/clusterIP"),
        Printer::text("External-IP", external_ip),
        Printer::text("Port(s)", ports),
        Printer::since("Age", &["/metadata/creationTimestamp"]),
        Printer::text("Selector", selector).wide(),
    ]
}

fn external_ip(service: &Value) -> String {
    let extra = items(service, "/spec/externalIPs").filter_map(Value::as_str);
    let point = |p| {
        Some(text(p, "/ip"))
            .filter(|ip| !ip.is_empty())
            .unwrap_or_else(|| text(p, "/hostname"))
    };
    match text(service, "/spec/type") {
        "ExternalName" => or_none(text(service, "/spec/externalName")),
        "LoadBalancer" => {
            let given = items(service, "/status/loadBalancer/ingress").map(point);
            let all: Vec<&str> = given.chain(extra).collect();
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        _ => joined(extra),
    }
}

fn ports(service: &Value) -> String {
    let port = |p: &Value| {
        let number = |name: &str| p.get(name).and_then(Value::as_u64).unwrap_or_default();
        let protocol = text(p, "/protocol");
        match number("nodePort") {
            0 => format!("{}/{protocol}", number("port")),
            node => format!("{}:{node}/{protocol}", number("port")),
        }
    };
    or_none(
        &items(service, "/spec/ports")
            .map(port)
            .collect::<Vec<_>>()
            .join(","),
    )
}

fn selector(service: &Value) -> String {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    let pairs = selector
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", plain(v)));
    or_none(&pairs.collect::<Vec<_>>().join(","))
}

fn slice() -> Vec<Printer> {
    let ports = |o: &Value| {
        or_none(
            &items(o, "/ports")
                .filter_map(|p| p.get("port"))
                .map(Value::to_string)
                .collect::<Vec<_>>()
                .join(","),
        )
    };
    let addresses = |o: &Value| {
        let all: Vec<&str> = items(o, "/endpoints")
            .flat_map(|e| items(e, "/addresses"))
            .filter_map(Value::as_str)
            .collect();
        match all.get(..3) {
            Some(first) if all.len() > 3 => {
                format!("{} + {} more...", first.join(","), all.len() - 3)
            }
            _ => joined(all.into_iter()),
        }
    };
    vec![
        Printer::at("AddressType", "/addressType"),
        Printer::text("Ports", ports),
        Printer::text("Endpoints", addresses),
        Printer::since("Age", &["/metadata/creationTimestamp"]),
    ]
}

/// A `Table` of the given objects.
#[must_use]
pub(super) fn table(
    printers: &[Printer],
    rows: impl Iterator<Item = (Value, Value)>,
    list_meta: &Value,
    now: Timestamp,
) -> Value {
    let row = |(object, shown): (Value, Value)| {
        let cells: Vec<Value> = printers.iter().map(|p| (p.cell)(&object, now)).collect();
        json!({"cells": cells, "object": shown})
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": printers.iter().map(Printer::definition).collect::<Vec<_>>(),
        "rows": rows.map(row).collect::<Vec<_>>(),
    })
}

/// How long ago, in the two largest units that matter (apimachinery, duration.HumanDuration).
#[must_use]
pub(super) fn age(since: &str, now: Timestamp) -> String {
    let Ok(since) = since.parse::<Timestamp>() else {
        return "<unknown>".to_owned();
    };
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_kubectl() {
        let start: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        for (seconds, want) in [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (3600, "60m"),
            (10_860, "3h1m"),
            (90_000, "25h"),
            (200_000, "2d7h"),
            (900_000, "10d"),
        ] {
            let now = start + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(age("2024-01-01T00:00:00Z", now), want, "{seconds} s");
        }
    }

    #[test]
    fn a_service_shows_its_addresses_and_ports() {
        let pending = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
        assert_eq!(external_ip(&pending), "<pending>");
        assert_eq!(ports(&pending), "80:30000/TCP,53/UDP");
        let served = json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "h"}]}}});
        assert_eq!(external_ip(&served), "192.0.2.1,h");
    }
}
