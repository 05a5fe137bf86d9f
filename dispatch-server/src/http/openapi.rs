//! The contract: `OpenAPI` 3.1, made from the table of routes.

use super::etag;
use super::problem::{IDEMPOTENCY_KEY, Kind};
use super::routes::{Access, Body, Lead, Own, Param, ROUTES, Reply, Route, Shape, shape};
use crate::config::{Limits, ServerConfig};
use crate::wire;
use axum::http::StatusCode;
use std::collections::BTreeSet;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::Server;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, ObjectBuilder, OneOfBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Required, Type,
};

const PROBLEM: Shape = shape::<wire::ProblemBody>();
const BATCH: Shape = shape::<wire::ReportPositions>();

const ABOUT: &str = "Decides which driver fetches which order, when, and in which stop sequence.

Whatever goes wrong is answered as `application/problem+json` with a `code`, unless it is no request yet: what is not HTTP (400) \
and what has too long a path and query (414) or too long headers (431) is answered without a body. A path that does not know \
the method is answered 405, with those it knows in `Allow`.

A field that may be `null` may as well be left out of a request. Requests with fields that are not described are refused; \
answers may get further fields.";

/// The contract of a server with the default limits and with API keys, as JSON. A running server serves its own at
/// `/openapi.json`.
pub fn openapi_json() -> String {
    let edition = Edition::of(&ServerConfig::default(), true);
    edition.json("")
}

/// What the contract of a server owes to its configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edition {
    /// Whether requests need an API key.
    needs_key: bool,
    /// Most entries of one page of a list.
    pub(crate) page: u32,
    /// Most positions in one batch.
    batch_fixes: usize,
}

impl Edition {
    pub(crate) fn of(config: &ServerConfig, needs_key: bool) -> Self {
        let Limits { page, batch_fixes, .. } = config.limits;
        // The configuration allows no larger page than 10,000 entries.
        Self { needs_key, page: u32::try_from(page).unwrap_or(u32::MAX), batch_fixes }
    }

    /// The contract as JSON, of a server below this path.
    pub(crate) fn json(&self, prefix: &str) -> String {
        let mut contract = contract(self);
        if !prefix.is_empty() {
            contract.servers = Some(vec![Server::new(prefix)]);
        }
        contract.to_json().expect("a contract has text keys and finite numbers")
    }
}

fn contract(edition: &Edition) -> OpenApi {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    for shape in ROUTES.iter().flat_map(shapes).chain([
        PROBLEM,
        shape::<wire::Id>(),
        shape::<wire::OfferText>(),
        shape::<wire::CursorText>(),
        shape::<wire::FeedCursorText>(),
        shape::<wire::DriverPosition>(),
        shape::<wire::ShiftName>(),
        shape::<wire::StatusName>(),
    ]) {
        schemas.push(((shape.name)().into_owned(), (shape.schema)()));
        (shape.inner)(&mut schemas);
    }
    for (name, schema) in &mut schemas {
        if *name == (BATCH.name)() {
            limit_items(schema, "positions", edition.batch_fixes);
        }
    }
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key, or a token of an issuer the server knows."))
        .build();
    let components =
        ComponentsBuilder::new().schemas_from_iter(schemas).security_scheme("key", SecurityScheme::Http(key)).build();
    let mut paths = PathsBuilder::new().build();
    for route in ROUTES {
        paths.add_path_operation(route.path, vec![method(route)], operation(route, edition));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("dispatch-server")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(ABOUT))
                .build(),
        )
        .paths(paths)
        .components(Some(components))
        .build()
}

fn method(route: &Route) -> HttpMethod {
    route.method.clone()
}

fn shapes(route: &Route) -> Vec<Shape> {
    let body = match route.body {
        Body::None => None,
        Body::Optional(shape) | Body::Json(shape) | Body::JsonOrLines(shape) => Some(shape),
    };
    let reply = match route.reply {
        Reply::JsonOrLines(shape, lines) => return body.into_iter().chain([shape, lines]).collect(),
        Reply::Json(shape)
        | Reply::New(shape)
        | Reply::Created(shape)
        | Reply::Versioned(shape)
        | Reply::CreatedVersioned(shape) => Some(shape),
        Reply::Other(_) | Reply::Socket => None,
    };
    body.into_iter().chain(reply).collect()
}

fn operation(route: &Route, edition: &Edition) -> OperationBuilder {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.id))
        .tag(tag(route))
        .summary(Some(route.summary))
        .description(Some(policy(route)));
    if let Some(about) = path_parameter(route) {
        operation = operation.parameter(about);
    }
    for Param { name, required, about, schema } in route.query {
        let required = if *required { Required::True } else { Required::False };
        let param = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Query).required(required);
        operation = operation.parameter(param.description(Some(*about)).schema(Some(schema(edition))));
    }
    if let Some((name, about)) = condition(route) {
        let param = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
        let tags = ObjectBuilder::new().schema_type(Type::String).pattern(Some(etag::TAGS_PATTERN));
        operation = operation.parameter(param.description(Some(about)).schema(Some(tags)));
    }
    if route.is_command() {
        let about = "Makes it safe to send the request again: within a day it is carried out once, and answered as the first time.";
        let param = ParameterBuilder::new().name(IDEMPOTENCY_KEY).parameter_in(ParameterIn::Header);
        let key = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]{1,64}$"));
        operation = operation.parameter(param.required(Required::False).description(Some(about)).schema(Some(key)));
    }
    operation = match route.body {
        Body::None => operation,
        Body::Optional(shape) => operation.request_body(Some(request(shape, Required::False))),
        Body::Json(shape) => operation.request_body(Some(request(shape, Required::True))),
        Body::JsonOrLines(shape) => {
            let mut body = request(shape, Required::True);
            let text =
                ObjectBuilder::new().schema_type(Type::String).description(Some("A DriverPosition in each line."));
            let lines = ContentBuilder::new().schema(Some(text)).build();
            body.content.insert(wire::NdJson::MEDIA_TYPE.to_owned(), lines.into());
            operation.request_body(Some(body))
        }
    };
    for (status, response) in successes(route) {
        operation = operation.response(status.as_u16().to_string(), response);
    }
    for kind in problems(route) {
        operation = operation.response(kind.status().as_u16().to_string(), problem(kind));
    }
    if edition.needs_key && matches!(route.access, Access::Roles(..)) {
        operation = operation.security(SecurityRequirement::new("key", Vec::<String>::new()));
    }
    operation
}

/// The header that makes a request depend on a version.
fn condition(route: &Route) -> Option<(&'static str, &'static str)> {
    match route.reply {
        Reply::Versioned(_) if route.method == HttpMethod::Get => {
            Some(("If-None-Match", "The ETag that is known already, or several."))
        }
        Reply::Versioned(_) => Some(("If-Match", "The ETag it must have, one of several, or * for any.")),
        _ => None,
    }
}

/// An answer that says what went wrong.
fn problem(kind: Kind) -> utoipa::openapi::Response {
    let content = ContentBuilder::new().schema(Some(reference(PROBLEM))).build();
    let response = ResponseBuilder::new().description(kind.meaning()).content("application/problem+json", content);
    match kind {
        Kind::Unauthenticated => response.header("WWW-Authenticate", header("How to send a key.", "^Bearer$")),
        Kind::TooOften | Kind::Unavailable => {
            response.header("Retry-After", header("After how many seconds to try again.", "^[0-9]+$"))
        }
        _ => response,
    }
    .build()
}

/// A header that an answer always has.
fn header(about: &str, pattern: &str) -> Header {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let required = Extensions::from_iter([("required", true)]);
    HeaderBuilder::new().description(Some(about)).schema(Some(text)).extensions(Some(required)).build()
}

fn version() -> Header {
    header("Its version.", etag::TAG_PATTERN)
}

fn limit_items(schema: &mut RefOr<Schema>, property: &str, most: usize) {
    if let RefOr::T(Schema::Object(object)) = schema
        && let Some(RefOr::T(Schema::Array(items))) = object.properties.get_mut(property)
    {
        items.max_items = Some(most);
    }
}

/// Operations are shown in groups by what they are about.
fn tag(route: &Route) -> &'static str {
    let about = route.path.trim_start_matches("/v1/").trim_start_matches('/').split('/').next().unwrap_or_default();
    match about {
        "drivers" | "nearest-drivers" | "positions" => "drivers",
        "orders" | "track" => "orders",
        "offers" => "offers",
        "keys" => "keys",
        "webhooks" => "webhooks",
        _ => "server",
    }
}

/// Who may use the route, in words.
fn policy(route: &Route) -> String {
    let (roles, own) = match route.access {
        Access::Public => return "Needs no key.".into(),
        Access::Link => return "Needs no key but the link.".into(),
        Access::Roles(roles, own) => (roles, own),
    };
    let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let own = match own {
        Own::Nothing => "",
        Own::Driver => " A driver acts for itself only.",
        Own::Order => " A merchant sees the orders of its places, a driver those it is asked or responsible for.",
        Own::Offer => " A driver sees its own offers only.",
        Own::Made => " Of its own tenant and markets only.",
        Own::Items => " A driver reports its own positions only.",
    };
    format!("For keys of role {}.{own}", roles.join(", "))
}

fn path_parameter(route: &Route) -> Option<ParameterBuilder> {
    let name = route.path.split_once('{')?.1.split('}').next()?;
    let schema = match name {
        "id" if route.path.starts_with("/v1/offers/") => Ref::from_schema_name("OfferId").into(),
        "id" => Ref::from_schema_name("Id").into(),
        _ => text(),
    };
    Some(
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(schema)),
    )
}

fn text() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}

fn reference(shape: Shape) -> Ref {
    Ref::from_schema_name((shape.name)())
}

fn request(shape: Shape, required: Required) -> utoipa::openapi::request_body::RequestBody {
    let content = ContentBuilder::new().schema(Some(reference(shape))).build();
    RequestBodyBuilder::new().required(Some(required)).content("application/json", content).build()
}

fn successes(route: &Route) -> Vec<(StatusCode, utoipa::openapi::Response)> {
    let json = |shape: Shape| {
        let content = ContentBuilder::new().schema(Some(reference(shape))).build();
        ResponseBuilder::new().description("Done.").content("application/json", content)
    };
    let versioned = |shape| json(shape).header("ETag", version());
    let leads = |response: ResponseBuilder| {
        route.leads.iter().fold(response, |response, Lead { to, parameter, from }| {
            let value = format!("$response.body#{from}");
            response.link(*to, LinkBuilder::new().operation_id(*to).parameter(*parameter, value).build())
        })
    };
    let both = |one: ResponseBuilder, other: ResponseBuilder| {
        vec![
            (StatusCode::OK, leads(one.description("It was known.")).build()),
            (StatusCode::CREATED, leads(other.description("It is new.")).build()),
        ]
    };
    match route.reply {
        Reply::Json(shape) => vec![(StatusCode::OK, leads(json(shape)).build())],
        Reply::JsonOrLines(shape, lines) => {
            let either = OneOfBuilder::new().item(reference(shape)).item(reference(lines));
            let content = ContentBuilder::new().schema(Some(Schema::OneOf(either.build()))).build();
            let response = ResponseBuilder::new().description("Done.").content("application/json", content);
            vec![(StatusCode::OK, response.build())]
        }
        Reply::New(shape) => vec![(StatusCode::CREATED, leads(json(shape)).build())],
        Reply::Created(shape) => both(json(shape), json(shape)),
        Reply::CreatedVersioned(shape) => both(versioned(shape), versioned(shape)),
        Reply::Versioned(shape) if route.method == HttpMethod::Get => {
            let same = ResponseBuilder::new().description("It is still at the version of If-None-Match.");
            let same = (StatusCode::NOT_MODIFIED, same.header("ETag", version()).build());
            vec![(StatusCode::OK, leads(versioned(shape)).build()), same]
        }
        Reply::Versioned(shape) => vec![(StatusCode::OK, leads(versioned(shape)).build())],
        Reply::Socket => {
            let response = ResponseBuilder::new().description("The socket is open; /asyncapi.json says how to go on.");
            vec![(StatusCode::SWITCHING_PROTOCOLS, response.build())]
        }
        Reply::Other(kinds) => {
            let response = ResponseBuilder::new().description("Done.");
            let content = || ContentBuilder::new().build();
            let response = kinds.iter().fold(response, |response, kind| response.content(*kind, content()));
            vec![(StatusCode::OK, response.build())]
        }
    }
}

/// The kinds of problems a route can have.
fn problems(route: &Route) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    match route.access {
        Access::Public => {}
        Access::Link => kinds.extend([Kind::Unavailable, Kind::TooOften]),
        Access::Roles(..) => {
            kinds.extend([Kind::Unauthenticated, Kind::Forbidden, Kind::Unavailable, Kind::TooOften]);
        }
    }
    if matches!(route.reply, Reply::Socket) {
        kinds.insert(Kind::Malformed);
    }
    if route.path == "/health/ready" {
        kinds.insert(Kind::Unavailable);
    }
    if route.path.contains('{') || !route.query.is_empty() || route.id == "submitOrder" {
        kinds.insert(Kind::Unknown);
    }
    if route.path.contains("{id}") || !route.query.is_empty() {
        kinds.insert(Kind::Invalid);
    }
    if !matches!(route.body, Body::None) {
        kinds.extend([Kind::Malformed, Kind::Slow, Kind::TooLarge, Kind::MediaType, Kind::Invalid]);
    }
    if route.is_command() {
        kinds.extend([Kind::Conflict, Kind::Invalid, Kind::Slow, Kind::TooLarge]);
    }
    if route.conflicts {
        kinds.insert(Kind::Conflict);
    }
    if route.is_conditional() {
        kinds.insert(Kind::Changed);
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_openapi_3_1_and_has_every_route() {
        let json: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
        assert!(json["openapi"].as_str().unwrap().starts_with("3.1"), "{}", json["openapi"]);
        for route in ROUTES {
            let method = match route.method {
                HttpMethod::Get => "get",
                HttpMethod::Put => "put",
                HttpMethod::Delete => "delete",
                _ => "post",
            };
            let operation = &json["paths"][route.path][method];
            assert_eq!(operation["operationId"], route.id, "{method} {}", route.path);
            assert!(!route.summary.is_empty(), "{}", route.path);
            let secured = operation["security"].is_array();
            assert_eq!(secured, matches!(route.access, Access::Roles(..)), "{}", route.path);
        }
        let operations: usize =
            json["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(operations, ROUTES.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = openapi_json();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let schemas = json["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let ids: BTreeSet<_> = ROUTES.iter().map(|route| route.id).collect();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
