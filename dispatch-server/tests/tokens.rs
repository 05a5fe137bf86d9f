//! Tokens of issuers: who they let in, and how they may not be had.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, START, Server, order, tenants};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &[u8] = b"a secret that only the issuer and the server know";

/// The seconds since the epoch at which the tests begin.
const NOW: i64 = START / 1_000;

/// An Ed25519 key in PKCS 8 (RFC 8410) with this seed.
fn ed25519(seed: u8) -> EncodingKey {
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    EncodingKey::from_ed_der(&[&prefix[..], &[seed; 32]].concat())
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, id: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    serde_json::to_value(jwk).unwrap()
}

/// Two issuers: `ed`, who may speak for both tenants, and `hmac`, who may speak for the first.
fn issuers(folder: &Folder) -> String {
    std::fs::create_dir_all(folder.path()).unwrap();
    let write = |name: &str, keys: Value| {
        let path = format!("{}/{name}", folder.path());
        std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
        path
    };
    let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "unused"});
    let ed = write(
        "ed.json",
        json!([rsa, jwk(&ed25519(1), Algorithm::EdDSA, "one"), jwk(&ed25519(2), Algorithm::EdDSA, "two")]),
    );
    let hmac = write("hmac.json", json!([jwk(&EncodingKey::from_secret(SECRET), Algorithm::HS256, "secret")]));
    let issuer = |name: &str, algorithm: &str, path: &str, more: &str| {
        format!(
            "[[issuers]]\nissuer = \"{name}\"\naudience = \"dispatch\"\nalgorithm = \"{algorithm}\"\njwks = '{path}'\n{more}\n"
        )
    };
    issuer("ed", "EdDSA", &ed, "tenants = [\"default\", \"other\"]")
        + &issuer("hmac", "HS256", &hmac, "max_seconds = 3600")
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({"iss": "ed", "aud": "dispatch", "sub": "u-1", "exp": NOW + 600, "role": "dispatcher"});
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn sign(key: &EncodingKey, algorithm: Algorithm, id: Option<&str>, claims: &Value) -> String {
    encode(&Header { kid: id.map(str::to_owned), ..Header::new(algorithm) }, claims, key).unwrap()
}

fn ed(more: &Value) -> String {
    sign(&ed25519(1), Algorithm::EdDSA, Some("one"), &claims(more))
}

fn hmac(more: &Value) -> String {
    let mut claims = claims(more);
    claims["iss"] = json!("hmac");
    sign(&EncodingKey::from_secret(SECRET), Algorithm::HS256, Some("secret"), &claims)
}

/// Text as base64url without padding, by way of a token's payload.
fn base64(text: &str) -> String {
    let payload: Value = serde_json::from_str(text).unwrap();
    let token = sign(&EncodingKey::from_secret(SECRET), Algorithm::HS256, None, &payload);
    token.split('.').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_who_and_where() {
    let folder = Folder::new();
    let server = Server::with(&[issuers(&folder), tenants()].concat()).await;
    let get = async |token: &str, path: &str| server.send_as(token, Method::GET, path, None).await;
    server.driver("admin", "ana").await;
    server.order("admin", "o-1").await;
    for (token, who) in [
        (ed(&json!({})), "dispatcher"),
        (sign(&ed25519(2), Algorithm::EdDSA, Some("two"), &claims(&json!({}))), "with the next key"),
        (ed(&json!({"aud": ["elsewhere", "dispatch"]})), "for several"),
        (ed(&json!({"nbf": NOW + 60, "iat": NOW + 60})), "whose issuer's clock is ahead"),
        (hmac(&json!({})), "by a secret"),
        (
            sign(&EncodingKey::from_secret(SECRET), Algorithm::HS256, None, &{
                let mut claims = claims(&json!({}));
                claims["iss"] = json!("hmac");
                claims
            }),
            "of an issuer with one key",
        ),
    ] {
        let seen = get(&token, "/v1/stats").await;
        assert_eq!(seen.status, 200, "{who}: {:#}", seen.body);
    }
    // Roles, places, drivers, markets and tenants.
    let status = async |token: &str, path: &str| get(token, path).await.status;
    let driver = ed(&json!({"role": "driver", "driver": "ana"}));
    assert_eq!([status(&driver, "/v1/drivers/ana").await, status(&driver, "/v1/stats").await], [200, 403]);
    let bob = ed(&json!({"role": "driver", "driver": "bob"}));
    assert_eq!(status(&bob, "/v1/drivers/ana").await, 404);
    let merchant = |place: &str| ed(&json!({"role": "merchant", "places": [place]}));
    assert_eq!(
        [status(&merchant("p"), "/v1/orders/o-1").await, status(&merchant("q"), "/v1/orders/o-1").await],
        [200, 404]
    );
    let narrow = ed(&json!({"markets": ["none"]}));
    assert_eq!([status(&narrow, "/v1/drivers/ana").await, status(&narrow, "/v1/orders/o-1").await], [404, 404]);
    let other = ed(&json!({"tenant": "other"}));
    assert_eq!([status(&other, "/v1/drivers/ana").await, status(&other, "/v1/orders/o-1").await], [404, 404]);
    let markets = get(&other, "/v1/markets").await.ok();
    assert_eq!(markets.at("/markets/0/id"), "elsewhere");
    // The log says who it was.
    server.send_as(&ed(&json!({"role": "admin"})), Method::PUT, "/v1/drivers/eve", Some(json!({}))).await.ok();
    // The same idempotency key of two subjects is two keys.
    let submit = async |sub: &str, id: &str| {
        let bearer = format!("Bearer {}", ed(&json!({"sub": sub})));
        let headers =
            [("authorization", bearer.as_str()), ("idempotency-key", "k"), ("content-type", "application/json")];
        server.raw(Method::POST, "/v1/orders", &headers, order(id).to_string().into_bytes()).await
    };
    assert_eq!(submit("u-1", "o-2").await.status, 201);
    assert_eq!(submit("u-2", "o-3").await.status, 201);
    submit("u-1", "o-4").await.problem(422, "key_reused");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_with_a_token_that_is_not_right() {
    let folder = Folder::new();
    let server = Server::with(&[issuers(&folder), tenants()].concat()).await;
    let none = |claims: &Value| format!("{}.{}.", base64(r#"{"alg":"none","typ":"JWT"}"#), base64(&claims.to_string()));
    let public = jwk(&ed25519(1), Algorithm::EdDSA, "one")["x"].as_str().unwrap().to_owned();
    let confused = |secret: &[u8], iss: &str| {
        let claims = claims(&json!({"iss": iss}));
        sign(&EncodingKey::from_secret(secret), Algorithm::HS256, Some("one"), &claims)
    };
    let good = ed(&json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let admin = base64(&claims(&json!({"role": "admin"})).to_string());
    let attacks = [
        ("no algorithm", none(&claims(&json!({})))),
        ("no algorithm, with a signature", format!("{}{}", none(&claims(&json!({}))), parts[2])),
        ("the public key as a secret", confused(public.as_bytes(), "ed")),
        ("the public key's bytes as a secret", confused(&[1; 32], "ed")),
        ("another issuer's secret", confused(SECRET, "ed")),
        ("another issuer's key", sign(&ed25519(1), Algorithm::EdDSA, Some("secret"), &claims(&json!({"iss": "hmac"})))),
        ("a key nobody knows", sign(&ed25519(9), Algorithm::EdDSA, Some("one"), &claims(&json!({})))),
        ("a key of another name", sign(&ed25519(2), Algorithm::EdDSA, Some("one"), &claims(&json!({})))),
        ("a name nobody knows", sign(&ed25519(1), Algorithm::EdDSA, Some("three"), &claims(&json!({})))),
        ("no name where there are several keys", sign(&ed25519(1), Algorithm::EdDSA, None, &claims(&json!({})))),
        ("other claims under the same signature", format!("{}.{admin}.{}", parts[0], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.{}", parts[2])),
        ("dots", "..".into()),
        ("too long", format!("{good}{}", "A".repeat(9_000))),
        ("expired", ed(&json!({"exp": NOW}))),
        ("expired long ago", ed(&json!({"exp": 1}))),
        ("no end", ed(&json!({"exp": null}))),
        ("an end that is no number", ed(&json!({"exp": "never"}))),
        ("an end too far away", ed(&json!({"exp": NOW + 86_401}))),
        ("an end too far away for its issuer", hmac(&json!({"exp": NOW + 3_601}))),
        ("the end of time", ed(&json!({"exp": i64::MAX}))),
        ("not yet", ed(&json!({"nbf": NOW + 61}))),
        ("another audience", ed(&json!({"aud": "elsewhere"}))),
        ("no audience", ed(&json!({"aud": null}))),
        ("another issuer", ed(&json!({"iss": "nobody"}))),
        ("no issuer", ed(&json!({"iss": null}))),
        ("nobody", ed(&json!({"sub": null}))),
        ("a role there is not", ed(&json!({"role": "root"}))),
        ("no role", ed(&json!({"role": null}))),
        ("a driver that is nobody", ed(&json!({"role": "driver"}))),
        ("an admin that is a driver", ed(&json!({"role": "admin", "driver": "ana"}))),
        ("a merchant without places", ed(&json!({"role": "merchant"}))),
        ("a tenant its issuer does not speak for", hmac(&json!({"tenant": "other"}))),
        ("a tenant that is no id", ed(&json!({"tenant": "a b"}))),
        ("markets that are no ids", ed(&json!({"markets": ["a b"]}))),
    ];
    for (attack, token) in attacks {
        let answer = server.send_as(&token, Method::GET, "/v1/stats", None).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (401, Some("unauthenticated")), "{attack}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{attack}");
    }
    server.send_as(&good, Method::GET, "/v1/stats", None).await.ok();
    server.pass(600);
    server.send_as(&good, Method::GET, "/v1/stats", None).await.problem(401, "unauthenticated");
    server.stop().await;
}

#[test]
fn issuers_are_checked_when_the_configuration_is_read() {
    let folder = Folder::new();
    let good = issuers(&folder);
    let wrong = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        let file = good.replacen(from, to, 1);
        dispatch_server::Sources { file: Some(file), ..Default::default() }.load().unwrap_err().to_string()
    };
    for (from, to, named) in [
        ("EdDSA", "RS256", "issuers[0].algorithm"),
        ("EdDSA", "none", "issuers[0].algorithm"),
        ("EdDSA", "HS256", "issuers[0].jwks"),
        ("HS256", "EdDSA", "issuers[1].jwks"),
        ("ed.json", "none.json", "issuers[0].jwks"),
        ("\"hmac\"", "\"ed\"", "issuers[1].issuer"),
        ("\"dispatch\"", "\"\"", "issuers[0].audience"),
        ("3600", "0", "issuers[1].max_seconds"),
        ("[\"default\", \"other\"]", "[\"a b\"]", "issuers[0].tenants"),
    ] {
        let problem = wrong(from, to);
        assert!(problem.contains(named), "{from} -> {to}: {problem}");
    }
    let short = json!({"keys": [jwk(&EncodingKey::from_secret(b"short"), Algorithm::HS256, "s")]}).to_string();
    std::fs::write(format!("{}/short.json", folder.path()), short).unwrap();
    assert!(wrong("hmac.json", "short.json").contains("32 bytes"));
}
