//! The rows.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use tokio::time::Instant;

use super::Row;
use super::wire::{
    ADMIN_DOWN, AUTHENTICATED, DEMAND, DOWN, FINAL, INIT, MULTIPOINT, POLL, Raw, Said, UP,
    keep_distance,
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Long enough that this machine does not break the session, quick enough for a test.
const STEADY: &str = ",tx=200,rx=200,mult=50";

/// The least time between packets while a session is not Up: a second, less the most that jitter takes (RFC 5880 §6.8.7).
const SLOW: Duration = Duration::from_millis(750);

pub(super) fn all() -> Vec<Row> {
    vec![
        Row {
            name: "F2: slow and with jitter before it is Up",
            options: ",tx=20,rx=20",
            script: |raw| is_slow_before_up(raw).boxed(),
            end: &["Down", "ups 0"],
        },
        Row {
            name: "F5: the peer's multiplier times the slower of both",
            options: ",tx=100,rx=100,mult=20",
            script: |raw| goes_by_the_peers_multiplier(raw).boxed(),
            end: &["Down", "flaps 1", "detection None"],
        },
        Row {
            name: "§6.8.6: what must be discarded is discarded, and counts for nothing",
            options: STEADY,
            script: |raw| discards_what_it_must(raw).boxed(),
            end: &["Down", "flaps 1"],
        },
        Row {
            name: "§6.8.6: a packet without our discriminator finds no session that is not being set up",
            options: STEADY,
            script: |raw| knows_no_stranger(raw).boxed(),
            end: &["Down", "ups 0"],
        },
        Row {
            name: "F9: AdminDown is no failure",
            options: STEADY,
            script: |raw| takes_a_decision(raw).boxed(),
            end: &["Down", "flaps 0", "remote administratively down"],
        },
        Row {
            name: "F11: demand mode silences it, polls are answered",
            options: ",tx=50,rx=50,mult=50",
            script: |raw| obeys_demand(raw).boxed(),
            end: &["flaps 0"],
        },
        Row {
            name: "§6.8.7: who wants no packets gets none but answers",
            options: ",tx=50,rx=50,mult=50",
            script: |raw| sends_nothing_to_who_wants_nothing(raw).boxed(),
            end: &["flaps 0"],
        },
        Row {
            name: "§6.8.3: who wants fewer packets gets fewer at once",
            options: ",tx=50,rx=50,mult=50",
            script: |raw| slows_down(raw).boxed(),
            end: &["flaps 0", "transmit Some(500ms)"],
        },
        Row {
            name: "§6.8.1: a peer that begins anew is another one",
            options: STEADY,
            script: |raw| sees_a_peer_begin_anew(raw).boxed(),
            end: &["Up", "ups 2", "flaps 1"],
        },
        Row {
            name: "§6.8.1: a silent peer's discriminator is forgotten",
            options: ",tx=100,rx=100",
            script: |raw| forgets_who_is_silent(raw).boxed(),
            end: &["Down", "flaps 1"],
        },
        Row {
            name: "§6.5: a poll that nobody answers is asked on, and breaks nothing",
            options: ",tx=100,rx=100,mult=50",
            script: |raw| asks_on(raw).boxed(),
            end: &["flaps 0"],
        },
        Row {
            name: "the largest numbers",
            options: STEADY,
            script: |raw| bears_the_largest_numbers(raw).boxed(),
            end: &["Up", "flaps 0"],
        },
        Row {
            name: "F17: a flood of random packets",
            options: STEADY,
            script: |raw| bears_a_flood(raw).boxed(),
            end: &["Up", "ups 1", "flaps 0"],
        },
        Row {
            name: "§6.7: no packet without the key is believed",
            options: ",auth=meticulous-sha1:1:secret",
            script: |raw| believes_keys_only(raw).boxed(),
            end: &["Down", "ups 0", "are not believed"],
        },
        Row {
            name: "§6.8.7: the passive side waits",
            options: ",tx=200,rx=200,mult=50,passive",
            script: |raw| waits_to_be_spoken_to(raw).boxed(),
            end: &["Up", "flaps 0"],
        },
    ]
}

async fn is_slow_before_up(mut raw: Raw) -> Result<()> {
    let heard = raw.listen(6 * SECOND).await?;
    ensure!(heard.len() >= 5, "{heard:?}");
    ensure!(keep_distance(&heard, SLOW), "{heard:?}");
    let quiet = |said: &Said| said.state == DOWN && said.yours == 0 && said.flags == 0;
    ensure!(heard.iter().all(|(_, said)| quiet(said)), "{heard:?}");
    Ok(())
}

async fn goes_by_the_peers_multiplier(mut raw: Raw) -> Result<()> {
    raw.say(|said| said.multiplier = 5).await?;
    raw.rise(200_000, 100_000).await?;
    let mut last = Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(150 * MILLI).await;
        last = Instant::now();
        raw.say(|_| ()).await?;
    }
    raw.forget().await?;
    let down = raw.wait("Down", |said| said.state == DOWN).await?;
    let took = last.elapsed().as_secs_f64();
    ensure!(down.diag == 1, "{down:?}");
    // Our own multiplier would make four seconds of it.
    ensure!((1.0..3.0).contains(&took), "5 × 200 ms, and it took {took}");
    Ok(())
}

async fn discards_what_it_must(mut raw: Raw) -> Result<()> {
    raw.says.multiplier = 200;
    raw.rise(200_000, 200_000).await?;
    let good = raw.poll().bytes();
    raw.expect_answer("the good one", &good).await?;
    let bad = what_must_be_discarded(&raw);
    for (what, ttl, bytes) in &bad {
        raw.set_ttl(*ttl)?;
        ensure!(!raw.is_answered(bytes).await?, "{what}");
    }
    raw.set_ttl(255)?;
    raw.expect_answer("good as before", &good).await?;
    // A little too much is not wrong: the length decides.
    let longer = [&good[..], &[0; 20]].concat();
    raw.expect_answer("padded", &longer).await?;
    // None of them is a sign of life: 5 × 200 ms after the last good one it is over.
    raw.say(|said| said.multiplier = 5).await?;
    let end = Instant::now() + 3 * SECOND;
    for (_, ttl, bytes) in bad.iter().cycle() {
        raw.set_ttl(*ttl)?;
        raw.send_bytes(bytes).await?;
        // All kinds within a detection time: one alone that counts would keep the session up.
        let heard = raw.next(Instant::now() + 20 * MILLI).await?;
        if let Some((_, said)) = heard.filter(|(_, said)| said.state == DOWN) {
            ensure!(said.diag == 1, "{said:?}");
            return Ok(());
        }
        ensure!(Instant::now() < end, "they kept it up");
    }
    Ok(())
}

/// Polls with one defect each, and the TTL they are sent with.
fn what_must_be_discarded(raw: &Raw) -> Vec<(&'static str, u32, Vec<u8>)> {
    type Change = fn(&mut Said);
    let table: [(&str, Change); 12] = [
        ("version 0", |said| said.version = 0),
        ("version 2", |said| said.version = 2),
        ("length 23", |said| said.length = 23),
        ("length 0", |said| said.length = 0),
        ("longer than it is", |said| said.length = 25),
        ("multiplier 0", |said| said.multiplier = 0),
        ("multipoint", |said| said.flags |= MULTIPOINT),
        ("my discriminator 0", |said| said.mine = 0),
        ("a session of nobody", |said| said.yours ^= 0x5555),
        ("no session, and Up", |said| said.yours = 0),
        ("authenticated, by half", |said| said.flags |= AUTHENTICATED),
        ("authenticated, and nobody wants it", |said| {
            said.flags |= AUTHENTICATED;
            said.rest = vec![1, 7, 1, 1, 1, 1, 1];
            said.length = 31;
        }),
    ];
    let changed = table.into_iter().map(|(what, change)| {
        let mut bad = raw.poll();
        change(&mut bad);
        (what, 255, bad.bytes())
    });
    let good = raw.poll().bytes();
    let mut all: Vec<_> = changed.collect();
    all.push(("cut off", 255, good[..23].to_vec()));
    all.push(("from afar", 254, good));
    all
}

async fn knows_no_stranger(mut raw: Raw) -> Result<()> {
    raw.wait("a first packet", |said| said.state == DOWN)
        .await?;
    for state in [INIT, UP] {
        let mut poll = raw.poll();
        (poll.state, poll.yours) = (state, 0);
        ensure!(!raw.is_answered(&poll.bytes()).await?, "state {state}");
    }
    // Up is nothing that a session in Down believes, even when it is named.
    let mut poll = raw.poll();
    poll.state = UP;
    raw.expect_answer("a poll in any state", &poll.bytes())
        .await?;
    let heard = raw.listen(2500 * MILLI).await?;
    ensure!(
        !heard.is_empty() && heard.iter().all(|(_, said)| said.state == DOWN),
        "{heard:?}"
    );
    Ok(())
}

async fn takes_a_decision(mut raw: Raw) -> Result<()> {
    raw.rise(200_000, 200_000).await?;
    raw.say(|said| (said.state, said.diag, said.multiplier) = (ADMIN_DOWN, 7, 200))
        .await?;
    let down = raw.wait("Down", |said| said.state == DOWN).await?;
    ensure!(down.diag == 3, "{down:?}");
    raw.say(|_| ()).await?;
    let heard = raw.listen(2500 * MILLI).await?;
    ensure!(
        !heard.is_empty() && heard.iter().all(|(_, said)| said.state == DOWN),
        "{heard:?}"
    );
    raw.say(|_| ()).await
}

async fn obeys_demand(mut raw: Raw) -> Result<()> {
    raw.rise(200_000, 50_000).await?;
    raw.say(|said| (said.flags, said.multiplier) = (DEMAND, 200))
        .await?;
    raw.settle("silent on demand", SECOND, <[_]>::is_empty)
        .await?;
    let poll = raw.poll();
    raw.expect_answer("a poll", &poll.bytes()).await?;
    raw.say(|said| said.flags = 0).await?;
    raw.settle("and speaks again", SECOND, |heard| heard.len() >= 10)
        .await
}

async fn sends_nothing_to_who_wants_nothing(mut raw: Raw) -> Result<()> {
    raw.rise(200_000, 50_000).await?;
    raw.say(|said| (said.times[1], said.multiplier) = (0, 200))
        .await?;
    raw.settle("silent", SECOND, <[_]>::is_empty).await?;
    let poll = raw.poll();
    raw.expect_answer("a poll", &poll.bytes()).await
}

async fn slows_down(mut raw: Raw) -> Result<()> {
    raw.rise(200_000, 50_000).await?;
    raw.say(|said| (said.times[1], said.multiplier) = (500_000, 200))
        .await?;
    raw.settle("375 ms at least", 4 * SECOND, |heard| {
        heard.len() >= 6 && keep_distance(heard, 375 * MILLI)
    })
    .await
}

async fn sees_a_peer_begin_anew(mut raw: Raw) -> Result<()> {
    raw.rise(200_000, 200_000).await?;
    let known = raw.yours;
    raw.says.mine = 0xbeef;
    raw.yours = 0;
    raw.say(|said| (said.state, said.multiplier) = (DOWN, 200))
        .await?;
    let down = raw.wait("Down", |said| said.state == DOWN).await?;
    ensure!(
        (down.diag, down.yours, down.mine) == (3, 0xbeef, known),
        "{down:?}"
    );
    raw.rise(200_000, 200_000).await.map(drop)
}

async fn forgets_who_is_silent(mut raw: Raw) -> Result<()> {
    raw.rise(100_000, 100_000).await?;
    let down = raw.wait("Down", |said| said.state == DOWN).await?;
    ensure!((down.diag, down.yours) == (1, 0), "{down:?}");
    let heard = raw.listen(4 * SECOND).await?;
    ensure!(
        heard.len() >= 2 && keep_distance(&heard, SLOW),
        "slow again: {heard:?}"
    );
    ensure!(heard.iter().all(|(_, said)| said.yours == 0), "{heard:?}");
    Ok(())
}

async fn asks_on(mut raw: Raw) -> Result<()> {
    raw.wait("a first packet", |said| said.state == DOWN)
        .await?;
    let times = [100_000, 100_000, 0];
    raw.say(|said| (said.times, said.multiplier) = (times, 200))
        .await?;
    raw.wait("Init", |said| said.state == INIT).await?;
    raw.say(|said| said.state = UP).await?;
    raw.wait("Up", |said| said.state == UP).await?;
    let mut heard = Vec::new();
    for _ in 0..8 {
        raw.say(|_| ()).await?;
        heard.extend(raw.listen(250 * MILLI).await?);
    }
    let asks = |said: &Said| said.flags & POLL != 0 && said.state == UP;
    ensure!(
        heard.len() >= 8 && heard.iter().all(|(_, said)| asks(said)),
        "{heard:?}"
    );
    raw.say(|said| said.flags |= FINAL).await?;
    raw.settle("it asks no more", 500 * MILLI, |heard| {
        !heard.is_empty() && heard.iter().all(|(_, said)| said.flags & POLL == 0)
    })
    .await
}

async fn bears_the_largest_numbers(mut raw: Raw) -> Result<()> {
    raw.rise(200_000, 200_000).await?;
    let largest = [u32::MAX; 3];
    raw.say(|said| (said.times, said.multiplier, said.diag) = (largest, 255, 31))
        .await?;
    let poll = raw.poll();
    raw.expect_answer("a poll", &poll.bytes()).await?;
    // It sends every 71 minutes from now on; another wish brings it back at once.
    raw.settle("the pace that was asked for", SECOND, <[_]>::is_empty)
        .await?;
    raw.say(|said| (said.times, said.multiplier) = ([200_000, 200_000, 0], 200))
        .await?;
    raw.settle("it is back", SECOND, |heard| heard.len() >= 3)
        .await?;
    raw.say(|_| ()).await
}

async fn bears_a_flood(mut raw: Raw) -> Result<()> {
    raw.say(|said| said.multiplier = 200).await?;
    raw.rise(200_000, 200_000).await?;
    // SplitMix64: repeatable, and as good as chance.
    let mut seed = 0_u64;
    let mut roll = move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    };
    for round in 0..20_000_u32 {
        let length = 20 + usize::try_from(roll() % 45)?;
        let mut bytes: Vec<u8> = (0..=length / 8)
            .flat_map(|_| roll().to_le_bytes())
            .collect();
        bytes.truncate(length);
        if round % 2 == 0 {
            // Half of them get past the first look. None names the session.
            bytes.resize(24, 0);
            bytes[0] = 0x20 | bytes[0] & 0x1f;
            bytes[1] &= 0xfa;
            bytes[3] = 24;
            bytes[8] = 0xff;
        }
        raw.send_bytes(&bytes).await?;
        if round % 500 == 0 {
            raw.say(|_| ()).await?;
        }
    }
    let poll = raw.poll();
    raw.expect_answer("and it lives", &poll.bytes()).await
}

async fn believes_keys_only(mut raw: Raw) -> Result<()> {
    let first = raw
        .wait("a first packet", |said| said.state == DOWN)
        .await?;
    ensure!(
        first.flags & AUTHENTICATED != 0 && first.length == 52,
        "{first:?}"
    );
    ensure!(first.rest[..4] == [5, 28, 1, 0], "{first:?}");
    let mut sequence = [0; 4];
    sequence.copy_from_slice(&first.rest[4..8]);
    let open = raw.poll();
    ensure!(!raw.is_answered(&open.bytes()).await?, "without a key");
    let mut forged = raw.poll();
    (forged.flags, forged.length) = (POLL | AUTHENTICATED, 52);
    forged.rest = [5, 28, 1, 0, 0, 0, 0, 1]
        .into_iter()
        .chain([0; 20])
        .collect();
    ensure!(
        !raw.is_answered(&forged.bytes()).await?,
        "with a digest of zeros"
    );
    // What it said itself, thrown back at it.
    let mirrored = Said {
        flags: POLL | AUTHENTICATED,
        ..first.clone()
    };
    ensure!(!raw.is_answered(&mirrored.bytes()).await?, "its own digest");
    let next = raw
        .wait("another packet", |said| said.state == DOWN)
        .await?;
    let mut after = [0; 4];
    after.copy_from_slice(&next.rest[4..8]);
    let ahead = u32::from_be_bytes(after).wrapping_sub(u32::from_be_bytes(sequence));
    ensure!(
        (1..10).contains(&ahead),
        "every packet has its number: {ahead}"
    );
    ensure!(next.yours == 0, "nothing was learnt: {next:?}");
    Ok(())
}

async fn waits_to_be_spoken_to(mut raw: Raw) -> Result<()> {
    let heard = raw.listen(3 * SECOND).await?;
    ensure!(heard.is_empty(), "{heard:?}");
    raw.say(|said| said.multiplier = 200).await?;
    raw.wait("Init", |said| said.state == INIT).await?;
    raw.say(|said| said.state = UP).await?;
    raw.wait("Up", |said| said.state == UP).await?;
    raw.say(|said| said.flags |= FINAL).await
}
