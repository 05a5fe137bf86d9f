//! The table of routes: what each is, who may use it, and what it takes and gives. The router, the guards and the contract
//! are all made from it.

use super::openapi::Edition;
use super::{docs, drivers, feed, keys, markets, offers, orders, positions, socket, webhooks};
use crate::State;
use crate::auth::{Cost, Role};
use crate::telemetry::Operation;
use crate::wire;
use axum::routing::{MethodRouter, delete, get, post, put};
use std::borrow::Cow;
use utoipa::ToSchema;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Type};

/// One route.
pub(crate) struct Route {
    pub(crate) method: HttpMethod,
    pub(crate) path: &'static str,
    /// Names the operation in the contract.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) query: &'static [Param],
    pub(crate) body: Body,
    pub(crate) reply: Reply,
    /// Whether the state can refuse it.
    pub(crate) conflicts: bool,
    /// What it counts as, for whoever is limited.
    pub(crate) cost: Cost,
    /// Whether it honours `Idempotency-Key`.
    once: bool,
    /// What a client may do next with what it was answered.
    pub(crate) leads: &'static [Lead],
    pub(crate) mount: fn() -> MethodRouter<State>,
}

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, without a key.
    Public,
    /// Whoever has a link that the server has signed.
    Link,
    /// These roles, and of what is theirs where that is all they may see.
    Roles(&'static [Role], Own),
}

/// What of a route belongs to somebody: foreign looks like absent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Nothing does.
    Nothing,
    /// The driver in the path; the guard sees to it.
    Driver,
    /// The order in the path, or those of the list; finding it in the world sees to it.
    Order,
    /// The offer in the path, likewise.
    Offer,
    /// The key or webhook in the path, or those of the list.
    Made,
    /// Each item of the body, likewise.
    Items,
}

/// A parameter of the query.
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
    pub(crate) schema: fn(&Edition) -> RefOr<Schema>,
}

/// A step from one operation to another that takes a value of the answer with it.
pub(crate) struct Lead {
    /// The operation.
    pub(crate) to: &'static str,
    /// Its parameter.
    pub(crate) parameter: &'static str,
    /// Where its value stands in the answer: a JSON pointer.
    pub(crate) from: &'static str,
}

const fn lead(to: &'static str, parameter: &'static str, from: &'static str) -> Lead {
    Lead { to, parameter, from }
}

/// What a route takes in its body.
pub(crate) enum Body {
    None,
    /// May be left out.
    Optional(Shape),
    Json(Shape),
    /// Or the items of it as JSON, one a line.
    JsonOrLines(Shape),
}

/// What a route answers when all is well.
pub(crate) enum Reply {
    Json(Shape),
    /// The other where the body came in lines.
    JsonOrLines(Shape, Shape),
    /// 201: it is always something new.
    New(Shape),
    /// 201 where something new came to be, else 200.
    Created(Shape),
    /// With its `ETag`, so a change of it honours `If-Match`.
    Versioned(Shape),
    /// 201 where something new came to be, else 200; with its `ETag`.
    CreatedVersioned(Shape),
    /// 101: what is said then another contract describes.
    Socket,
    /// Something of one of these media types that the contract does not describe.
    Other(&'static [&'static str]),
}

/// A type of the wire format, for the contract.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: fn() -> Cow<'static, str>,
    pub(crate) schema: fn() -> RefOr<Schema>,
    pub(crate) inner: fn(&mut Vec<(String, RefOr<Schema>)>),
}

pub(crate) const fn shape<T: ToSchema>() -> Shape {
    Shape { name: T::name, schema: T::schema, inner: T::schemas }
}

use Role::{Admin, Dispatcher, Driver, Gateway, Merchant};

const ADMIN: Access = Access::Roles(&[Admin], Own::Nothing);
const STAFF: Access = Access::Roles(&[Admin, Dispatcher], Own::Nothing);
const ANY_KEY: Access = Access::Roles(&[Admin, Dispatcher, Merchant, Driver, Gateway], Own::Nothing);
const OWN_DRIVER: Access = Access::Roles(&[Admin, Dispatcher, Driver], Own::Driver);
const REPORTS_DRIVER: Access = Access::Roles(&[Admin, Dispatcher, Driver, Gateway], Own::Driver);
const OWN_OFFER: Access = Access::Roles(&[Admin, Dispatcher, Driver], Own::Offer);
const SEES_ORDER: Access = Access::Roles(&[Admin, Dispatcher, Merchant, Driver], Own::Order);
const ORDER_SOURCE: Access = Access::Roles(&[Admin, Dispatcher, Merchant], Own::Order);
const FOLLOWS: Access = Access::Roles(&[Admin, Dispatcher, Merchant, Driver], Own::Items);
const OWN_MADE: Access = Access::Roles(&[Admin], Own::Made);
const ORDER_DRIVER: Access = Access::Roles(&[Admin, Dispatcher, Driver], Own::Order);

const fn route(
    method: HttpMethod,
    path: &'static str,
    id: &'static str,
    access: Access,
    mount: fn() -> MethodRouter<State>,
) -> Route {
    let (cost, once) = if matches!(method, Get) { (Cost::Read, false) } else { (Cost::Command, true) };
    Route {
        method,
        path,
        id,
        summary: "",
        access,
        query: &[],
        body: Body::None,
        reply: Reply::Other(&[]),
        conflicts: false,
        cost,
        once,
        leads: &[],
        mount,
    }
}

impl Route {
    const fn about(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    const fn query(self, query: &'static [Param]) -> Self {
        Self { query, ..self }
    }

    const fn takes(mut self, shape: Shape) -> Self {
        self.body = Body::Json(shape);
        self
    }

    const fn takes_lines(mut self, shape: Shape) -> Self {
        self.body = Body::JsonOrLines(shape);
        self
    }

    const fn may_take(mut self, shape: Shape) -> Self {
        self.body = Body::Optional(shape);
        self
    }

    const fn gives(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    const fn conflicts(self) -> Self {
        Self { conflicts: true, ..self }
    }

    const fn leads(self, leads: &'static [Lead]) -> Self {
        Self { leads, ..self }
    }

    /// It takes positions, which are soft (the next one replaces it) and counted one by one.
    const fn soft(self) -> Self {
        Self { once: false, cost: Cost::Report, ..self }
    }

    /// It answers with a secret, which nobody is shown again; or changes nothing that a second time would change again.
    const fn unrepeated(self) -> Self {
        Self { once: false, ..self }
    }

    /// It takes longer than looking one thing up.
    const fn search(self) -> Self {
        Self { cost: Cost::Search, ..self }
    }

    /// Whether it changes what is kept, and honours `Idempotency-Key`.
    pub(crate) fn is_command(&self) -> bool {
        self.once
    }

    /// What it is to whoever counts requests.
    pub(crate) fn operation(&self) -> Operation {
        let begins = |with: &str| self.path.starts_with(with);
        let class = match self.id {
            "nearestDrivers" => "search",
            _ if self.cost == Cost::Report => "positions",
            _ if begins("/v1/orders") || begins("/v1/offers") => "orders",
            _ if begins("/v1/drivers") => "drivers",
            _ => "other",
        };
        Operation { id: self.id, class, is_command: self.cost == Cost::Command }
    }

    /// Whether it changes something that has versions, and honours `If-Match`.
    pub(crate) fn is_conditional(&self) -> bool {
        matches!(self.reply, Reply::Versioned(_)) && self.method != Get
    }
}

fn id(_: &Edition) -> RefOr<Schema> {
    Ref::from_schema_name("Id").into()
}

fn number(least: f64, most: f64) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Number).minimum(Some(least)).maximum(Some(most)).into()
}

const MARKET: Param = Param { name: "market", required: false, about: "Only this market.", schema: id };
const CURSOR: Param = Param {
    name: "cursor",
    required: false,
    about: "The next_cursor of the page before.",
    schema: |_| Ref::from_schema_name("Cursor").into(),
};
const LIMIT: Param = Param {
    name: "limit",
    required: false,
    about: "How many entries at most.",
    schema: |edition| {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(edition.page)).into()
    },
};

const DRIVERS_QUERY: &[Param] = &[
    MARKET,
    Param {
        name: "shift",
        required: false,
        about: "Only drivers whose shift is this.",
        schema: |_| Ref::from_schema_name("ShiftName").into(),
    },
    CURSOR,
    LIMIT,
];
const ORDERS_QUERY: &[Param] = &[
    MARKET,
    Param {
        name: "status",
        required: false,
        about: "Only orders the customer is shown as this.",
        schema: |_| Ref::from_schema_name("StatusName").into(),
    },
    CURSOR,
    LIMIT,
];
const AFTER: Param = Param {
    name: "after",
    required: false,
    about: "The id of the last event that the client has; the header Last-Event-ID counts before it.",
    schema: |_| Ref::from_schema_name("FeedCursor").into(),
};
const FEED_QUERY: &[Param] = &[
    MARKET,
    AFTER,
    Param {
        name: "positions",
        required: false,
        about: "Whether to tell where the drivers are, too; true if absent.",
        schema: |_| ObjectBuilder::new().schema_type(Type::Boolean).into(),
    },
];
const STREAM: Reply = Reply::Other(&["text/event-stream"]);
const PAGE_QUERY: &[Param] =
    &[Param { name: "cursor", required: false, about: "The next_cursor of the page before.", schema: id }, LIMIT];
const ABOUT_DRIVER: &[Param] =
    &[Param { name: "driver", required: true, about: "Which driver it is about.", schema: id }];
const NEAREST_QUERY: &[Param] = &[
    Param { name: "lat", required: true, about: "Latitude in degrees.", schema: |_| number(-90.0, 90.0) },
    Param { name: "lng", required: true, about: "Longitude in degrees.", schema: |_| number(-180.0, 180.0) },
    MARKET,
    Param {
        name: "radius_m",
        required: false,
        about: "How far to search; 5000 if absent.",
        schema: |_| number(0.0, wire::MAX_RADIUS_M),
    },
    LIMIT,
];

use HttpMethod::{Delete, Get, Post, Put};

const DRIVER: Reply = Reply::Json(shape::<wire::DriverReply>());
const OFFER: Reply = Reply::Json(shape::<wire::OfferReply>());
const ORDER: Reply = Reply::Versioned(shape::<wire::OrderReply>());
const WEBHOOK: Reply = Reply::Json(shape::<wire::WebhookReply>());
const RULES: Reply = Reply::Versioned(shape::<wire::ConfigReply>());

const NEW_DRIVER: &[Lead] =
    &[lead("startShift", "id", "/id"), lead("rateDriver", "id", "/id"), lead("getDriver", "id", "/id")];
const DRIVER_AT_WORK: &[Lead] = &[
    lead("reportPosition", "id", "/id"),
    lead("getDriverOffer", "id", "/id"),
    lead("pauseShift", "id", "/id"),
    lead("endShift", "id", "/id"),
];
const OPEN_OFFER: &[Lead] = &[lead("acceptOffer", "id", "/offer/id"), lead("declineOffer", "id", "/offer/id")];
const NEW_ORDER: &[Lead] = &[
    lead("kitchenProgress", "id", "/id"),
    lead("setReadyTime", "id", "/id"),
    lead("assignOrder", "id", "/id"),
    lead("cancelOrder", "id", "/id"),
    lead("failOrder", "id", "/id"),
    lead("getOrder", "id", "/id"),
    lead("getEta", "id", "/id"),
    lead("explainOrder", "id", "/id"),
    lead("getOpinion", "id", "/id"),
    lead("whyNot", "id", "/id"),
];

const NEW_WEBHOOK: &[Lead] = &[
    lead("getWebhook", "id", "/webhook/id"),
    lead("rotateWebhookSecret", "id", "/webhook/id"),
    lead("testWebhook", "id", "/webhook/id"),
    lead("pauseWebhook", "id", "/webhook/id"),
    lead("resumeWebhook", "id", "/webhook/id"),
    lead("listDeadLetters", "id", "/webhook/id"),
    lead("replayDeadLetters", "id", "/webhook/id"),
    lead("deleteWebhook", "id", "/webhook/id"),
];

/// Every route of the server.
pub(crate) static ROUTES: &[Route] = &[
    // Drivers.
    route(Put, "/v1/drivers/{id}", "registerDriver", STAFF, || put(drivers::register))
        .about("Make a driver known, or change what is known of it")
        .takes(shape::<wire::RegisterDriver>())
        .gives(Reply::Created(shape::<wire::DriverReply>()))
        .conflicts()
        .leads(NEW_DRIVER),
    route(Get, "/v1/drivers", "listDrivers", STAFF, || get(drivers::list))
        .about("List drivers")
        .query(DRIVERS_QUERY)
        .search()
        .gives(Reply::Json(shape::<wire::DriversReply>()))
        .leads(&[lead("listDrivers", "cursor", "/next_cursor")]),
    route(Get, "/v1/nearest-drivers", "nearestDrivers", STAFF, || get(drivers::nearest))
        .about("Find the nearest drivers who could get an order")
        .query(NEAREST_QUERY)
        .search()
        .gives(Reply::Json(shape::<wire::NearestReply>())),
    route(Get, "/v1/drivers/{id}", "getDriver", OWN_DRIVER, || get(drivers::get))
        .about("Show a driver, its orders and its route")
        .gives(DRIVER),
    route(Post, "/v1/drivers/{id}/shift/start", "startShift", OWN_DRIVER, || post(drivers::start_shift))
        .about("Begin to work")
        .may_take(shape::<wire::StartShift>())
        .gives(DRIVER)
        .conflicts()
        .leads(DRIVER_AT_WORK),
    route(Post, "/v1/drivers/{id}/shift/end", "endShift", OWN_DRIVER, || post(drivers::end_shift))
        .about("Stop working; orders not picked up go back, those on board are still to be delivered")
        .gives(DRIVER)
        .conflicts(),
    route(Post, "/v1/drivers/{id}/shift/pause", "pauseShift", OWN_DRIVER, || post(drivers::pause))
        .about("Get no new orders for now")
        .gives(DRIVER)
        .conflicts(),
    route(Post, "/v1/drivers/{id}/shift/resume", "resumeShift", OWN_DRIVER, || post(drivers::resume))
        .about("Get orders again")
        .gives(DRIVER)
        .conflicts(),
    route(Put, "/v1/drivers/{id}/planned-shift", "planShift", STAFF, || put(drivers::plan_shift))
        .about("Put the next shift of a driver who is off shift on the roster")
        .takes(shape::<wire::PlannedShiftBody>())
        .gives(DRIVER)
        .conflicts()
        .leads(&[lead("unplanShift", "id", "/id")]),
    route(Delete, "/v1/drivers/{id}/planned-shift", "unplanShift", STAFF, || delete(drivers::unplan_shift))
        .about("Take a driver's next shift off the roster")
        .gives(DRIVER)
        .conflicts(),
    route(Put, "/v1/drivers/{id}/rating", "rateDriver", STAFF, || put(drivers::rate))
        .about("Set a driver's rating")
        .takes(shape::<wire::RateDriver>())
        .gives(DRIVER),
    route(Get, "/v1/drivers/{id}/offer", "getDriverOffer", OWN_DRIVER, || get(offers::of_driver))
        .about("Show the offer a driver has to answer")
        .gives(Reply::Json(shape::<wire::DriverOfferReply>()))
        .leads(OPEN_OFFER),
    // Positions.
    route(Post, "/v1/drivers/{id}/position", "reportPosition", REPORTS_DRIVER, || post(positions::report))
        .about("Report where a driver is")
        .soft()
        .takes(shape::<wire::ReportPosition>())
        .gives(Reply::Json(shape::<wire::PositionReply>())),
    route(
        Post,
        "/v1/positions",
        "reportPositions",
        Access::Roles(&[Admin, Dispatcher, Driver, Gateway], Own::Items),
        || post(positions::report_many),
    )
    .about("Report where many drivers are, with a result for each")
    .soft()
    .takes_lines(shape::<wire::ReportPositions>())
    .gives(Reply::JsonOrLines(shape::<wire::PositionsReply>(), shape::<wire::LinesReply>())),
    // Orders.
    route(Post, "/v1/orders", "submitOrder", ORDER_SOURCE, || post(orders::submit))
        .about("Hand an order over; the same order again is harmless")
        .takes(shape::<wire::SubmitOrder>())
        .gives(Reply::CreatedVersioned(shape::<wire::OrderReply>()))
        .conflicts()
        .leads(NEW_ORDER),
    route(Get, "/v1/orders", "listOrders", SEES_ORDER, || get(orders::list))
        .about("List orders")
        .query(ORDERS_QUERY)
        .search()
        .gives(Reply::Json(shape::<wire::OrdersReply>()))
        .leads(&[lead("listOrders", "cursor", "/next_cursor")]),
    route(Get, "/v1/orders/{id}", "getOrder", SEES_ORDER, || get(orders::get)).about("Show an order").gives(ORDER),
    route(Post, "/v1/orders/{id}/kitchen", "kitchenProgress", ORDER_SOURCE, || post(orders::kitchen))
        .about("Say how far the kitchen got")
        .takes(shape::<wire::KitchenProgress>())
        .gives(ORDER)
        .conflicts(),
    route(Put, "/v1/orders/{id}/ready-time", "setReadyTime", ORDER_SOURCE, || put(orders::ready_time))
        .about("Say when the order will be ready")
        .takes(shape::<wire::ReadyTime>())
        .gives(ORDER)
        .conflicts(),
    route(Post, "/v1/orders/{id}/cancel", "cancelOrder", ORDER_SOURCE, || post(orders::cancel))
        .about("Call an order off before it is picked up")
        .takes(shape::<wire::CancelOrder>())
        .gives(ORDER)
        .conflicts(),
    route(Post, "/v1/orders/{id}/fail", "failOrder", SEES_ORDER, || post(orders::fail))
        .about("Give an order up, also after it was picked up")
        .takes(shape::<wire::FailOrder>())
        .gives(ORDER)
        .conflicts(),
    route(Post, "/v1/orders/{id}/progress", "progressOrder", ORDER_DRIVER, || post(orders::progress))
        .about("Say how far the driver got: arrived, picked up, departed, delivered")
        .takes(shape::<wire::Progress>())
        .gives(ORDER)
        .conflicts(),
    route(Post, "/v1/orders/{id}/assign", "assignOrder", STAFF, || post(orders::assign))
        .about("Give an order to a driver by hand, taking it from another")
        .takes(shape::<wire::AssignOrder>())
        .gives(ORDER)
        .conflicts()
        .leads(&[lead("progressOrder", "id", "/id"), lead("takeBackOrder", "id", "/id")]),
    route(Post, "/v1/orders/{id}/take-back", "takeBackOrder", STAFF, || post(orders::take_back))
        .about("Take an order that is not picked up from its driver")
        .gives(ORDER)
        .conflicts(),
    route(Get, "/v1/orders/{id}/eta", "getEta", SEES_ORDER, || get(orders::eta))
        .about("Say when an order arrives")
        .gives(Reply::Json(shape::<wire::EtaReply>())),
    route(Get, "/v1/orders/{id}/explanation", "explainOrder", STAFF, || get(orders::explanation))
        .about("Say why an order has the driver it has, or none")
        .search()
        .gives(Reply::Json(shape::<wire::ExplanationReply>())),
    route(Get, "/v1/orders/{id}/opinion", "getOpinion", STAFF, || get(orders::opinion))
        .about("Say what giving an order to a driver by hand would come to, beside the best other driver")
        .search()
        .query(ABOUT_DRIVER)
        .gives(Reply::Json(shape::<wire::OpinionReply>()))
        .conflicts(),
    route(Get, "/v1/orders/{id}/why-not", "whyNot", STAFF, || get(orders::why_not))
        .about("Say why an order did not go to a driver, as far as was recorded")
        .search()
        .query(ABOUT_DRIVER)
        .gives(Reply::Json(shape::<wire::WhyNotReply>()))
        .conflicts(),
    route(Post, "/v1/orders/{id}/tracking-links", "createTrackingLink", ORDER_SOURCE, || post(keys::link))
        .about("Make a link that shows an order to its customer, without a key")
        .unrepeated()
        .may_take(shape::<wire::CreateLink>())
        .gives(Reply::Json(shape::<wire::LinkReply>()))
        .leads(&[lead("trackOrder", "token", "/token")]),
    route(Get, "/v1/track/{token}", "trackOrder", Access::Link, || get(keys::track))
        .about("Show an order to whoever has its link")
        .gives(Reply::Json(shape::<wire::TrackReply>())),
    route(Get, "/v1/track/{token}/feed", "followTrackedOrder", Access::Link, || get(feed::of_link))
        .about("Tell whoever has its link how an order goes on")
        .gives(STREAM),
    // The feed.
    route(Get, "/v1/feed", "followAll", FOLLOWS, || get(feed::all))
        .about("Tell all that happens and that the caller may see, as it happens")
        .query(FEED_QUERY)
        .search()
        .gives(STREAM),
    route(Get, "/v1/orders/{id}/feed", "followOrder", ORDER_SOURCE, || get(feed::of_order))
        .about("Tell how an order goes on")
        .query(&[AFTER])
        .gives(STREAM),
    route(Get, "/v1/drivers/{id}/feed", "followDriver", OWN_DRIVER, || get(feed::of_driver))
        .about("Tell what a driver is asked and has to do")
        .query(&[AFTER])
        .gives(STREAM),
    route(Get, "/v1/socket", "openSocket", ANY_KEY, || get(socket::open))
        .about("Open a web socket for subscriptions, a driver's answers and positions")
        .gives(Reply::Socket),
    // Keys.
    route(Post, "/v1/keys", "createKey", OWN_MADE, || post(keys::create))
        .about("Make an API key; its secret is shown this once")
        .unrepeated()
        .takes(shape::<wire::CreateKey>())
        .gives(Reply::New(shape::<wire::SecretReply>()))
        .conflicts()
        .leads(&[lead("rotateKey", "id", "/key/id"), lead("revokeKey", "id", "/key/id")]),
    route(Get, "/v1/keys", "listKeys", OWN_MADE, || get(keys::list))
        .about("List the API keys that were made since the server was set up")
        .query(PAGE_QUERY)
        .gives(Reply::Json(shape::<wire::KeysReply>())),
    route(Post, "/v1/keys/{id}/rotate", "rotateKey", OWN_MADE, || post(keys::rotate))
        .about("Give an API key a new secret, shown this once")
        .unrepeated()
        .may_take(shape::<wire::RotateKey>())
        .gives(Reply::Json(shape::<wire::SecretReply>()))
        .conflicts(),
    route(Delete, "/v1/keys/{id}", "revokeKey", OWN_MADE, || delete(keys::revoke))
        .about("Have an API key let nobody in any more")
        .unrepeated()
        .gives(Reply::Json(shape::<wire::KeyReply>())),
    // Webhooks.
    route(Post, "/v1/webhooks", "createWebhook", OWN_MADE, || post(webhooks::create))
        .about("Have what happens from now on sent somewhere; the secret it is signed with is shown this once")
        .unrepeated()
        .takes(shape::<wire::CreateWebhook>())
        .gives(Reply::New(shape::<wire::WebhookSecretReply>()))
        .leads(NEW_WEBHOOK),
    route(Get, "/v1/webhooks", "listWebhooks", OWN_MADE, || get(webhooks::list))
        .about("List webhooks")
        .query(PAGE_QUERY)
        .gives(Reply::Json(shape::<wire::WebhooksReply>())),
    route(Get, "/v1/webhooks/{id}", "getWebhook", OWN_MADE, || get(webhooks::get))
        .about("Show a webhook, and how its deliveries go")
        .gives(WEBHOOK),
    route(Delete, "/v1/webhooks/{id}", "deleteWebhook", OWN_MADE, || delete(webhooks::delete))
        .about("Have a webhook told nothing more, and forget what it was still to be told")
        .unrepeated()
        .gives(WEBHOOK),
    route(Post, "/v1/webhooks/{id}/rotate-secret", "rotateWebhookSecret", OWN_MADE, || post(webhooks::rotate))
        .about("Give a webhook a new secret, shown this once")
        .unrepeated()
        .may_take(shape::<wire::RotateWebhookSecret>())
        .gives(Reply::Json(shape::<wire::WebhookSecretReply>())),
    route(Post, "/v1/webhooks/{id}/test", "testWebhook", OWN_MADE, || post(webhooks::test))
        .about("Send a webhook an event that is none")
        .unrepeated()
        .gives(Reply::Json(shape::<wire::TestReply>())),
    route(Post, "/v1/webhooks/{id}/pause", "pauseWebhook", OWN_MADE, || post(webhooks::pause))
        .about("Have a webhook wait")
        .unrepeated()
        .gives(WEBHOOK),
    route(Post, "/v1/webhooks/{id}/resume", "resumeWebhook", OWN_MADE, || post(webhooks::resume))
        .about("Have a webhook go on from where it is")
        .unrepeated()
        .gives(WEBHOOK),
    route(Get, "/v1/webhooks/{id}/dead-letters", "listDeadLetters", OWN_MADE, || get(webhooks::dead_letters))
        .about("List what could not be delivered to a webhook")
        .query(PAGE_QUERY)
        .gives(Reply::Json(shape::<wire::DeadLettersReply>())),
    route(Post, "/v1/webhooks/{id}/dead-letters/replay", "replayDeadLetters", OWN_MADE, || post(webhooks::replay))
        .about("Send what could not be delivered to a webhook again")
        .unrepeated()
        .may_take(shape::<wire::ReplayDeadLetters>())
        .gives(Reply::Json(shape::<wire::ReplayReply>())),
    // Offers.
    route(Get, "/v1/offers/{id}", "getOffer", OWN_OFFER, || get(offers::get)).about("Show an offer").gives(OFFER),
    route(Post, "/v1/offers/{id}/accept", "acceptOffer", OWN_OFFER, || post(offers::accept))
        .about("Take an offer")
        .gives(OFFER)
        .conflicts()
        .leads(&[lead("progressOrder", "id", "/orders/0/id")]),
    route(Post, "/v1/offers/{id}/decline", "declineOffer", OWN_OFFER, || post(offers::decline))
        .about("Turn an offer down")
        .gives(OFFER)
        .conflicts(),
    // The server.
    route(Get, "/v1/markets", "listMarkets", ANY_KEY, || get(markets::list))
        .about("List the markets")
        .gives(Reply::Json(shape::<wire::MarketsReply>())),
    route(Get, "/v1/markets/{id}", "getMarket", ANY_KEY, || get(markets::get))
        .about("Show a market")
        .gives(Reply::Json(shape::<wire::MarketReply>())),
    route(Get, "/v1/markets/{id}/config", "getMarketConfig", STAFF, || get(markets::config))
        .about("Show the rules of a market")
        .gives(RULES),
    route(Put, "/v1/markets/{id}/config", "setMarketConfig", ADMIN, || put(markets::configure))
        .about("Replace the rules of a market, from now on")
        .takes(shape::<wire::RulesBody>())
        .gives(RULES),
    route(Post, "/v1/markets/{id}/config/rollback", "rollBackMarketConfig", ADMIN, || post(markets::roll_back))
        .about("Put former rules of a market back in force, as a new version")
        .takes(shape::<wire::RollBack>())
        .gives(RULES),
    route(Get, "/v1/stats", "getStats", STAFF, || get(markets::stats))
        .about("Count drivers, orders and positions")
        .query(&[MARKET])
        .gives(Reply::Json(shape::<wire::StatsReply>())),
    route(Get, "/health/live", "getLive", Access::Public, || get(markets::live))
        .about("Whether the process answers")
        .gives(Reply::Json(shape::<wire::HealthReply>())),
    route(Get, "/health/ready", "getReady", Access::Public, || get(markets::ready))
        .about("Whether the server can decide")
        .gives(Reply::Json(shape::<wire::HealthReply>())),
    route(Get, "/openapi.json", "getOpenApi", Access::Public, || get(docs::openapi))
        .about("This contract")
        .gives(Reply::Other(&["application/json"])),
    route(Get, "/asyncapi.json", "getAsyncApi", Access::Public, || get(docs::asyncapi))
        .about("The contract of streams, sockets and webhooks")
        .gives(Reply::Other(&["application/json"])),
    route(Get, "/docs", "getDocs", Access::Public, || get(docs::redirect))
        .about("Leads to the page that shows this contract")
        .gives(Reply::Other(&["text/html"])),
    route(Get, "/docs/", "getDocsPage", Access::Public, || get(docs::index))
        .about("A page that shows this contract and tries it out")
        .gives(Reply::Other(&["text/html"])),
    route(Get, "/docs/{file}", "getDocsFile", Access::Public, || get(docs::file))
        .about("A part of that page")
        .gives(Reply::Other(&["text/html", "text/css", "text/javascript", "image/png"])),
];
