//! Tracking links for customers: who has one sees one order, until it expires.

use super::{Auth, KeyError, TenantId};
use dispatch_core::{MarketId, OrderId, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

/// What a link shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) tenant: TenantId,
    pub(crate) market: MarketId,
    pub(crate) order: OrderId,
    /// When that order was placed: another one may get its id later.
    pub(crate) placed: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// A link that shows nothing: forged, damaged, made worthless, or over. Which of them is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link is not valid, or not any more")]
pub(crate) struct LinkError;

/// What is signed. A link is a token of the server's own with an audience of its own, so that it never counts as any other.
#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    tenant: TenantId,
    market: MarketId,
    order: OrderId,
    placed_ms: i64,
    /// In milliseconds: the server's unit.
    exp_ms: i64,
}

const AUDIENCE: &str = "dispatch-tracking";

/// Most bytes of a link: ids have 64 characters at most.
const MAX_BYTES: usize = 1_024;

impl Auth {
    /// Signs a link. The first one reads and writes files.
    pub(crate) fn sign(&self, link: &Link) -> Result<String, KeyError> {
        self.keys.keep_link_secret()?;
        let Link { tenant, market, order, placed, expires_at } = link.clone();
        let (placed_ms, exp_ms) = (placed.as_millis(), expires_at.as_millis());
        let claims = Claims { aud: AUDIENCE.into(), tenant, market, order, placed_ms, exp_ms };
        let key = EncodingKey::from_secret(&self.keys.link_secret());
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &key)
            .expect("claims are JSON, and every secret does for HMAC"))
    }

    /// Reads a link.
    pub(crate) fn follow(&self, text: &str, now: Timestamp) -> Result<Link, LinkError> {
        if text.len() > MAX_BYTES {
            return Err(LinkError);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud"]);
        // Against the server's time, below.
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(&self.keys.link_secret());
        let Claims { tenant, market, order, placed_ms, exp_ms, .. } =
            decode::<Claims>(text, &key, &validation).map_err(|_| LinkError)?.claims;
        let expires_at = Timestamp::from_millis(exp_ms);
        let placed = Timestamp::from_millis(placed_ms);
        if now < expires_at { Ok(Link { tenant, market, order, placed, expires_at }) } else { Err(LinkError) }
    }
}
