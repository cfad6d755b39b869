//! Advertisements by ARP and NDP: names resolved, expressions tried, times as numbers.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::advertisements::Scope;
use super::rivals::{Refs, Trial};
use super::{Judgement, Kind, Refusal, Sources, check_selectors};
use crate::crd::{
    DEFAULT_REFRESH_SECONDS, Detection, DetectionRule, L2AdvertisementSpec, L2Rule, PoolRule,
    PreferredNodes, SpeakerConfigSpec,
};
use crate::duration;
use crate::interfaces::Interfaces;

/// Times that can be asked for between two packets of a BFD session.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);
/// Times that can be asked for between two announcements of an address that has not moved.
const REFRESH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

pub(super) fn compile(
    sources: &Sources,
    pools: &[PoolRule],
    last: &SpeakerConfigSpec,
    judgements: &mut Vec<Judgement>,
) -> Vec<L2Rule> {
    let mut trial = Trial::new(Kind::L2, &last.l2, |rule| &rule.name);
    trial.keep_unread(sources);
    for (name, object) in &sources.l2 {
        let held = trial.last(name).map_or(&[][..], |rule| &rule.pools);
        let scope = Scope {
            sources,
            pools,
            held,
        };
        let created = object.metadata.creation_timestamp.as_ref();
        let result = rule(name, &object.spec, &scope);
        trial.hear(name, created, result, judgements);
    }
    trial.settle(|_, _| None, judgements)
}

fn rule(
    name: &str,
    spec: &L2AdvertisementSpec,
    scope: &Scope<'_>,
) -> Result<(L2Rule, Refs), Refusal> {
    check_selectors("spec.nodeSelectors", &spec.node_selectors)?;
    check_selectors("spec.serviceSelectors", &spec.service_selectors)?;
    check_expressions(&spec.interface_expressions)?;
    let covered = scope.covered(&spec.ip_address_pools, &spec.ip_address_pool_selectors)?;
    let refs = scope.missing_pools(&spec.ip_address_pools);
    let rule = L2Rule {
        name: name.to_owned(),
        pools: covered,
        node_selectors: spec.node_selectors.clone(),
        service_selectors: spec.service_selectors.clone(),
        interfaces: spec.interfaces.clone(),
        interface_expressions: spec.interface_expressions.clone(),
        preferred_nodes: preferred(&spec.preferred_node_selectors)?,
        refresh_seconds: refresh(spec.gratuitous_interval.as_deref())?,
        detection: detection(spec.detection.as_ref())?,
    };
    Ok((rule, Some(refs)))
}

/// Each expression alone, so that the user is told which one is wrong.
fn check_expressions(expressions: &[String]) -> Result<(), Refusal> {
    for expression in expressions {
        Interfaces::new(&[], std::slice::from_ref(expression)).map_err(|why| {
            let why = format!("{expression:?} is no regular expression: {why}");
            Refusal::invalid("spec.interfaceExpressions", why)
        })?;
    }
    Ok(())
}

fn preferred(preferred: &[PreferredNodes]) -> Result<Vec<PreferredNodes>, Refusal> {
    let field = "spec.preferredNodeSelectors";
    for PreferredNodes { weight, preference } in preferred {
        check_selectors(field, std::slice::from_ref(preference))?;
        if !(1..=100).contains(weight) {
            let why = format!("weight {weight} is outside of 1 to 100");
            return Err(Refusal::invalid(field, why));
        }
    }
    Ok(preferred.to_vec())
}

/// Seconds between two announcements of an address that has not moved.
fn refresh(text: Option<&str>) -> Result<u32, Refusal> {
    let field = "spec.gratuitousInterval";
    let Some(text) = text else {
        return Ok(DEFAULT_REFRESH_SECONDS);
    };
    let time = duration::parse(text).map_err(|why| Refusal::invalid(field, why))?;
    let possible = time.is_zero() || REFRESH.contains(&time);
    let seconds = u32::try_from(time.as_secs()).ok();
    let whole = seconds.filter(|_| possible && time.subsec_millis() == 0);
    let why = || format!("{text} is not possible: whole seconds from 1s to 1h, or 0s for never");
    whole.ok_or_else(|| Refusal::invalid(field, why()))
}

fn detection(detection: Option<&Detection>) -> Result<DetectionRule, Refusal> {
    let mut rule = DetectionRule::default();
    let Some(Detection {
        interval,
        multiplier,
    }) = detection
    else {
        return Ok(rule);
    };
    if let Some(text) = interval {
        let field = "spec.detection.interval";
        let time = duration::parse(text).map_err(|why| Refusal::invalid(field, why))?;
        let millis = u32::try_from(time.as_millis()).ok();
        let millis = millis.filter(|_| INTERVAL.contains(&time));
        let why = || format!("{text} is outside of 10ms to 10s");
        rule.interval_milliseconds = millis.ok_or_else(|| Refusal::invalid(field, why()))?;
    }
    if let Some(count) = multiplier {
        let possible = u8::try_from(*count).ok().filter(|count| *count >= 2);
        let why = || format!("{count} is outside of 2 to 255 packets");
        let field = "spec.detection.multiplier";
        rule.multiplier = possible.ok_or_else(|| Refusal::invalid(field, why()))?;
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::L2Advertisement;
    use crate::selector::LabelSelector;

    fn judged(spec: L2AdvertisementSpec) -> Result<L2Rule, String> {
        let mut sources = Sources::default();
        let object = L2Advertisement::new("lan", spec);
        sources.l2.insert("lan".into(), object);
        let last = SpeakerConfigSpec::default();
        let mut judgements = Vec::new();
        let mut rules = compile(&sources, &[], &last, &mut judgements);
        let message = judgements[0].verdicts[0].message.clone();
        rules.pop().ok_or(message)
    }

    fn mk_detection(interval: &str, multiplier: i32) -> L2AdvertisementSpec {
        L2AdvertisementSpec {
            detection: Some(Detection {
                interval: Some(interval.into()),
                multiplier: Some(multiplier),
            }),
            ..L2AdvertisementSpec::default()
        }
    }

    fn mk_refresh(text: &str) -> L2AdvertisementSpec {
        L2AdvertisementSpec {
            gratuitous_interval: Some(text.into()),
            ..L2AdvertisementSpec::default()
        }
    }

    #[test]
    fn an_empty_advertisement_has_the_defaults() {
        let rule = judged(L2AdvertisementSpec::default()).unwrap();
        assert_eq!(rule.refresh_seconds, 60);
        let detection = rule.detection;
        assert_eq!(
            (detection.interval_milliseconds, detection.multiplier),
            (100, 3)
        );
    }

    #[test]
    fn times_are_numbers_and_what_can_not_be_is_refused_with_field_and_range() {
        for (interval, multiplier, result) in [
            ("10ms", 2, Ok((10, 2))),
            ("10s", 255, Ok((10_000, 255))),
            ("9ms", 3, Err("spec.detection.interval: 9ms is outside of")),
            ("10s1ms", 3, Err("spec.detection.interval: 10s1ms is")),
            ("fast", 3, Err("spec.detection.interval: \"fast\" is not")),
            ("1s", 1, Err("spec.detection.multiplier: 1 is outside of")),
            ("1s", 256, Err("spec.detection.multiplier: 256 is")),
            ("1s", -3, Err("spec.detection.multiplier: -3 is")),
        ] {
            let rule = judged(mk_detection(interval, multiplier)).map(|rule| rule.detection);
            match (rule, result) {
                (Ok(rule), Ok(want)) => {
                    let rule = (rule.interval_milliseconds, rule.multiplier);
                    assert_eq!(rule, want, "{interval} × {multiplier}");
                }
                (Err(message), Err(words)) => {
                    assert!(message.starts_with(words), "{words}: {message}");
                }
                (rule, _) => panic!("{interval} × {multiplier}: {rule:?}"),
            }
        }
        for (text, result) in [
            ("0s", Some(0)),
            ("1s", Some(1)),
            ("1h", Some(3600)),
            ("1m30s", Some(90)),
            ("500ms", None),
            ("1s500ms", None),
            ("1h1s", None),
            ("never", None),
        ] {
            let rule = judged(mk_refresh(text)).map(|rule| rule.refresh_seconds);
            assert_eq!(rule.clone().ok(), result, "{text}: {rule:?}");
            let told = rule.err();
            let named = |message: &String| message.starts_with("spec.gratuitousInterval: ");
            assert!(told.is_none_or(|message| named(&message)), "{text}");
        }
    }

    #[test]
    fn expressions_and_preferences_are_taken_over_or_refused_with_what_is_wrong() {
        let zone = LabelSelector {
            match_labels: [("zone".to_owned(), "a".to_owned())].into(),
            ..LabelSelector::default()
        };
        let mk = |expressions: &[&str], weight: i32| L2AdvertisementSpec {
            interface_expressions: expressions.iter().map(|e| (*e).to_owned()).collect(),
            preferred_node_selectors: vec![PreferredNodes {
                weight,
                preference: zone.clone(),
            }],
            ..L2AdvertisementSpec::default()
        };
        let rule = judged(mk(&["eth[0-9]+", "en.*"], 7)).unwrap();
        assert_eq!(rule.interface_expressions, ["eth[0-9]+", "en.*"]);
        assert_eq!(rule.preferred_nodes[0].weight, 7);
        for (spec, words) in [
            (
                mk(&["eth.*", "eth["], 7),
                "spec.interfaceExpressions: \"eth[\" is no",
            ),
            (
                mk(&["eth0)|(eth1"], 7),
                "spec.interfaceExpressions: \"eth0)|(eth1\"",
            ),
            (mk(&[], 0), "spec.preferredNodeSelectors: weight 0 is"),
            (mk(&[], 101), "spec.preferredNodeSelectors: weight 101 is"),
        ] {
            let message = judged(spec).unwrap_err();
            assert!(message.starts_with(words), "{words}: {message}");
        }
    }
}
