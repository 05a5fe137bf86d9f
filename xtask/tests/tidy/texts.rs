//! Rules over text of any kind: files, lines, links, manifests.

use crate::source::{Finding, Source, has_extension};
use std::path::Path;

/// The longest Rust file, in lines. Past about 600 a file holds more than one thing.
const MAX_LINES: usize = 700;

/// Directories of somebody's machine.
const MACHINE: [&str; 4] = ["work", "tmp", "root", "home"];

/// Files that every reader looks for first.
pub(crate) const REQUIRED: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Any text: no tabs for indentation, no paths of one machine, no history by issue number.
pub(crate) fn lines(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let indentation = &line[..line.len() - line.trim_start().len()];
        if indentation.contains('\t') {
            findings.push(source.finding(number, "indented with a tab; use spaces"));
        }
        if let Some(directory) = MACHINE.iter().find(|directory| has_machine_path(line, directory)) {
            findings.push(source.finding(number, format!("a path below `/{directory}` exists on one machine only")));
        }
    }
    let prose = if source.is_rust() { &source.comments } else { &source.text };
    if source.is_rust() || source.is_markdown() {
        for (line, number) in prose.lines().zip(1..).filter(|(line, _)| has_issue_number(line)) {
            let rule = format!("an issue number tells nothing here; say the reason: `{}`", line.trim());
            findings.push(source.finding(number, rule));
        }
    }
    findings
}

/// Whether an absolute path below a directory at the root stands in a line; the middle of a longer path does not count.
fn has_machine_path(line: &str, directory: &str) -> bool {
    line.match_indices(&format!("/{directory}/")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || "._-/~}*$".contains(c)))
    })
}

/// Whether a `#` with a number stands in a line as a word of its own.
fn has_issue_number(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| {
        let number = line[at + 1..].split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let before = line[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '(');
        before && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Rust files hold one thing each.
pub(crate) fn length(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    (source.is_rust() && lines > MAX_LINES)
        .then(|| source.finding(lines, format!("{lines} lines, more than {MAX_LINES}: split it along a real seam")))
}

/// Every crate takes its lints from its workspace; but the fuzz targets, as libFuzzer's entry is unsafe.
pub(crate) fn inherits_lints(source: &Source) -> Option<Finding> {
    let is_crate = source.path.ends_with("Cargo.toml") && source.text.lines().any(|line| line == "[package]");
    let mut after = source.text.lines().skip_while(|line| *line != "[lints]").skip(1);
    let inherits = after.next().is_some_and(|line| line.replace(' ', "") == "workspace=true");
    let is_fuzzed = source.text.lines().any(|line| line == "cargo-fuzz = true");
    (is_crate && !inherits && !is_fuzzed)
        .then(|| source.finding(1, "does not inherit the lints: `[lints]` with `workspace = true`"))
}

/// Whatever the project has cargo do is done with the versions in Cargo.lock, and changes none of them.
pub(crate) fn locked(source: &Source) -> Vec<Finding> {
    const COMMANDS: [&str; 6] = ["build", "run", "test", "bench", "doc", "clippy"];
    // Programs with a `run` of their own.
    const OTHERS: [&str; 2] = ["cargo_fuzz(&", "st.args("];
    let mut findings = Vec::new();
    let ours = source.path.starts_with("xtask/src/") && source.is_rust();
    for (at, _) in source.text.match_indices('[').filter(|_| ours) {
        let inside = source.text[at + 1..].split(']').next().unwrap_or_default();
        let first = inside.trim_start().strip_prefix('"').and_then(|word| word.split('"').next()).unwrap_or_default();
        let line = crate::source::line_of(&source.text, at);
        let before = &source.text[..at];
        let is_other = OTHERS.iter().any(|other| before.ends_with(other)) || inside.contains("--version");
        let is_cargo = COMMANDS.contains(&first) && inside.contains("\"--") && !is_other && !source.in_test(line);
        if is_cargo && !inside.contains("\"--locked\"") {
            findings.push(source.finding(line, format!("`cargo {first}` without --locked")));
        }
    }
    if source.path == ".cargo/config.toml"
        && source.text.lines().any(|line| line.contains("run ") && !line.contains("--locked"))
    {
        findings.push(source.finding(1, "an alias of `cargo run` without --locked"));
    }
    findings
}

/// Types of requests that the fuzz target `wire` does not read.
pub(crate) fn unfuzzed(sources: &[Source]) -> Vec<Finding> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let door = sources.iter().find(|source| source.path == "dispatch-server/src/fuzzing.rs");
    let known: Vec<&str> = door.map_or("", |door| &door.code).split(|c| !is_word(c)).collect();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("dispatch-server/src/http/")) {
        for (number, line) in source.product_lines() {
            let extracted = ["Json<", "JsonOrNothing<", "Query<"].iter().flat_map(|begin| line.split(begin).skip(1));
            // A body that is read by hand: `let body: Kind = wire::parse(...)`.
            let parsed = line.split_once(" = wire::parse").and_then(|(before, _)| before.rsplit_once(": "));
            for name in extracted.chain(parsed.map(|(_, name)| name)) {
                let name = name.split(|c| !is_word(c)).next().unwrap_or_default();
                if name.len() > 1 && !known.contains(&name) {
                    findings.push(source.finding(number, format!("`{name}` is not in fuzzing.rs")));
                }
            }
        }
    }
    findings
}

/// Relative links in Markdown lead to a file.
pub(crate) fn links(root: &Path, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (line, number) in source.text.lines().zip(1..).filter(|_| has_extension(&source.path, "md")) {
        fenced ^= line.trim_start().starts_with("```");
        // What stands between backticks is code: every second part.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|_| !fenced) {
            let file = target.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            let directory = root.join(&source.path).parent().map(Path::to_path_buf).unwrap_or_default();
            if !elsewhere && !file.is_empty() && !directory.join(file).exists() {
                findings.push(source.finding(number, format!("the link to `{file}` leads nowhere")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        lines(&Source::new(path, text)).len()
    }

    #[test]
    fn tabs_are_found_in_indentation_only() {
        assert_eq!(found("a.rs", "fn f() {\n\tx();\n  \ty();\n}"), 2);
        assert_eq!(found("a.md", "a\tb"), 0);
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for directory in MACHINE {
            for line in [format!("/{directory}/x"), format!("open(\"/{directory}/x\")"), format!("# (/{directory}/x)")]
            {
                assert_eq!(found("a.toml", &line), 1, "{line}");
            }
            for line in [format!("a/{directory}/x"), format!("$HOME/{directory}/x"), format!("/{directory}ing/x")] {
                assert_eq!(found("a.toml", &line), 0, "{line}");
            }
        }
    }

    #[test]
    fn issue_numbers_are_found_in_prose() {
        let sample = format!("see issue {}12", '#');
        assert_eq!(found("a.rs", &format!("x(); // {sample}")), 1);
        assert_eq!(found("a.md", &format!("Fixed ({}7).", '#')), 1);
        assert_eq!(found("a.rs", &format!("let x = \"{sample}\";\n#[derive(A)] // r{}1", '#')), 0);
        assert_eq!(found("a.md", "# 1 heading\n#7f7f7f a[link](x#12)"), 0);
    }

    #[test]
    fn long_files_are_found() {
        assert!(length(&Source::new("a.rs", &"x\n".repeat(MAX_LINES))).is_none());
        assert!(length(&Source::new("a.rs", &"x\n".repeat(MAX_LINES + 1))).is_some());
        assert!(length(&Source::new("a.md", &"x\n".repeat(MAX_LINES + 1))).is_none());
    }

    #[test]
    fn crates_without_the_lints_are_found() {
        let lints = |text: &str| inherits_lints(&Source::new("x/Cargo.toml", text)).is_some();
        assert!(lints("[package]\nname = \"x\""));
        assert!(lints("[package]\n[lints]\nrust.unsafe_code = \"allow\""));
        assert!(!lints("[package]\n[lints]\nworkspace = true"));
        assert!(!lints("[workspace]") && !lints("[package]\n[package.metadata]\ncargo-fuzz = true"));
    }

    #[test]
    fn cargo_without_the_lock_is_found() {
        let found = |path: &str, text: &str| locked(&Source::new(path, text)).len();
        assert_eq!(
            found("xtask/src/a.rs", "x(&[\n    \"test\",\n    \"--workspace\",\n]); y([\"run\", \"--quiet\"])"),
            2
        );
        assert_eq!(found("xtask/src/a.rs", "x([\"test\", \"--locked\"]); y([\"fmt\", \"--all\"]); z[at]"), 0);
        assert_eq!(found("xtask/src/a.rs", "cargo_fuzz(&[\"run\", \"--features\"])"), 0);
        assert_eq!(found(".cargo/config.toml", "x = \"run --package y\""), 1);
    }

    #[test]
    fn requests_that_are_not_fuzzed_are_found() {
        let door = Source::new("dispatch-server/src/fuzzing.rs", "read::<wire::Known>(body)");
        let found = |code| {
            unfuzzed(&[Source::new("dispatch-server/src/http/a.rs", code)]).len()
                - unfuzzed(&[Source::new("dispatch-server/src/http/a.rs", code), Source::new(&door.path, &door.text)])
                    .len()
        };
        let new =
            "f(Json(a): Json<Fresh>, Query(b): Query<Other>, c: JsonOrNothing<T>) { let d: Last = wire::parse(e); }";
        assert_eq!((found(new), unfuzzed(&[Source::new("dispatch-server/src/http/a.rs", new)]).len()), (0, 3));
        assert_eq!(found("f(Json(a): Json<Known>)"), 1);
    }

    #[test]
    fn dead_links_are_found() {
        let root = crate::source::root();
        let dead = |text: &str| links(&root, &Source::new("xtask/x.md", text)).len();
        assert_eq!(dead("[a](nowhere.md) and [b](../gone.md#part)"), 2);
        assert_eq!(dead("[a](Cargo.toml) [b](../Cargo.toml#x) [c](#x) [d](https://e.org/f) [e](mailto:x@y.z)"), 0);
        assert_eq!(dead("`[a](nowhere.md)`\n```\n[a](nowhere.md)\n```\n[b](nowhere.md)"), 1);
    }
}
