//! The contract of streams, sockets and webhooks: `AsyncAPI` 3.0, made from the types that are told and read.

use super::feed::{Beside, FeedEvent};
use super::socket::{AnswerOffer, NumberDrivers, SendPositions, SocketReply, Subscribe, Unsubscribe};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

const ABOUT: &str = "What happens, as it happens: as Server-Sent Events, over a web socket, and by webhooks. Everything else is in \
/openapi.json.

An entry of the feed has an `id`; whoever comes back with it is told every later entry once, in the order of the log. An entry is told \
after it is as durable as the configuration says. What has no `id` (positions, arrival times) is told beside the feed, the newest of each \
alone. Messages may get further fields, and there may be further messages.";

const FRAME: &str = "Positions as bytes: a header of 16 bytes, then a record for each, all numbers little endian. Header: `DF`; the version, 1 (u8); \
flags (u8), bit 0: records have motion; how many records (u32); the base time in milliseconds since 1970 (i64). Record of 16 bytes: \
the driver's number of this socket (u32); latitude and longitude in 1e-7 degree (i32 each); milliseconds after the base time (i32). \
With motion 6 bytes more: accuracy in 0.1 m, speed in 0.01 m/s, heading in 0.01 degree (u16 each, 0xffff if unknown).";

/// What clients say over sockets: the operation, the message, and the answer to it beside `problem`.
const REQUESTS: [(&str, &str, &str, &str); 7] = [
    ("subscribe", "subscribe", "subscribed", "Follow something from now on, or from after an event."),
    ("unsubscribe", "unsubscribe", "unsubscribed", "Follow it no more."),
    ("acceptOfferBySocket", "accept", "answered", "Take an offer."),
    ("declineOfferBySocket", "decline", "answered", "Turn an offer down."),
    ("numberDrivers", "drivers", "numbered", "Give drivers numbers, for frames of positions."),
    ("sendPositions", "positions", "received", "Send positions, each with its driver: a bad one is refused by itself."),
    ("sendFrame", "frame", "received", FRAME),
];

/// The type that such a message is read as; a frame is none of JSON.
fn request_schema(message: &str) -> Option<(String, Value)> {
    Some(match message {
        "subscribe" => schema::<Subscribe>(),
        "unsubscribe" => schema::<Unsubscribe>(),
        "accept" | "decline" => schema::<AnswerOffer>(),
        "drivers" => schema::<NumberDrivers>(),
        "positions" => schema::<SendPositions>(),
        _ => return None,
    })
}

/// What the contract owes to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where it listens.
    pub(crate) host: String,
    /// The path it is nested below.
    pub(crate) prefix: String,
    pub(crate) has_tls: bool,
    /// Whether requests need an API key.
    pub(crate) needs_key: bool,
}

/// The contract of a server, as JSON.
pub(crate) fn asyncapi(place: &Place) -> String {
    let mut document = Document::default();
    let entries = document.entries();
    let beside = document.variants::<Beside>("Event", "What is told beside the feed.");
    document.replies();
    document.requests();
    document.subscription_event(entries.iter().chain(&beside));
    let letters = document.letters(&entries);
    let channels = document.channels(&entries, &letters);
    let operations = operations(&channels, place.needs_key);
    let components = json!({
        "schemas": document.schemas,
        "messages": document.messages,
        "securitySchemes": {"key": {
            "type": "http", "scheme": "bearer",
            "description": "An API key, or a token of an issuer the server knows. Browsers, which set no headers of a web socket, send it \
                            as a protocol beside `dispatch.v1`: `bearer.<key>`.",
        }},
    });
    let mut contract = json!({
        "asyncapi": "3.0.0",
        "info": {"title": "dispatch-server", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT},
        "defaultContentType": "application/json",
        "servers": servers(place),
        "channels": channels,
        "operations": operations,
        "components": components,
    });
    prune(&mut contract);
    contract.to_string()
}

fn servers(Place { host, prefix, has_tls, .. }: &Place) -> Value {
    let server = |protocol: &str, about: &str| {
        let protocol = if *has_tls { format!("{protocol}s") } else { protocol.to_owned() };
        let host_is = json!({"default": host, "description": "Where the server is reached."});
        let mut server =
            json!({"host": "{host}", "protocol": protocol, "description": about, "variables": {"host": host_is}});
        if !prefix.is_empty() {
            server["pathname"] = json!(prefix);
        }
        server
    };
    json!({
        "streams": server("http", "Server-Sent Events."),
        "sockets": server("ws", "Web sockets."),
        "receiver": {
            "host": "{receiver}", "protocol": "https", "description": "Whoever a webhook leads to.",
            "variables": {"receiver": {"description": "The host of the webhook's `url`."}},
        },
    })
}

/// A schema by its name; what it refers to is found in [`Document::add`].
fn schema<T: ToSchema>() -> (String, Value) {
    (T::name().into_owned(), value(&T::schema()))
}

fn value(schema: &impl serde::Serialize) -> Value {
    serde_json::to_value(schema).expect("a schema has text keys and finite numbers")
}

fn to_schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The messages of the contract and what they are made of.
#[derive(Default)]
struct Document {
    schemas: BTreeMap<String, Value>,
    messages: BTreeMap<String, Value>,
}

/// A message: what it is called, and the schema of what it says.
struct Entry {
    name: String,
    schema: String,
}

impl Document {
    /// Takes in what a type refers to.
    fn add<T: ToSchema>(&mut self) {
        let mut inner = Vec::new();
        T::schemas(&mut inner);
        for (name, schema) in inner {
            self.schemas.entry(name).or_insert_with(|| value(&schema));
        }
        let names: Vec<_> = self.schemas.keys().cloned().collect();
        for name in names {
            let flat = self.flat(&self.schemas[&name]);
            self.schemas.insert(name, flat);
        }
    }

    /// The same as one object, where it is described as several whose fields it all has: flattened fields and variants with content.
    fn flat(&self, schema: &Value) -> Value {
        let resolved = || schema["$ref"].as_str()?.rsplit('/').next().and_then(|name| self.schemas.get(name));
        let schema = resolved().unwrap_or(schema);
        let Some(parts) = schema["allOf"].as_array() else { return schema.clone() };
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in parts {
            let part = self.flat(part);
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        let mut flat = json!({"type": "object", "required": required, "properties": properties});
        if let Some(about) = schema.get("description") {
            flat["description"] = about.clone();
        }
        flat
    }

    /// A message, and its schema by a name of its own.
    fn say(&mut self, name: &str, kind: &str, about: &str, schema: Value) -> Entry {
        let words = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
        let title = words.collect::<String>() + kind;
        self.message(name, about, "application/json", &to_schema(&title));
        self.schemas.insert(title.clone(), schema);
        Entry { name: name.to_owned(), schema: title }
    }

    fn message(&mut self, name: &str, about: &str, kind: &str, payload: &Value) {
        let message = json!({"name": name, "summary": about, "contentType": kind, "payload": payload});
        let former = self.messages.insert(name.to_owned(), message);
        assert!(former.is_none(), "two messages are called {name}");
    }

    /// The variants of a type, each as a message.
    fn variants<T: ToSchema>(&mut self, kind: &str, usual: &str) -> Vec<Entry> {
        self.add::<T>();
        self.variants_of(&value(&T::schema()), kind, usual)
    }

    fn variants_of(&mut self, of: &Value, kind: &str, usual: &str) -> Vec<Entry> {
        let variants = of["oneOf"].as_array().expect("what has variants is one of them");
        let mut entries = Vec::new();
        for variant in variants {
            let flat = self.flat(variant);
            let name = flat["properties"]["type"]["enum"][0].as_str().expect("a variant has a tag").to_owned();
            let about = variant["description"].as_str().unwrap_or(usual).to_owned();
            entries.push(self.say(&name, kind, &about, flat));
        }
        entries
    }

    /// The entries of the feed, each with what all of them have.
    fn entries(&mut self) -> Vec<Entry> {
        self.add::<FeedEvent<'static>>();
        self.schemas.extend([schema::<super::FeedCursorText>()]);
        let parts = value(&<FeedEvent<'static> as utoipa::PartialSchema>::schema());
        let (what, common): (Vec<_>, Vec<_>) =
            parts["allOf"].as_array().into_iter().flatten().cloned().partition(|part| part["$ref"].is_string());
        let entries = self.variants_of(&self.flat(&what[0]), "Event", "An entry of the feed.");
        for Entry { schema, .. } in &entries {
            let mut parts = common.clone();
            parts.push(self.schemas[schema].clone());
            let flat = self.flat(&json!({"allOf": parts}));
            self.schemas.insert(schema.clone(), flat);
        }
        entries
    }

    fn replies(&mut self) {
        self.variants::<SocketReply>("Reply", "What a socket is answered.");
    }

    fn requests(&mut self) {
        self.add::<Subscribe>();
        self.add::<AnswerOffer>();
        self.add::<NumberDrivers>();
        self.add::<SendPositions>();
        for (_, name, _, about) in REQUESTS {
            if let Some((_, mut schema)) = request_schema(name) {
                schema["properties"]["type"] = json!({"type": "string", "enum": [name]});
                self.say(name, "Request", about, schema);
            } else {
                let bytes = json!({"type": "string", "format": "binary"});
                self.message(name, about, "application/octet-stream", &bytes);
            }
        }
    }

    /// An event as a subscription of a socket is told it.
    fn subscription_event<'a>(&mut self, events: impl Iterator<Item = &'a Entry>) {
        let any: Vec<_> = events.map(|event| to_schema(&event.schema)).collect();
        let schema = json!({
            "type": "object",
            "required": ["subscription", "event"],
            "properties": {
                "subscription": {"type": "integer", "minimum": 0, "description": "The `ref` of the subscription."},
                "event": {"oneOf": any},
            },
        });
        self.say("event", "OfSubscription", "An event of a subscription.", schema);
    }

    /// The entries as webhooks are told them, and what those are told about themselves; their messages.
    fn letters(&mut self, entries: &[Entry]) -> Vec<String> {
        let webhook = json!({"type": "string", "description": "The id of the webhook."});
        let test = json!({"type": "object", "required": ["webhook"], "properties": {"webhook": webhook}});
        let cursor = json!({"$ref": "#/components/schemas/FeedCursor"});
        let reset = json!({
            "type": "object",
            "required": ["webhook", "after", "resumes_after"],
            "properties": {
                "webhook": webhook,
                "after": {"oneOf": [{"type": "null"}, cursor], "description": "The last entry it was told, if that is known."},
                "resumes_after": cursor,
            },
        });
        let entries =
            entries.iter().map(|entry| (entry.name.clone(), "An entry of the feed.", to_schema(&entry.schema)));
        let own = [
            ("test".to_owned(), "Somebody asked for a test.", test),
            ("reset".to_owned(), "What happened between two places is not known any more.", reset),
        ];
        let headers = json!({
            "type": "object",
            "required": ["Dispatch-Webhook-Id", "Dispatch-Signature"],
            "properties": {
                "Dispatch-Webhook-Id": webhook,
                "Dispatch-Signature": {"type": "string", "pattern": "^t=[0-9]+(,v1=[0-9a-f]{64})+$"},
            },
        });
        let mut names = Vec::new();
        for (name, about, data) in entries.chain(own).collect::<Vec<_>>() {
            let name = format!("dispatch.{name}");
            self.message(&name, about, "application/cloudevents+json", &cloud_event(&name, &data));
            if let Some(message) = self.messages.get_mut(&name) {
                message["headers"] = headers.clone();
            }
            names.push(name);
        }
        names
    }

    fn channels(&self, entries: &[Entry], letters: &[String]) -> Value {
        let about = |fields: &[&str]| {
            let has = |entry: &&Entry| {
                let properties = &self.schemas[&entry.schema]["properties"];
                fields.iter().any(|field| properties.get(field).is_some())
            };
            entries.iter().filter(has).map(|entry| entry.name.as_str()).collect::<Vec<_>>()
        };
        let all: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let (of_order, of_driver) = (about(&["order", "orders"]), about(&["driver"]));
        let said = REQUESTS.iter().map(|(_, name, ..)| *name);
        let answers = ["subscribed", "unsubscribed", "answered", "numbered", "received", "problem", "event"];
        let mut channels = json!({
            "feed": channel("/v1/feed", "streams", &[all.as_slice(), &["snapshot", "reset", "locations", "closing"]].concat(),
                "All that happens and that the caller may see; where the drivers of a market are, once a second those that moved."),
            "orderFeed": channel("/v1/orders/{id}/feed", "streams",
                &[of_order.as_slice(), &["snapshot", "reset", "location_update", "eta_update", "closing"]].concat(),
                "What happens to an order, where its driver is, and when it arrives."),
            "driverFeed": channel("/v1/drivers/{id}/feed", "streams",
                &[of_driver.as_slice(), &["snapshot", "reset", "location_update", "closing"]].concat(),
                "What a driver is asked and has to do; where it is, unless it asks itself."),
            "trackingFeed": channel("/v1/track/{token}/feed", "streams",
                &["status_update", "location_update", "eta_update", "closing"],
                "What the customer is shown of its order, each time that something happened to it. Needs no key but the link."),
            "socket": channel("/v1/socket", "sockets", &said.chain(answers).collect::<Vec<_>>(),
                "Subscriptions, a driver's answers, and positions over one connection; a JSON object a message."),
            "webhook": channel("", "receiver", &letters.iter().map(String::as_str).collect::<Vec<_>>(),
                "The address of a webhook: a POST for each event, at least once, in the order of the log."),
        });
        channels["webhook"]["address"] = Value::Null;
        for (name, parameter) in [("orderFeed", "id"), ("driverFeed", "id"), ("trackingFeed", "token")] {
            channels[name]["parameters"] = json!({parameter: {}});
        }
        channels["socket"]["bindings"] = json!({"ws": {"method": "GET", "bindingVersion": "0.1.0"}});
        channels
    }
}

fn cloud_event(name: &str, data: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time", "datacontenttype", "data"],
        "properties": {
            "specversion": {"type": "string", "enum": ["1.0"]},
            "id": {"type": "string", "description": "The same event has the same id, however often it comes."},
            "source": {"type": "string", "description": "The market, as `/markets/berlin`, or the webhook itself."},
            "type": {"type": "string", "enum": [name]},
            "time": {"type": "string", "format": "date-time"},
            "subject": {"type": "string", "description": "The order it is about, or else the driver, if it is about one."},
            "datacontenttype": {"type": "string", "enum": ["application/json"]},
            "data": data,
        },
    })
}

fn channel(address: &str, server: &str, messages: &[&str], about: &str) -> Value {
    let message = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/messages/{name}")}));
    json!({
        "address": address,
        "description": about,
        "servers": [{"$ref": format!("#/servers/{server}")}],
        "messages": messages.iter().map(message).collect::<Map<_, _>>(),
    })
}

/// What the server does: it tells (`send`), and it takes what clients say (`receive`).
fn operations(channels: &Value, needs_key: bool) -> Value {
    let mut operations = Map::new();
    let of = |channel: &str| json!({"$ref": format!("#/channels/{channel}")});
    let message = |channel: &str, name: &str| json!({"$ref": format!("#/channels/{channel}/messages/{name}")});
    for (id, name) in [
        ("followAll", "feed"),
        ("followOrder", "orderFeed"),
        ("followDriver", "driverFeed"),
        ("followTrackedOrder", "trackingFeed"),
        ("tellSubscription", "socket"),
        ("tellWebhook", "webhook"),
    ] {
        let names = channels[name]["messages"].as_object().into_iter().flat_map(Map::keys);
        let told = names.filter(|told| name != "socket" || *told == "event").map(|told| message(name, told));
        let about = &channels[name]["description"];
        let told: Vec<_> = told.collect();
        let mut operation = json!({"action": "send", "channel": of(name), "summary": about, "messages": told});
        if let Some(binding) = query(name) {
            operation["bindings"] = binding;
        }
        operations.insert(id.to_owned(), operation);
    }
    for (id, name, answer, about) in REQUESTS {
        let answers = [answer, "problem"].map(|answer| message("socket", answer));
        let operation = json!({
            "action": "receive", "channel": of("socket"), "summary": about, "messages": [message("socket", name)],
            "reply": {"channel": of("socket"), "messages": answers},
        });
        operations.insert(id.to_owned(), operation);
    }
    for (id, operation) in &mut operations {
        // A link is enough for the one, and the other is the receiver's.
        if needs_key && id != "followTrackedOrder" && id != "tellWebhook" {
            operation["security"] = json!([{"$ref": "#/components/securitySchemes/key"}]);
        }
    }
    operations.into()
}

/// What the requests of a channel say beside their path.
fn query(channel: &str) -> Option<Value> {
    let after = json!({
        "$ref": "#/components/schemas/FeedCursor",
        "description": "The id of the last event that the client has; the header `Last-Event-ID` counts before it.",
    });
    let mut properties = json!({"after": after});
    match channel {
        "feed" => {
            properties["market"] = json!({"$ref": "#/components/schemas/Id", "description": "Only this market."});
            properties["positions"] = json!({"type": "boolean", "description": "Whether to tell where the drivers are, too; true if absent."});
        }
        "orderFeed" | "driverFeed" => {}
        "trackingFeed" => return Some(json!({"http": {"method": "GET", "bindingVersion": "0.3.0"}})),
        "webhook" => return Some(json!({"http": {"method": "POST", "bindingVersion": "0.3.0"}})),
        _ => return None,
    }
    let query = json!({"type": "object", "properties": properties});
    Some(json!({"http": {"method": "GET", "query": query, "bindingVersion": "0.3.0"}}))
}

/// Leaves out the schemas that nothing refers to.
fn prune(contract: &mut Value) {
    loop {
        let text = contract.to_string();
        let Some(schemas) = contract["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::EventType;
    use std::collections::BTreeSet;

    fn contract(prefix: &str) -> Value {
        let place = Place { host: "h:1".into(), prefix: prefix.into(), has_tls: !prefix.is_empty(), needs_key: true };
        serde_json::from_str(&asyncapi(&place)).unwrap()
    }

    fn keys(value: &Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// Every object of a document.
    fn objects<'a>(value: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
        match value {
            Value::Object(object) => {
                found.push(object);
                object.values().for_each(|value| objects(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| objects(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let contract = contract("");
        let mut found = Vec::new();
        objects(&contract, &mut found);
        let references: Vec<_> = found.iter().filter_map(|object| object.get("$ref")?.as_str()).collect();
        assert!(references.len() > 300, "{}", references.len());
        for reference in references {
            assert!(contract.pointer(&reference[1..]).is_some(), "{reference}");
        }
        assert!(found.iter().all(|object| !object.contains_key("allOf")), "what has several parts is one object");
    }

    #[test]
    fn it_has_what_asyncapi_3_requires() {
        let contract = contract("");
        assert_eq!(contract["asyncapi"], "3.0.0");
        assert!(contract["info"]["title"].is_string() && contract["info"]["version"].is_string());
        for server in contract["servers"].as_object().unwrap().values() {
            assert!(server["host"].is_string() && server["protocol"].is_string(), "{server}");
            for variable in server["host"].as_str().unwrap().split('{').skip(1) {
                assert!(server["variables"][variable.trim_end_matches('}')].is_object(), "{server}");
            }
        }
        for (name, channel) in contract["channels"].as_object().unwrap() {
            let address = channel["address"].as_str().unwrap_or_default();
            let named: BTreeSet<_> = address.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
            let described = channel.get("parameters").map(keys).unwrap_or_default();
            assert_eq!(named, described, "{name}");
            for (key, message) in channel["messages"].as_object().unwrap() {
                assert_eq!(message["$ref"], format!("#/components/messages/{key}"), "{name}");
            }
        }
        let allowed = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        for part in ["schemas", "messages", "securitySchemes"] {
            assert!(keys(&contract["components"][part]).iter().all(allowed), "{part}");
        }
        let mut used = BTreeSet::new();
        for (id, operation) in contract["operations"].as_object().unwrap() {
            assert!(["send", "receive"].contains(&operation["action"].as_str().unwrap()), "{id}");
            for part in [Some(operation), operation.get("reply")].into_iter().flatten() {
                let channel = part["channel"]["$ref"].as_str().unwrap();
                for message in part["messages"].as_array().unwrap() {
                    let message = message["$ref"].as_str().unwrap();
                    assert!(message.starts_with(&format!("{channel}/messages/")), "{id}: {message}");
                    used.insert(message.rsplit('/').next().unwrap().to_owned());
                }
            }
            let is_open = ["followTrackedOrder", "tellWebhook"].contains(&id.as_str());
            assert_eq!(operation.get("security").is_none(), is_open, "{id}");
        }
        let messages: BTreeSet<_> = keys(&contract["components"]["messages"]).into_iter().map(str::to_owned).collect();
        assert_eq!(used, messages, "every message is said by somebody");
    }

    #[test]
    fn every_event_has_a_message() {
        let contract = contract("");
        let events: BTreeSet<_> = EventType::ALL.iter().map(|event| event.name()).collect();
        let beside = ["closing", "locations", "reset", "snapshot"];
        assert_eq!(keys(&contract["channels"]["feed"]["messages"]), events.iter().copied().chain(beside).collect());
        let letters: BTreeSet<_> = events.iter().copied().chain(["test", "reset"]).collect();
        let told = keys(&contract["channels"]["webhook"]["messages"]);
        assert_eq!(
            told.into_iter().map(|name| name.strip_prefix("dispatch.").unwrap()).collect::<BTreeSet<_>>(),
            letters
        );
        let of_order = keys(&contract["channels"]["orderFeed"]["messages"]);
        assert!(of_order.contains("new_offer") && of_order.contains("picked_up") && !of_order.contains("route_update"));
        let of_driver = keys(&contract["channels"]["driverFeed"]["messages"]);
        assert!(
            of_driver.contains("route_update")
                && of_driver.contains("delivered")
                && !of_driver.contains("order_placed")
        );
        let picked_up = &contract["components"]["schemas"]["PickedUpEvent"];
        assert_eq!(keys(&picked_up["properties"]), ["at", "driver", "id", "market", "order", "type"].into());
        assert_eq!(picked_up["required"].as_array().unwrap().len(), 6, "{picked_up}");
    }

    #[test]
    fn it_says_where_the_server_is() {
        let nested = contract("/a/b");
        let (streams, sockets) = (&nested["servers"]["streams"], &nested["servers"]["sockets"]);
        assert_eq!((&streams["protocol"], &streams["pathname"]), (&json!("https"), &json!("/a/b")));
        assert_eq!((&sockets["protocol"], &sockets["variables"]["host"]["default"]), (&json!("wss"), &json!("h:1")));
        let plain = contract("");
        assert_eq!(
            (&plain["servers"]["sockets"]["protocol"], plain["servers"]["sockets"].get("pathname")),
            (&json!("ws"), None)
        );
    }
}
