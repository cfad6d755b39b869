//! BFD profiles: times that a session can be built from.

use super::rivals::Trial;
use super::{Judgement, Kind, Refusal, Sources};
use crate::crd::{BFDProfileSpec, BfdRule, SpeakerConfigSpec};

/// What FRR uses as well, and nearly every router can follow.
const DEFAULT_INTERVAL: i32 = 300;
/// Three packets are missed by accident once in a long while.
const DEFAULT_MULTIPLIER: i32 = 3;
/// One router in between.
const DEFAULT_MINIMUM_TTL: i32 = 254;

pub(super) fn compile(
    sources: &Sources,
    last: &SpeakerConfigSpec,
    judgements: &mut Vec<Judgement>,
) -> Vec<BfdRule> {
    let mut trial = Trial::new(Kind::BfdProfile, &last.bfd, |rule| &rule.name);
    trial.keep_unread(sources);
    for (name, profile) in &sources.bfd_profiles {
        let result = rule(name, &profile.spec).map(|rule| (rule, None));
        let created = profile.metadata.creation_timestamp.as_ref();
        trial.hear(name, created, result, judgements);
    }
    trial.settle(|_, _| None, judgements)
}

fn rule(name: &str, spec: &BFDProfileSpec) -> Result<BfdRule, Refusal> {
    if spec.echo_mode {
        return Err(Refusal {
            reason: "NotImplemented",
            message: "spec.echoMode is not implemented: the source checks of Linux (rp_filter) drop echo packets, \
                      which come back with the sender's own address: remove it to have the object accepted"
                .into(),
        });
    }
    let interval = |field: &str, value: Option<i32>| {
        let value = value.unwrap_or(DEFAULT_INTERVAL);
        within(field, value, 10..=60_000, "milliseconds")
    };
    interval("spec.echoInterval", spec.echo_interval)?;
    let multiplier = spec.detect_multiplier.unwrap_or(DEFAULT_MULTIPLIER);
    let multiplier = within("spec.detectMultiplier", multiplier, 2..=255, "packets")?;
    let ttl = spec.minimum_ttl.unwrap_or(DEFAULT_MINIMUM_TTL);
    Ok(BfdRule {
        name: name.to_owned(),
        transmit_milliseconds: interval("spec.transmitInterval", spec.transmit_interval)?,
        receive_milliseconds: interval("spec.receiveInterval", spec.receive_interval)?,
        multiplier,
        minimum_ttl: within("spec.minimumTtl", ttl, 1..=254, "hops left")?,
        passive: spec.passive_mode,
    })
}

fn within<N: TryFrom<i32>>(
    field: &str,
    value: i32,
    range: std::ops::RangeInclusive<i32>,
    unit: &str,
) -> Result<N, Refusal> {
    let fits = Some(value).filter(|value| range.contains(value));
    fits.and_then(|value| N::try_from(value).ok())
        .ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            let why = format!("{value} is outside of {low} to {high} {unit}: write one of these");
            Refusal::invalid(field, why)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::BFDProfile;

    fn mk_spec() -> BFDProfileSpec {
        BFDProfileSpec::default()
    }

    fn mk_rule(name: &str) -> BfdRule {
        BfdRule {
            name: name.into(),
            transmit_milliseconds: 300,
            receive_milliseconds: 300,
            multiplier: 3,
            minimum_ttl: 254,
            passive: false,
        }
    }

    fn mk_sources(spec: BFDProfileSpec) -> Sources {
        let mut sources = Sources::default();
        let profile = BFDProfile::new("fast", spec);
        sources.bfd_profiles.insert("fast".into(), profile);
        sources
    }

    #[test]
    fn an_empty_profile_has_the_defaults() {
        let mut judgements = Vec::new();
        let none = SpeakerConfigSpec::default();
        let rules = compile(&mk_sources(mk_spec()), &none, &mut judgements);
        assert_eq!(rules, [mk_rule("fast")]);
        assert!(judgements[0].verdicts[0].status);
    }

    #[test]
    fn values_are_taken_over() {
        let spec = BFDProfileSpec {
            receive_interval: Some(20),
            transmit_interval: Some(10),
            detect_multiplier: Some(255),
            echo_interval: Some(50),
            echo_mode: false,
            passive_mode: true,
            minimum_ttl: Some(250),
        };
        let want = BfdRule {
            transmit_milliseconds: 10,
            receive_milliseconds: 20,
            multiplier: 255,
            minimum_ttl: 250,
            passive: true,
            ..mk_rule("fast")
        };
        assert_eq!(rule("fast", &spec), Ok(want));
    }

    #[test]
    fn what_can_not_be_is_refused_with_field_and_range() {
        type Change = fn(&mut BFDProfileSpec);
        let cases: [(&str, Change); 9] = [
            ("spec.receiveInterval: 9 is", |s| {
                s.receive_interval = Some(9);
            }),
            ("spec.receiveInterval: 60001", |s| {
                s.receive_interval = Some(60_001);
            }),
            ("spec.transmitInterval: 0 is", |s| {
                s.transmit_interval = Some(0);
            }),
            ("spec.detectMultiplier: 1 is", |s| {
                s.detect_multiplier = Some(1);
            }),
            ("spec.detectMultiplier: 256", |s| {
                s.detect_multiplier = Some(256);
            }),
            ("spec.minimumTtl: 255 is", |s| s.minimum_ttl = Some(255)),
            ("spec.minimumTtl: -1 is", |s| s.minimum_ttl = Some(-1)),
            ("spec.echoInterval: 1 is", |s| s.echo_interval = Some(1)),
            ("spec.echoMode is not implemented", |s| s.echo_mode = true),
        ];
        for (words, change) in cases {
            let mut spec = mk_spec();
            change(&mut spec);
            let refusal = rule("fast", &spec).unwrap_err();
            assert!(
                refusal.message.starts_with(words),
                "{words}: {}",
                refusal.message
            );
        }
    }

    #[test]
    fn the_last_good_version_stays_in_force() {
        let last = SpeakerConfigSpec {
            bfd: vec![mk_rule("fast"), mk_rule("gone")],
            ..SpeakerConfigSpec::default()
        };
        let mut spec = mk_spec();
        spec.echo_mode = true;
        let mut judgements = Vec::new();
        let rules = compile(&mk_sources(spec), &last, &mut judgements);
        assert_eq!(rules, [mk_rule("fast")]);
        let verdict = &judgements[0].verdicts[0];
        assert_eq!((verdict.status, verdict.reason), (false, "NotImplemented"));
        assert!(
            verdict.message.contains("stays in force"),
            "{}",
            verdict.message
        );
    }
}
