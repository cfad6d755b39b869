//! Which version of each peer stands on this node.
//!
//! ```text
//! rule of the configuration ── its key is there ──► stands
//!            │
//!            └─ not ──► the last version that had its key stands on, whole, with the key that it had
//!                         └─ none since we started: the session waits
//! ```
//!
//! A Secret that is deleted or spoilt, or a BGPPeer that is edited to name one that is not there yet, takes no session down,
//! and no session ever runs with half of a new version, or without the key that its version asks for.

use portolan_api::crd::{PeerRule, TcpAoAlgorithm};
use portolan_api::view::Node;

use super::model::Model;
use crate::bgp::{Password, Signature};
use crate::sys::AoAlgorithm;

/// A version of a peer that had all that it needs.
#[derive(Debug)]
pub(super) struct Good {
    rule: PeerRule,
    signature: Option<Signature>,
}

/// The version of a peer that is in force on this node.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    /// What is asked for.
    pub(super) rule: &'a PeerRule,
    /// How segments are signed, or why the session has to wait.
    pub(super) signature: Result<Option<Signature>, String>,
    /// Why it is not the version of the configuration, or not with the key that the Secret has now, in words.
    pub(super) problem: Option<String>,
}

impl Model {
    /// The peers of this node.
    pub(super) fn standing(&self) -> Vec<Standing<'_>> {
        let Some(labels) = self.node.as_ref().map(Node::labels) else {
            return Vec::new();
        };
        let all = self.config.peers.iter().map(|rule| self.stands(rule));
        all.filter(|peer| peer.rule.is_on(labels)).collect()
    }

    /// Notes what stands, before something changes that it depends on.
    pub(super) fn remember_peers(&mut self) {
        // A node that is not there has no peers; it may come back to those that it had.
        if self.node.is_none() {
            return;
        }
        let good = |peer: Standing<'_>| {
            let rule = peer.rule.clone();
            let signature = peer.signature.ok()?;
            Some((rule.name.clone(), Good { rule, signature }))
        };
        self.last_good = self.standing().into_iter().filter_map(good).collect();
    }

    fn stands<'a>(&'a self, rule: &'a PeerRule) -> Standing<'a> {
        let missing = match self.signature(rule) {
            Err(missing) => missing,
            signature => {
                return Standing {
                    rule,
                    signature,
                    problem: None,
                };
            }
        };
        let Some(good) = self.last_good.get(&rule.name) else {
            return Standing {
                rule,
                signature: Err(missing),
                problem: None,
            };
        };
        let meanwhile = if good.rule == *rule {
            "the session keeps the last key that it had"
        } else {
            "the version of the BGPPeer before its last change stays in force"
        };
        Standing {
            rule: &good.rule,
            signature: Ok(good.signature.clone()),
            problem: Some(format!("BGPPeer {}: {missing}; {meanwhile}", rule.name)),
        }
    }

    /// The key that the rule names, by value or in a Secret.
    fn signature(&self, rule: &PeerRule) -> Result<Option<Signature>, String> {
        let of_secret = |field, secret| password(self.key(field, secret)?);
        if let Some(option) = &rule.tcp_authentication_option {
            let key = of_secret("tcpAuthenticationOption.keySecret", &option.key_secret)?;
            let algorithm = match option.algorithm {
                TcpAoAlgorithm::HmacSha1 => AoAlgorithm::HmacSha1,
                TcpAoAlgorithm::AesCmac => AoAlgorithm::AesCmac,
            };
            let id = u8::try_from(option.key_id).map_err(|error| error.to_string())?;
            return Ok(Some(Signature::Ao { key, id, algorithm }));
        }
        if let Some(secret) = &rule.password_secret {
            return Ok(Some(Signature::Md5(of_secret("passwordSecret", secret)?)));
        }
        let key = rule.password.as_deref().map(password).transpose()?;
        Ok(key.map(Signature::Md5))
    }
}

fn password(key: &str) -> Result<Password, String> {
    Password::new(key).map_err(|error| error.to_string())
}
