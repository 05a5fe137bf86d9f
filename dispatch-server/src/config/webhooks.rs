//! How webhooks are told what happens.

use super::Problems;
use serde::Deserialize;

/// How webhooks behave, and how many there may be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhooksConfig {
    pub(crate) per_tenant: usize,
    pub(crate) allow_http: bool,
    pub(crate) allow_private: bool,
    pub(crate) requests: usize,
    pub(crate) retries_at_once: usize,
    pub(crate) connect_ms: u32,
    pub(crate) response_ms: u32,
    pub(crate) attempts: u32,
    pub(crate) backoff_first_ms: u32,
    pub(crate) backoff_max_ms: u32,
    pub(crate) pending: usize,
    pub(crate) dead_letters: usize,
}

pub(super) fn check_webhooks(check: &mut Problems, config: &WebhooksConfig) {
    let WebhooksConfig {
        per_tenant,
        allow_http: _,
        allow_private: _,
        requests,
        retries_at_once,
        connect_ms,
        response_ms,
        attempts,
        backoff_first_ms,
        backoff_max_ms,
        pending,
        dead_letters,
    } = *config;
    check.that("webhooks.per_tenant", per_tenant <= 1_000, "must be 0 to 1000");
    check.that("webhooks.requests", (1..=10_000).contains(&requests), "must be 1 to 10000");
    check.that("webhooks.retries_at_once", (1..=100).contains(&retries_at_once), "must be 1 to 100");
    check.that("webhooks.connect_ms", (10..=60_000).contains(&connect_ms), "must be 10 to 60000");
    check.that("webhooks.response_ms", (10..=60_000).contains(&response_ms), "must be 10 to 60000");
    check.that("webhooks.attempts", (1..=100).contains(&attempts), "must be 1 to 100");
    let first = (1..=backoff_max_ms).contains(&backoff_first_ms);
    check.that("webhooks.backoff_first_ms", first, "must be 1 at least, and webhooks.backoff_max_ms at most");
    check.that("webhooks.backoff_max_ms", backoff_max_ms <= 86_400_000, "must be at most 86400000");
    check.that("webhooks.pending", (1..=10_000).contains(&pending), "must be 1 to 10000");
    check.that("webhooks.dead_letters", dead_letters <= 10_000, "must be 0 to 10000");
}
