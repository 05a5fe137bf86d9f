//! Everything that can go wrong with a request, and the status code it gets: the only place that says so.

use crate::auth::{KeyError, LinkError, Role, TooOften};
use crate::feed::TooManyStreams;
use crate::runner::Error;
use crate::telemetry::Problematic;
use crate::webhooks::WebhookError;
use crate::wire::{self, Code, Invalid, ProblemBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dispatch_core::{ConfigError, ConfigProblem, DriverId, Refusal};

/// The header that makes a request one that is carried out once, however often it is sent.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A request that was not carried out; it changed nothing.
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    field: Option<String>,
    /// After how long to try again, where that is known.
    retry_after_s: Option<u64>,
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

impl From<Code> for Kind {
    fn from(code: Code) -> Self {
        match code {
            Code::MalformedJson | Code::BrokenBody | Code::NotASocket => Self::Malformed,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::Forbidden | Code::NoKeys | Code::NotLocal | Code::NotYourPlace | Code::NotYourMarket => {
                Self::Forbidden
            }
            Code::UnknownRoute
            | Code::UnknownMarket
            | Code::UnknownOrder
            | Code::UnknownDriver
            | Code::UnknownOffer
            | Code::UnknownConfiguration
            | Code::UnknownKey
            | Code::UnknownLink
            | Code::UnknownWebhook => Self::Unknown,
            Code::MethodNotAllowed => Self::Method,
            Code::RequestTimeout => Self::Slow,
            Code::OrderDiffers
            | Code::OrderState
            | Code::DriverState
            | Code::OfferClosed
            | Code::NotYours
            | Code::NotAllowed
            | Code::Capacity
            | Code::Skill
            | Code::OnShiftElsewhere
            | Code::DriverElsewhere
            | Code::NoDriver
            | Code::InFlight
            | Code::NameTaken
            | Code::NotInForce
            | Code::AlreadyDone => Self::Conflict,
            Code::Changed => Self::Changed,
            Code::BodyTooLarge => Self::TooLarge,
            Code::UnsupportedMediaType => Self::MediaType,
            Code::InvalidValue
            | Code::OutOfRange
            | Code::OutsideMarkets
            | Code::WhichMarket
            | Code::TooOld
            | Code::FromFuture
            | Code::TooFast
            | Code::KeyReused => Self::Invalid,
            Code::RateLimited => Self::TooOften,
            Code::Busy
            | Code::Overloaded
            | Code::Full
            | Code::BacklogFull
            | Code::DiskLow
            | Code::DatabaseAway
            | Code::KeysNotKept
            | Code::WebhooksNotKept
            | Code::Late
            | Code::Stopping => Self::Unavailable,
        }
    }
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
            Self::Malformed => "The body is no JSON, or did not arrive as it should.",
            Self::Unauthenticated => "The API key or token is missing, unknown, expired or revoked.",
            Self::Forbidden => "The role or the scope of the key or token may not do this.",
            Self::Unknown => "There is no such thing, or it is not the caller's.",
            Self::Method => "The path does not know the method.",
            Self::Slow => "The body did not arrive in time.",
            Self::Conflict => "The state does not allow it; the detail names the state.",
            Self::Changed => "It is not at the version of If-Match.",
            Self::TooLarge => "The body is too large.",
            Self::MediaType => "The body must be of a type that is described.",
            Self::Invalid => "A value does not do; the field says which.",
            Self::TooOften => "This is more than the caller may ask, or the driver may report.",
            Self::Unavailable => "The server is busy, full or stopping; try again later.",
        }
    }
}

impl Problem {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: None, retry_after_s: None }
    }

    fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// A value that is not what the contract says.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidValue, detail).at(field)
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "send a known API key or token as `Authorization: Bearer KEY`")
    }

    pub(crate) fn forbidden(role: Role) -> Self {
        Self::new(Code::Forbidden, format!("role {role} may not do this"))
    }

    pub(crate) fn not_on_behalf(role: Role) -> Self {
        Self::new(Code::Forbidden, format!("a key of role {} acts for nobody else", role.name())).at("on_behalf_of")
    }

    pub(crate) fn remote_without_keys() -> Self {
        Self::new(Code::NoKeys, "while the server has no API keys it answers its own machine only")
    }

    pub(crate) fn foreign_page() -> Self {
        let detail = "while the server has no API keys it answers requests to its own machine's name only (localhost), and \
                      of pages only its own";
        Self::new(Code::NotLocal, detail)
    }

    pub(crate) fn unknown_driver(driver: &DriverId) -> Self {
        Error::Refused(Refusal::UnknownDriver { driver: driver.clone() }).into()
    }

    pub(crate) fn unknown_route(path: &str) -> Self {
        Self::new(Code::UnknownRoute, format!("there is nothing at {path}"))
    }

    pub(crate) fn method(method: &str) -> Self {
        Self::new(Code::MethodNotAllowed, format!("the path does not know {method}"))
    }

    pub(crate) fn slow() -> Self {
        Self::new(Code::RequestTimeout, "the body did not arrive in time")
    }

    pub(crate) fn broken_body() -> Self {
        Self::new(Code::BrokenBody, "the body ended early or is not encoded as it says")
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(Code::BodyTooLarge, format!("the body has more than {limit} bytes"))
    }

    pub(crate) fn media_type() -> Self {
        Self::new(Code::UnsupportedMediaType, "the body must be sent as application/json")
    }

    /// A single position that was not taken.
    pub(crate) fn position(code: Code, field: &str, detail: &str) -> Self {
        Self::new(code, detail).at(field)
    }

    /// A key or a webhook for markets that whoever makes it may not see.
    pub(crate) fn beyond_own_markets(field: &str) -> Self {
        Self::new(Code::NotYourMarket, "must be among the caller's own").at(field)
    }

    /// A value that the contract allows, and something else rules out.
    pub(crate) fn out_of_range(field: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::OutOfRange, detail).at(field)
    }

    /// As a client is told that.
    pub(crate) fn into_body(self) -> ProblemBody {
        let status = Kind::from(self.code).status();
        ProblemBody {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: self.detail,
            code: self.code,
            field: self.field,
        }
    }

    /// Whether what it is about is not there.
    pub(crate) fn is_unknown(&self) -> bool {
        Kind::from(self.code) == Kind::Unknown
    }

    pub(crate) fn no_socket(detail: &str) -> Self {
        Self::new(Code::NotASocket, format!("this is where web sockets are opened: {detail}"))
    }

    pub(crate) fn too_many_streams(error: TooManyStreams) -> Self {
        match error {
            TooManyStreams::All => Self::new(Code::Busy, error.to_string()),
            TooManyStreams::Yours => Self::new(Code::RateLimited, error.to_string()),
        }
    }

    pub(crate) fn rate_limited() -> Self {
        Self::new(Code::RateLimited, "the driver reports more often than it may")
    }
}

impl From<TooOften> for Problem {
    fn from(error: TooOften) -> Self {
        Error::TooOften(error).into()
    }
}

impl From<LinkError> for Problem {
    fn from(_: LinkError) -> Self {
        Error::NoLink.into()
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Unknown(_) => Self::new(Code::UnknownKey, detail),
            KeyError::NameTaken(_) => Self::new(Code::NameTaken, detail).at("name"),
            KeyError::NotInForce(_) => Self::new(Code::NotInForce, detail),
            KeyError::Full => Self::new(Code::Full, detail),
            KeyError::Io(_) => {
                tracing::error!("{detail}");
                Self::new(Code::KeysNotKept, "keys cannot be kept just now; the server's log says why")
            }
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let detail = error.to_string();
        match error {
            WebhookError::Unknown(_) => Self::new(Code::UnknownWebhook, detail),
            WebhookError::Full | WebhookError::NoRoom => Self::new(Code::Full, detail),
            WebhookError::Target(_) => Self::out_of_range("url", detail),
            WebhookError::Io(_) => {
                tracing::error!("{detail}");
                Self::new(Code::WebhooksNotKept, "webhooks cannot be kept just now; the server's log says why")
            }
        }
    }
}

impl From<Invalid> for Problem {
    fn from(Invalid { field, problem }: Invalid) -> Self {
        match field {
            Some(field) => Self::invalid(field, problem),
            None => Self::new(Code::MalformedJson, problem),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let (code, field) = match error {
            Error::Refused(refusal) => return Self::refused(&refusal),
            Error::UnknownMarket(_) => (Code::UnknownMarket, Some("market")),
            Error::OutsideMarkets | Error::OutsideMarket(_) => (Code::OutsideMarkets, Some("pickup")),
            Error::NoMarketThere => (Code::OutsideMarkets, Some("lat")),
            Error::WhichMarket => (Code::WhichMarket, Some("market")),
            Error::OnShiftElsewhere { .. } => (Code::OnShiftElsewhere, Some("market")),
            Error::DriverElsewhere { .. } => (Code::DriverElsewhere, Some("driver")),
            Error::NotYourMarket => (Code::NotYourMarket, Some("id")),
            Error::NotYourPlace => (Code::NotYourPlace, Some("pickup.id")),
            Error::Changed { .. } => (Code::Changed, None),
            Error::WhichDriver => (Code::NoDriver, Some("driver")),
            Error::Cursor => (Code::UnknownMarket, Some("cursor")),
            Error::BacklogFull => (Code::BacklogFull, None),
            Error::DiskLow => (Code::DiskLow, None),
            Error::DatabaseAway => (Code::DatabaseAway, None),
            Error::AlreadyDone => (Code::AlreadyDone, Some(IDEMPOTENCY_KEY)),
            Error::KeyReused => (Code::KeyReused, Some(IDEMPOTENCY_KEY)),
            Error::InFlight => (Code::InFlight, Some(IDEMPOTENCY_KEY)),
            Error::TooOften(TooOften { after_s }) => {
                return Self { retry_after_s: Some(after_s), ..Self::new(Code::RateLimited, detail) };
            }
            Error::NoLink => (Code::UnknownLink, None),
            Error::Late => (Code::Late, None),
            Error::Busy => (Code::Busy, None),
            Error::Overloaded => (Code::Overloaded, None),
            Error::Stopping => (Code::Stopping, None),
        };
        Self { field: field.map(str::to_owned), ..Self::new(code, detail) }
    }
}

impl From<&ConfigError> for Problem {
    /// Every rule that is wrong in the detail, the first as the field. What the contract can say of a rule was checked when
    /// the request was read.
    fn from(error: &ConfigError) -> Self {
        let wrong = |wrong: &ConfigProblem| format!("{}: {}", wire::rule_field(&wrong.key), wrong.problem);
        let detail = error.problems.iter().map(wrong).collect::<Vec<_>>().join("; ");
        let field = error.problems.first().map(|first| wire::rule_field(&first.key));
        Self { field, ..Self::new(Code::OutOfRange, detail) }
    }
}

impl Problem {
    fn refused(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::UnknownOrder { .. } => Code::UnknownOrder,
            Refusal::UnknownDriver { .. } => Code::UnknownDriver,
            Refusal::UnknownOffer { .. } => Code::UnknownOffer,
            Refusal::OrderDiffers { .. } => Code::OrderDiffers,
            Refusal::OrderState { .. } => Code::OrderState,
            Refusal::DriverState { .. } => Code::DriverState,
            Refusal::OfferClosed { .. } => Code::OfferClosed,
            Refusal::NotYours { .. } => Code::NotYours,
            Refusal::NotAllowed { .. } | Refusal::NotForRole { .. } => Code::NotAllowed,
            Refusal::Capacity { .. } => Code::Capacity,
            Refusal::Skill { .. } => Code::Skill,
            Refusal::Full { .. } => Code::Full,
            Refusal::UnknownConfiguration { .. } => {
                return Self::new(Code::UnknownConfiguration, refusal.to_string()).at("version");
            }
            Refusal::Config(error) => return error.into(),
            // Whatever can be said without the market's rules and the time was checked when the request was read.
            Refusal::Invalid { field, problem } => {
                // The wire says the unit where the core has it in the type.
                let field = if *field == "preparation" { "preparation_seconds" } else { field };
                return Self::new(Code::OutOfRange, problem).at(field);
            }
        };
        Self::new(code, refusal.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (kind, code, retry_after_s) = (Kind::from(self.code), self.code.name(), self.retry_after_s);
        let mut response = (kind.status(), wire::body(&self.into_body())).into_response();
        response.extensions_mut().insert(Problematic(code));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match kind {
            Kind::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::Unavailable | Kind::TooOften => {
                headers.insert(header::RETRY_AFTER, retry_after_s.unwrap_or(1).into());
            }
            // Whatever is left of the body is not read, so nothing can follow it; a client that knows does not try.
            Kind::TooLarge | Kind::Slow => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}
