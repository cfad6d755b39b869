//! What goes into a [`super::Peer`] and what comes out.

use std::fmt;

use super::super::{
    Asn, Code, Family, Frame, HeaderError, HoldTime, NextHops, Notification, Role, RoleClaim,
    RouterId,
};
use super::PeerAs;

/// One TCP connection, or the attempt at one. Never used twice by the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(super) u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We did.
    Ours,
    /// They did.
    Theirs,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Ours => Self::Theirs,
            Self::Theirs => Self::Ours,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Begin to seek the peer (RFC 4271 event 1, 3).
    Start,
    /// End everything and stay so until the next start (event 2, 8).
    Stop(StopReason),
    /// The connection asked for by [`Effect::Connect`] is there, between these addresses of ours (event 16).
    Connected(ConnId, NextHops),
    /// It failed (event 18).
    ConnectFailed(ConnId, ConnectFailure),
    /// They connected to us, and [`super::Peer::mint`] named it (event 17).
    Accepted(ConnId, NextHops),
    /// A whole message came (events 19 to 27).
    Received(ConnId, Frame<'a>),
    /// What came is no message (events 21, 28).
    Garbled(ConnId, HeaderError),
    /// The peer closed, or the connection broke (event 18). In words.
    Lost(ConnId, String),
    /// How the output queue of a connection fares.
    Output(ConnId, Output),
    /// BFD says that the path to the peer is gone (RFC 5882 §4.3).
    BfdDown,
    /// The interface to a directly connected peer is down, or our address on it is gone; in words.
    LinkDown(String),
    /// The interface to a directly connected peer is up, after it was not or had no address: what failed for want of it
    /// is tried again at once.
    LinkUp,
    /// The deadline of [`super::Peer::next_deadline`] may have come (events 9 to 13, 29). Early is harmless.
    Timer,
}

/// How the bytes that were handed to a connection fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// All written.
    Drained,
    /// Some were written, some wait.
    Moving,
    /// None could be written, some wait.
    Stuck,
}

/// Why a connection could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The host or something on the way said no; in words.
    Refused(String),
    /// This node could not even try: no address, no MD5 in the kernel; in words.
    Local(String),
}

/// Why a session is ended from our side; each has its Cease subcode (RFC 4486).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The speaker goes away (6/2), with words for the router's log (RFC 9003).
    Shutdown(String),
    /// The peer is no longer configured (6/3).
    Deconfigured,
    /// Someone asked for a fresh session (6/4), with words.
    Reset(String),
    /// The configuration changed (6/6).
    ConfigChange,
    /// The speaker restarts and its routes are to stay (RFC 8538 §4): 6/4 with words.
    Restart(String),
}

impl StopReason {
    /// The Cease that tells the peer.
    #[must_use]
    pub fn notification(&self) -> Notification {
        match self {
            Self::Shutdown(words) => Code::ADMINISTRATIVE_SHUTDOWN.saying(words),
            Self::Deconfigured => Code::PEER_DECONFIGURED.bare(),
            Self::Reset(words) | Self::Restart(words) => Code::ADMINISTRATIVE_RESET.saying(words),
            Self::ConfigChange => Code::CONFIGURATION_CHANGE.bare(),
        }
    }
}

/// What the driver has to do. Effects are done in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a TCP connection.
    Connect(ConnId),
    /// Queue these bytes.
    Send(ConnId, Vec<u8>),
    /// Be done with a connection; nothing is heard of it any more.
    Close(ConnId, Close),
    /// Something worth telling happened.
    Event(Event),
}

/// How to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Write what is queued, half-close, read and discard for a moment, then close: a close with unread input
    /// makes the kernel send a reset, and the peer loses our NOTIFICATION.
    Drain,
    /// Just close: nobody listens, or there is nothing to say.
    Abort,
}

/// The queue of effects; the caller owns and reuses it.
pub type Out = Vec<Effect>;

/// What is worth a line in the history and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Began to seek the peer.
    Started,
    /// Ended by us.
    Stopped(StopReason),
    /// TCP is there.
    Connected(Direction),
    /// TCP could not be had; in words.
    ConnectFailed(String),
    /// The peer introduced itself.
    Opened {
        /// Its identifier.
        peer: RouterId,
        /// Its AS.
        asn: Asn,
        /// The hold time both use.
        hold: HoldTime,
    },
    /// Routes may flow.
    Established,
    /// Both sides agree on no family: the session is up and useless.
    NoCommonFamily,
    /// Its OPEN names another AS than the configured one.
    WrongAs {
        /// What the peer claims, 0 included.
        claimed: u32,
        /// What was expected.
        configured: PeerAs,
    },
    /// Its OPEN names a role that does not belong to ours (RFC 9234).
    WrongRole {
        /// What the peer claims to be.
        claimed: RoleClaim,
        /// What we are to it.
        role: Role,
    },
    /// We ended a connection.
    NotificationSent(Notification),
    /// They did.
    NotificationReceived(Notification),
    /// They did, because we announce more than they take (6/1); the next attempt is a minute away.
    PrefixLimit {
        /// Which family, if they said it.
        family: Option<Family>,
        /// How many they take, if they said it.
        limit: Option<u32>,
    },
    /// They restarted and opened a new connection: the old one is dropped without a word (RFC 4724 §5).
    PeerRestarted,
    /// The peer closed in favour of another connection (6/7), and there is none: it has a session with someone else
    /// at our address, or holds one of ours that is gone.
    HeldElsewhere,
    /// The connection broke; in words.
    Lost(String),
    /// BFD lost the peer.
    BfdDown,
    /// The interface to it is gone; in words.
    LinkDown(String),
    /// A broken NOTIFICATION, which gets no answer.
    BrokenNotification,
    /// The peer asked for everything again.
    Refresh(Family),
    /// Received routes were broken; the session goes on (RFC 7606).
    BrokenRoutes,
    /// The next OPEN says something else, as the peer did not like the last one, or all again.
    FallBack(super::Offer),
}

impl Event {
    /// Whether an operator who asks "what is wrong?" should see it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self {
            Self::Started
            | Self::Stopped(_)
            | Self::Connected(_)
            | Self::Opened { .. }
            | Self::Established
            | Self::Refresh(_)
            | Self::BrokenRoutes
            | Self::PeerRestarted
            | Self::FallBack(_) => false,
            Self::NotificationSent(notification) | Self::NotificationReceived(notification) => {
                notification.code != Code::CONNECTION_COLLISION
            }
            Self::ConnectFailed(_)
            | Self::PrefixLimit { .. }
            | Self::NoCommonFamily
            | Self::WrongAs { .. }
            | Self::WrongRole { .. }
            | Self::HeldElsewhere
            | Self::Lost(_)
            | Self::BfdDown
            | Self::LinkDown(_)
            | Self::BrokenNotification => true,
        }
    }
}

impl Event {
    /// Whether the peer can cause it as often as it likes, by a message that leaves the session as it is.
    pub(super) const fn is_chatter(&self) -> bool {
        matches!(self, Self::Refresh(_) | Self::BrokenRoutes)
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words) => write!(f, "cannot connect: {words}"),
            Self::Local(words) => write!(f, "cannot try to connect: {words}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Stopped(StopReason::Restart(words)) => {
                write!(f, "stopped for a restart, saying {words:?}")
            }
            Self::Stopped(reason) => write!(f, "stopped: {}", reason.notification()),
            Self::Connected(Direction::Ours) => f.write_str("connected"),
            Self::Connected(Direction::Theirs) => f.write_str("accepted a connection"),
            Self::ConnectFailed(words) | Self::LinkDown(words) => f.write_str(words),
            Self::Opened { peer, asn, hold } => {
                write!(f, "peer is {peer} in AS {asn}, hold time {hold}")
            }
            Self::Established => f.write_str("established"),
            Self::NoCommonFamily => f.write_str(
                "the peer offers none of our address families: nothing can be announced",
            ),
            Self::WrongAs {
                claimed,
                configured,
            } => {
                write!(
                    f,
                    "the peer says that it is AS {claimed}, configured is {configured}"
                )
            }
            Self::WrongRole { claimed, role } => write!(
                f,
                "the peer says that it is our {claimed}, but we are configured as its {role}"
            ),
            Self::NotificationSent(notification) => write!(f, "we closed: {notification}"),
            Self::NotificationReceived(notification) => {
                write!(f, "the peer closed: {notification}")
            }
            Self::PrefixLimit { family, limit } => {
                f.write_str("the peer closed: it takes ")?;
                match limit {
                    Some(limit) => write!(f, "at most {limit}")?,
                    None => f.write_str("fewer")?,
                }
                match family {
                    Some(family) => write!(f, " {family} routes")?,
                    None => f.write_str(" routes")?,
                }
                f.write_str(match limit {
                    Some(_) => ", and we announce more",
                    None => " than we announce",
                })?;
                write!(f, " ({})", Code::MAXIMUM_PREFIXES)
            }
            Self::PeerRestarted => {
                f.write_str("the peer has restarted: its old connection is dropped")
            }
            Self::HeldElsewhere => write!(
                f,
                "the peer closed: the router has another session with this node already, from a second BGPPeer with \
                 its address or from before a restart ({})",
                Code::CONNECTION_COLLISION
            ),
            Self::Lost(words) => write!(f, "connection lost: {words}"),
            Self::BfdDown => f.write_str("BFD has lost the peer"),
            Self::BrokenNotification => {
                f.write_str("the peer closed with a NOTIFICATION that cannot be read")
            }
            Self::Refresh(family) => write!(f, "the peer asked for all {family} routes again"),
            Self::BrokenRoutes => f.write_str("received routes were malformed, and ignored"),
            Self::FallBack(offer) => write!(f, "the next OPEN offers {offer}"),
        }
    }
}
