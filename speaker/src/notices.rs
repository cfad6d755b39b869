//! Events of the API for users: that this node took addresses over from another one, and nothing else. Sent one by one,
//! after everything is done; an API server that is away costs the Event, not the takeover.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource as _};
use portolan_api::ObjectKey;
use portolan_api::view::{Node, Service};
use tokio::sync::mpsc;

use crate::report::Owner;
use crate::takeover::Cause;

/// Takeovers whose Events may wait.
const WAITING: usize = 16;
/// Services that get an Event of their own at one takeover.
const SERVICES: usize = 20;
/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Who says so.
const REPORTER: &str = "portolan-speaker";

/// What is told of a takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Our Node.
    pub(crate) node: Owner,
    /// The node that answered before.
    pub(crate) from: String,
    /// Why.
    pub(crate) cause: Cause,
    /// How many addresses.
    pub(crate) vips: usize,
    /// From the last sign of life of the other node to the announcement.
    pub(crate) silence: Option<Duration>,
    /// Services that have the addresses, with one of theirs.
    pub(crate) services: Vec<(ObjectKey, IpAddr)>,
}

impl Notice {
    /// How many Services are named at most.
    pub(crate) const SERVICES: usize = SERVICES;

    fn on_node(&self) -> Event {
        let after = self
            .silence
            .map(|it| format!(", {} ms after its last sign of life", it.as_millis()));
        let (from, vips) = (&self.from, self.vips);
        let addresses = if vips == 1 { "address" } else { "addresses" };
        self.event(format!(
            "Took {vips} layer-2 {addresses} over from node {from}: {}{}",
            self.cause,
            after.unwrap_or_default()
        ))
    }

    fn on_service(&self, vip: IpAddr) -> Event {
        let (node, from) = (&self.node.name, &self.from);
        self.event(format!(
            "Node {node} answers for {vip} now instead of node {from}: {}",
            self.cause
        ))
    }

    fn event(&self, note: String) -> Event {
        let type_ = match self.cause {
            Cause::Silent => EventType::Warning,
            Cause::Stops | Cause::Placed => EventType::Normal,
        };
        Event {
            type_,
            reason: "TakenOver".to_owned(),
            note: Some(note),
            action: "TakeOver".to_owned(),
            secondary: None,
        }
    }
}

/// Where notices go in, and the task that sends them.
pub(crate) fn start(client: Client) -> (mpsc::Sender<Notice>, impl Future<Output = ()>) {
    let (notices, waiting) = mpsc::channel(WAITING);
    (notices, send_all(client, waiting))
}

async fn send_all(client: Client, mut waiting: mpsc::Receiver<Notice>) {
    while let Some(notice) = waiting.recv().await {
        let on_node = notice.on_node();
        publish(&client, &on_node, &reference(&notice.node)).await;
        for (key, vip) in &notice.services {
            if let Some(service) = service(&client, key).await {
                publish(&client, &notice.on_service(*vip), &service).await;
            }
        }
    }
}

fn reference(node: &Owner) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(Node::kind(&()).into_owned()),
        name: Some(node.name.clone()),
        uid: Some(node.uid.clone()),
        ..ObjectReference::default()
    }
}

/// The Service as Events name it. Its UID is asked for, as `kubectl describe` finds Events by it, and the core keeps none.
async fn service(client: &Client, key: &ObjectKey) -> Option<ObjectReference> {
    let services: Api<Service> = Api::namespaced(client.clone(), &key.namespace);
    let asked = tokio::time::timeout(TIMEOUT, services.get(&key.name)).await;
    match asked {
        Ok(Ok(service)) => Some(service.object_ref(&())),
        Ok(Err(error)) => {
            tracing::debug!(%error, service = %key, "no Event: the Service can not be read");
            None
        }
        Err(_late) => None,
    }
}

async fn publish(client: &Client, event: &Event, regarding: &ObjectReference) {
    let reporter = Reporter {
        controller: REPORTER.to_owned(),
        instance: None,
    };
    // A new recorder each time: one that lives would send the old words again for an object that it knows.
    let recorder = Recorder::new(client.clone(), reporter);
    match tokio::time::timeout(TIMEOUT, recorder.publish(event, regarding)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an Event could not be sent"),
        Err(_late) => tracing::debug!("an Event could not be sent: no answer within {TIMEOUT:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_fell_silent_is_a_warning_with_numbers_and_one_that_stops_is_none() {
        let mut notice = Notice {
            node: Owner {
                name: "n2".into(),
                uid: "uid".into(),
            },
            from: "n1".into(),
            cause: Cause::Silent,
            vips: 12,
            silence: Some(Duration::from_millis(312)),
            services: Vec::new(),
        };
        let event = notice.on_node();
        assert_eq!(event.type_, EventType::Warning);
        assert_eq!(
            event.note.as_deref(),
            Some(
                "Took 12 layer-2 addresses over from node n1: the node fell silent, 312 ms after its last sign of life"
            )
        );
        notice.cause = Cause::Stops;
        notice.silence = None;
        let event = notice.on_service([192, 0, 2, 1].into());
        assert_eq!(event.type_, EventType::Normal);
        assert_eq!(
            event.note.as_deref(),
            Some("Node n2 answers for 192.0.2.1 now instead of node n1: the node stops")
        );
    }
}
