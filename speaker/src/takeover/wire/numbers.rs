//! What is counted of messages.

use portolan_proto::claim::Error;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Why a datagram is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its hop limit shows that it does not come from the segment.
    Hops,
    /// No key that we know signed it.
    Signature,
    /// Signed, and no message that this version understands.
    Malformed,
    /// The shell did not keep up.
    Overrun,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Signature => Self::Signature,
            _ => Self::Malformed,
        }
    }
}

/// All numbers, each held ready: counting is one addition.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) send_failures: Counter,
    refused: Family<Reason, Counter>,
    reasons: [Counter; 4],
}

impl Default for Numbers {
    fn default() -> Self {
        let refused = Family::<Reason, Counter>::default();
        let of = |reason| refused.get_or_create(&Reason { reason }).clone();
        let reasons = ["hop_limit", "signature", "malformed", "overrun"].map(of);
        Self {
            received: Counter::default(),
            sent: Counter::default(),
            send_failures: Counter::default(),
            refused,
            reasons,
        }
    }
}

impl Numbers {
    pub(super) fn refused(&self, why: Refused) {
        let [hops, signature, malformed, overrun] = &self.reasons;
        let counter = match why {
            Refused::Hops => hops,
            Refused::Signature => signature,
            Refused::Malformed => malformed,
            Refused::Overrun => overrun,
        };
        counter.inc();
    }

    /// Adds the numbers to those with the prefix of layer 2.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "messages_received",
            "Datagrams of other speakers",
            self.received.clone(),
        );
        registry.register(
            "messages_sent",
            "Datagrams to other speakers, each family counted",
            self.sent.clone(),
        );
        registry.register(
            "messages_send_failures",
            "Datagrams that the kernel did not take",
            self.send_failures.clone(),
        );
        registry.register(
            "messages_refused",
            "Datagrams on the port of the speakers that were not taken, by reason",
            self.refused.clone(),
        );
    }
}
