//! How BFD watches the ways to peers: which version of each profile is in force, and with which key.
//!
//! As with peers, a version whose key can not be had leaves the one before in force, whole and with the key that it had: no
//! edit, and no Secret that is deleted, takes a running session down. A profile that was keyed from its first sight is never
//! followed without a key: until there is one, sessions run without BFD.

use std::collections::BTreeMap;

use portolan_api::crd::{BfdAuthentication, BfdAuthenticationType, BfdRule};
use portolan_proto::bfd::auth::{Authentication, Bytes, Key, Method};

use super::secrets::Secrets;
use crate::bgp::Bfd;

/// The profiles in force, by name.
#[derive(Debug, Default)]
pub(super) struct BfdProfiles(BTreeMap<String, Held>);

/// What is held of a profile.
#[derive(Debug)]
struct Held {
    /// Its last version that had all that it needs.
    usable: Option<Bfd>,
    /// Why it is not the version of the configuration, or not with the key that the Secret has now.
    problem: Option<String>,
}

impl BfdProfiles {
    /// Looks the keys of all profiles up. `ours` is our own namespace.
    pub(super) fn follow(&mut self, profiles: &[BfdRule], secrets: &Secrets, ours: &str) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = profiles
            .iter()
            .map(|rule| {
                let usable = before.remove(&rule.name).and_then(|held| held.usable);
                let held = match keyed(rule, secrets, ours) {
                    Ok(bfd) => Held {
                        usable: Some(bfd),
                        problem: None,
                    },
                    Err(why) => Held::on(usable, rule, &why),
                };
                (rule.name.clone(), held)
            })
            .collect();
    }

    /// What a session with this profile does, and what is wrong with it. None if there is no such profile.
    pub(super) fn get(&self, name: &str) -> Option<(Option<Bfd>, Option<&str>)> {
        let held = self.0.get(name)?;
        Some((held.usable.clone(), held.problem.as_deref()))
    }
}

impl Held {
    /// What stays of a profile whose version in the configuration has no key.
    fn on(usable: Option<Bfd>, rule: &BfdRule, why: &str) -> Self {
        let meanwhile = match &usable {
            None => "until then sessions run without BFD",
            Some(bfd) if bfd.profile == *rule => "the last usable key stays in use",
            Some(_) => "the version before its last change stays in force",
        };
        Self {
            problem: Some(format!("{why}; {meanwhile}")),
            usable,
        }
    }
}

/// The profile with the key that it asks for.
fn keyed(rule: &BfdRule, secrets: &Secrets, ours: &str) -> Result<Bfd, String> {
    let find = |asked: &BfdAuthentication| {
        let field = "authentication.keySecret";
        let key = secrets.key(ours, field, &asked.key_secret)?;
        let name = &asked.key_secret.name;
        authentication(asked, key).map_err(|why| format!("{field} {ours}/{name}: password: {why}"))
    };
    Ok(Bfd {
        profile: rule.clone(),
        authentication: rule.authentication.as_ref().map(find).transpose()?,
    })
}

fn authentication(asked: &BfdAuthentication, key: &str) -> Result<Authentication, String> {
    let method = match asked.method {
        BfdAuthenticationType::KeyedMD5 => Method::KeyedMd5,
        BfdAuthenticationType::MeticulousKeyedMD5 => Method::MeticulousMd5,
        BfdAuthenticationType::KeyedSHA1 => Method::KeyedSha1,
        BfdAuthenticationType::MeticulousKeyedSHA1 => Method::MeticulousSha1,
    };
    let id = u8::try_from(asked.key_id).map_err(|error| error.to_string())?;
    let max = method.secret_max();
    let secret = Bytes::new(key.as_bytes());
    let secret = secret.ok_or_else(|| format!("{} bytes: 1 to {max} are possible", key.len()))?;
    Authentication::new(method, Key { id, secret }, []).map_err(|error| error.to_string())
}
