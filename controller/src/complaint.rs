//! Writes that ended: those that fail again and again are said once, until they work again.

use std::collections::HashMap;
use std::time::Instant;

use tokio::task::JoinError;

use crate::write::{Failure, OUTSTANDING, TIMEOUT, Target};

/// What is said of writes that ended, and what is not known of them.
#[derive(Debug, Default)]
pub struct Log {
    complaints: Complaints,
    /// When a write was given up last that may happen all the same.
    doubt: Option<Instant>,
}

impl Log {
    /// Takes in what became of the task of a write: its target, and why it failed if it did.
    pub fn note(&mut self, ended: Result<(Target, Option<Failure>), JoinError>, now: Instant) {
        let (target, failure) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a write ended without an outcome: this is a defect");
                self.doubt = Some(now);
                return;
            }
        };
        if failure == Some(Failure::TimedOut) {
            self.doubt = Some(now);
        }
        match (self.complaints.take(&target, failure.as_ref()), &failure) {
            (Some(News::Fails), Some(why)) => tracing::warn!(?target, %why, "writing fails"),
            (Some(News::Works), _) => tracing::info!(?target, "writing works again"),
            (_, Some(why)) => tracing::debug!(?target, %why, "a write failed"),
            (_, None) => {}
        }
    }

    /// Whether nothing that was given up can happen any more.
    #[must_use]
    pub fn is_certain(&self, now: Instant) -> bool {
        let passed = |at: Instant| now.duration_since(at) >= TIMEOUT;
        self.doubt.is_none_or(passed)
    }
}

/// What fails at present, and why.
#[derive(Debug, Default)]
pub struct Complaints {
    standing: HashMap<Target, Failure>,
}

/// Something that whoever reads the log does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Writes to the target fail, or fail for another reason than before.
    Fails,
    /// They work again.
    Works,
}

impl Complaints {
    /// Longest list; when it is full it begins anew, and what still fails is said once more.
    const MOST: usize = 4 * OUTSTANDING;

    /// Takes in what became of a write.
    pub fn take(&mut self, target: &Target, failure: Option<&Failure>) -> Option<News> {
        match failure {
            None => self.standing.remove(target).map(|_| News::Works),
            Some(Failure::Gone) if *target != Target::Config => {
                self.standing.remove(target);
                None
            }
            // Part of normal life: the decision is made again.
            Some(Failure::Conflict | Failure::NotLeader) => None,
            Some(failure) if self.standing.get(target) == Some(failure) => None,
            Some(failure) => {
                if self.standing.len() >= Self::MOST {
                    self.standing.clear();
                }
                self.standing.insert(target.clone(), failure.clone());
                Some(News::Fails)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_api::compile::Kind;

    use super::*;

    fn mk_target(name: &str) -> Target {
        Target::Object(Kind::Pool, name.to_owned())
    }

    #[test]
    fn a_failure_is_news_once_for_each_target_and_reason_until_it_works_again() {
        let forbidden = Failure::Failed("forbidden".to_owned());
        let mut complaints = Complaints::default();
        for (step, target, failure, news) in [
            ("the first", "p", Some(&forbidden), Some(News::Fails)),
            ("the same", "p", Some(&forbidden), None),
            ("another target", "q", Some(&forbidden), Some(News::Fails)),
            ("a conflict is normal", "p", Some(&Failure::Conflict), None),
            ("a lost term too", "p", Some(&Failure::NotLeader), None),
            ("still the same", "p", Some(&forbidden), None),
            ("a reason", "p", Some(&Failure::TimedOut), Some(News::Fails)),
            ("works", "p", None, Some(News::Works)),
            ("goes on working", "p", None, None),
            ("fails again", "p", Some(&forbidden), Some(News::Fails)),
            ("is gone", "q", Some(&Failure::Gone), None),
            ("a new one", "q", Some(&forbidden), Some(News::Fails)),
        ] {
            let said = complaints.take(&mk_target(target), failure);
            assert_eq!(said, news, "{step}");
        }
    }

    #[test]
    fn a_write_without_an_answer_leaves_doubt_for_a_while() {
        let now = tokio::time::Instant::now().into_std();
        let mut log = Log::default();
        for failure in [None, Some(Failure::Conflict)] {
            log.note(Ok((Target::Config, failure)), now);
            assert!(log.is_certain(now));
        }
        for failure in [Some(Failure::TimedOut), None] {
            log.note(Ok((Target::Config, failure)), now);
            assert!(!log.is_certain(now));
        }
        assert!(log.is_certain(now + TIMEOUT));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut complaints = Complaints::default();
        for index in 0..3 * Complaints::MOST {
            complaints.take(&mk_target(&index.to_string()), Some(&Failure::TimedOut));
            assert!(complaints.standing.len() <= Complaints::MOST);
        }
    }
}
