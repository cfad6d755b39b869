//! The users: who creates Services, deletes them, and changes their minds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use portolan_api::annotation::{ADDRESS_POOL, LOAD_BALANCER_IPS};
use serde_json::{Value, json};

use super::super::{mk_service, mk_sharing};

/// Requests on their way at the same time.
const CONCURRENCY: usize = 8;
/// Addresses that many ask for by name.
const WANTED: usize = 16;

/// A sequence that is the same in every run, from a seed (Knuth's MMIX).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let sides = u64::try_from(sides).unwrap();
        usize::try_from((self.0 >> 33) % sides).unwrap()
    }
}

fn name_of(number: usize) -> String {
    format!("s-{number}")
}

fn mk_one(number: usize) -> Value {
    let name = name_of(number);
    if number % 8 == 4 {
        // Eight under each key, each with a port of its own.
        let port = 1000 + u16::try_from(number).unwrap();
        return mk_sharing(&name, &format!("key-{}", number / 64), "TCP", port);
    }
    let more = match number % 8 {
        0 | 1 => json!({ "spec": { "ipFamilyPolicy": "RequireDualStack" } }),
        2 => asks(ADDRESS_POOL, "named"),
        3 if number % 64 == 3 => asks(LOAD_BALANCER_IPS, &wanted(number)),
        _ => json!({}),
    };
    mk_service(&name, &more)
}

/// One wish, and no other.
fn asks(annotation: &str, value: &str) -> Value {
    let mut annotations = json!({ ADDRESS_POOL: null, LOAD_BALANCER_IPS: null });
    annotations[annotation] = json!(value);
    json!({ "metadata": { "annotations": annotations } })
}

fn wanted(number: usize) -> String {
    format!("10.103.0.{}", number % WANTED)
}

/// The users: how far they are, and what they did.
pub(super) struct Users {
    services: Api<Service>,
    created: AtomicUsize,
    /// Changes that were made.
    pub(super) changes: AtomicUsize,
    /// Whether to stop.
    pub(super) enough: AtomicBool,
}

impl Users {
    pub(super) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            services: Api::default_namespaced(client),
            created: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
            enough: AtomicBool::new(false),
        })
    }

    async fn create(&self, number: usize) -> Result<()> {
        let mut object = mk_one(number);
        // A create says nothing by null.
        if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|_, value| !value.is_null());
        }
        let object: Service = serde_json::from_value(object)?;
        let made = self.services.create(&PostParams::default(), &object).await;
        made.map(drop)
            .with_context(|| format!("creating Service {number}"))
    }

    pub(super) async fn create_all(&self, count: usize) -> Result<()> {
        futures::stream::iter(0..count)
            .map(async |number| {
                self.create(number).await?;
                self.created.fetch_max(number, Ordering::Relaxed);
                anyhow::Ok(())
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// One change of one Service after another, until it is enough: of those with even numbers, or of the others.
    pub(super) async fn change_minds(&self, odd: usize) -> Result<()> {
        let mut dice = Dice(u64::try_from(odd)?);
        while !self.enough.load(Ordering::Relaxed) {
            let oldest = self.created.load(Ordering::Relaxed);
            if oldest < 50 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            // Those that are on their way now are left alone.
            let number = 2 * dice.roll((oldest - 20) / 2) + odd;
            let done = match dice.roll(10) {
                0..3 => self.replace(number).await,
                3..5 => {
                    self.wish(number, &asks(LOAD_BALANCER_IPS, &wanted(dice.roll(WANTED))))
                        .await
                }
                5..7 => self.wish(number, &asks(ADDRESS_POOL, "named")).await,
                7 => self.wish(number, &asks(ADDRESS_POOL, "edge")).await,
                _ => self.wish(number, &asks(ADDRESS_POOL, "")).await,
            };
            done?;
            self.changes.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        Ok(())
    }

    async fn replace(&self, number: usize) -> Result<()> {
        let deleted = self
            .services
            .delete(&name_of(number), &DeleteParams::default())
            .await;
        deleted.with_context(|| format!("deleting Service {number}"))?;
        self.create(number).await
    }

    async fn wish(&self, number: usize, patch: &Value) -> Result<()> {
        let patched = self
            .services
            .patch(
                &name_of(number),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await;
        patched
            .map(drop)
            .with_context(|| format!("changing Service {number}"))
    }
}
