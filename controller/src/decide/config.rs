//! Configuration: user objects → rules in force, verdicts, and the SpeakerConfig.

use kube::Resource as _;
use portolan_api::SPEAKER_CONFIG;
use portolan_api::compile;
use portolan_api::crd::SpeakerConfig;

use super::{Core, Moment};
use crate::write::{Body, Target, Write};

impl Core {
    /// Compiles all user objects; the configuration in force is the memory of what was good last.
    pub(super) fn compile(&mut self) {
        self.model.dirty.config = false;
        let outcome = compile::compile(&self.model.sources, Some(&self.config));
        if outcome.config.pools != self.config.pools || self.alloc.is_without_pools() {
            self.alloc.set_pools(&outcome.config.pools);
            self.model.dirty.all_services = true;
        }
        self.model.dirty.all_services |= outcome.config.l2 != self.config.l2;
        self.config = outcome.config;
        self.review_retention();
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
            || self.ledger.room() == 0
        {
            return;
        }
        let mut object = SpeakerConfig::new(SPEAKER_CONFIG, self.config.clone());
        object.meta_mut().resource_version =
            held.and_then(|held| held.metadata.resource_version.clone());
        if held.is_none() {
            self.model.expect_config();
        }
        self.ledger.begin(Target::Config);
        writes.push(Write {
            target: Target::Config,
            body: Body::Config(Box::new(object)),
            notes: Vec::new(),
        });
    }
}
