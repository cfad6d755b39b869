//! Keys of sessions, from Secrets of our own namespace.

use std::collections::HashMap;

use portolan_api::annotation::SPEAKER_SECRET;
use portolan_api::crd::SecretReference;
use portolan_daemon::watch::Change;
use portolan_proto::claim;

/// A Secret: only the key that a peer may need.
#[derive(Debug, Clone, Default, kube::Resource, serde::Serialize, serde::Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Secret")]
pub struct Secret {
    /// Name and namespace.
    pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    /// The data, as the API has it.
    #[serde(default)]
    pub data: SecretData,
}

/// The values of a Secret that we read.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SecretData {
    /// `password` of type `kubernetes.io/basic-auth`.
    pub password: Option<k8s_openapi::ByteString>,
    /// `key` of the Secret of the speakers.
    pub key: Option<k8s_openapi::ByteString>,
}

impl std::fmt::Debug for SecretData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretData(…)")
    }
}

/// All of them, by name: the key, or what is wrong with the Secret. What a session had before a Secret was spoilt is kept
/// with the session's peer, see [`super::standing`].
#[derive(Debug, Default)]
pub(super) struct Secrets {
    known: HashMap<String, Result<String, &'static str>>,
    /// They were listed once: what is not known does not exist.
    listed: bool,
}

impl Secrets {
    const UNREAD: &str =
        "has not been read; see the speaker's log, and whether its Role lets it watch Secrets";
    const NO_SECRET: &str = "does not exist, or is not of type kubernetes.io/basic-auth: create it with the key under password";
    const NO_KEY: &str = "has no usable value under password: 1 to 80 bytes of text";

    /// The key in a Secret of our own namespace (`ours`), or why there is none. `field` is where the Secret is named.
    pub(super) fn key(
        &self,
        ours: &str,
        field: &str,
        secret: &SecretReference,
    ) -> Result<&str, String> {
        let name = &secret.name;
        let named = secret
            .namespace
            .as_deref()
            .filter(|named| !named.is_empty());
        if let Some(other) = named.filter(|named| *named != ours) {
            return Err(format!(
                "{field} {other}/{name}: Secrets are read from namespace {ours} only: move it there"
            ));
        }
        let problem = match self.known.get(name) {
            Some(Ok(key)) => return Ok(key),
            Some(Err(problem)) => problem,
            None if self.listed => Self::NO_SECRET,
            None => Self::UNREAD,
        };
        Err(format!("{field} {ours}/{name} {problem}"))
    }

    /// Takes a change in. Returns whether some key is different now, or what is said of it.
    pub(super) fn take(&mut self, change: Change<Secret>) -> bool {
        let (name, found) = match change {
            Change::Apply(secret) => {
                let password = secret.data.password;
                let key = password.and_then(|bytes| String::from_utf8(bytes.0).ok());
                let key = key.filter(|key| (1..=80).contains(&key.len()));
                let name = secret.metadata.name.unwrap_or_default();
                (name, key.ok_or(Self::NO_KEY))
            }
            Change::Delete((_, name)) => return self.known.remove(&name).is_some(),
            Change::Unreadable((_, name), _) => (name, Err(Self::NO_KEY)),
            Change::Synced => return !std::mem::replace(&mut self.listed, true),
        };
        let differs = self.known.get(&name) != Some(&found);
        self.known.insert(name, found);
        differs
    }
}

/// The key that the speakers have in common. A Secret that is deleted or spoilt takes no running session down: its last
/// usable key stays.
#[derive(Debug, Default)]
pub(super) struct SpeakerKey {
    usable: Option<claim::Key>,
    /// What is wrong with the Secret as it is now; None before anything is known of it.
    trouble: Option<String>,
}

impl SpeakerKey {
    const MISSING: &str = "does not exist; the controller makes it";
    const UNREAD: &str =
        "has not been read; see the speaker's log, and whether its Role lets it watch Secrets";

    /// Takes a change in. Returns whether something is different now.
    pub(super) fn take(&mut self, change: Change<Secret>) -> bool {
        let found = match change {
            Change::Apply(secret) => {
                let bytes = secret.data.key.map(|bytes| bytes.0).unwrap_or_default();
                claim::Key::new(&bytes)
                    .map_err(|error| format!("has no usable value under key: {error}"))
            }
            Change::Delete(_) => Err(Self::MISSING.to_owned()),
            Change::Unreadable(_, error) => Err(format!("can not be read: {error}")),
            Change::Synced if self.usable.is_none() && self.trouble.is_none() => {
                Err(Self::MISSING.to_owned())
            }
            Change::Synced => return false,
        };
        let before = (self.usable.clone(), self.trouble.clone());
        match found {
            Ok(key) => (self.usable, self.trouble) = (Some(key), None),
            Err(trouble) => self.trouble = Some(trouble),
        }
        before != (self.usable.clone(), self.trouble.clone())
    }

    pub(super) fn usable(&self) -> Option<&claim::Key> {
        self.usable.as_ref()
    }

    /// What is wrong, in words.
    pub(super) fn problem(&self, namespace: &str) -> Option<String> {
        let trouble = match (&self.trouble, &self.usable) {
            (Some(trouble), _) => trouble.as_str(),
            (None, Some(_)) => return None,
            (None, None) => Self::UNREAD,
        };
        let meanwhile = if self.usable.is_some() {
            "its last usable key stays in use"
        } else {
            "until then speakers do not watch each other, and an address moves when the controller says so"
        };
        Some(format!(
            "Secret {namespace}/{SPEAKER_SECRET} {trouble}; {meanwhile}"
        ))
    }
}
