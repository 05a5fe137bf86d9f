//! Everything that can go wrong with a request, and the status code it gets: the only place that says so.

use crate::auth::Role;
use crate::runner::Error;
use crate::wire::{self, Invalid, ProblemBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dispatch_core::{DriverId, Refusal};

/// A request that was not carried out; it changed nothing.
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    code: &'static str,
    kind: Kind,
    detail: String,
    field: Option<String>,
}

/// What kind of problem it is; each has one status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Malformed,
    Unauthenticated,
    Forbidden,
    Unknown,
    Method,
    Slow,
    Conflict,
    Changed,
    TooLarge,
    MediaType,
    Invalid,
    TooOften,
    Unavailable,
}

impl Kind {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Changed => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What it means, for the contract.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Malformed => "The body is no JSON.",
            Self::Unauthenticated => "The API key is missing or unknown.",
            Self::Forbidden => "The API key's role may not do this.",
            Self::Unknown => "There is no such thing, or it is not the caller's.",
            Self::Method => "The path does not know the method.",
            Self::Slow => "The body did not arrive in time.",
            Self::Conflict => "The state does not allow it; the detail names the state.",
            Self::Changed => "The order is not at the version of If-Match.",
            Self::TooLarge => "The body is too large.",
            Self::MediaType => "The body must be application/json.",
            Self::Invalid => "A value does not do; the field says which.",
            Self::TooOften => "The driver reports too often.",
            Self::Unavailable => "The server is busy, full or stopping; try again later.",
        }
    }
}

impl Problem {
    fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, kind, detail: detail.into(), field: None }
    }

    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::Invalid, "invalid_value", detail) }
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(Kind::Unauthenticated, "unauthenticated", "send a known API key as `Authorization: Bearer KEY`")
    }

    pub(crate) fn forbidden(role: Role) -> Self {
        Self::new(Kind::Forbidden, "forbidden", format!("a key of role {} may not do this", role.name()))
    }

    pub(crate) fn remote_without_keys() -> Self {
        Self::new(Kind::Forbidden, "no_keys", "while the server has no API keys it answers its own machine only")
    }

    pub(crate) fn unknown_driver(driver: &DriverId) -> Self {
        Error::Refused(Refusal::UnknownDriver { driver: driver.clone() }).into()
    }

    pub(crate) fn unknown_route(path: &str) -> Self {
        Self::new(Kind::Unknown, "unknown_route", format!("there is nothing at {path}"))
    }

    pub(crate) fn method(method: &str) -> Self {
        Self::new(Kind::Method, "method_not_allowed", format!("the path does not know {method}"))
    }

    pub(crate) fn slow() -> Self {
        Self::new(Kind::Slow, "request_timeout", "the body did not arrive in time")
    }

    pub(crate) fn broken_body() -> Self {
        Self::new(Kind::Malformed, "broken_body", "the body ended early or is not encoded as it says")
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(Kind::TooLarge, "body_too_large", format!("the body has more than {limit} bytes"))
    }

    pub(crate) fn media_type() -> Self {
        Self::new(Kind::MediaType, "unsupported_media_type", "the body must be sent as application/json")
    }

    pub(crate) fn late() -> Self {
        Self::new(Kind::Unavailable, "late", "the server did not answer in time; what was asked may still happen")
    }

    /// A single position that was not taken.
    pub(crate) fn position(code: &'static str, field: &str, detail: &str) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::Invalid, code, detail) }
    }

    pub(crate) fn rate_limited() -> Self {
        Self::new(Kind::TooOften, "rate_limited", "a driver reports at most once a second, five times at once")
    }
}

impl From<Invalid> for Problem {
    fn from(Invalid { field, problem }: Invalid) -> Self {
        match field {
            Some(field) => Self::invalid(field, problem),
            None => Self::new(Kind::Malformed, "malformed_json", problem),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let (kind, code, field) = match error {
            Error::Refused(refusal) => return Self::refused(&refusal),
            Error::UnknownMarket(_) => (Kind::Unknown, "unknown_market", Some("market")),
            Error::OutsideMarkets => (Kind::Invalid, "outside_markets", Some("pickup")),
            Error::WhichMarket => (Kind::Invalid, "which_market", Some("market")),
            Error::OnShiftElsewhere { .. } => (Kind::Conflict, "on_shift_elsewhere", Some("market")),
            Error::NotYourPlace => (Kind::Forbidden, "not_your_place", Some("pickup.id")),
            Error::Changed { .. } => (Kind::Changed, "changed", None),
            Error::WhichDriver => (Kind::Conflict, "no_driver", Some("driver")),
            Error::Cursor => (Kind::Invalid, "invalid_value", Some("cursor")),
            Error::Busy => (Kind::Unavailable, "busy", None),
            Error::Stopping => (Kind::Unavailable, "stopping", None),
        };
        Self { code, kind, detail, field: field.map(str::to_owned) }
    }
}

impl Problem {
    fn refused(refusal: &Refusal) -> Self {
        let (kind, code) = match refusal {
            Refusal::UnknownOrder { .. } => (Kind::Unknown, "unknown_order"),
            Refusal::UnknownDriver { .. } => (Kind::Unknown, "unknown_driver"),
            Refusal::UnknownOffer { .. } => (Kind::Unknown, "unknown_offer"),
            Refusal::OrderDiffers { .. } => (Kind::Conflict, "order_differs"),
            Refusal::OrderState { .. } => (Kind::Conflict, "order_state"),
            Refusal::DriverState { .. } => (Kind::Conflict, "driver_state"),
            Refusal::OfferClosed { .. } => (Kind::Conflict, "offer_closed"),
            Refusal::NotYours { .. } => (Kind::Conflict, "not_yours"),
            Refusal::NotAllowed { .. } | Refusal::NotForRole { .. } => (Kind::Conflict, "not_allowed"),
            Refusal::UnknownConfiguration { .. } => (Kind::Unknown, "unknown_configuration"),
            Refusal::Capacity { .. } => (Kind::Conflict, "capacity"),
            Refusal::Skill { .. } => (Kind::Conflict, "skill"),
            Refusal::Full { .. } => (Kind::Unavailable, "full"),
            Refusal::Config(wrong) => {
                let field = wrong.problems.first().map(|first| first.key.clone());
                return Self { field, ..Self::new(Kind::Invalid, "invalid_value", refusal.to_string()) };
            }
            Refusal::Invalid { field, problem } => {
                // The wire says the unit where the core has it in the type.
                let field = if *field == "preparation" { "preparation_seconds" } else { field };
                return Self::invalid(field, problem);
            }
        };
        Self::new(kind, code, refusal.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = ProblemBody {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: self.detail,
            code: self.code,
            field: self.field,
        };
        let mut response = (status, wire::body(&body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.kind {
            Kind::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::Unavailable | Kind::TooOften => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
