//! Portolan seen from outside: API servers, lab, scenarios.

pub mod apiserver;
