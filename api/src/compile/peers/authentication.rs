//! How connections are signed: TCP MD5 or TCP-AO, with a key by value or in a Secret.

use super::super::Refusal;
use crate::crd::{BGPPeerSpec, SecretReference};

/// Longest key that Linux takes for TCP MD5.
const MAX_KEY: usize = 80;

/// `own` is Portolan's namespace, where it is known.
pub(super) fn check(spec: &BGPPeerSpec, own: Option<&str>) -> Result<(), Refusal> {
    let md5 = spec.password.is_some() || spec.password_secret.is_some();
    if spec.password.is_some() && spec.password_secret.is_some() {
        let why = "set beside passwordSecret: keep one of them";
        return Err(Refusal::invalid("spec.password", why));
    }
    let bad = |key: &String| key.is_empty() || key.len() > MAX_KEY;
    if spec.password.as_ref().is_some_and(bad) {
        let why = "a TCP MD5 key has 1 to 80 bytes";
        return Err(Refusal::invalid("spec.password", why));
    }
    if let Some(reference) = &spec.password_secret {
        secret("spec.passwordSecret", reference, own)?;
    }
    if let Some(option) = &spec.tcp_authentication_option {
        let field = "spec.tcpAuthenticationOption";
        if md5 {
            let why =
                "set beside a TCP MD5 password: a connection is signed one way, keep one of them";
            return Err(Refusal::invalid(field, why));
        }
        if !(0..=255).contains(&option.key_id) {
            return Err(Refusal::invalid(
                &format!("{field}.keyID"),
                "must be 0 to 255",
            ));
        }
        secret(&format!("{field}.keySecret"), &option.key_secret, own)?;
    }
    Ok(())
}

/// Whether a Secret can be read where `field` says that it is. `own` is Portolan's namespace, where it is known.
pub(in super::super) fn secret(
    field: &str,
    secret: &SecretReference,
    own: Option<&str>,
) -> Result<(), Refusal> {
    if secret.name.is_empty() {
        let why = "missing: name the Secret";
        return Err(Refusal::invalid(&format!("{field}.name"), why));
    }
    let named = secret.namespace.as_deref().filter(|name| !name.is_empty());
    match (named, own) {
        (Some(named), Some(own)) if named != own => {
            let why = format!(
                "Secrets are read from {own}, Portolan's own namespace, only, not from {named}: put the Secret there \
                 and remove the field"
            );
            Err(Refusal::invalid(&format!("{field}.namespace"), why))
        }
        _ => Ok(()),
    }
}
