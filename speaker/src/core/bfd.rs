//! How BFD watches the ways to peers: the profiles, and their keys.
//!
//! A profile whose key can not be had keeps the one that it had before, from whichever Secret: an edit or a Secret that is
//! deleted takes no running session down. Without any, sessions run without BFD, never with BFD and without a key.

use std::collections::BTreeMap;

use portolan_api::crd::{BfdAuthentication, BfdAuthenticationType, BfdRule};
use portolan_proto::bfd::auth::{Authentication, Bytes, Key, Method};

use super::secrets::Secrets;
use crate::bgp::Bfd;

/// The keys of profiles, by the profile's name.
#[derive(Debug, Default)]
pub(super) struct BfdKeys(BTreeMap<String, Held>);

/// The key of a profile.
#[derive(Debug, Default)]
struct Held {
    /// The last usable one.
    usable: Option<Authentication>,
    /// Why it is not the one that the profile asks for.
    problem: Option<String>,
}

impl BfdKeys {
    /// Looks the keys of all profiles up. `ours` is our own namespace.
    pub(super) fn follow(&mut self, profiles: &[BfdRule], secrets: &Secrets, ours: &str) {
        let mut before = std::mem::take(&mut self.0);
        let asked = profiles
            .iter()
            .filter_map(|rule| Some((&rule.name, rule.authentication.as_ref()?)));
        self.0 = asked
            .map(|(name, asked)| {
                let held = before.remove(name).and_then(|held| held.usable);
                (name.clone(), look_up(asked, secrets, ours, held))
            })
            .collect();
    }

    /// What a session with this profile does, and what is wrong with it.
    pub(super) fn bfd(&self, profile: &BfdRule) -> (Option<Bfd>, Option<&str>) {
        let bfd = |authentication| Bfd {
            profile: profile.clone(),
            authentication,
        };
        if profile.authentication.is_none() {
            return (Some(bfd(None)), None);
        }
        let Some(held) = self.0.get(&profile.name) else {
            return (None, None);
        };
        let keyed = held.usable.clone().map(|key| bfd(Some(key)));
        (keyed, held.problem.as_deref())
    }
}

fn look_up(
    asked: &BfdAuthentication,
    secrets: &Secrets,
    ours: &str,
    held: Option<Authentication>,
) -> Held {
    let field = "authentication.keySecret";
    let found = secrets.key(ours, field, &asked.key_secret);
    let keyed = found.and_then(|key| {
        let name = &asked.key_secret.name;
        authentication(asked, key).map_err(|why| format!("{field} {ours}/{name}: password: {why}"))
    });
    match (keyed, held) {
        (Ok(key), _) => Held {
            usable: Some(key),
            problem: None,
        },
        (Err(why), Some(held)) => Held {
            usable: Some(held),
            problem: Some(format!("{why}; the last usable key stays in use")),
        },
        (Err(why), None) => Held {
            usable: None,
            problem: Some(format!("{why}; until then sessions run without BFD")),
        },
    }
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
