//! The sessions of a node, to be looked at from elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::SessionStatus;
use super::shared::Shared;

/// The sessions of a node as they are at the moment of looking. Clones look at the same.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, Arc<Shared>>>>);

impl Board {
    /// How all sessions fare, by name.
    #[must_use]
    pub fn status(&self) -> Vec<SessionStatus> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.values().map(|session| session.status()).collect()
    }

    /// Shows these sessions from now on.
    pub(super) fn show(&self, sessions: BTreeMap<String, Arc<Shared>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sessions;
    }
}
