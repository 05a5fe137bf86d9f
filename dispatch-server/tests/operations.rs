//! What operators are given (Dockerfile, compose.yaml, the systemd unit, the documentation) against the server as it is.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use dispatch_server::{ConfigError, Sources};
use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use toml::Table;

/// Files beside the documentation that name settings or commands.
const FILES: [&str; 4] = ["Dockerfile", "compose.yaml", "ops/dispatch-server.service", "ops/example.env"];

const SERVER: &str = env!("CARGO_BIN_EXE_dispatch-server");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(file: impl AsRef<Path>) -> String {
    let file = root().join(file);
    read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn workspace() -> Table {
    text("Cargo.toml").parse::<Table>().unwrap()["workspace"].as_table().unwrap().clone()
}

/// The files above and every document, with their names.
fn documents() -> Vec<(String, String)> {
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let pages = pages.map(|path| format!("docs/{}", path.file_name().unwrap().to_str().unwrap()));
    let names = FILES.map(str::to_owned).into_iter().chain(pages).chain(["README.md".to_owned()]);
    names.map(|name| (name.clone(), text(name))).collect()
}

/// The settings that a text gives by variables: each with its value, if one stands there.
fn variables(text: &str) -> Vec<(String, Option<String>)> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let found = text.match_indices("DISPATCH_").filter(|(at, _)| !text[..*at].ends_with(is_name)).map(|(at, _)| {
        let rest = &text[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        let value = rest.strip_prefix('=').or_else(|| rest.strip_prefix(": "));
        let value = value.map(|value| value.split([' ', '\n', '`', '"']).next().unwrap().to_owned());
        // What compose fills in.
        (name.to_owned(), value.filter(|value| !value.is_empty() && !value.contains("${")))
    });
    found.filter(|(name, _)| name.len() > "DISPATCH_".len()).collect()
}

/// A configuration with a key, as one needs it to listen beyond this machine.
fn with_a_key() -> Sources {
    let key = format!("[[keys]]\nname = \"a\"\nhash = \"{}\"\nrole = \"admin\"", "0".repeat(64));
    Sources { file: Some(key), ..Sources::default() }
}

#[test]
fn every_variable_is_a_setting() {
    let mut count = 0;
    for (name, text) in documents() {
        let mut all = with_a_key();
        for (variable, value) in variables(&text) {
            // For tests alone.
            if variable == "DISPATCH_WRITE_DOCS" {
                continue;
            }
            count += 1;
            let alone = Sources { environment: vec![(variable.clone(), String::new())], ..Sources::default() };
            let unknown = matches!(alone.load(), Err(ConfigError::Source { .. }));
            assert!(!unknown, "{name}: {variable} is no setting");
            all.environment.extend(value.map(|value| (variable, value)));
        }
        // A document shows more than one value of a setting; what is run has one.
        if FILES.contains(&name.as_str()) {
            all.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(count >= 6, "only {count} were found");
    assert_eq!(variables("A_DISPATCH_X DISPATCH_Y=1 DISPATCH_Z: 2\n`DISPATCH_`").len(), 2);
}

#[test]
fn every_flag_sets_a_setting() {
    let mut count = 0;
    for (name, text) in documents() {
        for flag in text.split("--set ").skip(1).map(|rest| rest.split([' ', '\n', '`']).next().unwrap()) {
            count += 1;
            let sources = Sources { flags: vec![flag.to_owned()], ..with_a_key() };
            sources.load().unwrap_or_else(|error| panic!("{name}: --set {flag}: {error}"));
        }
    }
    assert!(count > 0, "none was found");
}

/// The commands of a text: what follows the name of the server in code.
fn commands(text: &str, all_code: bool) -> Vec<String> {
    let (mut fenced, mut found) = (all_code, Vec::new());
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        // Between backticks is every second part.
        let parts = line.split('`').enumerate().filter(|(number, _)| fenced || number % 2 == 1);
        for code in parts.map(|(_, part)| part) {
            for (at, name) in code.match_indices("dispatch-server ") {
                let is_word = code[..at].chars().next_back().is_none_or(|c| " /`".contains(c));
                let rest = code[at + name.len()..].split(['#', '|', '>', ';', '\\']).next().unwrap();
                let is_command = rest.starts_with(|c: char| c.is_ascii_lowercase());
                found.extend((is_word && is_command).then(|| rest.trim().to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_command_is_one() {
    let mut seen = BTreeSet::new();
    for (name, text) in documents() {
        let is_unit = FILES.contains(&name.as_str());
        for command in commands(&text, is_unit).into_iter().filter(|command| !is_unit || !command.contains(" on ")) {
            let is_plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            let words = command.split(' ').take_while(|word| is_plain(word) && !word.starts_with('-')).take(2);
            let help = Command::new(SERVER).args(words).arg("--help").output().unwrap();
            // What may follow one of several (`migrate|status`) is not looked at.
            let help = if help.status.success() { String::from_utf8(help.stdout).unwrap() } else { String::new() };
            assert!(!help.is_empty(), "{name}: there is no `dispatch-server {command}`");
            for flag in command.split([' ', '=']).filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{name}: `dispatch-server {command}` takes no {flag}\n{help}");
            }
            seen.insert(command);
        }
    }
    assert!(seen.len() >= 10, "only these were found: {seen:?}");
    let sample = "`dispatch-server a b` dispatch-server c\n```\n$ dispatch-server d --e # f\n```\n`xdispatch-server g`";
    assert_eq!(commands(sample, false), ["a b", "d --e"]);
}

/// Whether a path stays out of the context of `docker build`: the last line of .dockerignore that fits it counts.
fn is_ignored(rules: &str, path: &str) -> bool {
    let fits = |rule: &str| match rule.strip_prefix("**/") {
        Some(anywhere) => format!("/{path}/").contains(&format!("/{anywhere}/")),
        None => rule == "*" || format!("{path}/").starts_with(&format!("{rule}/")),
    };
    let rules = rules.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rules.fold(false, |ignored, rule| match rule.strip_prefix('!') {
        Some(rule) => ignored && !fits(rule),
        None => ignored || fits(rule),
    })
}

/// Files below a directory of the repository.
fn files(below: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(below)).unwrap().map(Result::unwrap) {
        let path = format!("{below}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn the_image_is_built_from_what_there_is() {
    let (dockerfile, ignore, workspace) = (text("Dockerfile"), text(".dockerignore"), workspace());
    let members = workspace["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap());
    let manifests = members.map(|member| format!("{member}/Cargo.toml"));
    let sources = ["core", "journal", "server"].map(|name| files(&format!("dispatch-{name}/src")));
    let needed = manifests.chain(sources.into_iter().flatten()).chain(files("dispatch-server/migrations"));
    for path in needed.chain(["Cargo.toml".into(), "Cargo.lock".into()]) {
        assert!(!is_ignored(&ignore, &path), "{path} is needed, and .dockerignore leaves it out");
    }
    for path in ["target/x", ".git/x", ".env", "benches/target/x", "dispatch-data/x", "dispatch.toml"] {
        assert!(is_ignored(&ignore, path), "{path} has no business in an image");
    }
    let copied =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--")));
    for path in copied.flat_map(|rest| rest.split(' ').rev().skip(1)) {
        assert!(root().join(path).exists() && (path == "." || !is_ignored(&ignore, path)), "{path} is copied");
    }
    let version = workspace["package"]["rust-version"].as_str().unwrap();
    let toolchain = dockerfile.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    assert!(toolchain.starts_with(&format!("{version}-")), "Cargo.toml wants Rust {version}, not rust:{toolchain}");
    let last_user = dockerfile.lines().rfind(|line| line.starts_with("USER ")).unwrap();
    assert!(!last_user.contains("root") && !last_user.contains(" 0"), "{last_user}");
    // What is run and asked for health is the server itself, without a shell.
    for json in ["ENTRYPOINT [\"dispatch-server\"]", "CMD [\"serve\"]", "CMD [\"dispatch-server\", \"health\"]"] {
        assert!(dockerfile.contains(json), "{json}");
    }
}

#[test]
fn dependencies_are_built_from_manifests_and_empty_programs() {
    let (dockerfile, ignore, workspace) = (text("Dockerfile"), text(".dockerignore"), workspace());
    let context = std::env::temp_dir().join(format!("dispatch-context-{}", std::process::id()));
    let members = workspace["members"].as_array().unwrap().iter().flat_map(|member| files(member.as_str().unwrap()));
    for path in members.chain(["Cargo.toml".into(), "Cargo.lock".into()]).filter(|path| !is_ignored(&ignore, path)) {
        let copy = context.join(&path);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(root().join(&path), copy).unwrap();
    }
    let (_, from) = dockerfile.split_once("RUN find .").unwrap();
    let script = format!("find .{}", from.split_once("\n\n").unwrap().0);
    let run = |program: &str, args: &[&str]| Command::new(program).args(args).current_dir(&context).output().unwrap();
    let emptied = run("sh", &["-e", "-c", &script]);
    let loaded = run(env!("CARGO"), &["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]);
    let main = read_to_string(context.join("dispatch-server/src/main.rs")).unwrap();
    let is_left = context.join("dispatch-server/src/config.rs").exists() || context.join("README.md").exists();
    std::fs::remove_dir_all(&context).unwrap();
    for Output { status, stderr, .. } in [emptied, loaded] {
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }
    assert_eq!((main.trim(), is_left), ("fn main() { }", false));
}

#[test]
fn compose_publishes_the_api_alone() {
    let compose = text("compose.yaml");
    let published: Vec<&str> = compose.lines().skip_while(|line| line.trim() != "ports:").skip(1).take(2).collect();
    assert_eq!(compose.matches("ports:").count(), 1);
    assert_eq!(published[0].trim(), "- 127.0.0.1:8080:8080");
    assert!(!published[1].trim().starts_with('-'), "{published:?}");
    // A secret stands in neither file.
    assert_eq!(compose.matches("${POSTGRES_PASSWORD:?").count(), 2);
    assert!(text("ops/example.env").lines().any(|line| line == "POSTGRES_PASSWORD="));
}

#[test]
fn systemd_takes_the_unit() {
    let unit = text("ops/dispatch-server.service");
    let seconds = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.parse::<u64>().ok()).unwrap();
    let limits = dispatch_server::DOCUMENTED_DEFAULTS.parse::<Table>().unwrap()["limits"].clone();
    let drain = limits["drain_seconds"].as_integer().unwrap().cast_unsigned();
    assert!(seconds("TimeoutStopSec=") >= drain + 20, "the server is killed while it drains");
    assert!(seconds("LimitNOFILE=") >= limits["connections"].as_integer().unwrap().cast_unsigned() + 1000);
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no systemd-analyze here to check the unit with");
        return;
    }
    let folder = std::env::temp_dir().join(format!("dispatch-unit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // It is not installed here.
    let here = folder.join("dispatch-server.service");
    std::fs::write(&here, unit.replace("/usr/local/bin/dispatch-server", SERVER)).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&here).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let said: Vec<&str> = said.lines().filter(|line| line.contains("dispatch-server.service")).collect();
    assert!(verified.status.success() && said.is_empty(), "{said:#?}");
}
