//! Configuration: user objects → rules in force, verdicts, and the SpeakerConfig.

use std::collections::BTreeSet;

use kube::Resource as _;
use portolan_api::SPEAKER_CONFIG;
use portolan_api::compile::{self, Kind};
use portolan_api::crd::{SpeakerConfig, SpeakerConfigSpec};

use super::{Core, Moment};
use crate::write::{Body, Target, Write};

impl Core {
    /// Compiles all user objects; the configuration in force is the memory of what was good last.
    pub(super) fn compile(&mut self) {
        self.model.dirty.config = false;
        let mut outcome = compile::compile(&self.model.sources, Some(&self.config));
        keep_unreadable(&mut outcome.config, &self.config, &self.model.unreadable);
        if outcome.config.pools != self.config.pools || self.alloc.is_without_pools() {
            self.alloc.set_pools(&outcome.config.pools);
            self.model.dirty.all_services = true;
        }
        self.model.dirty.all_services |= outcome.config.l2 != self.config.l2;
        self.config = outcome.config;
        self.verdicts = outcome
            .judgements
            .into_iter()
            .map(|judgement| ((judgement.kind, judgement.name), judgement.verdicts))
            .collect();
        self.model
            .dirty
            .objects
            .extend(self.verdicts.keys().cloned());
    }

    /// Writes the SpeakerConfig if the API server has another one.
    pub(super) fn write_config(&mut self, moment: Moment, writes: &mut Vec<Write>) {
        let held = self.model.config.as_ref();
        if held.is_some_and(|held| held.spec == self.config)
            || !self.ledger.is_free(&Target::Config, moment.now)
        {
            return;
        }
        let mut object = SpeakerConfig::new(SPEAKER_CONFIG, self.config.clone());
        object.meta_mut().resource_version =
            held.and_then(|held| held.metadata.resource_version.clone());
        self.ledger.begin(Target::Config);
        writes.push(Write {
            target: Target::Config,
            body: Body::Config(Box::new(object)),
            notes: Vec::new(),
        });
    }
}

/// Objects that can not be decoded keep the rules that were made from them.
fn keep_unreadable(
    rules: &mut SpeakerConfigSpec,
    last: &SpeakerConfigSpec,
    unreadable: &BTreeSet<(Kind, String)>,
) {
    fn keep<R: Clone>(
        kept: &mut Vec<R>,
        last: &[R],
        gone: impl Fn(&R) -> bool,
        by: fn(&R) -> &str,
    ) {
        kept.extend(last.iter().filter(|rule| gone(rule)).cloned());
        kept.sort_by(|a, b| by(a).cmp(by(b)));
    }
    if unreadable.is_empty() {
        return;
    }
    let unread = |kind: Kind, name: &str| unreadable.contains(&(kind, name.to_owned()));
    keep(
        &mut rules.pools,
        &last.pools,
        |r| unread(Kind::Pool, &r.name),
        |r| &r.name,
    );
    keep(
        &mut rules.l2,
        &last.l2,
        |r| unread(Kind::L2, &r.name),
        |r| &r.name,
    );
    keep(
        &mut rules.bgp,
        &last.bgp,
        |r| unread(Kind::Bgp, &r.name),
        |r| &r.name,
    );
    keep(
        &mut rules.peers,
        &last.peers,
        |r| unread(Kind::Peer, &r.name),
        |r| &r.name,
    );
}
