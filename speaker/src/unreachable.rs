//! Addresses that this node attracts and nobody has.
//!
//! An announced aggregate, or a whole range of ClusterIPs, brings traffic for addresses that no Service holds. The node
//! would send it on by its default route, to the router that it came from, and back, until the TTL ends it. Instead it
//! answers that the address is unreachable:
//!
//! ```text
//! ip rule  32765: not from all iif lo lookup 1347375700      one for each family
//! ip route unreachable 10.96.0.0/12 table 1347375700 proto 112
//! ```
//!
//! What a Service takes is translated before the kernel looks for a route, so only the rest gets here. Connections of the
//! node itself are translated after that look, so the rule leaves them out. The table comes before the main one: a route
//! of the node's own inside of an announced range is not used for what the node forwards.
//!
//! Both stay when the speaker is to be started again, as they are still announced then; the next one takes them over. They
//! go when it stops for good, or when nothing is announced that needs them. Whoever else removes them (a network daemon that
//! cleans up) is put right at the next look.

mod kernel;

use std::collections::BTreeSet;
use std::time::Duration;

use ipnetwork::IpNetwork;
use portolan_api::range::Family;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use kernel::{Error, Kernel};

/// Time between two looks at what is there.
const LOOK: Duration = Duration::from_secs(30);
/// Longest time that taking everything away may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What stands in the kernel, or should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Routing {
    /// Families whose rule is there.
    rules: BTreeSet<Family>,
    /// Unreachable prefixes.
    prefixes: BTreeSet<IpNetwork>,
}

/// One change in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    AddRoute(IpNetwork),
    RemoveRoute(IpNetwork),
    AddRule(Family),
    RemoveRule(Family),
}

impl Routing {
    fn of(prefixes: &BTreeSet<IpNetwork>) -> Self {
        let rules = prefixes.iter().map(|prefix| Family::of(prefix.ip()));
        Self {
            rules: rules.collect(),
            prefixes: prefixes.clone(),
        }
    }

    /// What leads from here to `wanted`.
    fn steps_to(&self, wanted: &Self) -> Vec<Step> {
        let gone = self.prefixes.difference(&wanted.prefixes);
        let new = wanted.prefixes.difference(&self.prefixes);
        let idle = self.rules.difference(&wanted.rules);
        let needed = wanted.rules.difference(&self.rules);
        let routes = gone
            .map(|prefix| Step::RemoveRoute(*prefix))
            .chain(new.map(|prefix| Step::AddRoute(*prefix)));
        let rules = idle
            .map(|family| Step::RemoveRule(*family))
            .chain(needed.map(|family| Step::AddRule(*family)));
        routes.chain(rules).collect()
    }
}

/// Keeps the kernel's tables as they should be.
pub(crate) struct Unreachable {
    /// Nothing is touched before something is wanted.
    wanted: watch::Sender<Option<BTreeSet<IpNetwork>>>,
    problem: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Unreachable {
    /// Starts. What a former speaker left stays until it is known what is wanted.
    pub(crate) fn start() -> Self {
        let (wanted, wishes) = watch::channel(None);
        let (told, problem) = watch::channel(None);
        Self {
            wanted,
            problem,
            task: tokio::spawn(keep(wishes, told)),
        }
    }

    /// Makes these prefixes unreachable, and no others.
    pub(crate) fn set(&self, prefixes: &BTreeSet<IpNetwork>) {
        self.wanted.send_if_modified(|wanted| {
            let differs = wanted.as_ref() != Some(prefixes);
            if differs {
                *wanted = Some(prefixes.clone());
            }
            differs
        });
    }

    /// What stands in the way, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }

    /// Takes everything away, if it was ever known what is wanted: what a former speaker left is not ours to judge before.
    /// Dropped without it, everything stays in place for the next speaker.
    pub(crate) async fn clear(self) {
        if self.wanted.borrow().is_some() {
            self.set(&BTreeSet::new());
        }
        drop(self.wanted);
        if timeout(GOODBYE, self.task).await.is_err() {
            tracing::warn!(
                "unreachable routes were not removed in time; the next speaker takes them over"
            );
        }
    }
}

/// Follows the wishes until there are no more, and what becomes of them.
async fn keep(
    mut wishes: watch::Receiver<Option<BTreeSet<IpNetwork>>>,
    told: watch::Sender<Option<String>>,
) {
    let mut kernel = None;
    loop {
        // The last wish counts when its sender is gone.
        let ended = matches!(timeout(LOOK, wishes.changed()).await, Ok(Err(_)));
        let Some(wanted) = wishes.borrow_and_update().as_ref().map(Routing::of) else {
            if ended {
                return;
            }
            continue;
        };
        let result = establish(&mut kernel, &wanted).await;
        if let Err(error) = &result {
            kernel = None;
            tracing::warn!(%error, "unreachable routes");
        }
        told.send_replace(result.err().map(|error| {
            format!("unused addresses of announced ranges are not made unreachable: {error}")
        }));
        if ended {
            return;
        }
    }
}

/// Makes the kernel's tables equal to what is wanted, whatever they were.
async fn establish(kernel: &mut Option<Kernel>, wanted: &Routing) -> Result<(), Error> {
    let kernel = match kernel {
        Some(kernel) => kernel,
        None => kernel.insert(Kernel::open()?),
    };
    let steps = kernel.read().await?.steps_to(wanted);
    let kernel = &*kernel;
    take_all(steps, |step| kernel.take(step)).await
}

/// Takes all steps; says what was wrong with the last one that failed.
async fn take_all<F>(steps: Vec<Step>, take: impl Fn(Step) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let mut result = Ok(());
    for step in steps {
        match take(step).await {
            Ok(()) => tracing::debug!(?step, "unreachable routes"),
            Err(error) => result = Err(error),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_routing(rules: &[Family], prefixes: &[&str]) -> Routing {
        Routing {
            rules: rules.iter().copied().collect(),
            prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        }
    }

    #[tokio::test]
    async fn who_never_knew_what_is_wanted_takes_nothing_away() {
        let unreachable = Unreachable::start();
        let mut told = unreachable.problem.clone();
        unreachable.clear().await;
        assert!(told.changed().await.is_err(), "the kernel was asked");
    }

    #[tokio::test]
    async fn a_step_that_the_kernel_refuses_keeps_no_other_from_being_taken() {
        let prefixes = ["10.96.0.0/12", "fd00:96::/112"];
        let wanted = prefixes.into_iter().map(|p| p.parse().unwrap()).collect();
        let steps = Routing::default().steps_to(&Routing::of(&wanted));
        let taken = std::cell::RefCell::new(Vec::new());
        // A node that was booted without IPv6.
        let take = |step| match step {
            Step::AddRoute(IpNetwork::V6(_)) | Step::AddRule(Family::V6) => Err(Error::Change(
                std::io::Error::from_raw_os_error(nix::libc::EAFNOSUPPORT),
            )),
            step => {
                taken.borrow_mut().push(step);
                Ok(())
            }
        };
        let result = take_all(steps, |step| std::future::ready(take(step))).await;
        assert!(result.is_err());
        let v4 = Step::AddRoute("10.96.0.0/12".parse().unwrap());
        assert_eq!(*taken.borrow(), [v4, Step::AddRule(Family::V4)]);
    }

    #[test]
    fn the_steps_lead_from_what_is_there_to_what_is_wanted() {
        use Family::{V4, V6};
        let (ten, six) = ("10.96.0.0/12", "fd00:96::/112");
        let net = |text: &str| text.parse::<IpNetwork>().unwrap();
        for (row, have, prefixes, steps) in [
            ("nothing is wanted", mk_routing(&[], &[]), vec![], vec![]),
            (
                "the first one",
                mk_routing(&[], &[]),
                vec![ten],
                vec![Step::AddRoute(net(ten)), Step::AddRule(V4)],
            ),
            ("it stands", mk_routing(&[V4], &[ten]), vec![ten], vec![]),
            (
                "somebody removed the rule",
                mk_routing(&[], &[ten]),
                vec![ten],
                vec![Step::AddRule(V4)],
            ),
            (
                "the other family comes, and what a former speaker left goes",
                mk_routing(&[V4], &["192.0.2.0/24", ten]),
                vec![six, ten],
                vec![
                    Step::RemoveRoute(net("192.0.2.0/24")),
                    Step::AddRoute(net(six)),
                    Step::AddRule(V6),
                ],
            ),
            (
                "the end",
                mk_routing(&[V4, V6], &[ten]),
                vec![],
                vec![
                    Step::RemoveRoute(net(ten)),
                    Step::RemoveRule(V4),
                    Step::RemoveRule(V6),
                ],
            ),
        ] {
            let wanted = prefixes.into_iter().map(net).collect();
            assert_eq!(have.steps_to(&Routing::of(&wanted)), steps, "{row}");
        }
    }
}
