//! The contract as a test reads it: what an operation takes, and whether an answer is one it describes.

use super::{Answer, Server};
use reqwest::Method;
use serde_json::{Value, json};

pub struct Contract(pub Value);

impl Contract {
    /// The contract that a server serves.
    pub async fn of(server: &Server) -> Self {
        Self(server.get("/openapi.json").await.ok().body)
    }

    /// Every operation, with its method and its path.
    pub fn operations(&self) -> Vec<(Method, &str, &Value)> {
        let mut operations = Vec::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                operations.push((method.to_uppercase().parse().unwrap(), path.as_str(), operation));
            }
        }
        operations
    }

    /// The operation of this name.
    #[track_caller]
    pub fn operation(&self, id: &str) -> &Value {
        let operations = self.operations();
        let found = operations.into_iter().find(|(_, _, operation)| operation["operationId"] == id);
        found.unwrap_or_else(|| panic!("no operation {id}")).2
    }

    /// The schema of a request's body.
    pub fn body<'a>(&'a self, operation: &'a Value) -> Option<&'a Value> {
        let schema = operation.pointer("/requestBody/content/application~1json/schema")?;
        Some(self.resolve(schema))
    }

    /// The schema itself where it is a reference, and the one that is not null where it may be.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.resolve(&self.0["components"]["schemas"][name]);
        }
        let one_of = schema["oneOf"].as_array().into_iter().flatten();
        let mut others = one_of.filter(|schema| schema["type"] != "null");
        others.next().map_or(schema, |schema| self.resolve(schema))
    }

    /// Asserts that the contract describes the answer of an operation: its status, its headers, its media type, its body.
    #[track_caller]
    pub fn describes(&self, id: &str, answer: &Answer) {
        let response = &self.operation(id)["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{id}: {} is not described: {:#}", answer.status, answer.body);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let value = answer.headers.get(name);
            assert!(header["required"] != true || value.is_some(), "{id}: {} without {name}", answer.status);
        }
        let Some(content) = response["content"].as_object() else {
            return assert_eq!(answer.body, "", "{id}: {} has no body", answer.status);
        };
        let kind = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
        let described = content.get(kind).unwrap_or_else(|| panic!("{id}: {kind} is not described"));
        if let Some(schema) = described.get("schema") {
            self.check(schema, &answer.body, &format!("{id} {}", answer.status));
        }
    }

    /// The schema itself, or the one of several whose fields the value has.
    fn fitting<'a>(&'a self, schema: &'a Value, value: &Value) -> &'a Value {
        let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
        let fits = |schema: &&Value| schema["required"].as_array().is_some_and(|names| names.iter().all(has));
        let several = schema["oneOf"].as_array().into_iter().flatten().map(|schema| self.resolve(schema));
        several.filter(|schema| schema["type"] == "object").find(fits).unwrap_or_else(|| self.resolve(schema))
    }

    /// Asserts that a value is as a schema says.
    #[track_caller]
    pub fn check(&self, schema: &Value, value: &Value, place: &str) {
        if let Some(one_of) = schema["oneOf"].as_array() {
            let null = one_of.iter().any(|schema| schema["type"] == "null");
            assert!(null || !value.is_null(), "{place} is null");
            if value.is_null() {
                return;
            }
        }
        let schema = self.fitting(schema, value);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |name: &Value| name == kind || (name == "number" && kind == "integer");
        let fits = schema["type"].as_array().map_or_else(|| is(&schema["type"]), |names| names.iter().any(is));
        assert!(fits, "{place} is {value}, not {}", schema["type"]);
        if let Some(words) = schema["enum"].as_array() {
            assert!(words.contains(value), "{place} is {value}, not one of {words:?}");
        }
        if let Some(number) = value.as_f64() {
            let within = schema["minimum"].as_f64().is_none_or(|least| least <= number)
                && schema["maximum"].as_f64().is_none_or(|most| number <= most);
            assert!(within, "{place} is {number}, outside of {schema}");
        }
        for (item, number) in value.as_array().into_iter().flatten().zip(0..) {
            self.check(&schema["items"], item, &format!("{place}[{number}]"));
        }
        if let Some(fields) = value.as_object() {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{place} lacks {name}");
            }
            for (name, field) in fields {
                let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                let known = known.unwrap_or_else(|| panic!("{place}.{name} is not described"));
                self.check(known, field, &format!("{place}.{name}"));
            }
        }
    }

    /// A value for each field of a request that does not have to be there, or the ones that do.
    pub fn sample(&self, schema: &Value, name: &str) -> Value {
        let schema = self.resolve(schema);
        let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]);
        match kind.as_str().unwrap() {
            "object" => {
                let fields = schema["properties"].as_object().unwrap().iter();
                fields.map(|(name, field)| (name.clone(), self.sample(field, name))).collect()
            }
            "array" => json!([self.sample(&schema["items"], name)]),
            "boolean" => json!(true),
            "string" if schema["enum"].is_array() => schema["enum"][0].clone(),
            "string" if schema["format"] == "date-time" => json!("2026-01-01T00:00:30Z"),
            "string" if name == "market" => json!("default"),
            "string" => json!("ana"),
            _ => json!(schema["minimum"].as_u64().unwrap_or(0).max(1)),
        }
    }

    /// Every field of a schema, the fields of its fields and itself, as JSON pointers.
    pub fn fields<'a>(&'a self, schema: &'a Value, at: &str) -> Vec<(String, &'a Value)> {
        let schema = self.resolve(schema);
        let mut found = vec![(at.to_owned(), schema)];
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            found.extend(self.fields(field, &format!("{at}/{name}")));
        }
        if let Some(items) = schema.get("items").filter(|_| at == "/positions") {
            found.extend(self.fields(items, &format!("{at}/0")));
        }
        found
    }
}
