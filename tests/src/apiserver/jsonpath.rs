//! The JSONPath that printer columns use: fields, quoted fields, indexes, `[*]` and `[?(@.a=="b")]`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    All,
    Filter(Vec<Step>, String),
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Parses a path such as `.status.conditions[?(@.type=="Ready")].status`; none if it is beyond the subset.
    #[must_use]
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = path.trim().trim_start_matches('$');
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
                bracket(inner)?
            } else {
                field(rest.strip_prefix('.').unwrap_or(rest))?
            };
            steps.push(step);
            rest = after;
        }
        Some(Self(steps))
    }

    /// Everything the path finds.
    #[must_use]
    pub(super) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![value], |found, step| {
            found
                .into_iter()
                .flat_map(|value| step.find(value))
                .collect()
        })
    }
}

/// A field name up to the next dot or bracket; `\.` is a dot of the name.
fn field(text: &str) -> Option<(Step, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let end = loop {
        match chars.next() {
            Some((_, '\\')) => name.push(chars.next()?.1),
            Some((at, '.' | '[')) => break at,
            Some((_, c)) => name.push(c),
            None => break text.len(),
        }
    };
    if name.is_empty() {
        return None;
    }
    let step = if name == "*" {
        Step::All
    } else {
        Step::Field(name)
    };
    Some((step, text.get(end..)?))
}

fn bracket(inner: &str) -> Option<(Step, &str)> {
    if let Some(filter) = inner.strip_prefix("?(@") {
        let (condition, rest) = filter.split_once(")]")?;
        let (path, wanted) = condition.split_once("==")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return Some((
            Step::Filter(JsonPath::parse(path.trim())?.0, wanted.to_owned()),
            rest,
        ));
    }
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            let (name, rest) = quoted.split_once(quote)?;
            return Some((
                Step::Field(name.replace("\\.", ".")),
                rest.strip_prefix(']')?,
            ));
        }
    }
    let (index, rest) = inner.split_once(']')?;
    let step = if index == "*" {
        Step::All
    } else {
        Step::Index(index.parse().ok()?)
    };
    Some((step, rest))
}

impl Step {
    fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Self::Field(name), _) => value.get(name).into_iter().collect(),
            (Self::Index(index), _) => value.get(index).into_iter().collect(),
            (Self::All, Value::Array(items)) => items.iter().collect(),
            (Self::All, Value::Object(map)) => map.values().collect(),
            (Self::Filter(path, wanted), Value::Array(items)) => {
                let path = JsonPath(path.clone());
                let fits = |v: &&Value| {
                    v.as_str()
                        .map_or_else(|| v.to_string() == *wanted, |v| v == wanted)
                };
                items
                    .iter()
                    .filter(|item| path.find(item).iter().any(fits))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_kubectl_would_print() {
        let value = json!({"metadata": {"labels": {"a.b/c": "x"}}, "list": [{"n": 1}, {"n": 2}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Odd", "status": "False"}]});
        for (path, want) in [
            (".list[0].n", vec![json!(1)]),
            (".list[*].n", vec![json!(1), json!(2)]),
            (".metadata.labels.a\\.b/c", vec![json!("x")]),
            (".metadata.labels['a.b/c']", vec![json!("x")]),
            (
                ".conditions[?(@.type==\"Ready\")].status",
                vec![json!("True")],
            ),
            (".conditions[?(@.type=='None')].status", vec![]),
            (".nothing.here", vec![]),
        ] {
            let found: Vec<Value> = JsonPath::parse(path)
                .unwrap()
                .find(&value)
                .into_iter()
                .cloned()
                .collect();
            assert_eq!(found, want, "{path}");
        }
        assert_eq!(JsonPath::parse(".list[1:2]"), None, "beyond the subset");
    }
}
