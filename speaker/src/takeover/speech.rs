//! What is to be said on a segment, and when. Any datagram may be lost, so nothing is said only once.
//!
//! - *News*: an address that we begin or cease to answer for. At once, and five times more within a second.
//! - *Everything*: all that we answer for on the segment. When somebody asks, or greets us whom BFD does not see.
//! - *Hello*: as long as some node that shares addresses with us is not known to be there and to have told us everything:
//!   this is what ends a double holding when a partition heals. While it is Up, we ask.
//! - *Contest*: claims that others hold against us, until they give in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_proto::claim::{Entry, Statement};

/// Pauses between the repetitions of news.
const REPEAT: [u64; 5] = [50, 50, 100, 200, 400];
/// Repetitions that are due within this time go out together.
const TOGETHER: Duration = Duration::from_millis(5);
/// Time between two questions while somebody waits for the answer.
const ASK: Duration = Duration::from_millis(100);
/// Shortest time between two hellos, whatever the reasons.
const HELLO_MIN: Duration = Duration::from_millis(50);
/// Time between two contests of one claim, at first and later.
const CONTEST: Duration = Duration::from_millis(100);
const CONTEST_LATER: Duration = Duration::from_secs(1);
const CONTEST_FRESH: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct News {
    entry: Entry,
    at: Instant,
    pauses: std::slice::Iter<'static, u64>,
}

#[derive(Debug)]
struct Contest {
    vips: BTreeSet<IpAddr>,
    since: Instant,
    at: Instant,
}

/// What waits to be said on one segment.
#[derive(Debug, Default)]
pub(super) struct Speech {
    news: BTreeMap<IpAddr, News>,
    all_at: Option<Instant>,
    last_all: Option<Instant>,
    hello_at: Option<Instant>,
    last_hello: Option<Instant>,
    hello_every: Duration,
    hello_asks: bool,
    ask_at: Option<Instant>,
    ask_until: Option<Instant>,
    loud_until: Option<Instant>,
    contest: Option<Contest>,
}

impl Speech {
    /// An address is answered for from now on, or no longer.
    pub(super) fn tell(&mut self, entry: Entry, now: Instant) {
        let news = News {
            entry,
            at: now,
            pauses: REPEAT.iter(),
        };
        self.news.insert(entry.vip, news);
    }

    pub(super) fn ask_until(&mut self, now: Instant, until: Instant) {
        self.ask_at = Some(now);
        self.ask_until = Some(until);
    }

    /// Others are asked now, once.
    pub(super) fn ask_once(&mut self, now: Instant) {
        self.ask_at = Some(self.ask_at.map_or(now, |at| at.min(now)));
    }

    pub(super) fn stop_asking(&mut self) {
        self.ask_at = None;
    }

    /// Everything is to be told, `spacing` after it was told last, at the earliest.
    pub(super) fn tell_all(&mut self, spacing: Duration, now: Instant) {
        let at = self.last_all.map_or(now, |last| now.max(last + spacing));
        self.all_at = Some(self.all_at.map_or(at, |other| other.min(at)));
    }

    /// Hellos say everything until then.
    pub(super) fn be_loud(&mut self, until: Instant) {
        self.loud_until = Some(until);
    }

    /// How often hellos are to be said, if at all, and whether they ask.
    pub(super) fn greet(&mut self, every: Option<Duration>, ask: bool, now: Instant) {
        let Some(every) = every else {
            self.hello_at = None;
            return;
        };
        let urgent = self.hello_at.is_none() || ask && !self.hello_asks;
        if urgent {
            let soonest = self
                .last_hello
                .map_or(now, |last| now.max(last + HELLO_MIN));
            self.hello_at = Some(self.hello_at.map_or(soonest, |at| at.min(soonest)));
        }
        self.hello_every = every;
        self.hello_asks = ask;
    }

    /// Whether another node has a lesser claim of an address that we answer for.
    pub(super) fn contest(&mut self, vip: IpAddr, contested: bool, now: Instant) {
        if contested {
            let contest = self.contest.get_or_insert(Contest {
                vips: BTreeSet::new(),
                since: now,
                at: now + CONTEST,
            });
            if contest.vips.insert(vip) {
                contest.since = now;
                contest.at = contest.at.min(now + CONTEST);
            }
        } else if let Some(contest) = &mut self.contest {
            contest.vips.remove(&vip);
            if contest.vips.is_empty() {
                self.contest = None;
            }
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let news = self.news.values().map(|news| news.at).min();
        let contest = self.contest.as_ref().map(|it| it.at);
        [news, contest, self.all_at, self.hello_at, self.ask_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due. `held` tells all that is answered for on the segment.
    pub(super) fn due(
        &mut self,
        leaving: bool,
        held: impl Fn() -> Vec<Entry>,
        now: Instant,
    ) -> Vec<Statement> {
        let mut said = Vec::new();
        let news = self.due_news(now);
        if !news.is_empty() {
            said.push(Statement {
                leaving,
                entries: news,
                ..Statement::default()
            });
        }
        let asks = self.due_question(now);
        let (hello, hello_asks) = self.due_hello(now);
        let ask = asks || hello && hello_asks;
        let contested = self.due_contest(now);
        if self.all_at.is_some_and(|at| at <= now) {
            self.all_at = None;
            self.last_all = Some(now);
            said.push(Statement {
                ask,
                all: true,
                leaving,
                entries: held(),
            });
        } else if ask || hello {
            said.push(Statement {
                ask,
                leaving,
                ..Statement::default()
            });
        }
        if !contested.is_empty() {
            let entries = held()
                .into_iter()
                .filter(|entry| contested.contains(&entry.vip));
            said.push(Statement {
                ask: true,
                all: false,
                leaving,
                entries: entries.collect(),
            });
        }
        said
    }

    fn due_news(&mut self, now: Instant) -> Vec<Entry> {
        if self.news.values().all(|news| news.at > now) {
            return Vec::new();
        }
        let mut entries = Vec::new();
        self.news.retain(|_, news| {
            if news.at > now + TOGETHER {
                return true;
            }
            entries.push(news.entry);
            let pause = news.pauses.next();
            news.at = now + Duration::from_millis(pause.copied().unwrap_or_default());
            pause.is_some()
        });
        entries
    }

    fn due_question(&mut self, now: Instant) -> bool {
        if self.ask_at.is_none_or(|at| at > now) {
            return false;
        }
        let next = now + ASK;
        self.ask_at = self
            .ask_until
            .is_some_and(|until| next < until)
            .then_some(next);
        true
    }

    fn due_hello(&mut self, now: Instant) -> (bool, bool) {
        if self.hello_at.is_none_or(|at| at > now) {
            return (false, false);
        }
        self.last_hello = Some(now);
        self.hello_at = Some(now + self.hello_every);
        if self.loud_until.is_some_and(|until| now < until) {
            self.tell_all(Duration::ZERO, now);
        }
        (true, self.hello_asks)
    }

    fn due_contest(&mut self, now: Instant) -> BTreeSet<IpAddr> {
        let Some(contest) = self.contest.as_mut().filter(|it| it.at <= now) else {
            return BTreeSet::new();
        };
        let fresh = now.saturating_duration_since(contest.since) < CONTEST_FRESH;
        contest.at = now + if fresh { CONTEST } else { CONTEST_LATER };
        contest.vips.clone()
    }
}
