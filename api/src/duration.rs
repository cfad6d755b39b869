//! Durations as users write them in manifests: `90s`, `1m30s`, `500ms` (the text form of Kubernetes' `metav1.Duration`).

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: write for example 90s, 1m30s or 500ms")]
pub struct ParseDurationError {
    text: String,
}

/// Reads a duration such as `90s`. Units: `h`, `m`, `s`, `ms`; whole numbers only.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    sum(text.trim()).ok_or_else(|| ParseDurationError {
        text: text.to_owned(),
    })
}

fn sum(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest == "0" {
        return Some(total);
    }
    while !rest.is_empty() || total.is_zero() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        total = total.checked_add(of(number.parse().ok()?, unit)?)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    Some(total)
}

fn of(number: u64, unit: &str) -> Option<Duration> {
    let millis: u64 = match unit {
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        "ms" => 1,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_users_write() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1h", 3_600_000),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "s",
            "90",
            "-1s",
            "1.5s",
            "1d",
            "99999999999999999999s",
            "1s s",
            "١s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
