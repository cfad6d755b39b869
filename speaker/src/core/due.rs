//! How much of the plan is out of date: a Service changes often and concerns few addresses, everything else changes rarely.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// How much of the plan is out of date.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    #[default]
    Nothing,
    /// What these addresses have a part in: a Service or its endpoints changed.
    Vips(BTreeSet<IpAddr>),
    /// All of it: the configuration, the Node or a key changed, or more addresses than are worth looking up one by one.
    Everything,
}

impl Due {
    /// Above this, looking for the Services of each address costs more than one look at all of them.
    const VIPS: usize = 64;

    /// What these addresses have a part in is out of date as well.
    pub(super) fn vips(&mut self, vips: impl IntoIterator<Item = IpAddr>) {
        let mut vips = vips.into_iter().peekable();
        match self {
            Self::Nothing if vips.peek().is_none() => {}
            Self::Nothing => *self = Self::Vips(vips.collect()),
            Self::Vips(known) => known.extend(vips),
            Self::Everything => {}
        }
        if matches!(self, Self::Vips(known) if known.len() > Self::VIPS) {
            *self = Self::Everything;
        }
    }

    /// All of it is.
    pub(super) fn everything_if(&mut self, changed: bool) {
        if changed {
            *self = Self::Everything;
        }
    }
}
