//! What is sent: events as `CloudEvents` 1.0 describes them in structured JSON mode, and signatures.

use super::line::Letter;
use crate::journal::hex;
use crate::wire::Time;
use dispatch_core::{MarketId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;

/// The media type of a letter.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

/// An entry of the feed, as webhooks are told it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where it stands in the log; no other entry of this server stands there.
    pub(crate) cursor: String,
    pub(crate) at: Timestamp,
    pub(crate) market: MarketId,
    pub(crate) kind: String,
    /// The order or the driver it is about, if it is about one.
    pub(crate) subject: Option<String>,
    /// All of it: a JSON object.
    pub(crate) json: String,
}

#[derive(Serialize)]
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    data: D,
}

impl<D: Serialize> CloudEvent<'_, D> {
    fn seal(self, at: Timestamp) -> Letter {
        let body = serde_json::to_string(&self).expect("an event has text keys and finite numbers");
        Letter { event: self.id.to_owned(), kind: self.r#type.to_owned(), at, body }
    }
}

/// The letter that tells of an entry. `None` if its JSON is none, which is a bug of whoever made it.
pub(super) fn of_entry(entry: &Entry) -> Option<Letter> {
    let Entry { cursor, at, market, kind, subject, json } = entry;
    let data: &RawValue = serde_json::from_str(json).ok()?;
    let event = CloudEvent {
        specversion: "1.0",
        id: cursor,
        source: &format!("/markets/{market}"),
        r#type: &format!("dispatch.{kind}"),
        time: (*at).into(),
        subject: subject.as_deref(),
        datacontenttype: "application/json",
        data,
    };
    Some(event.seal(*at))
}

/// What the webhook itself is told about, beside the log.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Notice<'a> {
    /// Somebody asked for it.
    Test { webhook: &'a str },
    /// What came between the two places is not known any more.
    Reset { webhook: &'a str, after: Option<&'a str>, resumes_after: &'a str },
}

impl Notice<'_> {
    /// The letter that tells of it. `id` is its own.
    pub(super) fn letter(&self, id: &str, at: Timestamp) -> Letter {
        let (kind, webhook) = match self {
            Self::Test { webhook } => ("dispatch.test", webhook),
            Self::Reset { webhook, .. } => ("dispatch.reset", webhook),
        };
        let event = CloudEvent {
            specversion: "1.0",
            id,
            source: &format!("/webhooks/{webhook}"),
            r#type: kind,
            time: at.into(),
            subject: None,
            datacontenttype: "application/json",
            data: self,
        };
        event.seal(at)
    }
}

/// The value of the header `Dispatch-Signature`: one signature for each secret.
pub(super) fn signature<'a>(secrets: impl Iterator<Item = &'a str>, at: Timestamp, body: &str) -> String {
    let seconds = at.as_millis().div_euclid(1_000);
    let signed = format!("{seconds}.{body}");
    let sign = |secret: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(signed.as_bytes());
        format!(",v1={}", hex(&mac.finalize().into_bytes()))
    };
    format!("t={seconds}{}", secrets.map(sign).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Computed by `openssl dgst -sha256 -hmac` and by Python's `hmac`; the documentation has it, too.
    #[test]
    fn signatures_are_those_of_the_documentation() {
        let at = Timestamp::from_millis(1_767_225_600_999);
        let body = r#"{"specversion":"1.0","id":"42"}"#;
        let (one, other) = ("whs_0123456789abcdef", "whs_fedcba9876543210");
        let expected = "7920fe363fbfc5421488c58191a520dadc66683cfa55349a223095d4ce5d1545";
        assert_eq!(signature([one].into_iter(), at, body), format!("t=1767225600,v1={expected}"));
        let both = signature([one, other].into_iter(), at, body);
        assert!(both.starts_with(&format!("t=1767225600,v1={expected},v1=")) && both.len() == 12 + 2 * 68, "{both}");
        let document = include_str!("../../../docs/webhooks.md");
        assert!(document.contains(expected) && document.contains(one) && document.contains(body));
    }

    #[test]
    fn a_letter_is_a_cloud_event() {
        let entry = Entry {
            cursor: "7".into(),
            at: Timestamp::from_millis(1_767_225_600_000),
            market: MarketId::new("berlin").unwrap(),
            kind: "picked_up".into(),
            subject: Some("o-1".into()),
            json: r#"{"id":"7","order":"o-1","lat":52.50}"#.into(),
        };
        let letter = of_entry(&entry).unwrap();
        assert_eq!((letter.event.as_str(), letter.kind.as_str()), ("7", "dispatch.picked_up"));
        assert!(letter.body.ends_with(r#""data":{"id":"7","order":"o-1","lat":52.50}}"#), "as it was: {}", letter.body);
        let event: Value = serde_json::from_str(&letter.body).unwrap();
        assert_eq!(
            event,
            json!({
                "specversion": "1.0", "id": "7", "source": "/markets/berlin", "type": "dispatch.picked_up",
                "time": "2026-01-01T00:00:00.000Z", "subject": "o-1", "datacontenttype": "application/json",
                "data": {"id": "7", "order": "o-1", "lat": 52.5},
            })
        );
        assert_eq!(of_entry(&Entry { json: "{".into(), ..entry }), None);
        let reset =
            Notice::Reset { webhook: "w", after: Some("3"), resumes_after: "9" }.letter("reset-9", entry_time());
        let event: Value = serde_json::from_str(&reset.body).unwrap();
        assert_eq!(event["data"], json!({"webhook": "w", "after": "3", "resumes_after": "9"}));
        assert_eq!((&event["type"], &event["source"]), (&json!("dispatch.reset"), &json!("/webhooks/w")));
        assert_eq!(event.get("subject"), None);
    }

    fn entry_time() -> Timestamp {
        Timestamp::from_millis(0)
    }
}
