//! Webhooks and their dead letters.

use super::key::{Few, markets_within};
use super::{Id, Secs, Time};
use crate::auth::Scope;
use crate::webhooks::{Dead, EventType, NewWebhook, Pause, Seen};
use dispatch_core::{Label, MarketId, Millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// A webhook to be made, of the tenant of whoever makes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateWebhook {
    /// Where to send what happens: `https://`, a host that is not of a private network, no user name and no password.
    #[schema(value_type = String, max_length = 2_048)]
    url: UrlText,
    /// What it is called, in at most 128 characters.
    #[schema(value_type = Option<String>, max_length = 128)]
    name: Option<Label>,
    /// What it is told; everything, if absent.
    #[schema(value_type = Option<BTreeSet<EventType>>, max_items = 256)]
    events: Option<Few<EventType>>,
    /// Of which markets; of all that whoever makes it may see, if absent.
    #[schema(value_type = Option<BTreeSet<Id>>, max_items = 256)]
    markets: Option<Few<MarketId>>,
}

/// A text of at most as many characters as a URL may have.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct UrlText(String);

impl TryFrom<String> for UrlText {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let most = crate::webhooks::MAX_URL;
        if text.chars().count() <= most { Ok(Self(text)) } else { Err(format!("must have at most {most} characters")) }
    }
}

impl CreateWebhook {
    /// The webhook as one of somebody who may see this; the field that reaches further is an error.
    pub(crate) fn within(self, scope: &Scope) -> Result<NewWebhook, &'static str> {
        Ok(NewWebhook {
            tenant: scope.tenant.clone(),
            name: self.name,
            url: self.url.0,
            events: self.events.map(|events| events.0),
            markets: markets_within(self.markets, scope)?,
        })
    }
}

/// A new secret for a webhook.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateWebhookSecret {
    /// For how long everything is signed with the secret before, too: up to a week; a day if absent.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 604_800)]
    grace_seconds: Option<Secs<0, 604_800_000>>,
}

impl RotateWebhookSecret {
    pub(crate) fn grace(&self) -> Millis {
        self.grace_seconds.map_or(Millis::from_mins(24 * 60), Secs::get)
    }
}

/// Dead letters to be sent again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayDeadLetters {
    /// Their ids; all, if absent.
    #[schema(value_type = Option<BTreeSet<Id>>, max_items = 256)]
    pub(crate) ids: Option<Few<LetterId>>,
}

impl ReplayDeadLetters {
    /// The numbers of the letters; all of them if absent.
    pub(crate) fn numbers(self) -> Option<Vec<u64>> {
        self.ids.map(|Few(ids)| ids.into_iter().filter_map(|LetterId(number)| number).collect())
    }
}

/// Names a dead letter; no letter is called what is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "super::MadeId")]
pub(crate) struct LetterId(pub(crate) Option<u64>);

impl From<super::MadeId> for LetterId {
    fn from(id: super::MadeId) -> Self {
        Self(id.0.parse().ok())
    }
}

/// Which dead letters a list shows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLettersQuery {
    pub(crate) cursor: Option<LetterId>,
    pub(crate) limit: Option<u32>,
}

/// Whether a webhook is told anything.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WebhookStatus {
    /// It is told what happens.
    Active,
    /// It was asked to wait.
    Paused,
    /// Its receiver answered 410, so that it waits.
    Gone,
}

/// A webhook, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookReply {
    #[schema(value_type = Id)]
    id: String,
    #[schema(required, value_type = Option<String>, max_length = 128)]
    name: Option<Label>,
    url: String,
    /// `null` for everything.
    #[schema(required)]
    events: Option<BTreeSet<EventType>>,
    /// `null` for all markets of its tenant.
    #[schema(required, value_type = Option<BTreeSet<Id>>)]
    markets: Option<BTreeSet<MarketId>>,
    status: WebhookStatus,
    created_at: Time,
    /// How many events are on their way to it, or to be sent again.
    pending: usize,
    /// How many could not be delivered.
    dead_letters: usize,
    /// How many of those were forgotten because there were too many.
    dropped_dead_letters: u64,
    #[schema(required)]
    last_delivery_at: Option<Time>,
    #[schema(required)]
    last_failure_at: Option<Time>,
    /// What went wrong then.
    #[schema(required)]
    last_failure: Option<String>,
}

impl From<Seen> for WebhookReply {
    fn from(Seen { webhook, pending, dead, dropped, standing }: Seen) -> Self {
        Self {
            id: webhook.id,
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
            markets: webhook.markets,
            status: match webhook.pause {
                None => WebhookStatus::Active,
                Some(Pause::Asked) => WebhookStatus::Paused,
                Some(Pause::Gone) => WebhookStatus::Gone,
            },
            created_at: webhook.created_at.into(),
            pending,
            dead_letters: dead,
            dropped_dead_letters: dropped,
            last_delivery_at: standing.delivered_at.map(Time::from),
            last_failure_at: standing.failed_at.map(Time::from),
            last_failure: standing.problem,
        }
    }
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookSecretReply {
    pub(crate) webhook: WebhookReply,
    /// What everything it is told is signed with.
    pub(crate) secret: String,
}

/// One page of webhooks, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhooksReply {
    pub(crate) webhooks: Vec<WebhookReply>,
    /// Where the next page begins; absent after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Id>)]
    pub(crate) next_cursor: Option<String>,
}

/// A test that a webhook will be told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestReply {
    /// The id of the event, of type `dispatch.test`.
    pub(crate) event: String,
}

/// An event that could not be delivered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterReply {
    #[schema(value_type = Id)]
    id: String,
    /// The id of the event.
    event: String,
    /// Its type, as `dispatch.picked_up`.
    r#type: String,
    /// When it happened.
    at: Time,
    /// When it was given up.
    died_at: Time,
    /// How often it was sent.
    attempts: u32,
    /// What went wrong the last time.
    failure: String,
}

impl From<(u64, Dead)> for DeadLetterReply {
    fn from((number, Dead { letter, attempts, died_at, problem }): (u64, Dead)) -> Self {
        Self {
            id: number.to_string(),
            event: letter.event,
            r#type: letter.kind,
            at: letter.at.into(),
            died_at: died_at.into(),
            attempts,
            failure: problem,
        }
    }
}

/// One page of dead letters, in the order of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLettersReply {
    pub(crate) dead_letters: Vec<DeadLetterReply>,
    /// Where the next page begins; absent after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Id>)]
    pub(crate) next_cursor: Option<String>,
}

/// Dead letters that are sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayReply {
    /// How many they are.
    pub(crate) replayed: usize,
}
