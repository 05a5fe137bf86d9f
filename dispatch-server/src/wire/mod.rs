//! The API's JSON: what requests say and what answers look like. Nothing else in the server knows it.
//!
//! Requests refuse unknown fields, and every value is checked while it is read, so that the error names its field.

mod advice;
mod asyncapi;
mod driver;
mod explanation;
mod feed;
pub(crate) mod frame;
mod key;
mod lines;
mod market;
mod offer;
mod order;
mod problem;
mod rules;
mod socket;
mod strict;
mod time;
mod values;
mod webhook;

pub(crate) use advice::*;
pub(crate) use asyncapi::*;
pub(crate) use driver::*;
pub(crate) use explanation::*;
pub(crate) use feed::*;
pub(crate) use key::*;
pub(crate) use lines::*;
pub(crate) use market::*;
pub(crate) use offer::*;
pub(crate) use order::*;
pub(crate) use problem::*;
pub(crate) use rules::*;
pub(crate) use socket::*;
pub(crate) use time::*;
pub(crate) use values::*;
pub(crate) use webhook::*;

use crate::journal::hex;
use serde::Deserialize;
pub(crate) use serde::Serialize as Answer;
pub(crate) use serde::de::DeserializeOwned as Question;

use lines::OutcomeCounts;
use order::fail_reason;
use sha2::{Digest, Sha256};
use strict::Strict;

/// A value that does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// Which, as `pickup.lat`; absent where the text is no JSON at all.
    pub(crate) field: Option<String>,
    pub(crate) problem: String,
}

/// Reads a request's JSON, as strictly as the contract describes it.
pub(crate) fn parse<T: Question>(body: &[u8]) -> Result<T, Invalid> {
    parse_if_valid(body).map_or_else(|| parse_by_path(body), Ok)
}

/// The same without a word on what is wrong.
fn parse_if_valid<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Option<T> {
    // Once for all of it is quicker than text by text.
    let mut json = serde_json::Deserializer::from_str(std::str::from_utf8(body).ok()?);
    let value = T::deserialize(Strict(&mut json)).ok()?;
    json.end().ok().map(|()| value)
}

/// The same, keeping track of where in the text it is: that takes longer.
fn parse_by_path<T: Question>(body: &[u8]) -> Result<T, Invalid> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(Strict(&mut json)).map_err(|error| invalid(&error))?;
    json.end().map_err(|error| Invalid { field: None, problem: error.to_string() })?;
    Ok(value)
}

fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Invalid {
    let inner = error.inner();
    let problem = inner.to_string();
    if !inner.is_data() {
        return Invalid { field: None, problem };
    }
    // The line and column say nothing that the field does not.
    let problem = problem.rsplit_once(" at line ").map_or(problem.as_str(), |(problem, _)| problem).to_owned();
    Invalid { field: Some(field(&error.path().to_string(), &problem)), problem }
}

/// Reads a request's query.
pub(crate) fn parse_query<T: Question>(query: &str) -> Result<T, Invalid> {
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let problem = error.inner().to_string();
        Invalid { field: Some(field(&error.path().to_string(), &problem)), problem }
    })
}

/// The field that is wrong. A missing, unknown or repeated one is named by the message, its parent by the path.
fn field(path: &str, problem: &str) -> String {
    let about_a_name = ["missing field `", "unknown field `", "duplicate field `"];
    let name = about_a_name.iter().find_map(|begin| problem.strip_prefix(begin)?.split('`').next());
    match name {
        Some(name) if path == "." || path == name => name.to_owned(),
        Some(name) if path.ends_with(&format!(".{name}")) => path.to_owned(),
        Some(name) => format!("{path}.{name}"),
        None if path == "." => "body".to_owned(),
        None => path.to_owned(),
    }
}

/// The JSON of an answer, as one line of text.
pub(crate) fn body(value: &impl Answer) -> Vec<u8> {
    let mut body = line(value);
    body.push(b'\n');
    body
}

/// The same without the end of the line.
pub(crate) fn line(value: &impl Answer) -> Vec<u8> {
    serde_json::to_vec(value).expect("answers have text keys and finite numbers")
}

/// The version of what an answer shows: a hash of its JSON, so it changes whenever the answer does, and only then.
pub(crate) fn version(value: &impl Answer) -> String {
    hex(&Sha256::digest(body(value))[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T: Question>(json: &str) -> (Option<String>, String) {
        let Err(Invalid { field, problem }) = parse::<T>(json.as_bytes()) else { panic!("{json} was taken") };
        (field, problem)
    }

    #[test]
    fn errors_name_the_field() {
        type Order = SubmitOrder;
        let order = |pickup: &str| format!(r#"{{"id":"o","pickup":{pickup},"dropoff":{{"lat":1,"lng":2}}}}"#);
        for (pickup, field) in [
            (r#"{"lat":91,"lng":2}"#, "pickup.lat"),
            (r#"{"lat":"1","lng":2}"#, "pickup.lat"),
            (r#"{"lat":1}"#, "pickup.lng"),
            (r#"{"lat":1,"lng":2,"x":3}"#, "pickup.x"),
            (r#"{"lat":1,"lng":2,"lng":3}"#, "pickup.lng"),
            (r#"{"lat":1,"lng":2,"id":"a b"}"#, "pickup.id"),
        ] {
            assert_eq!(wrong::<Order>(&order(pickup)).0.as_deref(), Some(field), "{pickup}");
        }
        assert_eq!(wrong::<Order>("{}").0.as_deref(), Some("id"));
        assert_eq!(wrong::<Order>("{").0, None);
        assert_eq!(wrong::<Order>("[]").0.as_deref(), Some("body"));
        let deep = format!(r#"{{"positions":{}"#, "[".repeat(10_000));
        assert_eq!(ReportPositions::read(deep.as_bytes()).unwrap_err().field, None);
        assert_eq!(wrong::<StartShift>("[null]").0.as_deref(), Some("body"));
    }

    #[test]
    fn queries_are_checked_like_bodies() {
        let wrong = |query: &str| parse_query::<NearestQuery>(query).map(|_| ()).unwrap_err().field;
        assert!(parse_query::<NearestQuery>("lat=52.5&lng=13.4&radius_m=100&limit=3").is_ok());
        for (query, field) in [
            ("lat=NaN&lng=1", "lat"),
            ("lat=1&lng=x", "lng"),
            ("lat=1", "lng"),
            ("lat=1&lng=1&z=1", "z"),
            ("lat=1&lat=2&lng=1", "lat"),
            ("lat=1&lng=1&radius_m=-1", "radius_m"),
        ] {
            assert_eq!(wrong(query).as_deref(), Some(field), "{query}");
        }
    }
}
