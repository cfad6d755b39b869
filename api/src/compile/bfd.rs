//! BFD profiles: times that a session can be built from.

use super::peers::check_secret;
use super::rivals::Trial;
use super::{Judgement, Kind, Refusal, Sources};
use crate::condition::{ACCEPTED, EFFECTIVE, Verdict};
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
    let own = sources.namespace.as_deref();
    for (name, profile) in &sources.bfd_profiles {
        let result = rule(name, &profile.spec, own).map(|rule| (rule, None));
        let created = profile.metadata.creation_timestamp.as_ref();
        trial.hear(name, created, result, judgements);
    }
    let rules = trial.settle(|_, _| None, judgements);
    for judgement in judgements {
        if let Some(profile) = sources.bfd_profiles.get(&judgement.name)
            && judgement.kind == Kind::BfdProfile
        {
            let effective = effective(&judgement.verdicts, profile.spec.echo_mode);
            judgement.verdicts.push(effective);
        }
    }
    rules
}

/// Whoever comes from MetalLB may have a profile with echo: its sessions run without, and the object says so.
fn effective(verdicts: &[Verdict], echo: bool) -> Verdict {
    let accepted = verdicts.iter().any(|it| it.kind == ACCEPTED && it.status);
    if !accepted {
        let why = "not looked at, because the object is refused: see condition Accepted";
        return Verdict::no(EFFECTIVE, "NotAccepted", why);
    }
    if echo {
        let why = "spec.echoMode is not followed: sessions run without echo, and find the same failures in the same time. Linux \
                   drops echo packets, which come back with the sender's own address (rp_filter). Set it to false to have \
                   this condition true";
        return Verdict::no(EFFECTIVE, "WithoutEcho", why);
    }
    Verdict::yes(EFFECTIVE, "Effective", "every field has its effect")
}

fn rule(name: &str, spec: &BFDProfileSpec, own: Option<&str>) -> Result<BfdRule, Refusal> {
    let interval = |field: &str, value: Option<i32>| {
        let value = value.unwrap_or(DEFAULT_INTERVAL);
        within(field, value, 10..=60_000, "milliseconds")
    };
    interval("spec.echoInterval", spec.echo_interval)?;
    let multiplier = spec.detect_multiplier.unwrap_or(DEFAULT_MULTIPLIER);
    let multiplier = within("spec.detectMultiplier", multiplier, 2..=255, "packets")?;
    let ttl = spec.minimum_ttl.unwrap_or(DEFAULT_MINIMUM_TTL);
    if let Some(authentication) = &spec.authentication {
        let field = "spec.authentication";
        let id = format!("{field}.keyID");
        within::<u8>(&id, authentication.key_id, 0..=255, "")?;
        check_secret(
            &format!("{field}.keySecret"),
            &authentication.key_secret,
            own,
        )?;
    }
    Ok(BfdRule {
        name: name.to_owned(),
        transmit_milliseconds: interval("spec.transmitInterval", spec.transmit_interval)?,
        receive_milliseconds: interval("spec.receiveInterval", spec.receive_interval)?,
        multiplier,
        minimum_ttl: within("spec.minimumTtl", ttl, 1..=254, "hops left")?,
        passive: spec.passive_mode,
        authentication: spec.authentication.clone(),
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
            let why = format!("{value} is outside of {low} to {high} {unit}");
            Refusal::invalid(field, format!("{}: write one of these", why.trim_end()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{BFDProfile, BfdAuthentication, SecretReference};

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
            authentication: None,
        }
    }

    fn mk_key(secret: &str, namespace: Option<&str>) -> BfdAuthentication {
        BfdAuthentication {
            key_id: 7,
            key_secret: SecretReference {
                name: secret.into(),
                namespace: namespace.map(Into::into),
            },
            ..BfdAuthentication::default()
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
            authentication: Some(mk_key("bfd", Some("own"))),
        };
        let want = BfdRule {
            transmit_milliseconds: 10,
            receive_milliseconds: 20,
            multiplier: 255,
            minimum_ttl: 250,
            passive: true,
            authentication: spec.authentication.clone(),
            ..mk_rule("fast")
        };
        assert_eq!(rule("fast", &spec, Some("own")), Ok(want));
    }

    #[test]
    fn what_can_not_be_is_refused_with_field_and_range() {
        type Change = fn(&mut BFDProfileSpec);
        let cases: [(&str, Change); 11] = [
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
            ("spec.authentication.keyID: 256 is", |s| {
                let key = mk_key("bfd", None);
                s.authentication = Some(BfdAuthentication { key_id: 256, ..key });
            }),
            ("spec.authentication.keySecret.name: missing", |s| {
                s.authentication = Some(mk_key("", None));
            }),
            (
                "spec.authentication.keySecret.namespace: Secrets are read from own",
                |s| {
                    s.authentication = Some(mk_key("bfd", Some("other")));
                },
            ),
        ];
        for (words, change) in cases {
            let mut spec = mk_spec();
            change(&mut spec);
            let refusal = rule("fast", &spec, Some("own")).unwrap_err();
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
        spec.minimum_ttl = Some(255);
        let mut judgements = Vec::new();
        let rules = compile(&mk_sources(spec), &last, &mut judgements);
        assert_eq!(rules, [mk_rule("fast")]);
        let verdict = &judgements[0].verdicts[0];
        assert_eq!((verdict.status, verdict.reason), (false, "Invalid"));
        assert!(
            verdict.message.contains("stays in force"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn echo_is_accepted_and_told_to_be_of_no_effect() {
        let told = |change: fn(&mut BFDProfileSpec)| {
            let mut spec = mk_spec();
            change(&mut spec);
            let mut judgements = Vec::new();
            let none = SpeakerConfigSpec::default();
            compile(&mk_sources(spec), &none, &mut judgements);
            let verdicts = judgements.remove(0).verdicts;
            let words = verdicts.iter().map(|it| (it.kind, it.status, it.reason));
            words.collect::<Vec<_>>()
        };
        let accepted = (ACCEPTED, true, "Accepted");
        assert_eq!(told(|_| ()), [accepted, (EFFECTIVE, true, "Effective")]);
        let echo = told(|spec| spec.echo_mode = true);
        assert_eq!(echo, [accepted, (EFFECTIVE, false, "WithoutEcho")]);
        let refused = told(|spec| spec.minimum_ttl = Some(255));
        assert_eq!(
            refused,
            [
                (ACCEPTED, false, "Invalid"),
                (EFFECTIVE, false, "NotAccepted")
            ]
        );
    }
}
