//! Times of a session, as numbers in the units of the protocol.

use std::time::Duration;

use super::super::Refusal;
use crate::crd::BGPPeerSpec;
use crate::duration;

/// Hold time that we propose when the user names none (RFC 4271 section 10).
const DEFAULT_HOLD: Duration = Duration::from_secs(90);
/// Restart time that we announce when the user names none: what a pull of an image and a start take, with room.
const DEFAULT_RESTART: u16 = 120;
/// Twelve bits of the capability (RFC 4724 section 3).
const MAX_RESTART: u32 = 4095;
/// Twenty-four bits of the capability (RFC 9494 section 3).
const MAX_STALE: u32 = (1 << 24) - 1;

/// The times of a session.
pub(super) struct Timers {
    pub(super) hold: u16,
    pub(super) keepalive: Option<u32>,
    pub(super) connect: Option<u16>,
    pub(super) restart: Option<u16>,
    pub(super) long_lived: Option<u32>,
}

pub(super) fn read(spec: &BGPPeerSpec) -> Result<Timers, Refusal> {
    let (hold, keepalive) = liveness(spec)?;
    let connect = span("spec.connectTime", spec.connect_time.as_deref())?;
    let connect = connect.map(|time| {
        let seconds = u16::try_from(time.as_secs()).ok().filter(|s| *s != 0);
        let whole = seconds.filter(|_| time.subsec_millis() == 0);
        let why = "must be whole seconds from 1s to 65535s";
        whole.ok_or_else(|| Refusal::invalid("spec.connectTime", why))
    });
    let (restart, long_lived) = restart(spec)?;
    Ok(Timers {
        hold,
        keepalive,
        connect: connect.transpose()?,
        restart,
        long_lived,
    })
}

fn span(field: &str, text: Option<&str>) -> Result<Option<Duration>, Refusal> {
    let parse = |text| duration::parse(text).map_err(|why| Refusal::invalid(field, why));
    text.map(parse).transpose()
}

/// Hold time in seconds, and time between KEEPALIVEs in milliseconds.
fn liveness(spec: &BGPPeerSpec) -> Result<(u16, Option<u32>), Refusal> {
    let keepalive = span("spec.keepaliveTime", spec.keepalive_time.as_deref())?;
    let hold = span("spec.holdTime", spec.hold_time.as_deref())?
        .or(keepalive.map(|keepalive| keepalive * 3))
        .unwrap_or(DEFAULT_HOLD);
    let seconds = u16::try_from(hold.as_secs())
        .ok()
        .filter(|s| *s == 0 || *s >= 3);
    let hold_seconds = seconds
        .filter(|_| hold.subsec_millis() == 0)
        .ok_or_else(|| {
            let why = "must be 0s, or whole seconds from 3s to 65535s (RFC 4271 section 4.2)";
            Refusal::invalid("spec.holdTime", why)
        })?;
    if keepalive.is_some_and(|k| k > hold || (k.is_zero() && !hold.is_zero())) {
        let why = "must be more than 0s and at most holdTime";
        return Err(Refusal::invalid("spec.keepaliveTime", why));
    }
    let keepalive = keepalive.and_then(|k| u32::try_from(k.as_millis()).ok());
    Ok((hold_seconds, keepalive))
}

/// Restart time of RFC 4724 and stale time of RFC 9494, in seconds.
fn restart(spec: &BGPPeerSpec) -> Result<(Option<u16>, Option<u32>), Refusal> {
    let times = [
        (
            "spec.gracefulRestartTime",
            spec.graceful_restart_time.as_deref(),
            MAX_RESTART,
        ),
        (
            "spec.longLivedStaleTime",
            spec.long_lived_stale_time.as_deref(),
            MAX_STALE,
        ),
    ];
    let mut seconds = [None; 2];
    for (slot, (field, text, max)) in seconds.iter_mut().zip(times) {
        let Some(time) = span(field, text)? else {
            continue;
        };
        if !spec.enable_graceful_restart {
            let why = "has no effect without enableGracefulRestart: set that, or remove it";
            return Err(Refusal::invalid(field, why));
        }
        let whole = u32::try_from(time.as_secs()).ok();
        let whole = whole.filter(|s| time.subsec_millis() == 0 && *s <= max);
        let why = format!("must be whole seconds up to {max}s");
        *slot = Some(whole.ok_or_else(|| Refusal::invalid(field, why))?);
    }
    let [restart, long_lived] = seconds;
    let restart = match restart {
        Some(seconds) => u16::try_from(seconds).ok(),
        None => spec.enable_graceful_restart.then_some(DEFAULT_RESTART),
    };
    Ok((restart, long_lived))
}
