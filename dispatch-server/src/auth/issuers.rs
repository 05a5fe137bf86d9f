//! Tokens (JSON Web Tokens, RFC 7519) of issuers the configuration names. Who calls, and what for, is in the token alone.

use super::key_file::{Stamp, stamp};
use super::keys::is_plain;
use super::{Grant, Principal, Rate, Role, Scope, TenantId};
use dispatch_core::{DriverId, Label, MarketId, PlaceId, Timestamp};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use parking_lot::RwLock;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How tokens of an issuer are signed. A token that says anything else is refused, whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Algorithm {
    /// Ed25519: the server knows the public key.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// HMAC with SHA-256: the server knows the secret, of 32 bytes or more.
    #[serde(rename = "HS256")]
    Hs256,
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Hs256 => Self::HS256,
        }
    }
}

/// Why a token is refused. Callers are not told which; the log is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenProblem {
    /// It is longer than any token has to be.
    #[error("it is too long")]
    TooLong,
    /// Its issuer, key, algorithm, signature, audience or claims do not do.
    #[error("{0}")]
    NotValid(String),
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// It ends later than tokens of its issuer may.
    #[error("it is valid for longer than tokens of its issuer may be")]
    TooLasting,
    /// Its issuer says nothing of this tenant.
    #[error("its issuer does not speak for this tenant")]
    Tenant,
}

/// Most bytes of a token.
const MAX_TOKEN: usize = 8_192;

/// How far clocks of issuers may be ahead, in seconds.
const AHEAD_S: i64 = 60;

/// Fewest bytes of a shared secret: RFC 7518, section 3.2.
const MIN_SECRET: usize = 32;

/// Somebody whose tokens count.
#[derive(Debug)]
pub(crate) struct Issuer {
    name: String,
    algorithm: Algorithm,
    tenants: BTreeSet<TenantId>,
    max_seconds: i64,
    validation: Validation,
    path: PathBuf,
    keys: RwLock<(Option<Stamp>, Vec<TokenKey>)>,
}

/// A key of an issuer, with its name.
type TokenKey = (Option<String>, DecodingKey);

/// What a token says.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: Label,
    exp: i64,
    nbf: Option<i64>,
    role: Role,
    #[serde(default)]
    tenant: TenantId,
    markets: Option<BTreeSet<MarketId>>,
    #[serde(default)]
    places: BTreeSet<PlaceId>,
    driver: Option<DriverId>,
}

impl Issuer {
    /// An issuer whose keys are a JSON Web Key Set (RFC 7517) in a file, which may change while the server runs.
    pub(crate) fn new(
        name: String,
        audience: &str,
        algorithm: Algorithm,
        path: PathBuf,
        tenants: BTreeSet<TenantId>,
        max_seconds: i64,
    ) -> Result<Self, String> {
        let mut validation = Validation::new(algorithm.into());
        validation.set_issuer(&[&name]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Against the server's time, which is not always this machine's: see `identify`.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let keys = (stamp(&path), read_keys(&path, algorithm)?);
        if keys.1.is_empty() {
            return Err(format!("{}: has no key for this algorithm", path.display()));
        }
        Ok(Self { name, algorithm, tenants, max_seconds, validation, path, keys: RwLock::new(keys) })
    }

    /// Reads the keys if their file changed since.
    pub(super) fn refresh(&self) {
        let stamp = stamp(&self.path);
        if stamp == self.keys.read().0 {
            return;
        }
        match read_keys(&self.path, self.algorithm) {
            Ok(keys) => *self.keys.write() = (stamp, keys),
            Err(problem) => {
                tracing::error!("issuer {}: {problem}; the keys that were known still count", self.name);
                self.keys.write().0 = stamp;
            }
        }
    }

    fn claims(&self, token: &str, key_id: Option<&str>) -> Result<Claims, TokenProblem> {
        let keys = self.keys.read();
        let key = match (key_id, &keys.1[..]) {
            (Some(id), keys) => keys.iter().find(|(known, _)| known.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let (_, key) = key.ok_or_else(|| TokenProblem::NotValid("no such key".into()))?;
        let read = decode::<Claims>(token, key, &self.validation);
        read.map(|token| token.claims).map_err(|error| TokenProblem::NotValid(error.to_string()))
    }

    fn principal(&self, claims: Claims, now: Timestamp) -> Result<Principal, TokenProblem> {
        let Claims { iss, sub, exp, nbf, role, tenant, markets, places, driver } = claims;
        let seconds = now.as_millis().div_euclid(1_000);
        if exp <= seconds {
            return Err(TokenProblem::Expired);
        }
        if exp - seconds > self.max_seconds {
            return Err(TokenProblem::TooLasting);
        }
        if nbf.is_some_and(|nbf| nbf > seconds + AHEAD_S) {
            return Err(TokenProblem::NotYet);
        }
        if !is_plain(&sub) {
            return Err(TokenProblem::NotValid("its sub is empty or has control characters".into()));
        }
        if !self.tenants.contains(&tenant) {
            return Err(TokenProblem::Tenant);
        }
        let grant = Grant::new(role, places, driver).map_err(|error| TokenProblem::NotValid(error.to_string()))?;
        // Told apart from keys, whose names are labels, too, and from who is called so by another issuer.
        let id = format!("{iss}\n{sub}");
        Ok(Principal { grant, scope: Scope { tenant, markets }, name: Some(sub), id, rate: Rate::Times(1.0) })
    }
}

/// Who sends this token.
pub(super) fn identify(issuers: &[Issuer], token: &str, now: Timestamp) -> Result<Principal, TokenProblem> {
    #[derive(Deserialize)]
    struct IssuedBy {
        iss: String,
    }
    if token.len() > MAX_TOKEN {
        return Err(TokenProblem::TooLong);
    }
    let wrong = |error: jsonwebtoken::errors::Error| TokenProblem::NotValid(error.to_string());
    let header = decode_header(token).map_err(wrong)?;
    // Nothing is believed of it but which key to try: the signature says whether that was right.
    let said = jsonwebtoken::dangerous::insecure_decode_claims::<IssuedBy>(token).map_err(wrong)?;
    let issuer = issuers.iter().find(|issuer| issuer.name == said.iss);
    let issuer = issuer.ok_or_else(|| TokenProblem::NotValid("no such issuer".into()))?;
    issuer.principal(issuer.claims(token, header.kid.as_deref())?, now)
}

fn read_keys(path: &Path, algorithm: Algorithm) -> Result<Vec<TokenKey>, String> {
    let wrong = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let text = std::fs::read(path).map_err(|error| wrong(&error))?;
    let set: JwkSet = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        let fits = match (&jwk.algorithm, algorithm) {
            (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDsa) => pair.curve == EllipticCurve::Ed25519,
            (AlgorithmParameters::OctetKey(_), Algorithm::Hs256) => true,
            _ => false,
        };
        // A set may hold keys for other purposes.
        if !fits {
            continue;
        }
        let id = jwk.common.key_id.clone();
        let key = DecodingKey::from_jwk(jwk).map_err(|error| wrong(&error))?;
        let bytes = key.try_get_as_bytes().map_err(|error| wrong(&error))?.len();
        match algorithm {
            Algorithm::EdDsa if bytes != 32 => return Err(wrong(&"an Ed25519 key has 32 bytes")),
            Algorithm::Hs256 if bytes < MIN_SECRET => return Err(wrong(&"a secret has 32 bytes at least")),
            _ => {}
        }
        if keys.iter().any(|(known, _): &TokenKey| *known == id) {
            return Err(wrong(&"two keys have the same kid, or none"));
        }
        keys.push((id, key));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Folder;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    const SECRETS: [[u8; 32]; 2] = [*b"the first secret of this issuer.", *b"the other secret of this issuer."];

    fn token(which: usize) -> String {
        let header = Header { kid: Some(which.to_string()), ..Header::default() };
        let claims = json!({"iss": "i", "aud": "a", "sub": "s", "exp": 1_100, "role": "admin"});
        encode(&header, &claims, &EncodingKey::from_secret(&SECRETS[which])).unwrap()
    }

    #[test]
    fn keys_are_changed_while_the_server_runs() {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path()).unwrap();
        let path = PathBuf::from(format!("{}/jwks.json", folder.path()));
        let jwk = |which: usize| {
            let key = EncodingKey::from_secret(&SECRETS[which]);
            let mut jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, jsonwebtoken::Algorithm::HS256).unwrap();
            jwk.common.key_id = Some(which.to_string());
            jwk
        };
        // Each time of another length: some file systems count time in seconds.
        let write = |keys: Vec<usize>| {
            let keys: Vec<_> = keys.into_iter().map(jwk).collect();
            std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
        };
        write(vec![0]);
        let tenants = BTreeSet::from([TenantId::default()]);
        let issuer = Issuer::new("i".into(), "a", Algorithm::Hs256, path.clone(), tenants, 1_000).unwrap();
        let issuers = [issuer];
        let works = || [0, 1].map(|which| identify(&issuers, &token(which), Timestamp::from_millis(1_000_000)).is_ok());
        assert_eq!(works(), [true, false]);
        write(vec![0, 1]);
        assert_eq!(works(), [true, false], "until somebody looks");
        issuers[0].refresh();
        assert_eq!(works(), [true, true]);
        std::fs::write(&path, "{").unwrap();
        issuers[0].refresh();
        assert_eq!(works(), [true, true], "what makes no sense changes nothing");
        write(vec![1]);
        issuers[0].refresh();
        assert_eq!(works(), [false, true]);
        write(vec![]);
        issuers[0].refresh();
        assert_eq!(works(), [false, false], "an issuer without keys lets nobody in");
    }
}
