//! Metrics of a day, and whether alerts, dashboard and documentation speak of metrics that there are.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, order};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The series of a server that ran a day: each with its labels and its value.
struct Shown(Vec<(String, BTreeMap<String, String>, f64)>);

impl Shown {
    fn read(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once('=').unwrap();
                (name.to_owned(), value.trim_matches('"').to_owned())
            });
            (name.to_owned(), labels.collect(), value.parse().unwrap())
        });
        Self(series.collect())
    }

    /// The sum of the series of this name with these labels.
    #[track_caller]
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| of.get(*name).is_some_and(|is| is == value))
        };
        let values: Vec<_> =
            self.0.iter().filter(|(series, of, _)| series == name && fits(of)).map(|(.., value)| *value).collect();
        assert!(!values.is_empty(), "no {name} with {labels:?}");
        values.iter().sum()
    }

    /// The labels of a series; `None` where there is none of this name.
    fn labels(&self, name: &str) -> Option<BTreeSet<&str>> {
        let mut found = self.0.iter().filter(|(series, ..)| series == name).peekable();
        found.peek()?;
        Some(found.flat_map(|(_, labels, _)| labels.keys().map(String::as_str)).collect())
    }
}

/// An order to the door, another that is called off, one that nobody takes.
async fn day() -> Shown {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.put("/v1/drivers/off", json!({})).await.ok();
    server.order("", "o").await;
    let first = server.offer("", "ana").await;
    server.act(&format!("/v1/offers/{first}/decline")).await.ok();
    server.driver("", "bob").await;
    server.pass(15);
    server.report("", "bob").await;
    let second = server.offer("", "bob").await;
    server.act(&format!("/v1/offers/{second}/accept")).await.ok();
    for (step, seconds) in [("arrived_at_pickup", 30), ("picked_up", 60), ("delivered", 600)] {
        server.pass(seconds);
        server.report("", "bob").await;
        server.post("/v1/orders/o/progress", json!({"step": step})).await.ok();
    }
    server.post("/v1/orders", order("called-off")).await.ok();
    server.post("/v1/orders/called-off/cancel", json!({"reason": "closed"})).await.ok();
    server.post("/v1/orders", order("waits")).await.ok();
    server.post("/v1/orders/waits/progress", json!({"step": "picked_up"})).await.problem(409, "no_driver");
    server.get("/v1/nearest-drivers?lat=52.52&lng=13.41").await.ok();
    server.get("/nothing").await.problem(404, "unknown_route");
    let batch =
        json!({"positions": [{"driver": "eve", "lat": 52.52, "lng": 13.4}, {"driver": "ana", "lat": 91, "lng": 13.4}]});
    server.post("/v1/positions", batch).await.ok();
    let shown = Shown::read(&server.state.metrics());
    server.stop().await;
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_figures() {
    let shown = day().await;
    let market = ("market", "default");
    for (name, labels, value) in [
        ("dispatch_orders_placed_total", vec![market], 3.0),
        ("dispatch_orders_ended_total", vec![market, ("outcome", "delivered")], 1.0),
        ("dispatch_orders_ended_total", vec![market, ("outcome", "cancelled")], 1.0),
        ("dispatch_orders_ended_total", vec![market, ("outcome", "failed")], 0.0),
        ("dispatch_orders", vec![market, ("status", "delivered")], 1.0),
        ("dispatch_orders", vec![market, ("status", "pending")], 1.0),
        ("dispatch_orders", vec![market, ("status", "driver_assigned")], 0.0),
        ("dispatch_drivers", vec![market, ("status", "off")], 1.0),
        ("dispatch_drivers", vec![market, ("status", "idle")], 1.0),
        ("dispatch_drivers", vec![market, ("status", "silent")], 1.0),
        ("dispatch_active_drivers", vec![market], 1.0),
        ("dispatch_offers_made_total", vec![market], 2.0),
        ("dispatch_offers_closed_total", vec![market, ("outcome", "accepted")], 1.0),
        ("dispatch_offers_closed_total", vec![market, ("outcome", "declined")], 1.0),
        ("dispatch_offers_per_assignment_sum", vec![market], 2.0),
        ("dispatch_time_to_assign_seconds_count", vec![market], 1.0),
        ("dispatch_due_to_first_offer_seconds_count", vec![market], 1.0),
        ("dispatch_driver_waiting_seconds_sum", vec![market], 60.0),
        ("dispatch_delivery_seconds_count", vec![market], 1.0),
        ("dispatch_delivery_seconds_sum", vec![market], 707.0),
        ("dispatch_eta_error_seconds_count", vec![market], 1.0),
        ("dispatch_commands_total", vec![("operation", "submitOrder"), ("outcome", "accepted")], 3.0),
        ("dispatch_commands_total", vec![("operation", "progressOrder"), ("outcome", "no_driver")], 1.0),
        ("dispatch_http_requests_total", vec![("operation", "unknown"), ("status", "4xx")], 1.0),
        ("dispatch_http_requests_total", vec![("operation", "nearestDrivers"), ("class", "search")], 1.0),
        ("dispatch_fixes_total", vec![("outcome", "moved")], 6.0),
        ("dispatch_fixes_total", vec![("outcome", "unknown_driver")], 1.0),
        ("dispatch_fixes_total", vec![("outcome", "invalid")], 1.0),
        ("dispatch_nearest_seconds_count", vec![], 1.0),
        ("dispatch_index_drivers", vec![market], 3.0),
        ("dispatch_runner_queue_depth", vec![], 0.0),
        ("dispatch_runner_queue_capacity", vec![], 1024.0),
        ("dispatch_postgres_link", vec![("state", "none")], 1.0),
        ("dispatch_postgres_link", vec![], 1.0),
    ] {
        let is = shown.sum(name, &labels);
        assert!((is - value).abs() < 1e-9, "{name} {labels:?} is {is}, not {value}");
    }
    // Assigned 17 s after it was due: 1 s to the first offer, and 16 to the second.
    let assigned = shown.sum("dispatch_time_to_assign_seconds_sum", &[]);
    assert!((16.0..=17.0).contains(&assigned), "{assigned}");
    let kilometres = shown.sum("dispatch_delivery_metres_sum", &[]) / 1e3;
    assert!((2.5..2.7).contains(&kilometres), "{kilometres}");
    assert!(shown.sum("dispatch_window_seconds_count", &[]) >= 3.0);
    assert!(shown.sum("dispatch_connections_open", &[]) >= 1.0);
    #[cfg(target_os = "linux")]
    for name in ["cpu_seconds_total", "resident_bytes", "open_fds", "start_time_seconds"] {
        assert!(shown.sum(&format!("dispatch_process_{name}"), &[]) > 0.0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_counts_what_is_there() {
    let folder = common::Folder::new();
    let file = format!("data_dir = {:?}", folder.path());
    let clock = dispatch_server::ManualClock::new(dispatch_core::Timestamp::from_millis(common::START));
    let server = Server::on(clock.clone(), &file).await;
    server.driver("", "ana").await;
    server.order("", "o").await;
    let shown = Shown::read(&server.state.metrics());
    assert!(shown.sum("dispatch_journal_commit_seconds_count", &[]) >= 1.0);
    assert!(shown.sum("dispatch_journal_batch_records_sum", &[]) >= 4.0);
    assert!(shown.sum("dispatch_journal_free_bytes", &[]) > 0.0);
    server.stop().await;
    let server = Server::on(clock, &file).await;
    let shown = Shown::read(&server.state.metrics());
    assert!((shown.sum("dispatch_orders", &[("status", "ready_for_pickup")]) - 1.0).abs() < 1e-9);
    assert!((shown.sum("dispatch_drivers", &[("status", "asked")]) - 1.0).abs() < 1e-9);
    // Nobody knows any more when it was due.
    let offer = server.get("/v1/drivers/ana/offer").await.ok();
    server.act(&format!("/v1/offers/{}/accept", offer.at("/offer/id").as_str().unwrap())).await.ok();
    let shown = Shown::read(&server.state.metrics());
    assert!(shown.sum("dispatch_time_to_assign_seconds_count", &[]).abs() < 1e-9);
    assert!((shown.sum("dispatch_orders", &[("status", "driver_assigned")]) - 1.0).abs() < 1e-9);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id() {
    let server = Server::start().await;
    let id = async |method, path: &str, given: &str| {
        let answer = server.raw(method, path, &[("x-request-id", given)], Vec::new()).await;
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    for (method, path) in
        [(Method::GET, "/v1/stats"), (Method::GET, "/nothing"), (Method::DELETE, "/v1/stats"), (Method::GET, "/docs/")]
    {
        assert_eq!(id(method.clone(), path, "a-b.c:d_1").await, "a-b.c:d_1");
        let drawn = id(method, path, "not one").await;
        assert_eq!((drawn.len(), &drawn[14..15]), (36, "7"), "{drawn}");
    }
    server.stop().await;
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn the_table_of_metrics_is_documented() {
    let (path, table) = (repository("docs/metrics.md"), dispatch_server::metrics_markdown());
    if std::env::var_os("DISPATCH_WRITE_DOCS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == table,
        "docs/metrics.md is not the server's table; DISPATCH_WRITE_DOCS=1 cargo test -p dispatch-server --test metrics writes it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_metric_is_shown() {
    let shown = day().await;
    let table = dispatch_server::metrics_markdown();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 40);
    for row in rows {
        let (name, labels) = (row[1].trim_matches('`'), row[3]);
        let mut labels: BTreeSet<_> = labels.split(", ").map(|label| label.trim_matches('`')).collect();
        labels.remove("");
        let series = if row[2] == "histogram" { format!("{name}_count") } else { name.to_owned() };
        assert_eq!(shown.labels(&series), Some(labels), "{series}");
    }
}

/// The words of an expression: names, with whether they stand in braces, texts left out; and single other characters.
fn tokens(expression: &str) -> Vec<String> {
    let (mut tokens, mut rest) = (Vec::new(), expression);
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '$';
        let len = match first {
            '"' => rest[1..].find('"').unwrap() + 2,
            '[' => rest.find(']').unwrap() + 1,
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        if !first.is_whitespace() && first != '[' {
            tokens.push(rest[..len].to_owned());
        }
        rest = &rest[len..];
    }
    tokens
}

const FUNCTIONS: [&str; 15] = [
    "histogram_quantile",
    "sum",
    "max",
    "rate",
    "min_over_time",
    "by",
    "on",
    "and",
    "or",
    "time",
    "label_values",
    "unless",
    "increase",
    "changes",
    "ignoring",
];

/// What is wrong with an expression: names that there are not, labels that a metric does not have.
fn problems(shown: &Shown, expression: &str) -> Vec<String> {
    let (mut problems, mut metrics) = (Vec::new(), BTreeSet::new());
    let (mut groups, mut of, mut depth): (Vec<String>, Option<String>, Option<char>) = (Vec::new(), None, None);
    let mut before = String::new();
    for token in tokens(expression) {
        match (&*token, depth) {
            ("{", _) => depth = Some('{'),
            ("(", _) if before == "by" || before == "on" => depth = Some('('),
            ("}", Some('{')) | (")", Some('(')) => depth = None,
            (word, Some('{')) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let known = of.as_deref().and_then(|metric| shown.labels(metric));
                if !known.is_some_and(|labels| labels.contains(word)) {
                    problems.push(format!("{of:?} has no label {word}"));
                }
            }
            (word, Some('(')) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => groups.push(word.to_owned()),
            (word, None) if word.starts_with("dispatch_") => {
                if shown.labels(word).is_none() {
                    problems.push(format!("there is no {word}"));
                }
                of = Some(word.to_owned());
                metrics.insert(word.to_owned());
            }
            (word, None) if word.starts_with(|c: char| c.is_ascii_alphabetic()) && !FUNCTIONS.contains(&word) => {
                problems.push(format!("what is {word}?"));
            }
            _ => {}
        }
        before = token;
    }
    for group in groups.iter().filter(|group| *group != "instance") {
        if !metrics.iter().any(|metric| shown.labels(metric).is_some_and(|labels| labels.contains(group.as_str()))) {
            problems.push(format!("no metric has the label {group}"));
        }
    }
    if metrics.is_empty() {
        problems.push("it names no metric".into());
    }
    problems
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").map(|expression| expression.as_str().unwrap().to_owned()));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_name_what_there_is() {
    let shown = day().await;
    for wrong in [
        "dispatch_nothing",
        "sum(dispatch_orders{colour=\"red\"})",
        "sum by (colour) (dispatch_orders)",
        "orders > 1",
        "1 > 0",
    ] {
        assert_ne!(problems(&shown, wrong), [""; 0], "{wrong}");
    }
    let alerts = std::fs::read_to_string(repository("ops/prometheus-alerts.yml")).unwrap();
    let mut names = Vec::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        let value = |key: &str| {
            let found = alert.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
            found.unwrap_or_else(|| panic!("{name} has no {key}")).trim_matches('\'')
        };
        assert_eq!(problems(&shown, value("expr")), [""; 0], "{name}");
        let dashed: String =
            name.chars().map(|c| if c.is_uppercase() { format!("-{c}") } else { c.to_string() }).collect();
        assert_eq!(value("runbook"), format!("docs/operating.md#{}", dashed.trim_start_matches('-').to_lowercase()));
        assert!(value("for").ends_with('m') && value("labels").contains("severity") && value("summary").ends_with('.'));
        names.push(name.to_owned());
    }
    assert!(names.len() >= 9 && names.iter().collect::<BTreeSet<_>>().len() == names.len(), "{names:?}");

    let dashboard = std::fs::read_to_string(repository("ops/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut used = Vec::new();
    expressions(&dashboard, &mut used);
    assert!(used.len() > 40);
    for expression in &used {
        assert_eq!(problems(&shown, expression), [""; 0], "{expression}");
    }
    let market = dashboard.pointer("/templating/list/1/query").unwrap().as_str().unwrap();
    assert!(market.contains("dispatch_active_drivers"));
}
