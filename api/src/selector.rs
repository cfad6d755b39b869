//! Label selectors: the manifest form, and the parsed form that matches without failing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The labels of an object, however they are kept.
pub trait Labels: std::fmt::Debug {
    /// The value of a label, if the object has it.
    fn value(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// A label selector as in every Kubernetes manifest: all of `matchLabels` and all of `matchExpressions` must hold. An
/// empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be present with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on single labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label is compared with `values`.
    pub operator: Operator,
    /// Values for `In` and `NotIn`; empty for `Exists` and `DoesNotExist`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Comparison of a label with the values of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label exists and its value is one of the values.
    In,
    /// The label is absent or its value is none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Why a selector says nothing sensible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// `In` or `NotIn` without values.
    #[error("matchExpressions on {0:?}: operators In and NotIn need at least one value")]
    NoValues(String),
    /// `Exists` or `DoesNotExist` with values.
    #[error("matchExpressions on {0:?}: operators Exists and DoesNotExist take no values")]
    Values(String),
}

impl LabelSelector {
    /// Checks what the schema can not.
    pub fn validate(&self) -> Result<(), SelectorError> {
        for requirement in &self.match_expressions {
            let takes_values = matches!(requirement.operator, Operator::In | Operator::NotIn);
            match (takes_values, requirement.values.is_empty()) {
                (true, true) => return Err(SelectorError::NoValues(requirement.key.clone())),
                (false, false) => return Err(SelectorError::Values(requirement.key.clone())),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the labels satisfy every part of the selector.
    #[must_use]
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.value(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let held = labels.value(&self.key);
        let is_listed = |value| self.values.iter().any(|one| one == value);
        match self.operator {
            Operator::In => held.is_some_and(is_listed),
            Operator::NotIn => !held.is_some_and(is_listed),
            Operator::Exists => held.is_some(),
            Operator::DoesNotExist => held.is_none(),
        }
    }
}

/// A list of selectors as advertisements and peers carry it: one match is enough, and an empty list matches everything.
#[must_use]
pub fn any_or_empty(selectors: &[LabelSelector], labels: &(impl Labels + ?Sized)) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn mk_requirement(operator: Operator, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_labels: BTreeMap::new(),
            match_expressions: vec![Requirement {
                key: "zone".into(),
                operator,
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn each_operator_decides_as_kubernetes_does() {
        let a = mk_labels(&[("zone", "a")]);
        let none = mk_labels(&[]);
        for (selector, on_a, on_none) in [
            (mk_requirement(Operator::In, &["a", "b"]), true, false),
            (mk_requirement(Operator::NotIn, &["a"]), false, true),
            (mk_requirement(Operator::Exists, &[]), true, false),
            (mk_requirement(Operator::DoesNotExist, &[]), false, true),
            (LabelSelector::default(), true, true),
        ] {
            assert_eq!(selector.matches(&a), on_a, "{selector:?} on zone=a");
            assert_eq!(
                selector.matches(&none),
                on_none,
                "{selector:?} on no labels"
            );
        }
    }

    #[test]
    fn an_empty_list_matches_all_and_a_list_matches_by_any() {
        let a = mk_labels(&[("zone", "a")]);
        assert!(any_or_empty(&[], &a));
        let b = mk_requirement(Operator::In, &["b"]);
        assert!(!any_or_empty(std::slice::from_ref(&b), &a));
        assert!(any_or_empty(
            &[b, mk_requirement(Operator::Exists, &[])],
            &a
        ));
    }

    #[test]
    fn values_must_fit_the_operator() {
        assert!(mk_requirement(Operator::In, &[]).validate().is_err());
        assert!(mk_requirement(Operator::Exists, &["a"]).validate().is_err());
        assert!(mk_requirement(Operator::NotIn, &["a"]).validate().is_ok());
    }
}
