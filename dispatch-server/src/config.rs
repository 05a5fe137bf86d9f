//! The server's configuration: defaults, file, environment, flags; checked as a whole.

mod access;
mod fixes;
mod streams;
mod webhooks;

use crate::area::Area;
use crate::auth::{Issuer, Key, KeyFile, KeyHash, RatesConfig, TenantId};
use crate::http::read_origin;
use crate::net::TlsFiles;
use crate::postgres::DatabaseUrl;
use crate::runner::{ReportRate, check_rules};
use crate::telemetry::TraceConfig;
use access::{RawIssuer, RawKey, check_rates, read_issuers, read_keys};
use axum::http::HeaderValue;
use dispatch_core::{EngineConfig, FixRules, MarketId, Millis, StraightLine, Vehicle};
use fixes::read_fixes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use streams::check_streams;
pub(crate) use streams::{StreamLimits, TrackedFrom, TrackingConfig};
use toml::{Table, Value};
pub(crate) use webhooks::WebhooksConfig;
use webhooks::check_webhooks;

/// Every setting with its default and its meaning, as TOML: what `dispatch-server print-config` prints.
pub const DOCUMENTED_DEFAULTS: &str = include_str!("default.toml");

/// Most markets of one server.
pub const MAX_MARKETS: usize = 256;

/// The configuration of a server, checked as a whole. [`Default`] is [`DOCUMENTED_DEFAULTS`].
#[derive(Debug)]
pub struct ServerConfig {
    /// Where to listen. Only a loopback address unless there are keys or issuers of tokens.
    pub listen: SocketAddr,
    pub(crate) keys: BTreeMap<KeyHash, Key>,
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) require_key: bool,
    pub(crate) rates: RatesConfig,
    pub(crate) streams: StreamLimits,
    pub(crate) tracked_from: TrackedFrom,
    pub(crate) markets: Vec<MarketConfig>,
    pub(crate) limits: Limits,
    /// Absent where connections are plain.
    pub(crate) tls: Option<TlsFiles>,
    /// The web pages that may use the API.
    pub(crate) origins: Vec<HeaderValue>,
    pub(crate) travel: StraightLine,
    pub(crate) fixes: FixRules,
    /// How often one driver may report.
    pub(crate) report_rate: ReportRate,
    pub(crate) durability: DurabilityConfig,
    /// Absent where what happens goes to no database.
    pub(crate) postgres: Option<PostgresConfig>,
    /// How the log looks.
    pub log: LogFormat,
    /// Where metrics and health are shown without a key, if anywhere.
    pub admin: Option<SocketAddr>,
    pub(crate) trace: Option<TraceConfig>,
    pub(crate) webhooks: WebhooksConfig,
}

/// What an answer promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    /// Nothing: all is gone when the process ends.
    Memory,
    /// What was answered survives the process.
    Process,
    /// What was answered survives the process and the machine's power.
    Sync,
    /// What was answered survives the machine: it is in the database, too.
    Postgres,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object in each line.
    Json,
}

/// Where and how what happens is kept.
#[derive(Clone, Debug)]
pub(crate) struct DurabilityConfig {
    pub(crate) mode: Durability,
    pub(crate) data_dir: PathBuf,
    pub(crate) segment_bytes: usize,
    pub(crate) keep: Millis,
    pub(crate) min_free_bytes: u64,
}

/// The database that follows the journal.
#[derive(Clone, Debug)]
pub(crate) struct PostgresConfig {
    pub(crate) url: DatabaseUrl,
    pub(crate) server: String,
    pub(crate) migrate: bool,
    pub(crate) patience: Duration,
    pub(crate) longest_wait: Duration,
    pub(crate) flush: Duration,
    pub(crate) max_backlog_bytes: u64,
    pub(crate) sample_every: Millis,
}

/// One market.
#[derive(Clone, Debug)]
pub(crate) struct MarketConfig {
    pub(crate) id: MarketId,
    pub(crate) tenant: TenantId,
    pub(crate) area: Area,
    pub(crate) rules: EngineConfig,
}

/// How much the server takes at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_address: usize,
    pub(crate) header_bytes: usize,
    pub(crate) header_seconds: u64,
    pub(crate) idle_seconds: u64,
    pub(crate) stall_seconds: u64,
    pub(crate) queue: usize,
    pub(crate) shed_after_ms: i64,
    pub(crate) body_bytes: usize,
    pub(crate) batch_fixes: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) stream_bytes: usize,
    pub(crate) line_bytes: usize,
    pub(crate) session_drivers: usize,
    pub(crate) tenant_bodies_bytes: usize,
    pub(crate) page: usize,
    pub(crate) request_seconds: u64,
    pub(crate) drain_seconds: u64,
    pub(crate) drain_notice_seconds: u64,
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A source that could not be read at all.
    #[error("{source_name}: {problem}")]
    Source {
        /// The file, the environment variable or the flag.
        source_name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Keys with values that do not do; all that were found.
    #[error("the configuration is not valid; {}", .0.join("; "))]
    Keys(Vec<String>),
}

impl ServerConfig {
    /// Where what happens is kept.
    pub fn data_dir(&self) -> &Path {
        &self.durability.data_dir
    }

    /// Where keys are kept that are made while the server runs; absent where nothing is kept.
    pub fn key_file(&self) -> Option<KeyFile> {
        (self.durability.mode != Durability::Memory).then(|| KeyFile::of(self.data_dir()))
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Sources::default().load().expect("the documented defaults are valid; a test says so")
    }
}

/// Where a configuration comes from, beside the defaults; later ones win.
///
/// ```
/// use dispatch_server::Sources;
/// let config = Sources { flags: vec!["listen=127.0.0.1:0".into()], ..Sources::default() }.load()?;
/// assert_eq!(config.listen.port(), 0);
/// # Ok::<(), dispatch_server::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The text of a TOML file.
    pub file: Option<String>,
    /// Environment variables; those that begin with `DISPATCH_` count, and each of them must name a setting.
    pub environment: Vec<(String, String)>,
    /// `key=value`, as `limits.queue=500`.
    pub flags: Vec<String>,
}

impl Sources {
    /// Adds the text of a file.
    pub fn with_file(mut self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        self.file = Some(text.map_err(|error| source(&path.display(), &error))?);
        Ok(self)
    }

    /// Reads all sources into one configuration and checks it.
    pub fn load(&self) -> Result<ServerConfig, ConfigError> {
        let mut table = defaults();
        if let Some(text) = &self.file {
            let file: Table = text.parse().map_err(|error| source(&"file", &error))?;
            merge(&mut table, file);
        }
        let names = environment_names();
        for (name, value) in &self.environment {
            match names.get(name.as_str()) {
                Some(key) => set(&mut table, key, value),
                // The file itself, which the command line reads.
                None if name == "DISPATCH_CONFIG" => {}
                None if !name.starts_with("DISPATCH_") || is_service_link(name, value) => {}
                None => return Err(source(name, "names no setting; `print-config` prints them all")),
            }
        }
        for flag in &self.flags {
            let Some((key, value)) = flag.split_once('=') else { return Err(source(flag, "must be key=value")) };
            set(&mut table, key, value);
        }
        read(table)
    }
}

fn source(name: &impl ToString, problem: &(impl ToString + ?Sized)) -> ConfigError {
    ConfigError::Source { source_name: name.to_string(), problem: problem.to_string() }
}

fn defaults() -> Table {
    DOCUMENTED_DEFAULTS.parse().expect("the documented defaults are TOML; a test says so")
}

/// Settings that are one of several kinds, each a table with its name: another kind replaces the one before.
const CHOICES: [&str; 3] = ["offers", "mode", "ready_times"];

/// Lays one table over another; tables are merged, everything else is replaced.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => {
                if CHOICES.contains(&key.as_str()) {
                    under.retain(|kind, _| over.contains_key(kind));
                }
                merge(under, over);
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Every key that has a value, dotted, with the environment variable that sets it.
fn environment_names() -> BTreeMap<String, String> {
    fn walk(table: &Table, path: &str, names: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if let Value::Table(inner) = value {
                walk(inner, &path, names);
            }
            names.insert(format!("DISPATCH_{}", path.replace('.', "_").to_uppercase()), path);
        }
    }
    let mut names = BTreeMap::new();
    walk(&defaults(), "", &mut names);
    names
}

/// Whether a cluster set this variable to tell where a service of its own is that is called like ours: Kubernetes sets
/// `DISPATCH_SERVICE_HOST`, `DISPATCH_PORT` and more for a service `dispatch`.
fn is_service_link(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_named = words.windows(2).any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]));
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let is_part = matches!(words[..], [.., "PORT", port, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"]
        if port.bytes().all(|digit| digit.is_ascii_digit()));
    is_named || is_part || (is_address && words.contains(&"PORT"))
}

/// Sets a dotted key from a text: a TOML value, or else the text itself.
fn set(table: &mut Table, key: &str, text: &str) {
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let value = parsed.unwrap_or_else(|| Value::String(text.to_owned()));
    let over = key.rsplit('.').fold(value, |value, key| Value::Table(Table::from_iter([(key.to_owned(), value)])));
    if let Value::Table(over) = over {
        merge(table, over);
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    durability: Durability,
    data_dir: PathBuf,
    journal: RawJournal,
    database_url: String,
    postgres: RawPostgres,
    keys: Vec<RawKey>,
    issuers: Vec<RawIssuer>,
    require_key: bool,
    rates: RatesConfig,
    streams: StreamLimits,
    tracking: TrackingConfig,
    markets: Vec<RawMarket>,
    limits: Limits,
    tls: RawTls,
    cors: RawCors,
    speeds: Speeds,
    fixes: Table,
    log: RawLog,
    admin: RawAdmin,
    trace: RawTrace,
    webhooks: WebhooksConfig,
    rules: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    format: LogFormat,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    listen: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrace {
    otlp_endpoint: String,
    sample: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJournal {
    segment_bytes: usize,
    keep_days: u32,
    min_free_bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPostgres {
    server: String,
    migrate: bool,
    timeout_ms: u64,
    retry_max_ms: u64,
    flush_ms: u64,
    max_backlog_bytes: u64,
    sample_seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCors {
    origins: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMarket {
    id: MarketId,
    #[serde(default)]
    tenant: TenantId,
    cells: Option<Vec<String>>,
    polygon: Option<Vec<[f64; 2]>>,
    #[serde(default)]
    rules: Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "keys carry their unit")]
struct Speeds {
    bicycle_kmh: f64,
    motorcycle_kmh: f64,
    car_kmh: f64,
    van_kmh: f64,
}

fn read(table: Table) -> Result<ServerConfig, ConfigError> {
    let raw: Raw = serde_path_to_error::deserialize(Value::Table(table))
        .map_err(|error| ConfigError::Keys(vec![format!("{}: {}", error.path(), error.inner().to_string().trim())]))?;
    let mut check = Problems::default();
    let listen = check.take("listen", raw.listen.parse::<SocketAddr>().map_err(|_| "must be an address and a port"));
    let keys = read_keys(&mut check, raw.keys);
    let issuers = read_issuers(&mut check, raw.issuers);
    check_rates(&mut check, &raw.rates);
    check_streams(&mut check, &raw.streams);
    check_limits(&mut check, &raw.limits);
    check_webhooks(&mut check, &raw.webhooks);
    let tls = TlsFiles::both_or_none(raw.tls.certificate, raw.tls.key);
    let tls = tls.map_err(|(key, problem)| check.that(key, false, problem)).ok().flatten();
    let origins = raw.cors.origins.iter().enumerate();
    let origins =
        origins.filter_map(|(i, text)| check.take(&format!("cors.origins[{i}]"), read_origin(text))).collect();
    let durability = durability(&mut check, raw.durability, raw.data_dir, &raw.journal);
    let postgres = postgres(&mut check, &raw.database_url, raw.postgres, durability.mode);
    let (fixes, report_rate) = read_fixes(&mut check, raw.fixes);
    let travel = travel(&mut check, &raw.speeds);
    let markets = read_markets(&mut check, raw.markets, &raw.rules);
    let drivers = markets.iter().map(|market| market.rules.limits.drivers).max().unwrap_or(0);
    let roomy = fixes.max_drivers >= drivers;
    check.that("fixes.max_drivers", roomy, &format!("must be at least {drivers}, as limits.drivers of the rules"));
    let admin = raw.admin.listen;
    let admin = (!admin.is_empty()).then(|| admin.parse().map_err(|_| "must be an address and a port"));
    let admin = admin.and_then(|admin| check.take("admin.listen", admin));
    let trace = check.take("trace", TraceConfig::read(raw.trace.otlp_endpoint, raw.trace.sample));
    match (listen, travel) {
        (Some(listen), Some(travel)) if check.0.is_empty() => Ok(ServerConfig {
            listen,
            keys,
            issuers,
            require_key: raw.require_key,
            rates: raw.rates,
            streams: raw.streams,
            tracked_from: raw.tracking.position_from,
            markets,
            limits: raw.limits,
            tls,
            origins,
            travel,
            fixes,
            report_rate,
            durability,
            postgres,
            log: raw.log.format,
            admin,
            trace: trace.flatten(),
            webhooks: raw.webhooks,
        }),
        _ => {
            // What is wrong with the rules is wrong in every market that has them.
            check.0.dedup();
            Err(ConfigError::Keys(check.0))
        }
    }
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn that(&mut self, key: &str, holds: bool, problem: &str) {
        if !holds {
            self.0.push(format!("{key}: {problem}"));
        }
    }

    fn take<T>(&mut self, key: &str, result: Result<T, impl ToString>) -> Option<T> {
        result.map_err(|problem| self.0.push(format!("{key}: {}", problem.to_string()))).ok()
    }

    fn all(&mut self, table: &str, error: dispatch_core::ConfigError) {
        self.0.extend(error.problems.into_iter().map(|wrong| format!("{table}.{}: {}", wrong.key, wrong.problem)));
    }
}

fn check_limits(check: &mut Problems, limits: &Limits) {
    let Limits {
        connections,
        connections_per_address,
        header_bytes,
        header_seconds,
        idle_seconds,
        stall_seconds,
        queue,
        shed_after_ms,
        body_bytes,
        batch_fixes,
        batch_bytes,
        stream_bytes,
        line_bytes,
        session_drivers,
        tenant_bodies_bytes,
        page,
        request_seconds,
        drain_seconds,
        drain_notice_seconds,
    } = *limits;
    check.that("limits.connections", (1..=1_000_000).contains(&connections), "must be 1 to 1000000");
    check.that("limits.connections_per_address", connections_per_address <= 1_000_000, "must be 0 to 1000000");
    check.that("limits.header_bytes", (8_192..=1_048_576).contains(&header_bytes), "must be 8192 to 1048576");
    check.that("limits.header_seconds", (1..=3_600).contains(&header_seconds), "must be 1 to 3600");
    check.that("limits.stall_seconds", (1..=3_600).contains(&stall_seconds), "must be 1 to 3600");
    check.that("limits.idle_seconds", (1..=86_400).contains(&idle_seconds), "must be 1 to 86400");
    check.that("limits.queue", (1..=1_000_000).contains(&queue), "must be 1 to 1000000");
    check.that("limits.body_bytes", (1_024..=10_000_000).contains(&body_bytes), "must be 1024 to 10000000");
    check.that("limits.batch_fixes", (1..=100_000).contains(&batch_fixes), "must be 1 to 100000");
    check.that("limits.batch_bytes", (1_024..=100_000_000).contains(&batch_bytes), "must be 1024 to 100000000");
    check.that("limits.shed_after_ms", (1..=3_600_000).contains(&shed_after_ms), "must be 1 to 3600000");
    check.that("limits.stream_bytes", (1_024..=1 << 40).contains(&stream_bytes), "must be 1024 to 1099511627776");
    check.that("limits.line_bytes", (256..=65_536).contains(&line_bytes), "must be 256 to 65536");
    check.that("limits.session_drivers", (1..=10_000_000).contains(&session_drivers), "must be 1 to 10000000");
    let roomy = (batch_bytes.max(body_bytes)..=1 << 40).contains(&tenant_bodies_bytes);
    check.that(
        "limits.tenant_bodies_bytes",
        roomy,
        "must be what one body may have at least, and 1099511627776 at most",
    );
    check.that("limits.page", (1..=10_000).contains(&page), "must be 1 to 10000");
    check.that("limits.request_seconds", (1..=3_600).contains(&request_seconds), "must be 1 to 3600");
    check.that("limits.drain_seconds", drain_seconds <= 3_600, "must be 0 to 3600");
    check.that("limits.drain_notice_seconds", drain_notice_seconds <= 3_600, "must be 0 to 3600");
}

fn durability(check: &mut Problems, mode: Durability, data_dir: PathBuf, journal: &RawJournal) -> DurabilityConfig {
    let RawJournal { segment_bytes, keep_days, min_free_bytes } = *journal;
    check.that("data_dir", !data_dir.as_os_str().is_empty(), "must name a directory");
    check.that("journal.segment_bytes", (65_536..=1 << 30).contains(&segment_bytes), "must be 65536 to 1073741824");
    check.that("journal.keep_days", keep_days <= 36_500, "must be 0 to 36500");
    let keep = Millis::from_mins(i64::from(keep_days) * 24 * 60);
    DurabilityConfig { mode, data_dir, segment_bytes, keep, min_free_bytes }
}

fn postgres(check: &mut Problems, url: &str, raw: RawPostgres, durability: Durability) -> Option<PostgresConfig> {
    let RawPostgres { server, migrate, timeout_ms, retry_max_ms, flush_ms, max_backlog_bytes, sample_seconds } = raw;
    check.that("postgres.server", (1..=64).contains(&server.chars().count()), "must be a name of 1 to 64 characters");
    check.that("postgres.timeout_ms", (100..=600_000).contains(&timeout_ms), "must be 100 to 600000");
    check.that("postgres.retry_max_ms", (100..=30_000).contains(&retry_max_ms), "must be 100 to 30000");
    check.that("postgres.flush_ms", flush_ms <= 60_000, "must be 0 to 60000");
    check.that("postgres.sample_seconds", (1..=86_400).contains(&sample_seconds), "must be 1 to 86400");
    if url.is_empty() {
        check.that("durability", durability != Durability::Postgres, "takes a database_url to be \"postgres\"");
        return None;
    }
    let is_followed = durability != Durability::Memory;
    check.that("database_url", is_followed, "takes a journal to follow: durability must not be \"memory\"");
    Some(PostgresConfig {
        url: check.take("database_url", url.parse())?,
        server,
        migrate,
        patience: Duration::from_millis(timeout_ms),
        longest_wait: Duration::from_millis(retry_max_ms),
        flush: Duration::from_millis(flush_ms),
        max_backlog_bytes,
        sample_every: Millis::from_secs(i64::from(sample_seconds)),
    })
}

fn travel(check: &mut Problems, speeds: &Speeds) -> Option<StraightLine> {
    let Speeds { bicycle_kmh, motorcycle_kmh, car_kmh, van_kmh } = *speeds;
    let mut travel = StraightLine::default();
    for (key, vehicle, kmh) in [
        ("speeds.bicycle_kmh", Vehicle::Bicycle, bicycle_kmh),
        ("speeds.motorcycle_kmh", Vehicle::Motorcycle, motorcycle_kmh),
        ("speeds.car_kmh", Vehicle::Car, car_kmh),
        ("speeds.van_kmh", Vehicle::Van, van_kmh),
    ] {
        travel = check.take(key, travel.with_speed(vehicle, kmh))?;
    }
    Some(travel)
}

fn read_markets(check: &mut Problems, raw: Vec<RawMarket>, rules: &Table) -> Vec<MarketConfig> {
    check.that("markets", (1..=MAX_MARKETS).contains(&raw.len()), "must be 1 to 256 markets");
    let mut markets: Vec<MarketConfig> = Vec::new();
    for (i, market) in raw.into_iter().enumerate() {
        let key = format!("markets[{i}]");
        let RawMarket { id, tenant, cells, polygon, rules: own } = market;
        let area = match (cells, polygon) {
            (None, None) => Some(Area::Everywhere),
            (Some(cells), None) => check.take(&format!("{key}.cells"), Area::of_cells(&cells)),
            (None, Some(polygon)) => check.take(&format!("{key}.polygon"), Area::of_polygon(&polygon)),
            (Some(_), Some(_)) => check.take(&key, Err("has cells and a polygon; one of them is its area")),
        };
        let mut table = rules.clone();
        let where_set = if own.is_empty() { "rules".to_owned() } else { format!("{key}.rules") };
        merge(&mut table, own);
        let rules = read_rules(check, &where_set, &id, table);
        check.that(&format!("{key}.id"), markets.iter().all(|other| other.id != id), "stands twice");
        let rest = |other: &MarketConfig| other.tenant == tenant && other.area == Area::Everywhere;
        let second = area == Some(Area::Everywhere) && markets.iter().any(rest);
        check.that(&key, !second, "has no area, and neither has another market of its tenant");
        if let (Some(area), Some(rules)) = (area, rules) {
            markets.push(MarketConfig { id, tenant, area, rules });
        }
    }
    markets
}

fn read_rules(check: &mut Problems, key: &str, market: &MarketId, mut table: Table) -> Option<EngineConfig> {
    if table.insert("market".into(), Value::String(market.to_string())).is_some() {
        check.that(&format!("{key}.market"), false, "is the id of the market; leave it out");
        return None;
    }
    let rules: EngineConfig = serde_path_to_error::deserialize(Value::Table(table))
        .map_err(|error| check.0.push(format!("{key}.{}: {}", error.path(), error.inner().to_string().trim())))
        .ok()?;
    // The engine also knows which score terms there are.
    match check_rules(&rules) {
        Ok(()) => Some(rules),
        Err(error) => {
            check.all(key, error);
            None
        }
    }
}
