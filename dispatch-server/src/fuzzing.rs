//! What the fuzz targets reach of the server's insides (feature `fuzzing`): everything that reads bytes of others. No part of
//! its interface.

use crate::auth::Scope;
use crate::http;
use crate::journal::{Image, Record};
use crate::wire::{self, Invalid, Question};
use dispatch_core::MarketId;

/// What a request that does not do is told: which field is wrong, and what about it.
pub type Refused = (Option<String>, String);

/// Reads a request, and makes of it what the engine is asked.
type Read<Text> = fn(&Text) -> Result<(), Refused>;

fn read<T: Question>(body: &[u8], then: impl FnOnce(T)) -> Result<(), Refused> {
    wire::parse(body).map(then).map_err(|Invalid { field, problem }| (field, problem))
}

fn query<T: Question>(text: &str) -> Result<(), Refused> {
    wire::parse_query::<T>(text).map(drop).map_err(|Invalid { field, problem }| (field, problem))
}

/// Every kind of body that a request has.
pub const BODIES: &[(&str, Read<[u8]>)] = &[
    ("AssignOrder", |body| read(body, drop::<wire::AssignOrder>)),
    ("CancelOrder", |body| read(body, drop::<wire::CancelOrder>)),
    ("CreateKey", |body| read(body, |key: wire::CreateKey| _ = key.within(&Scope::default()))),
    ("CreateLink", |body| read(body, |link: wire::CreateLink| _ = link.valid_for())),
    ("CreateWebhook", |body| read(body, |webhook: wire::CreateWebhook| _ = webhook.within(&Scope::default()))),
    ("FailOrder", |body| read(body, drop::<wire::FailOrder>)),
    ("KitchenProgress", |body| read(body, drop::<wire::KitchenProgress>)),
    ("PlannedShiftBody", |body| read(body, |shift: wire::PlannedShiftBody| _ = shift.into_core())),
    ("Progress", |body| read(body, drop::<wire::Progress>)),
    ("RateDriver", |body| read(body, drop::<wire::RateDriver>)),
    ("ReadyTime", |body| read(body, drop::<wire::ReadyTime>)),
    ("RegisterDriver", |body| {
        read(body, |driver: wire::RegisterDriver| drop(driver.into_core("d".parse().expect("a valid id"))))
    }),
    ("ReplayDeadLetters", |body| read(body, drop::<wire::ReplayDeadLetters>)),
    ("ReportPosition", |body| {
        read(body, |position: wire::ReportPosition| drop(position.into_core("d".parse().expect("a valid id"))))
    }),
    ("ReportPositions", |body| {
        wire::ReportPositions::read(body).map(drop).map_err(|Invalid { field, problem }| (field, problem))
    }),
    ("RollBack", |body| read(body, drop::<wire::RollBack>)),
    ("RotateKey", |body| read(body, |rotate: wire::RotateKey| _ = rotate.grace())),
    ("RotateWebhookSecret", |body| read(body, |rotate: wire::RotateWebhookSecret| _ = rotate.grace())),
    ("RulesBody", |body| {
        read(body, |rules: wire::RulesBody| {
            // What the contract cannot say of rules is refused with the reason.
            if let Err(error) =
                rules.into_core("m".parse::<MarketId>().expect("a valid id")).and_then(|rules| rules.validate())
            {
                assert!(!error.problems.is_empty(), "refused for no reason");
            }
        })
    }),
    ("SocketRequest", |body| {
        let read = wire::SocketRequest::read(body).map(drop);
        read.map_err(|Invalid { field, problem }| (field, problem))
    }),
    ("StartShift", |body| read(body, drop::<wire::StartShift>)),
    ("SubmitOrder", |body| read(body, |order: wire::SubmitOrder| drop(order.into_core()))),
];

/// Every kind of query.
pub const QUERIES: &[(&str, Read<str>)] = &[
    ("AboutDriver", query::<wire::AboutDriver>),
    ("FeedQuery", query::<wire::FeedQuery>),
    ("StreamQuery", query::<wire::StreamQuery>),
    ("DriversQuery", query::<wire::DriversQuery>),
    ("DeadLettersQuery", query::<wire::DeadLettersQuery>),
    ("NearestQuery", query::<wire::NearestQuery>),
    ("OrdersQuery", query::<wire::OrdersQuery>),
    ("PageQuery", query::<wire::PageQuery>),
    ("StatsQuery", query::<wire::StatsQuery>),
];

/// The versions that an `If-Match` header names, written anew; `*` for any. `None` where it names none.
pub fn versions(header: &[u8]) -> Option<String> {
    http::versions(header)
}

/// Reads a frame of at most 1,000 positions, and all that they say, and writes it again.
pub fn frame(bytes: &[u8]) -> Result<Vec<u8>, String> {
    wire::frame::rewrite(bytes, 1_000).map_err(|error| error.to_string())
}

/// Reads a record of the journal and writes it again.
pub fn record(bytes: &[u8]) -> Result<Vec<u8>, String> {
    Record::decode(bytes).map(|record| record.encode())
}

/// Reads a snapshot of the journal and writes it again.
pub fn image(bytes: &[u8]) -> Result<Vec<u8>, String> {
    Image::decode(bytes).map(|image| image.encode())
}
