//! The sheet of figures: one line per quantity, printed as soon as it is known, the budget beside it.

use std::fmt;
use std::time::Duration;

/// Durations of one kind, to be asked for percentiles.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// One more.
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The smallest sample that `percent` of all do not exceed (nearest rank); zero without samples.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [50, 99].map(|percent| in_ms(self.percentile(percent)));
        write!(f, "p50 {p50}, p99 {p99} ({} samples)", self.0.len())
    }
}

/// A duration with a hundredth of a millisecond.
pub(crate) fn in_ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// A size with a tenth of a mebibyte.
#[expect(clippy::cast_precision_loss, reason = "for humans")]
pub(crate) fn in_mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A quantity without a budget: something to compare others with.
pub(crate) fn context(quantity: &str, figure: impl fmt::Display) {
    println!("{quantity:<62} {:<20} {figure}", "");
}

/// What was counted against a budget.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    missed: usize,
}

impl Sheet {
    /// The line above all others.
    pub(crate) fn begin() -> Self {
        println!("{:<62} {:<20} figure", "quantity", "budget");
        Self::default()
    }

    /// A quantity with its budget, and whether the figure is within.
    pub(crate) fn figure(
        &mut self,
        quantity: &str,
        budget: &str,
        within: bool,
        figure: impl fmt::Display,
    ) {
        let mark = if within { "" } else { "  MISSED" };
        self.missed += usize::from(!within);
        println!("{quantity:<62} {budget:<20} {figure}{mark}");
    }

    /// The line below all others.
    pub(crate) fn end(self) {
        match self.missed {
            0 => println!("all within budget"),
            missed => println!("{missed} missed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_taken() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile(99), Duration::ZERO, "none taken");
        (1..=200)
            .rev()
            .map(Duration::from_millis)
            .for_each(|sample| samples.push(sample));
        for (percent, expected) in [(0, 1), (50, 100), (99, 198), (100, 200)] {
            let expected = Duration::from_millis(expected);
            assert_eq!(samples.percentile(percent), expected, "p{percent}");
        }
    }
}
