//! What is said over a socket: one JSON object a message, each with its `type`.

use super::feed::Beside;
use super::{Id, Invalid, OfferName, OfferReply, OfferText, OutcomeCounts, PositionOutcome, ProblemBody, parse};
use crate::feed::Cursor;
use crate::runner::{Item, Receipt, Wanted};
use crate::telemetry::FixOutcome;
use dispatch_core::{DriverId, MarketId, OrderId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What a client says.
#[derive(Debug)]
pub(crate) enum SocketRequest {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Accept(AnswerOffer),
    Decline(AnswerOffer),
    Drivers(NumberDrivers),
    Positions(SendPositions),
}

/// The `type` of a message, and what its answer is to be called by; whatever else is in it.
#[derive(Deserialize)]
struct Head {
    r#type: RequestName,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequestName {
    Subscribe,
    Unsubscribe,
    Accept,
    Decline,
    Drivers,
    Positions,
}

/// Follow something from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the type was read before")]
pub(crate) struct Subscribe {
    r#type: RequestName,
    /// What its events are called by, and what ends it. One that is in use is refused.
    pub(crate) r#ref: u32,
    topic: TopicBody,
    /// The id of the last event that the client has.
    #[schema(value_type = Option<String>)]
    pub(crate) after: Option<String>,
    /// Whether to tell where the drivers of a market are, too; true if absent.
    pub(crate) positions: Option<bool>,
}

/// What is followed: at most one of these; all that the caller may see if none.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TopicBody {
    #[schema(value_type = Option<Id>)]
    order: Option<OrderId>,
    #[schema(value_type = Option<Id>)]
    driver: Option<DriverId>,
    #[schema(value_type = Option<Id>)]
    market: Option<MarketId>,
}

impl Subscribe {
    pub(crate) fn wanted(&self) -> Result<Wanted, Invalid> {
        match &self.topic {
            TopicBody { order: Some(order), driver: None, market: None } => Ok(Wanted::Order(order.clone())),
            TopicBody { order: None, driver: Some(driver), market: None } => Ok(Wanted::Driver(driver.clone())),
            TopicBody { order: None, driver: None, market } => Ok(Wanted::All(market.clone())),
            _ => Err(wrong("topic", "names one of order, driver and market at most")),
        }
    }

    pub(crate) fn after(&self) -> Result<Option<Cursor>, Invalid> {
        let cursor = |text: &String| text.parse().map_err(|problem: &str| wrong("after", problem));
        self.after.as_ref().map(cursor).transpose()
    }
}

fn wrong(field: &str, problem: &str) -> Invalid {
    Invalid { field: Some(field.to_owned()), problem: problem.to_owned() }
}

/// Follow it no more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the type was read before")]
pub(crate) struct Unsubscribe {
    r#type: RequestName,
    pub(crate) r#ref: u32,
}

/// Take an offer, or turn it down.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the type was read before")]
pub(crate) struct AnswerOffer {
    r#type: RequestName,
    /// What the answer is called by.
    pub(crate) r#ref: Option<u32>,
    #[serde(deserialize_with = "offer")]
    #[schema(value_type = OfferText)]
    pub(crate) offer: OfferName,
}

fn offer<'de, D: serde::Deserializer<'de>>(json: D) -> Result<OfferName, D::Error> {
    String::deserialize(json)?.parse().map_err(serde::de::Error::custom)
}

/// Give drivers numbers, for frames of positions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the type was read before")]
pub(crate) struct NumberDrivers {
    r#type: RequestName,
    pub(crate) r#ref: Option<u32>,
    /// The number of the first of them; 0 if absent. Who had these numbers loses them.
    pub(crate) first: Option<u32>,
    #[schema(value_type = Vec<Id>)]
    pub(crate) drivers: Vec<DriverId>,
}

/// Positions, each with its driver: a bad one is refused by itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the type was read before")]
pub(crate) struct SendPositions {
    r#type: RequestName,
    pub(crate) r#ref: Option<u32>,
    #[schema(value_type = Vec<super::DriverPosition>)]
    positions: Vec<Box<RawValue>>,
}

impl SendPositions {
    pub(crate) fn count(&self) -> usize {
        self.positions.len()
    }

    pub(crate) fn read(&self) -> Vec<Result<Item, String>> {
        self.positions.iter().map(|item| super::DriverPosition::read(item.get().as_bytes())).collect()
    }
}

impl SocketRequest {
    /// Reads a message, as strictly as a body.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Invalid> {
        let head: Head = parse(text)?;
        Ok(match head.r#type {
            RequestName::Subscribe => Self::Subscribe(parse(text)?),
            RequestName::Unsubscribe => Self::Unsubscribe(parse(text)?),
            RequestName::Accept => Self::Accept(parse(text)?),
            RequestName::Decline => Self::Decline(parse(text)?),
            RequestName::Drivers => Self::Drivers(parse(text)?),
            RequestName::Positions => Self::Positions(parse(text)?),
        })
    }
}

/// What the server says beside events.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum SocketReply {
    /// A subscription has begun: what follows is told.
    Subscribed {
        r#ref: u32,
    },
    Unsubscribed {
        r#ref: u32,
    },
    /// An offer was answered.
    Answered {
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<u32>,
        offer: Box<OfferReply>,
    },
    /// Drivers have numbers; so many are given.
    Numbered {
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<u32>,
        numbered: usize,
    },
    /// What became of positions.
    Received(Received),
    /// A message was not carried out, and changed nothing.
    Problem {
        #[serde(skip_serializing_if = "Option::is_none")]
        r#ref: Option<u32>,
        problem: ProblemBody,
    },
}

/// What became of positions that came together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Received {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#ref: Option<u32>,
    outcomes: OutcomeCounts,
    /// Those that were refused, by their place from 0.
    rejected: Vec<RefusedItem>,
    /// After how long to send more, where none was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RefusedItem {
    index: u32,
    outcome: PositionOutcome,
    /// What is wrong with an `invalid` one.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Received {
    pub(crate) fn new(r#ref: Option<u32>, receipt: Receipt, detail: impl Fn(u32) -> Option<String>) -> Self {
        let mut outcomes = OutcomeCounts::default();
        outcomes.count(&receipt.tally);
        let refused = |(index, outcome): (u32, FixOutcome)| {
            let detail = if outcome == FixOutcome::Invalid { detail(index) } else { None };
            RefusedItem { index, outcome: outcome.into(), detail }
        };
        let rejected = receipt.refused.into_iter().map(refused).collect();
        Self { r#ref, outcomes, rejected, retry_after_seconds: receipt.retry_after_s }
    }
}

/// The JSON of an event of a subscription.
pub(crate) fn of_subscription(r#ref: u32, event: &[u8]) -> String {
    let event = std::str::from_utf8(event).expect("JSON is text");
    format!("{{\"subscription\":{ref},\"event\":{event}}}")
}

/// The same of what is told beside the feed.
pub(crate) fn beside_of_subscription(r#ref: u32, beside: &Beside) -> String {
    of_subscription(r#ref, &super::line(beside))
}
