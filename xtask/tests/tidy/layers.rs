//! Which module may name which, in the core and in the server.

use crate::paths::paths;
use crate::source::{Finding, Source};

/// The modules of the core in the order of the code map: each names only those above it.
pub(crate) const CORE: [&str; 18] = [
    "units",
    "geo",
    "model",
    "config",
    "eta",
    "demand",
    "readiness",
    "index",
    "route",
    "schedule",
    "offer",
    "matching",
    "command",
    "event",
    "state",
    "derived",
    "engine",
    "sim",
];

/// Modules of the core that only `engine` joins: they never name each other, whatever their order.
const STRANGERS: [&str; 4] = ["index", "schedule", "offer", "matching"];

const CORE_SRC: &str = "dispatch-core/src/";
const SERVER_SRC: &str = "dispatch-server/src/";

/// What only one module of the server knows.
struct Reserved {
    /// The path, or the beginning of it, that nobody else names.
    path: &'static str,
    /// Who does.
    homes: &'static [&'static str],
    why: &'static str,
}

const SERVER: &[Reserved] = &[
    Reserved { path: "dispatch_core::Engine", homes: &["runner"], why: "only the runner touches the engine" },
    Reserved { path: "dispatch_core::engine", homes: &["runner"], why: "only the runner touches the engine" },
    Reserved { path: "dispatch_core::*", homes: &["runner"], why: "a glob hides who touches the engine" },
    Reserved { path: "std::time::SystemTime", homes: &["runner"], why: "only the runner reads the wall clock" },
    Reserved { path: "std::time::*", homes: &["runner"], why: "a glob hides who reads the wall clock" },
    Reserved {
        path: "serde_json",
        homes: &["wire", "auth", "journal", "postgres", "webhooks"],
        why: "only wire knows the API's JSON, auth that of keys and tokens, journal that of records, postgres that of rows, and \
              webhooks what it sends and keeps",
    },
    Reserved {
        path: "serde::Serialize",
        homes: &["wire", "auth", "journal", "postgres", "webhooks"],
        why: "only wire knows the API's JSON, auth that of keys and tokens, journal that of records, postgres that of rows, and \
              webhooks what it sends and keeps",
    },
    Reserved {
        path: "serde::Deserialize",
        homes: &["wire", "auth", "config", "journal", "postgres", "webhooks"],
        why: "only wire knows the API's JSON, auth that of keys and tokens, and config the file",
    },
    Reserved {
        path: "tokio_rustls",
        homes: &["net", "webhooks"],
        why: "only net knows how bytes come and go, and webhooks how theirs go out",
    },
    Reserved {
        path: "hyper_util",
        homes: &["net", "telemetry", "webhooks"],
        why: "only net knows how bytes come and go, telemetry its port, and webhooks how theirs go out",
    },
    Reserved { path: "jsonwebtoken", homes: &["auth"], why: "only auth knows who calls" },
    Reserved { path: "sqlx", homes: &["postgres"], why: "only postgres knows the database" },
];

/// Status codes of answers that are no errors; any other is named by one file of the server.
const SUCCESSES: [&str; 6] = ["OK", "CREATED", "ACCEPTED", "NO_CONTENT", "SWITCHING_PROTOCOLS", "NOT_MODIFIED"];

/// The core: a module names only modules above it in the code map, and no stranger.
pub(crate) fn core(source: &Source) -> Vec<Finding> {
    let Some(file) = source.path.strip_prefix(CORE_SRC).filter(|_| source.is_rust()) else { return Vec::new() };
    if file == "lib.rs" {
        return modules_of_the_root(source);
    }
    let module = top_module(file);
    let Some(rank) = rank(module) else {
        return vec![source.finding(1, format!("`{module}` has no place in the code map of the tidy test"))];
    };
    let outside = paths(&source.code).into_iter().filter(|(line, _)| !source.in_test(*line));
    let named = outside.filter_map(|(line, path)| Some((line, from_root(file, &path)?)));
    let mut findings = Vec::new();
    for (line, name) in named {
        let broken = match self::rank(&name) {
            // The simulator stands below everything, so that it may take the engine as its users do.
            None if module == "sim" => None,
            None => Some(format!("name the module it comes from, not `crate::{name}` at the root")),
            Some(other) if other > rank => Some(format!("`{module}` stands above `{name}` in the code map")),
            Some(_) if name != module && STRANGERS.contains(&module) && STRANGERS.contains(&&*name) => {
                Some(format!("`{module}` and `{name}` never name each other: only `engine` joins them"))
            }
            Some(_) => None,
        };
        findings.extend(broken.map(|rule| source.finding(line, rule)));
    }
    findings
}

fn rank(module: &str) -> Option<usize> {
    CORE.iter().position(|known| *known == module)
}

fn top_module(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Every module that the root of the core declares has its place.
fn modules_of_the_root(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.product_lines() {
        let words: Vec<_> = line.split([' ', ';']).collect();
        let declared = words.iter().position(|word| *word == "mod").and_then(|at| words.get(at + 1));
        if let Some(name) = declared.filter(|name| rank(name).is_none()) {
            findings.push(source.finding(number, format!("`{name}` has no place in the code map of the tidy test")));
        }
    }
    findings
}

/// The name at the root of the crate that a path in a file goes through, if it does: by `crate::` or by enough `super::`.
fn from_root(file: &str, path: &str) -> Option<String> {
    let depth = file.trim_end_matches("/mod.rs").split('/').count();
    let mut segments = path.split("::").peekable();
    if segments.peek() == Some(&"crate") {
        segments.next();
    } else {
        for _ in 0..depth {
            segments.next().filter(|segment| *segment == "super")?;
        }
    }
    Some(segments.next().unwrap_or("*").to_owned())
}

/// The server: what only one of its modules knows.
pub(crate) fn server(source: &Source) -> Vec<Finding> {
    let Some(file) = source.path.strip_prefix(SERVER_SRC).filter(|_| source.is_rust()) else { return Vec::new() };
    let mut findings = Vec::new();
    for (line, path) in paths(&source.code).into_iter().filter(|(line, _)| !source.in_test(*line)) {
        for Reserved { path: reserved, homes, why } in SERVER {
            if starts_with_path(&path, reserved) && !homes.contains(&top_module(file)) {
                findings.push(source.finding(line, format!("`{path}` belongs to {}: {why}", homes.join(" and "))));
            }
        }
    }
    findings
}

/// The server: all files but the first that name the status code of an error.
pub(crate) fn status_codes(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut home = None;
    for source in sources.iter().filter(|source| source.path.starts_with(SERVER_SRC) && source.is_rust()) {
        let named = paths(&source.code).into_iter().find(|(line, path)| !source.in_test(*line) && is_error_code(path));
        match (named, &home) {
            (Some(_), None) => home = Some(&source.path),
            (Some((line, path)), Some(home)) => findings
                .push(source.finding(line, format!("`{path}`: one file maps errors to status codes, and {home} does"))),
            (None, _) => {}
        }
    }
    findings
}

fn is_error_code(path: &str) -> bool {
    let code = path.split("::").skip_while(|segment| *segment != "StatusCode").nth(1);
    code.is_some_and(|code| code.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !SUCCESSES.contains(&code))
}

/// Whether a path is another one or goes on from it.
pub(crate) fn starts_with_path(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The code map of `ARCHITECTURE.md` lists the modules of the core in the order of the table: rows whose first cell is a
/// module's name in backticks.
pub(crate) fn code_map(architecture: &Source) -> Vec<Finding> {
    let rows = architecture.text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: Vec<_> = rows.filter(|name| rank(name).is_some()).collect();
    if listed == CORE {
        return Vec::new();
    }
    let line = architecture.text.lines().position(|line| line.starts_with("| `units`")).map_or(1, |at| at + 1);
    vec![architecture.finding(line, format!("the code map is {listed:?}, the tidy test has {CORE:?}"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_core(file: &str, code: &str) -> Vec<String> {
        core(&Source::new(&format!("{CORE_SRC}{file}"), code)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn naming_a_module_below_is_found() {
        assert_eq!(
            in_core("geo.rs", "use crate::units::Meters;\nuse crate::{geo, model::DriverId};"),
            ["dispatch-core/src/geo.rs:2: `geo` stands above `model` in the code map"]
        );
        assert_eq!(in_core("geo.rs", "fn f() -> crate::engine::Engine {}").len(), 1);
        assert_eq!(in_core("geo.rs", "fn f() -> super::engine::Engine {}").len(), 1);
        assert_eq!(in_core("matching/mod.rs", "use super::engine::Engine;").len(), 1);
        assert_eq!(in_core("matching/score.rs", "use super::super::engine::Engine;").len(), 1);
        assert!(
            in_core("matching/score.rs", "use super::pairing::Pair;\nuse crate::matching::explanation;").is_empty()
        );
        assert!(in_core("engine.rs", "use crate::{index::PositionIndex, state::State};").is_empty());
    }

    #[test]
    fn strangers_naming_each_other_are_found() {
        for (file, code) in [
            ("matching/mod.rs", "use crate::offer::OfferBook;"),
            ("matching/candidates.rs", "use crate::index::Positions;"),
            ("offer.rs", "use crate::schedule;"),
        ] {
            assert!(in_core(file, code)[0].contains("never name each other"), "{file}");
        }
        assert!(
            in_core("event.rs", "use crate::matching::explanation::Decision;\nuse crate::offer::Offer;").is_empty()
        );
    }

    #[test]
    fn roots_and_strays_are_found() {
        assert!(in_core("route.rs", "use crate::Position;")[0].contains("at the root"));
        assert!(in_core("sim/city.rs", "use crate::Position;").is_empty());
        assert!(in_core("helpers.rs", "")[0].contains("no place"));
        assert_eq!(in_core("lib.rs", "mod units;\npub mod helpers;").len(), 1);
        assert!(
            in_core("geo.rs", "// crate::engine\n#[cfg(test)]\nmod tests { use crate::engine::Engine; }").is_empty()
        );
    }

    #[test]
    fn what_one_module_of_the_server_knows_is_found_elsewhere() {
        let found = |file: &str, code| server(&Source::new(&format!("{SERVER_SRC}{file}"), code)).len();
        assert_eq!(found("http/orders.rs", "use dispatch_core::{Engine, OrderId};"), 1);
        assert_eq!(found("journal/mod.rs", "let now = std::time::SystemTime::now();"), 1);
        assert_eq!(found("http/orders.rs", "use serde::Serialize;\nserde_json::to_string(&x)"), 2);
        assert_eq!(found("runner.rs", "use dispatch_core::Engine; use std::time::SystemTime;"), 0);
        assert_eq!(found("wire.rs", "use serde::Serialize;"), 0);
        assert_eq!(found("http/orders.rs", "use dispatch_core::EngineConfig;"), 0);
    }

    #[test]
    fn a_second_file_with_status_codes_is_found() {
        let server = |name: &str, code| Source::new(&format!("{SERVER_SRC}{name}"), code);
        let one = server("http/error.rs", "StatusCode::NOT_FOUND; StatusCode::CONFLICT");
        let fine = server("http/orders.rs", "StatusCode::CREATED; StatusCode::from_u16(1)");
        let two = server("http/shifts.rs", "x\nuse http::StatusCode;\nStatusCode::CONFLICT");
        let found = status_codes(&[one, fine, two]);
        assert_eq!(
            found.iter().map(|f| (f.path.as_str(), f.line)).collect::<Vec<_>>(),
            [("dispatch-server/src/http/shifts.rs", 3)]
        );
    }

    #[test]
    fn a_code_map_out_of_order_is_found() {
        let row = |name: &str| format!("| `{name}` | what it is |\n");
        let map: String = CORE.map(row).concat();
        assert!(code_map(&Source::new("ARCHITECTURE.md", &map)).is_empty());
        let turned: String = CORE.into_iter().rev().map(row).collect();
        assert_eq!(code_map(&Source::new("ARCHITECTURE.md", &turned)).len(), 1);
    }
}
