//! The contract: `OpenAPI` 3.1, made from the table of routes.

use super::problem::Kind;
use super::routes::{Access, Body, Own, Param, ROUTES, Reply, Route, Shape, shape};
use crate::wire;
use axum::http::StatusCode;
use std::collections::BTreeSet;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Type,
};

const PROBLEM: Shape = shape::<wire::ProblemBody>();
const ORDER: Shape = shape::<wire::OrderReply>();

/// The contract as JSON.
pub fn openapi_json() -> String {
    contract().to_json().expect("a contract has text keys and finite numbers")
}

fn contract() -> OpenApi {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    for shape in ROUTES.iter().flat_map(shapes).chain([
        PROBLEM,
        shape::<wire::Id>(),
        shape::<wire::DriverPosition>(),
        shape::<wire::ShiftName>(),
        shape::<wire::StatusName>(),
    ]) {
        schemas.push(((shape.name)().into_owned(), (shape.schema)()));
        (shape.inner)(&mut schemas);
    }
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key.")).build();
    let components =
        ComponentsBuilder::new().schemas_from_iter(schemas).security_scheme("key", SecurityScheme::Http(key)).build();
    let mut paths = PathsBuilder::new().build();
    for route in ROUTES {
        paths.add_path_operation(route.path, vec![method(route)], operation(route));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("dispatch-server")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some("Decides which driver fetches which order, when, and in which stop sequence."))
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
        Body::Optional(shape) | Body::Json(shape) => Some(shape),
    };
    let reply = match route.reply {
        Reply::Json(shape) | Reply::Created(shape) => Some(shape),
        Reply::Order | Reply::CreatedOrder => Some(ORDER),
        Reply::Text(_) => None,
    };
    body.into_iter().chain(reply).collect()
}

fn operation(route: &Route) -> OperationBuilder {
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
        operation = operation.parameter(param.description(Some(*about)).schema(Some(schema())));
    }
    if route.is_conditional() {
        let param =
            ParameterBuilder::new().name("If-Match").parameter_in(ParameterIn::Header).required(Required::False);
        operation = operation.parameter(param.description(Some("The ETag the order must have.")).schema(Some(text())));
    }
    operation = match route.body {
        Body::None => operation,
        Body::Optional(shape) => operation.request_body(Some(request(shape, Required::False))),
        Body::Json(shape) => operation.request_body(Some(request(shape, Required::True))),
    };
    for (status, response) in successes(route) {
        operation = operation.response(status.as_u16().to_string(), response);
    }
    for kind in problems(route) {
        let content = ContentBuilder::new().schema(Some(reference(PROBLEM))).build();
        let response =
            ResponseBuilder::new().description(kind.meaning()).content("application/problem+json", content).build();
        operation = operation.response(kind.status().as_u16().to_string(), response);
    }
    if route.access != Access::Public {
        operation = operation.security(SecurityRequirement::new("key", Vec::<String>::new()));
    }
    operation
}

/// Operations are shown in groups by what they are about.
fn tag(route: &Route) -> &'static str {
    let about = route.path.trim_start_matches("/v1/").trim_start_matches('/').split('/').next().unwrap_or_default();
    match about {
        "drivers" | "positions" => "drivers",
        "orders" => "orders",
        "offers" => "offers",
        _ => "server",
    }
}

/// Who may use the route, in words.
fn policy(route: &Route) -> String {
    let Access::Roles(roles, own) = route.access else { return "Needs no key.".into() };
    let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let own = match own {
        Own::Nothing => "",
        Own::Driver => " A driver acts for itself only.",
        Own::Order => " A merchant sees the orders of its places, a driver those it is asked or responsible for.",
        Own::Offer => " A driver sees its own offers only.",
        Own::Items => " A driver reports its own positions only.",
    };
    format!("For keys of role {}.{own}", roles.join(", "))
}

fn path_parameter(route: &Route) -> Option<ParameterBuilder> {
    let name = route.path.split_once('{')?.1.split('}').next()?;
    let ids = !route.path.starts_with("/v1/offers/") && name == "id";
    let schema = if ids { RefOr::from(Ref::from_schema_name("Id")) } else { text() };
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
    let order = || {
        let tag = HeaderBuilder::new().description(Some("The order's version.")).schema(Some(text())).build();
        json(ORDER).header("ETag", tag)
    };
    let both = |one: ResponseBuilder, other: ResponseBuilder| {
        vec![
            (StatusCode::OK, one.description("It was known.").build()),
            (StatusCode::CREATED, other.description("It is new.").build()),
        ]
    };
    match route.reply {
        Reply::Json(shape) => vec![(StatusCode::OK, json(shape).build())],
        Reply::Created(shape) => both(json(shape), json(shape)),
        Reply::CreatedOrder => both(order(), order()),
        Reply::Order if route.method == HttpMethod::Get => {
            let same = ResponseBuilder::new().description("It is still at the version of If-None-Match.").build();
            vec![(StatusCode::OK, order().build()), (StatusCode::NOT_MODIFIED, same)]
        }
        Reply::Order => vec![(StatusCode::OK, order().build())],
        Reply::Text(kind) => {
            let content = ContentBuilder::new().schema(Some(Schema::from(ObjectBuilder::new().build()))).build();
            vec![(StatusCode::OK, ResponseBuilder::new().description("Done.").content(kind, content).build())]
        }
    }
}

/// The kinds of problems a route can have.
fn problems(route: &Route) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    if route.access != Access::Public {
        kinds.extend([Kind::Unauthenticated, Kind::Forbidden, Kind::Unavailable]);
    }
    if route.path == "/health/ready" {
        kinds.insert(Kind::Unavailable);
    }
    if route.path.contains('{') || !route.query.is_empty() || route.id == "submitOrder" {
        kinds.extend([Kind::Unknown, Kind::Invalid]);
    }
    if !matches!(route.body, Body::None) {
        kinds.extend([Kind::Malformed, Kind::Slow, Kind::TooLarge, Kind::MediaType, Kind::Invalid]);
    }
    if route.conflicts {
        kinds.insert(Kind::Conflict);
    }
    if route.is_conditional() {
        kinds.insert(Kind::Changed);
    }
    if route.id == "reportPosition" {
        kinds.insert(Kind::TooOften);
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
            assert_eq!(secured, route.access != Access::Public, "{}", route.path);
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
