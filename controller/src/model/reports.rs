//! What speakers say of their nodes: links, addresses that they answer for or took over, and strangers who use those.
//!
//! A link that is lost counts for some time more. Speakers fail over by themselves and say so, and when a switch restarts,
//! all links of a segment are lost one after the other: whoever followed each loss at once would pile up every address on
//! the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_api::crd::InterfaceReport;
use portolan_api::view::{AnsweredVip, NodeReport};

use super::conflicts::{Conflict, Conflicts};
use crate::place::Link;

/// How long a link counts after it was lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub struct Reports {
    by_node: BTreeMap<String, Report>,
    /// Nodes that answer for an address although its placement names another one first.
    actors: BTreeMap<IpAddr, BTreeSet<String>>,
    conflicts: Conflicts,
    complete: bool,
}

/// What is kept of one report.
#[derive(Debug, Default)]
struct Report {
    version: Option<u64>,
    /// As reported.
    interfaces: Vec<InterfaceReport>,
    acting: BTreeSet<IpAddr>,
    /// Addresses that it answers for, ascending.
    answered: Vec<IpAddr>,
    /// Its speaker is one that reports links.
    reports_links: bool,
    /// Links that work.
    links: Vec<Link>,
    /// Links that were lost, and until when they count among those that work.
    lost: Vec<(Instant, Link)>,
}

/// What a report has changed.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Links or their addresses.
    pub(super) links: bool,
    /// Addresses that were taken over, or are not any more.
    pub(super) acting: BTreeSet<IpAddr>,
    /// Addresses that are answered now, and were not before.
    pub(super) answered: Vec<IpAddr>,
    /// Strangers.
    pub(super) conflicts: bool,
}

impl Reports {
    /// The links of the node that count, if its speaker has reported any.
    #[must_use]
    pub fn links(&self, node: &str) -> Option<&[Link]> {
        let report = self.by_node.get(node)?;
        report.reports_links.then_some(&report.links)
    }

    /// The interfaces of the node, as reported.
    #[must_use]
    pub fn interfaces(&self, node: &str) -> &[InterfaceReport] {
        let report = self.by_node.get(node);
        report.map_or(&[], |report| &report.interfaces)
    }

    /// The nodes that answer for the address although its placement names another one first.
    pub fn acting(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let actors = self.actors.get(&address).into_iter().flatten();
        actors.map(String::as_str)
    }

    /// The strangers that are reported, each with the address and the node.
    pub fn conflicts(&self) -> impl Iterator<Item = (IpAddr, &str, &Conflict)> {
        self.conflicts.iter()
    }

    /// Whether any node says that it answers for the address.
    #[must_use]
    pub fn answers(&self, address: IpAddr) -> bool {
        let mut reports = self.by_node.values();
        reports.any(|report| report.answered.binary_search(&address).is_ok())
    }

    /// When a link that was lost counts no more.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let lost = self.by_node.values().flat_map(|report| &report.lost);
        lost.map(|(until, _)| *until).min()
    }

    /// Every report has been seen once: what comes from now on has just happened.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Takes in a report.
    pub(super) fn apply(&mut self, report: NodeReport, now: Instant) -> News {
        let version = super::version(&report);
        let name = report.metadata.name.unwrap_or_default();
        let acting = report.status.acting.iter();
        let acting: BTreeSet<IpAddr> = acting.filter_map(|text| text.parse().ok()).collect();
        let held = self.by_node.entry(name.clone()).or_default();
        if super::is_older(version, held.version) {
            return News::default();
        }
        held.version = version;
        let conflicts = report.status.conflicts;
        let seen = self.complete.then_some(now);
        let mut news = News {
            links: held.report(report.status.interfaces, now),
            acting: held.acting.symmetric_difference(&acting).copied().collect(),
            answered: held.answer(&report.status.l2_vips),
            conflicts: self.conflicts.report(&name, &conflicts, seen),
        };
        held.acting.clone_from(&acting);
        self.act(&name, &news.acting, &acting);
        news.links |= self.expire(now);
        news
    }

    /// A report is gone. Its node has said nothing then.
    pub(super) fn remove(&mut self, name: &str) -> News {
        let Some(report) = self.by_node.remove(name) else {
            return News::default();
        };
        self.act(name, &report.acting, &BTreeSet::new());
        News {
            links: report.reports_links,
            acting: report.acting,
            answered: Vec::new(),
            conflicts: self.conflicts.report(name, &[], None),
        }
    }

    fn act(&mut self, node: &str, changed: &BTreeSet<IpAddr>, now: &BTreeSet<IpAddr>) {
        for address in changed {
            let actors = self.actors.entry(*address).or_default();
            if now.contains(address) {
                actors.insert(node.to_owned());
            } else {
                actors.remove(node);
            }
            if actors.is_empty() {
                self.actors.remove(address);
            }
        }
    }

    /// Lets go of links that were lost long enough ago. Returns whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut gone = false;
        for report in self.by_node.values_mut() {
            let over = |(until, _): &mut (Instant, Link)| *until <= now;
            for (_, link) in report.lost.extract_if(.., over) {
                report.links.retain(|held| held.name != link.name);
                gone = true;
            }
        }
        gone
    }
}

impl Report {
    /// Takes in which addresses are answered. Returns those that were not before.
    fn answer(&mut self, vips: &[AnsweredVip]) -> Vec<IpAddr> {
        let vips = vips.iter();
        let mut now: Vec<IpAddr> = vips.filter_map(|vip| vip.address.parse().ok()).collect();
        now.sort_unstable();
        let before = std::mem::replace(&mut self.answered, now);
        let fresh = |address: &&IpAddr| before.binary_search(address).is_err();
        self.answered.iter().filter(fresh).copied().collect()
    }

    /// Takes in what is reported of links. Returns whether that means anything.
    fn report(&mut self, interfaces: Vec<InterfaceReport>, now: Instant) -> bool {
        if self.interfaces == interfaces {
            return false;
        }
        let running = interfaces.iter().filter(|interface| interface.running);
        let mut links: Vec<Link> = running.map(link).collect();
        let works = |links: &[Link], name: &str| links.iter().any(|link| *link.name == *name);
        self.lost.retain(|(_, link)| !works(&links, &link.name));
        for held in std::mem::take(&mut self.links) {
            if works(&links, &held.name) {
                continue;
            }
            if !self.lost.iter().any(|(_, lost)| lost.name == held.name) {
                self.lost.push((now + PATIENCE, held.clone()));
            }
            links.push(held);
        }
        self.links = links;
        self.reports_links |= !interfaces.is_empty();
        self.interfaces = interfaces;
        true
    }
}

fn link(interface: &InterfaceReport) -> Link {
    let addresses = interface.addresses.iter();
    Link {
        name: interface.name.as_str().into(),
        addresses: addresses.filter_map(|text| text.parse().ok()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_report(version: u64, links: &[(&str, bool)], acting: &[&str]) -> NodeReport {
        let mut report = NodeReport::default();
        report.metadata.name = Some("a".to_owned());
        report.metadata.resource_version = Some(version.to_string());
        let interface = |(name, running): &(&str, bool)| InterfaceReport {
            name: (*name).to_owned(),
            running: *running,
            addresses: vec!["10.0.0.1/24".to_owned()],
            ..InterfaceReport::default()
        };
        report.status.interfaces = links.iter().map(interface).collect();
        report.status.acting = acting.iter().map(|text| (*text).to_owned()).collect();
        report
    }

    fn names(reports: &Reports) -> Option<Vec<&str>> {
        let links = reports.links("a")?;
        Some(links.iter().map(|link| &*link.name).collect())
    }

    #[test]
    fn a_lost_link_counts_for_ten_seconds_and_one_that_returns_was_never_gone() {
        let now = tokio::time::Instant::now().into_std();
        let second = Duration::from_secs(1);
        let mut reports = Reports::default();
        assert_eq!(names(&reports), None);
        assert!(reports.apply(mk_report(1, &[], &[]), now).links.eq(&false));
        assert_eq!(names(&reports), None, "a speaker that knows of no links");
        reports.apply(mk_report(2, &[("eth0", true), ("eth1", false)], &[]), now);
        assert_eq!(names(&reports), Some(vec!["eth0"]));
        reports.apply(mk_report(3, &[("eth0", false), ("eth1", true)], &[]), now);
        assert_eq!(names(&reports), Some(vec!["eth1", "eth0"]));
        assert_eq!(reports.deadline(), Some(now + PATIENCE));
        reports.apply(mk_report(4, &[("eth1", true)], &[]), now + second);
        assert_eq!(
            reports.deadline(),
            Some(now + PATIENCE),
            "still the same loss"
        );
        reports.apply(mk_report(5, &[("eth0", true)], &[]), now + 2 * second);
        assert_eq!(
            reports.deadline(),
            Some(now + 2 * second + PATIENCE),
            "eth1"
        );
        assert!(!reports.expire(now + PATIENCE));
        assert!(reports.expire(now + 2 * second + PATIENCE));
        assert_eq!(names(&reports), Some(vec!["eth0"]));
        assert_eq!(reports.deadline(), None);
        reports.apply(mk_report(6, &[], &[]), now);
        reports.expire(now + PATIENCE);
        assert_eq!(
            names(&reports),
            Some(vec![]),
            "none is left, and that is known"
        );
    }

    #[test]
    fn only_what_placement_reads_is_news() {
        let now = tokio::time::Instant::now().into_std();
        let mut reports = Reports::default();
        let vip = |text: &str| text.parse::<IpAddr>().unwrap();
        let news = reports.apply(mk_report(1, &[("eth0", true)], &["10.0.0.9", "x"]), now);
        assert!(news.links);
        assert_eq!(news.acting, [vip("10.0.0.9")].into());
        let news = reports.apply(mk_report(2, &[("eth0", true)], &["10.0.0.9"]), now);
        assert!(!news.links && news.acting.is_empty(), "the same again");
        assert_eq!(reports.acting(vip("10.0.0.9")).collect::<Vec<_>>(), ["a"]);
        let news = reports.apply(mk_report(1, &[], &[]), now);
        assert!(
            !news.links && news.acting.is_empty(),
            "older than what is known"
        );
        let news = reports.apply(mk_report(3, &[("eth0", true)], &["10.0.0.8"]), now);
        assert_eq!(news.acting, [vip("10.0.0.8"), vip("10.0.0.9")].into());
        let news = reports.remove("a");
        assert_eq!((news.links, news.acting), (true, [vip("10.0.0.8")].into()));
        assert_eq!(reports.acting(vip("10.0.0.8")).count(), 0);
    }
}
