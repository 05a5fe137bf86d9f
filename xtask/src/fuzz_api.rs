//! `cargo xtask fuzz-api`: schemathesis asks the running server whatever its contract allows and forbids, in the name of every
//! role, and holds each answer against the contract.
//!
//! All checks and all phases of schemathesis are on. Where one allows more than by default the reason stands beside it, in
//! `fuzz_api/schemathesis.toml`.

use crate::needs;
use crate::run::{self, Failure, cargo};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// Schemathesis and everything it needs, each at one version.
const REQUIREMENTS: &str = include_str!("fuzz_api/requirements.txt");

/// The configuration, beside the keys: orders leave memory and offers expire soon, so that the world stays young.
const CONFIG: &str =
    "[rules]\noffers = { sequential = { expires_after = 5000 } }\n[rules.lifetimes]\nretire_after = 1000\n";

/// In whose name the server is asked: a name for this run, and the role of the key. Without a role the server has no keys.
const CALLERS: [(&str, Option<&[&str]>); 6] = [
    ("without-keys", None),
    ("admin", Some(&["--role", "admin"])),
    ("dispatcher", Some(&["--role", "dispatcher"])),
    ("merchant", Some(&["--role", "merchant", "--places", "p"])),
    ("driver", Some(&["--role", "driver", "--driver", "ana"])),
    ("gateway", Some(&["--role", "gateway"])),
];

/// What `fuzz-api` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long to ask, all callers together; at least as long as the phases take that try every case once.
    #[arg(long, conflicts_with = "examples", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// How many random requests each operation gets from each caller.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    examples: u64,
    /// Where chance starts; random if absent.
    #[arg(long)]
    seed: Option<u32>,
    /// Ask in the name of this caller only.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(CALLERS.map(|(name, _)| name)))]
    only: Option<String>,
}

/// What came of asking.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    operations: u64,
    cases: u64,
    server_errors: u64,
    violations: u64,
}

/// Asks in the name of every caller; fails if the server ever did, or did what its contract does not say.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    needs::python()?;
    let home = run::target()?.join("fuzz-api");
    let python = install(&home)?;
    let server = build()?;
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos() ^ since.as_secs() as u32)
    });
    let wanted = |name: &&str| arguments.only.as_deref().is_none_or(|only| only == *name);
    let callers: Vec<_> = CALLERS.iter().filter(|(name, _)| wanted(name)).collect();
    let effort = match arguments.seconds {
        Some(seconds) => ["--max-time".to_owned(), (seconds / callers.len() as u64).max(1).to_string()],
        None => ["--max-examples".to_owned(), arguments.examples.to_string()],
    };
    let (mut sum, mut lines) = (Tally::default(), Vec::new());
    for (name, key) in callers {
        let tally = ask(&home.join(name), &python, &server, *key, &effort, seed)?;
        lines.push(format!("{name:12} {}", tally.show()));
        sum.operations = sum.operations.max(tally.operations);
        sum.cases += tally.cases;
        sum.server_errors += tally.server_errors;
        sum.violations += tally.violations;
    }
    println!("\n{}\n{:12} {}, seed {seed}", lines.join("\n"), "all", sum.show());
    if (sum.server_errors, sum.violations) == (0, 0) && sum.cases > 0 {
        return Ok(());
    }
    Err(Failure::Because(
        "the server and its contract differ, see above; the reports and logs are in target/fuzz-api".into(),
    ))
}

/// Makes a virtual environment with schemathesis, unless there is one, and gives its interpreter.
fn install(home: &Path) -> Result<PathBuf, Failure> {
    let venv = home.join("venv");
    let (python, stamp) = (venv.join("bin/python"), venv.join("installed.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    run::run(make)?;
    let requirements = venv.join("requirements.txt");
    write(&requirements, REQUIREMENTS)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&requirements);
    run::run(pip).map_err(|failure| {
        Failure::Because(format!("schemathesis could not be installed from the Python Package Index: {failure}"))
    })?;
    write(&stamp, REQUIREMENTS)?;
    Ok(python)
}

/// Builds the server and gives its binary.
fn build() -> Result<PathBuf, Failure> {
    let build = ["build", "--release", "--locked", "--package", "dispatch-server", "--bin", "dispatch-server"];
    run::run(cargo(build))?;
    Ok(run::target()?.join("release/dispatch-server"))
}

/// Starts a server of its own and has schemathesis ask it.
fn ask(
    home: &Path,
    python: &Path,
    server: &Path,
    key: Option<&[&str]>,
    effort: &[String],
    seed: u32,
) -> Result<Tally, Failure> {
    fs::create_dir_all(home).map_err(|error| cannot("make", home, &error))?;
    let keys = match key {
        Some(role) => Some([create_key(server, &["--role", "admin", "--name", "world"])?, create_key(server, role)?]),
        None => None,
    };
    let config = keys.iter().flatten().fold(CONFIG.to_owned(), |config, (_, lines)| config + lines);
    let file = home.join("server.toml");
    write(&file, &config)?;
    let server = Server::start(server, &file, &home.join("server.log"))?;
    let (admin, own) = keys.map_or_else(Default::default, |[(admin, _), (own, _)]| (admin, own));

    let report = home.join("report.json");
    let _ = fs::remove_file(&report);
    let own_files = run::root().join("xtask/src/fuzz_api");
    let mut st = Command::new(python);
    // Compiled files would lie beside the sources otherwise.
    st.args(["-B", "-m", "schemathesis.cli", "--config-file"]).arg(own_files.join("schemathesis.toml"));
    st.args(["run", &format!("{}/openapi.json", server.url), "--checks", "all"]);
    st.args(["--phases", "examples,coverage,fuzzing,stateful", "--seed", &seed.to_string()]).args(effort);
    st.args(["--report", "json", "--report-json-path"]).arg(&report);
    if key.is_none() {
        // The first key locks the door behind whoever came without.
        st.args(["--exclude-operation-id", "createKey"]);
    }
    st.env("SCHEMATHESIS_HOOKS", own_files.join("hooks.py"));
    st.env("FUZZ_API_URL", &server.url).env("FUZZ_API_ADMIN_KEY", admin).env("FUZZ_API_KEY", own);
    st.current_dir(home);
    let ran = run::run(st);

    let panics = server.stop()?;
    let report = fs::read_to_string(&report).ok().and_then(|report| serde_json::from_str(&report).ok());
    let tally = report.as_ref().map(Tally::of).filter(|tally| tally.cases > 0);
    match (ran, tally) {
        // Schemathesis fails if it found something, which the report says in full.
        (Err(Failure::Status { .. }), Some(tally)) if !tally.is_clean() => Ok(tally.with(panics)),
        (Ok(()), Some(tally)) => Ok(tally.with(panics)),
        (Err(failure), _) => Err(failure),
        (Ok(()), None) => Err(Failure::Because("schemathesis asked nothing".into())),
    }
}

/// Makes an API key: the key, and the lines that let it in.
fn create_key(server: &Path, role: &[&str]) -> Result<(String, String), Failure> {
    let created = Command::new(server).args(["key", "create", "--print", "--rate", "10000"]).args(role).output();
    let created = created.map_err(|error| cannot("run", server, &error))?;
    let text = String::from_utf8_lossy(&created.stdout).into_owned();
    match text.split_once('\n') {
        Some((key, lines)) if created.status.success() => Ok((key.to_owned(), lines.to_owned())),
        _ => Err(Failure::Because(format!("no key: {}", String::from_utf8_lossy(&created.stderr)))),
    }
}

/// A running server, in a process and at a port of its own.
struct Server {
    process: Child,
    url: String,
    log: JoinHandle<String>,
    log_file: PathBuf,
}

impl Server {
    fn start(binary: &Path, config: &Path, log_file: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--set", "durability=memory", "--config"]).arg(config);
        let spawned = command.env("NO_COLOR", "1").stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut process = spawned.map_err(|error| cannot("start", binary, &error))?;
        let mut lines = BufReader::new(process.stderr.take().expect("it was asked for a line above")).lines();
        let mut said = String::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else {
                return Err(Failure::Because(format!("the server did not start:\n{said}")));
            };
            said = format!("{said}{line}\n");
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.split([',', ' ']).next().unwrap_or_default().to_owned();
            }
        };
        // Read to the end, or the server would wait for somebody to read.
        let log = std::thread::spawn(move || lines.map_while(Result::ok).fold(said, |said, line| said + &line + "\n"));
        Ok(Self { process, url, log, log_file: log_file.to_owned() })
    }

    /// Asks the server to end and gives how many panics it had; one that ends by itself or does not end well had one more.
    fn stop(mut self) -> Result<u64, Failure> {
        let ended_before = self.process.try_wait().is_ok_and(|status| status.is_some());
        let mut kill = Command::new("kill");
        kill.arg(self.process.id().to_string());
        if !ended_before && !run::works(kill) {
            let _ = self.process.kill();
        }
        let status = self.process.wait().map_err(|error| Failure::Because(format!("the server is lost: {error}")))?;
        let log = self.log.join().unwrap_or_default();
        write(&self.log_file, &log)?;
        let panics = log.lines().filter(|line| line.contains("panicked at")).count() as u64;
        Ok(panics + u64::from(ended_before || !status.success()))
    }
}

impl Tally {
    /// Reads the report of schemathesis.
    fn of(report: &Value) -> Self {
        let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let mut tally = Self {
            operations: number("/operations/tested"),
            cases: number("/test_cases/generated"),
            ..Self::default()
        };
        for failure in report["failures"].as_array().into_iter().flatten() {
            let count = failure["count"].as_u64().unwrap_or(1);
            if failure["type"] == "ServerError" {
                tally.server_errors += count;
            } else {
                tally.violations += count;
            }
        }
        // Requests without an answer, and operations that could not be tested at all.
        tally.server_errors += report["errors"].as_array().map_or(0, Vec::len) as u64;
        tally
    }

    /// The same with so many server errors more.
    fn with(self, more: u64) -> Self {
        Self { server_errors: self.server_errors + more, ..self }
    }

    fn is_clean(&self) -> bool {
        (self.server_errors, self.violations) == (0, 0)
    }

    fn show(&self) -> String {
        let Self { operations, cases, server_errors, violations } = self;
        format!(
            "{operations} operations, {cases} cases, {server_errors} server errors, {violations} contract violations"
        )
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Because(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_added_up() {
        let report = json!({
            "operations": {"total": 35, "tested": 34},
            "test_cases": {"generated": 1200, "unique_failures": 5},
            "failures": [
                {"type": "ServerError", "count": 2},
                {"type": "UndefinedStatusCode", "count": 3},
                {"type": "JsonSchemaError", "count": 1},
            ],
            "errors": [{"title": "Network Error"}],
        });
        assert_eq!(Tally::of(&report), Tally { operations: 34, cases: 1200, server_errors: 3, violations: 4 });
        assert!(!Tally::of(&report).is_clean());
        assert!(Tally::of(&json!({"operations": {"tested": 1}})).is_clean());
        assert!(!Tally::default().with(1).is_clean(), "a panic is a server error");
    }

    #[test]
    fn every_requirement_has_one_version() {
        assert!(REQUIREMENTS.lines().any(|line| line.starts_with("schemathesis==4.")));
        assert!(REQUIREMENTS.lines().all(|line| line.split("==").count() == 2), "{REQUIREMENTS}");
    }
}
