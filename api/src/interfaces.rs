//! Interfaces of nodes as users name them: by name, by expression, or all.

use std::collections::BTreeSet;

use regex::bytes::{RegexSet, RegexSetBuilder};

/// Bytes that the compiled expressions of one rule may take. Those that mean names of 15 bytes take far less.
const SIZE_LIMIT: usize = 1 << 18;

/// Which interfaces are meant.
#[derive(Debug, Clone)]
pub struct Interfaces {
    names: BTreeSet<String>,
    expressions: RegexSet,
}

impl Interfaces {
    /// Those named, and those whose whole name matches an expression; with neither, all.
    pub fn new(names: &[String], expressions: &[String]) -> Result<Self, regex::Error> {
        let build = |expressions: &[String]| {
            // Names of interfaces are bytes, and the tables of Unicode are large.
            RegexSetBuilder::new(expressions)
                .unicode(false)
                .size_limit(SIZE_LIMIT)
                .build()
        };
        // First as they are: an unbalanced one could make sense between the brackets.
        build(expressions)?;
        let whole = expressions.iter().map(|text| format!(r"\A(?:{text})\z"));
        Ok(Self {
            names: names.iter().cloned().collect(),
            expressions: build(&whole.collect::<Vec<_>>())?,
        })
    }

    /// Whether this interface is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let all = self.names.is_empty() && self.expressions.is_empty();
        all || self.names.contains(name) || self.expressions.is_match(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk(names: &[&str], expressions: &[&str]) -> Result<Interfaces, regex::Error> {
        let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        Interfaces::new(&texts(names), &texts(expressions))
    }

    #[test]
    fn an_interface_is_meant_by_name_or_by_its_whole_name_matching() {
        for (names, expressions, meant, not) in [
            (&[][..], &[][..], &["eth0", "bond0.10"][..], &[][..]),
            (&["eth0"], &[], &["eth0"], &["eth01", "eth1"]),
            (&[], &["eth[01]"], &["eth0", "eth1"], &["eth10", "xeth0"]),
            (&[], &["eth0|eth1"], &["eth0", "eth1"], &["eth0x", "xeth1"]),
            (
                &["br0"],
                &[r"bond\d+"],
                &["br0", "bond12"],
                &["bond", "br1"],
            ),
            (&[], &["(?i)ETH0"], &["eth0", "ETH0"], &["eth1"]),
            (&[], &["bond0\\.10"], &["bond0.10"], &["bond0x10"]),
        ] {
            let interfaces = mk(names, expressions).unwrap();
            for name in meant {
                assert!(interfaces.matches(name), "{names:?} {expressions:?} {name}");
            }
            for name in not {
                assert!(
                    !interfaces.matches(name),
                    "{names:?} {expressions:?} {name}"
                );
            }
        }
    }

    #[test]
    fn an_expression_that_is_none_is_refused_and_so_is_one_that_would_take_all_memory() {
        for expression in ["(", "eth[", "a)|(b", "(?:x{999}){999}"] {
            assert!(mk(&[], &[expression]).is_err(), "{expression}");
        }
    }
}
