//! Keys, issuers of tokens, and how much each may ask.

use super::Problems;
use crate::auth::{Algorithm, Grant, Issuer, Key, KeyHash, RatesConfig, Role, Scope, TenantId};
use dispatch_core::{DriverId, Label, MarketId, PlaceId};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    name: Label,
    hash: KeyHash,
    role: Role,
    #[serde(default)]
    places: BTreeSet<PlaceId>,
    driver: Option<DriverId>,
    #[serde(default)]
    tenant: TenantId,
    markets: Option<BTreeSet<MarketId>>,
    rate: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    issuer: String,
    audience: String,
    algorithm: Algorithm,
    jwks: PathBuf,
    tenants: Option<BTreeSet<TenantId>>,
    max_seconds: Option<u32>,
}

pub(super) fn read_keys(check: &mut Problems, raw: Vec<RawKey>) -> BTreeMap<KeyHash, Key> {
    let (mut keys, mut names) = (BTreeMap::new(), BTreeSet::new());
    for (i, key) in raw.into_iter().enumerate() {
        let place = format!("keys[{i}]");
        let RawKey { name, hash, role, places, driver, tenant, markets, rate } = key;
        let rate = rate.unwrap_or(1.0);
        check.that(&format!("{place}.rate"), Key::RATES.contains(&rate), Key::RATES_ARE);
        let grant = Grant::new(role, places, driver).map_err(|error| format!("{}: {error}", error.field()));
        let Some(grant) = check.take(&place, grant) else { continue };
        let key = Key { grant, scope: Scope { tenant, markets }, name, rate };
        let new = names.insert((key.scope.tenant.clone(), key.name.clone())) && keys.insert(hash, key).is_none();
        check.that(&place, new, "has the name or the hash of another key");
    }
    keys
}

/// Longest that a token may be valid, in seconds, where the configuration does not say.
const TOKEN_SECONDS: u32 = 86_400;

pub(super) fn read_issuers(check: &mut Problems, raw: Vec<RawIssuer>) -> Vec<Issuer> {
    let (mut issuers, mut names) = (Vec::new(), BTreeSet::new());
    for (i, issuer) in raw.into_iter().enumerate() {
        let place = format!("issuers[{i}]");
        let RawIssuer { issuer: name, audience, algorithm, jwks, tenants, max_seconds } = issuer;
        check.that(
            &format!("{place}.issuer"),
            !name.is_empty() && names.insert(name.clone()),
            "must be a name of its own",
        );
        check.that(&format!("{place}.audience"), !audience.is_empty(), "must be what tokens for this server say");
        let tenants = tenants.unwrap_or_else(|| BTreeSet::from([TenantId::default()]));
        let max_seconds = max_seconds.unwrap_or(TOKEN_SECONDS);
        check.that(&format!("{place}.max_seconds"), (1..=31_536_000).contains(&max_seconds), "must be 1 to 31536000");
        let issuer = Issuer::new(name, &audience, algorithm, jwks, tenants, i64::from(max_seconds));
        issuers.extend(check.take(&format!("{place}.jwks"), issuer));
    }
    issuers
}

pub(super) fn check_rates(check: &mut Problems, rates: &RatesConfig) {
    let RatesConfig {
        reads_per_minute,
        searches_per_minute,
        commands_per_minute,
        positions_per_second,
        strangers_per_minute,
        tenant_per_second,
    } = *rates;
    for (key, count) in [
        ("rates.reads_per_minute", reads_per_minute),
        ("rates.searches_per_minute", searches_per_minute),
        ("rates.commands_per_minute", commands_per_minute),
        ("rates.positions_per_second", positions_per_second),
        ("rates.tenant_per_second", tenant_per_second),
    ] {
        check.that(key, (1..=1_000_000).contains(&count), "must be 1 to 1000000");
    }
    check.that("rates.strangers_per_minute", strangers_per_minute <= 1_000_000, "must be 0 to 1000000");
}
