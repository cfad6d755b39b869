//! Label and field selectors, as strings in a query and as predicates on objects.

use serde_json::Value;

use super::error::Refusal;

/// Both selectors of a list or watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelTerm {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Parses both; `selectable` names the fields that the resource knows beyond metadata.name and .namespace.
    pub(super) fn parse(
        labels: &str,
        fields: &str,
        selectable: &[String],
    ) -> Result<Self, Refusal> {
        let labels = split_terms(labels)
            .into_iter()
            .map(label_term)
            .collect::<Result<_, _>>()?;
        let fields = fields
            .split(',')
            .filter(|term| !term.is_empty())
            .map(|term| field_term(term, selectable))
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// True when it selects everything.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name it can match, if it asks for one: lets a list be a lookup.
    #[must_use]
    pub(super) fn name(&self) -> Option<&str> {
        let exact = |t: &&FieldTerm| t.equal && t.path == "metadata.name";
        self.fields.iter().find(exact).map(|t| t.value.as_str())
    }

    /// Whether the object is selected.
    #[must_use]
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|term| term.matches(object))
            && self.fields.iter().all(|term| term.matches(object))
    }
}

impl LabelTerm {
    fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| {
            object
                .get("metadata")
                .and_then(|m| m.get("labels")?.get(key)?.as_str())
        };
        match self {
            Self::In(key, values) => label(key).is_some_and(|v| values.iter().any(|x| x == v)),
            Self::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|x| x != v)),
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        let found = self
            .path
            .split('.')
            .try_fold(object, |value, step| value.get(step));
        let text = match found {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => absent(&self.path).to_owned(),
            Some(other) => other.to_string(),
        };
        (text == self.value) == self.equal
    }
}

/// What an unset field compares as.
fn absent(path: &str) -> &'static str {
    if path == "spec.unschedulable" {
        "false"
    } else {
        ""
    }
}

/// Splits at commas that are not inside parentheses.
fn split_terms(selector: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    selector
        .split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .collect()
}

fn label_term(term: &str) -> Result<LabelTerm, Refusal> {
    let bad = || Refusal::BadRequest(format!("unable to parse requirement: {term}"));
    let key = |key: &str| {
        let key = key.trim();
        let known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if key.is_empty() || !key.chars().all(known) {
            Err(bad())
        } else {
            Ok(key.to_owned())
        }
    };
    let set = |values: &str| {
        let values = values
            .trim()
            .strip_prefix('(')
            .and_then(|v| v.strip_suffix(')'))
            .ok_or_else(bad)?;
        Ok(values.split(',').map(|v| v.trim().to_owned()).collect())
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((k, values)) = term.split_once(" notin ") {
        return Ok(LabelTerm::NotIn(key(k)?, set(values)?));
    }
    if let Some((k, values)) = term.split_once(" in ") {
        return Ok(LabelTerm::In(key(k)?, set(values)?));
    }
    if let Some((k, value)) = term.split_once("!=") {
        return Ok(LabelTerm::NotIn(key(k)?, one(value)));
    }
    if let Some((k, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(LabelTerm::In(key(k)?, one(value)));
    }
    match term.strip_prefix('!') {
        Some(k) => Ok(LabelTerm::Absent(key(k)?)),
        None => Ok(LabelTerm::Exists(key(term)?)),
    }
}

fn field_term(term: &str, selectable: &[String]) -> Result<FieldTerm, Refusal> {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (path, value, true)
    } else {
        return Err(Refusal::BadRequest(format!(
            "invalid field selector: {term}"
        )));
    };
    let path = path.trim().trim_start_matches('.');
    let known = ["metadata.name", "metadata.namespace"].contains(&path)
        || selectable.iter().any(|s| s.trim_start_matches('.') == path);
    if !known {
        return Err(Refusal::BadRequest(format!(
            "field label not supported: {path}"
        )));
    }
    Ok(FieldTerm {
        path: path.to_owned(),
        value: value.to_owned(),
        equal,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_match_as_documented() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (selector, want) in [
            ("", true),
            ("app=web", true),
            ("app==db", false),
            ("app!=db", true),
            ("other!=db", true),
            ("app in (db, web),tier in (front)", true),
            ("app notin (db,web)", false),
            ("other notin (x)", true),
            ("app", true),
            ("!app", false),
            ("!other,app", true),
        ] {
            let parsed = Selector::parse(selector, "", &[]).unwrap();
            assert_eq!(parsed.matches(&object), want, "{selector}");
        }
    }

    #[test]
    fn field_selectors_know_only_the_fields_of_their_resource() {
        let known = ["spec.type".to_owned(), "spec.unschedulable".to_owned()];
        let object = json!({"metadata": {"name": "a"}, "spec": {"type": "LoadBalancer"}});
        for (selector, want) in [
            ("metadata.name=a", true),
            ("metadata.name!=a", false),
            ("spec.type=LoadBalancer,metadata.name==a", true),
            ("spec.type=ClusterIP", false),
            ("spec.unschedulable=false", true),
        ] {
            let parsed = Selector::parse("", selector, &known).unwrap();
            assert_eq!(parsed.matches(&object), want, "{selector}");
        }
        let refused = Selector::parse("", "spec.clusterIP=x", &known).unwrap_err();
        assert_eq!(refused.code(), 400);
        assert!(
            Selector::parse("a b", "", &[]).is_err(),
            "a label key with a space"
        );
    }
}
