//! Requests to the server, as bytes.

use dispatch_server::fuzzing::{BODIES, QUERIES, Refused, versions};
use serde_json::Value;

/// Every kind of body, query and version header is read or refused. Whatever is JSON and is refused is told which field is wrong;
/// what is not has none. Versions come back from what they are written as.
pub fn wire(input: &[u8]) {
    let is_json = serde_json::from_slice::<Value>(input).is_ok();
    for (name, read) in BODIES {
        if let Err(refused) = read(input) {
            check(name, &refused, is_json);
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        for (name, read) in QUERIES {
            if let Err(refused) = read(text) {
                check(name, &refused, true);
            }
        }
    }
    if let Some(named) = versions(input) {
        assert_eq!(versions(named.as_bytes()).as_ref(), Some(&named), "versions came back changed");
    }
}

fn check(name: &str, (field, problem): &Refused, has_fields: bool) {
    assert!(!problem.is_empty(), "{name} is refused for no reason");
    match field {
        // What a client calls its fields may look like this.
        Some(field) if matches!(field.as_str(), "" | "." | "?") => {
            assert!(problem.contains(&format!("`{field}`")), "{name}: `{field}` is no field: {problem}");
        }
        Some(_) => {}
        None => assert!(!has_fields, "{name} is refused without its field: {problem}"),
    }
}

/// One request of each kind, and what is wrong with some of them.
pub(crate) fn wire_seeds() -> Vec<Vec<u8>> {
    let order = r#"{"id":"o","pickup":{"lat":52.5,"lng":13.4,"id":"p","label":"x"},"dropoff":{"lat":1,"lng":-2},"market":"m",
        "preparation_seconds":600,"promised_at":"2026-11-21T12:00:00Z","units":2,"skills":["cold"],"pay":{"fee_minor":1}}"#;
    let rules = r#"{"start_on":"placed","preparation_seconds":900,"window_ms":1000,"search":{"radius_m":5000,"max_radius_m":15000},
        "score":[{"term":"delay_min","weight":-1.0}],"offers":{"mode":"wave","size":3,"expires_after_seconds":30},"bundles":{"mode":"off"}}"#;
    let texts = [
        order,
        rules,
        r#"{"driver":"ana"}"#,
        r#"{"reason":"changed their mind","on_behalf_of":"customer"}"#,
        r#"{"status":"ready"}"#,
        r#"{"from":"2026-11-21T12:00:00Z","until":"2026-11-21T20:00:00+02:00","start":{"lat":0,"lng":0},"market":"m"}"#,
        r#"{"step":"picked_up","driver":"ana"}"#,
        r#"{"rating":4.5}"#,
        r#"{"ready_at":"2026-11-21T12:00:00.123Z"}"#,
        r#"{"vehicle":"bicycle","capacity":3,"skills":["a","b"],"market":"m"}"#,
        r#"{"lat":52.5,"lng":13.4,"at":"2026-11-21T12:00:00Z","accuracy_m":5,"speed_mps":1.5,"heading_deg":359.9}"#,
        r#"{"positions":[{"driver":"ana","lat":52.5,"lng":13.4},{"driver":"bo","lat":1,"lng":2,"at":"2026-11-21T12:00:00Z"}]}"#,
        r#"{"version":3}"#,
        r#"{"type":"subscribe","ref":1,"topic":{"order":"o"},"after":"00000000-1-1"}"#,
        r#"{"until":"2026-11-21T12:00:00Z"}"#,
        "{}",
        "[null]",
        "lat=52.5&lng=13.4&radius_m=500&limit=20&market=m&available=true",
        "status=waiting&limit=10&cursor=m%2Fo&driver=ana",
        r#"W/"0123456789abcdef", "", "b""#,
        "*",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
