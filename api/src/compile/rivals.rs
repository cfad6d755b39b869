//! Objects that can fight with each other: who is in force, who has to wait.
//!
//! ```text
//! unreadable ─┐
//! malformed  ─┴─► last good rule ──► in force from the start
//! readable   ───► on trial: what did not change first, then the older object, then the name
//! ```
//!
//! A verdict depends on what is in force and on age, never on names alone: a new object that fights with one that is in
//! force is the one to be refused, whatever the two are called.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Judgement, Kind, Refusal, Sources, accepted, refused, unread};
use crate::selector::LabelSelector;

/// Whether the names that an object refers to exist; `None` for one that refers to nothing.
pub(super) type Refs = Option<Result<(), String>>;

/// A rule on trial.
struct Candidate<'a, R> {
    name: &'a str,
    created: Option<Timestamp>,
    rule: R,
    refs: Refs,
    last: Option<&'a R>,
}

impl<R: PartialEq> Candidate<'_, R> {
    fn unchanged(&self) -> bool {
        self.last == Some(&self.rule)
    }
}

/// The trial of all objects of one kind.
pub(super) struct Trial<'a, R> {
    kind: Kind,
    last: &'a [R],
    name_of: fn(&R) -> &str,
    in_force: Vec<R>,
    open: Vec<Candidate<'a, R>>,
}

impl<'a, R: Clone + PartialEq> Trial<'a, R> {
    pub(super) fn new(kind: Kind, last: &'a [R], name_of: fn(&R) -> &str) -> Self {
        Self {
            kind,
            last,
            name_of,
            in_force: Vec::new(),
            open: Vec::new(),
        }
    }

    /// The rule that was in force before.
    pub(super) fn last(&self, name: &str) -> Option<&'a R> {
        let name_of = self.name_of;
        self.last.iter().find(|rule| name_of(rule) == name)
    }

    /// Objects that can not be decoded keep the rules that were made from them.
    pub(super) fn keep_unread(&mut self, sources: &Sources) {
        let kept = unread(sources, self.kind, self.last, self.name_of);
        self.in_force.extend(kept.cloned());
    }

    /// Takes in what an object says. One that makes no sense is judged at once, and its last good rule stays.
    pub(super) fn hear(
        &mut self,
        name: &'a str,
        created: Option<&Time>,
        result: Result<(R, Refs), Refusal>,
        judgements: &mut Vec<Judgement>,
    ) {
        let last = self.last(name);
        match result {
            Ok((rule, refs)) => self.open.push(Candidate {
                name,
                created: created.map(|time| time.0),
                rule,
                refs,
                last,
            }),
            Err(refusal) => {
                judgements.push(refused(self.kind, name, &refusal, last.is_some()));
                self.in_force.extend(last.cloned());
            }
        }
    }

    /// Accepts candidates until none of the rest fits. `rivalry` says why the first rule can not stand beside the second.
    /// Returns the rules in force, by name.
    pub(super) fn settle(
        mut self,
        rivalry: impl Fn(&R, &R) -> Option<Refusal>,
        judgements: &mut Vec<Judgement>,
    ) -> Vec<R> {
        self.open
            .sort_by_key(|one| (!one.unchanged(), one.created, one.name));
        let mut index = 0;
        while index < self.open.len() {
            if self.objection(index, &rivalry).is_some() {
                index += 1;
                continue;
            }
            let one = self.open.remove(index);
            judgements.push(accepted(self.kind, one.name, one.refs));
            self.in_force.push(one.rule);
            // What it has let go of may be what another waits for.
            index = 0;
        }
        for index in 0..self.open.len() {
            let Some(refusal) = self.objection(index, &rivalry) else {
                continue;
            };
            let Some(one) = self.open.get(index) else {
                continue;
            };
            // Both in force, and at odds only now that more is forbidden: the first one alone stays.
            let compatible = |last: &&R| {
                !self
                    .in_force
                    .iter()
                    .any(|rule| rivalry(last, rule).is_some())
            };
            let kept = one.last.filter(compatible).cloned();
            judgements.push(refused(self.kind, one.name, &refusal, kept.is_some()));
            self.in_force.extend(kept);
        }
        let name_of = self.name_of;
        self.in_force.sort_by(|a, b| name_of(a).cmp(name_of(b)));
        self.in_force
    }

    /// Why a candidate can not be in force now: because of a rule that is, or that another one on trial may keep.
    fn objection(
        &self,
        index: usize,
        rivalry: impl Fn(&R, &R) -> Option<Refusal>,
    ) -> Option<Refusal> {
        let candidate = self.open.get(index)?;
        let others = self.open.iter().enumerate().filter(|(at, other)| {
            *at < index || (*at > index && !(candidate.unchanged() && other.unchanged()))
        });
        let undecided = others.filter_map(|(_, other)| other.last);
        let mut rules = self.in_force.iter().chain(undecided);
        rules.find_map(|rule| rivalry(&candidate.rule, rule))
    }
}

/// Whether two lists of selectors may select the same thing. What labels there are is known only later, so lists that
/// have no selector in common are held to be apart; an empty list and an empty selector match everything.
pub(super) fn may_meet(a: &[LabelSelector], b: &[LabelSelector]) -> bool {
    let everything = |list: &[LabelSelector]| {
        list.is_empty() || list.iter().any(|one| *one == LabelSelector::default())
    };
    everything(a) || everything(b) || a.iter().any(|one| b.contains(one))
}
