//! Which interfaces are meant: all, or those with certain names.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::bytes::{RegexSet, RegexSetBuilder};

/// The interfaces on which an address is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// Every usable one.
    All,
    /// Those with these names, as far as they are usable.
    Named(BTreeSet<String>),
    /// Those with these names, and those whose whole name matches an expression.
    Matching {
        /// The names.
        names: BTreeSet<String>,
        /// The expressions; several sets when several rules cover one address.
        expressions: Vec<Expressions>,
    },
}

/// Regular expressions over whole names of interfaces; cheap to clone.
#[derive(Clone, Debug)]
pub struct Expressions(Arc<(Vec<String>, RegexSet)>);

impl Expressions {
    /// A name matches when one of these matches all of it: `eth` does not match `eth0`.
    pub fn new(expressions: &[String]) -> Result<Self, regex::Error> {
        let whole = expressions.iter().map(|it| format!("^(?:{it})$"));
        // Names are bytes to the kernel; this way `\w` and the like mean ASCII and need no tables.
        let set = RegexSetBuilder::new(whole).unicode(false).build()?;
        Ok(Self(Arc::new((expressions.to_vec(), set))))
    }

    /// Whether the whole name matches one of the expressions.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.1.is_match(name.as_bytes())
    }
}

impl PartialEq for Expressions {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl Eq for Expressions {}

impl Interfaces {
    /// What a rule says: names and expressions, with neither, all.
    pub fn chosen(names: &[String], expressions: &[String]) -> Result<Self, regex::Error> {
        Ok(match (names, expressions) {
            ([], []) => Self::All,
            (_, []) => Self::Named(names.iter().cloned().collect()),
            _ => Self::Matching {
                names: names.iter().cloned().collect(),
                expressions: vec![Expressions::new(expressions)?],
            },
        })
    }

    /// Whether the interface with this name is meant.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
            Self::Matching { names, expressions } => {
                names.contains(name) || expressions.iter().any(|it| it.matches(name))
            }
        }
    }

    /// The interfaces of either; for an address that several rules cover.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (mut names, mut expressions) = match self {
            Self::All => return Self::All,
            Self::Named(names) => (names, Vec::new()),
            Self::Matching { names, expressions } => (names, expressions),
        };
        let more = match other {
            Self::All => return Self::All,
            Self::Named(more) => more,
            Self::Matching {
                names: more,
                expressions: others,
            } => {
                for other in others {
                    if !expressions.contains(&other) {
                        expressions.push(other);
                    }
                }
                more
            }
        };
        names.extend(more);
        if expressions.is_empty() {
            Self::Named(names)
        } else {
            Self::Matching { names, expressions }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk(names: &[&str], expressions: &[&str]) -> Interfaces {
        let owned = |words: &[&str]| words.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        Interfaces::chosen(&owned(names), &owned(expressions)).unwrap()
    }

    #[test]
    fn names_and_whole_matches_choose_and_nothing_chooses_all() {
        let table = [
            (mk(&[], &[]), "eth0", true),
            (mk(&["eth0"], &[]), "eth0", true),
            (mk(&["eth0"], &[]), "eth01", false),
            (mk(&[], &["eth.*"]), "eth01", true),
            (mk(&[], &["eth"]), "eth0", false),
            (mk(&[], &["th0|lan"]), "eth0", false),
            (mk(&[], &[r"eno\d+\.\d+"]), "eno1.100", true),
            (mk(&["lan0"], &["eth[0-3]"]), "lan0", true),
            (mk(&["lan0"], &["eth[0-3]"]), "eth4", false),
        ];
        for (interfaces, name, expected) in table {
            assert_eq!(interfaces.covers(name), expected, "{interfaces:?}: {name}");
        }
        assert!(Interfaces::chosen(&[], &["(".to_owned()]).is_err());
    }

    #[test]
    fn several_rules_cover_what_any_of_them_covers() {
        let both = mk(&["lan0"], &["eth.*"]).or(mk(&["lan1"], &["bond.*"]));
        for name in ["lan0", "lan1", "eth0", "bond1"] {
            assert!(both.covers(name), "{name}");
        }
        assert!(!both.covers("lan2"));
        assert_eq!(mk(&["a"], &[]).or(mk(&["b"], &[])), mk(&["a", "b"], &[]));
        assert_eq!(both.clone().or(mk(&[], &[])), Interfaces::All);
        assert_eq!(mk(&[], &[]).or(both.clone()), Interfaces::All);
        let again = mk(&["lan0"], &["eth.*"]);
        assert_eq!(
            both.clone().or(again),
            both,
            "the same rule twice adds nothing"
        );
    }
}
