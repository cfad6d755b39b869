//! What a drill showed: to four clients, and on the wire.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::lab::{Report, Rhythm};

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the LAN of the nodes.
    OnLink,
    /// Behind a router on that LAN.
    BehindRouter,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnLink => "on link",
            Self::BehindRouter => "behind router",
        })
    }
}

/// What one client saw of one address.
#[derive(Clone, Debug)]
pub struct View {
    /// The address.
    pub vip: IpAddr,
    /// Where the client is.
    pub place: Place,
    /// A datagram every 2 ms.
    pub rhythm: Rhythm,
    /// A connection every 20 ms.
    pub requests: Report,
}

/// What was heard on the LAN about one address.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// The address.
    pub vip: IpAddr,
    /// The longest time in which two answered at once.
    pub overlap: Duration,
    /// The longest time in which nobody did.
    pub silence: Duration,
}

/// One part of a drill: the fault, or the way back.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Each client and address.
    pub views: Vec<View>,
    /// Each address.
    pub wire: Vec<Wire>,
    /// Index of the node that answers at the end.
    pub holder: usize,
}

impl Phase {
    /// The worst gap of all clients.
    #[must_use]
    pub fn gap(&self) -> Duration {
        let gaps = self.views.iter().map(|view| view.rhythm.longest_gap());
        gaps.max().unwrap_or_default()
    }

    /// The longest time in which two answered for the same address.
    #[must_use]
    pub fn overlap(&self) -> Duration {
        self.wire
            .iter()
            .map(|wire| wire.overlap)
            .max()
            .unwrap_or_default()
    }

    /// Connections of all clients that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.views
            .iter()
            .map(|view| view.requests.failures().count())
            .sum()
    }

    /// Datagrams of all clients that were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.views.iter().map(|view| view.rhythm.lost()).sum()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{} answers", self.holder + 1)?;
        for View {
            vip,
            place,
            rhythm,
            requests,
        } in &self.views
        {
            write!(f, "\n  {place}, {vip}: {rhythm}; {requests}")?;
        }
        for Wire {
            vip,
            overlap,
            silence,
        } in &self.wire
        {
            write!(
                f,
                "\n  on the wire, {vip}: two for {overlap:?}, none for {silence:?}"
            )?;
        }
        Ok(())
    }
}

/// A whole drill.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Index of the node that answered before.
    pub before: usize,
    /// From shortly before the fault until somebody answers for good.
    pub fault: Phase,
    /// From then on, over the end of the fault, until all is as before.
    pub heal: Phase,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before + 1;
        write!(
            f,
            "node-{before} answered\nfault: {}\nheal: {}",
            self.fault, self.heal
        )
    }
}
