//! What an answer says of a request that was not carried out.

use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong, as RFC 9457 has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// Always `about:blank`: the code tells.
    pub(crate) r#type: &'static str,
    /// The status in words.
    pub(crate) title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub(crate) status: u16,
    /// What is wrong, for people.
    pub(crate) detail: String,
    pub(crate) code: Code,
    /// The field that is wrong, as `pickup.lat`; or the parameter, or the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) field: Option<String>,
}

/// What went wrong, for programs. `invalid_value` is what this contract rules out; everything else depends on what the server
/// knows, is set to, or has to do just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    // 400
    MalformedJson,
    BrokenBody,
    NotASocket,
    // 401
    Unauthenticated,
    // 403
    Forbidden,
    NoKeys,
    NotLocal,
    NotYourPlace,
    NotYourMarket,
    // 404
    UnknownRoute,
    UnknownMarket,
    UnknownOrder,
    UnknownDriver,
    UnknownOffer,
    UnknownConfiguration,
    UnknownKey,
    UnknownLink,
    UnknownWebhook,
    // 405
    MethodNotAllowed,
    // 408
    RequestTimeout,
    // 409
    OrderDiffers,
    OrderState,
    DriverState,
    OfferClosed,
    NotYours,
    NotAllowed,
    Capacity,
    Skill,
    OnShiftElsewhere,
    DriverElsewhere,
    NoDriver,
    InFlight,
    NameTaken,
    NotInForce,
    AlreadyDone,
    // 412
    Changed,
    // 413
    BodyTooLarge,
    // 415
    UnsupportedMediaType,
    // 422
    InvalidValue,
    OutOfRange,
    OutsideMarkets,
    WhichMarket,
    TooOld,
    FromFuture,
    TooFast,
    KeyReused,
    // 429
    RateLimited,
    // 503
    Busy,
    Overloaded,
    Full,
    BacklogFull,
    DiskLow,
    DatabaseAway,
    KeysNotKept,
    WebhooksNotKept,
    Late,
    Stopping,
}

impl Code {
    /// The code as answers have it.
    pub(crate) fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.as_ref().and_then(|name| name.as_str()).expect("a code is a word").to_owned()
    }
}
