//! What code does not use, and why.

use crate::layers::starts_with_path;
use crate::paths::paths;
use crate::source::{Finding, Source};

const CORE_SRC: &str = "dispatch-core/src/";

/// Something the core does not use.
struct Ban {
    what: Use,
    /// The modules of the core that may all the same.
    except: &'static [&'static str],
    why: &'static str,
}

enum Use {
    /// A path, or the beginning of one.
    Path(&'static str),
    /// A word of its own.
    Word(&'static str),
}

const PURE: &str = "the core has no IO, no clock and no threads; pass in what it needs";
const ORDERED: &str = "hash maps iterate in another order each time; use BTreeMap, BTreeSet or a sorted Vec";
const LOCKS: &str = "one writer owns the engine; only the position index is shared";

const CORE: &[Ban] = &[
    Ban { what: Use::Path("std::time"), except: &[], why: PURE },
    Ban { what: Use::Path("std::fs"), except: &["sim"], why: PURE },
    Ban { what: Use::Path("std::net"), except: &[], why: PURE },
    Ban { what: Use::Path("std::env"), except: &[], why: PURE },
    Ban { what: Use::Path("std::process"), except: &[], why: PURE },
    // To let others run is all that the index does with threads.
    Ban { what: Use::Path("std::thread"), except: &["index"], why: PURE },
    Ban { what: Use::Path("tokio"), except: &[], why: PURE },
    Ban { what: Use::Word("print!"), except: &[], why: PURE },
    Ban { what: Use::Word("println!"), except: &[], why: PURE },
    Ban { what: Use::Word("eprint!"), except: &[], why: PURE },
    Ban { what: Use::Word("eprintln!"), except: &[], why: PURE },
    Ban { what: Use::Path("rand"), except: &["sim"], why: "same inputs, same events: the core draws nothing" },
    Ban { what: Use::Path("rand_pcg"), except: &["sim"], why: "same inputs, same events: the core draws nothing" },
    Ban { what: Use::Word("HashMap"), except: &["index"], why: ORDERED },
    Ban { what: Use::Word("HashSet"), except: &[], why: ORDERED },
    Ban { what: Use::Path("parking_lot"), except: &["index"], why: LOCKS },
    Ban { what: Use::Path("std::sync::Mutex"), except: &["index"], why: LOCKS },
    Ban { what: Use::Path("std::sync::RwLock"), except: &["index"], why: LOCKS },
    Ban { what: Use::Word(".partial_cmp("), except: &[], why: "NaN has no order there; use total_cmp" },
];

/// The one thing of a banned module that is only a value.
const ALLOWED: &[&str] = &["std::time::Duration"];

/// Methods of floats whose last bit differs between machines.
const FLOAT_METHODS: &[&str] = &[
    "sin", "cos", "tan", "sin_cos", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "exp", "exp2", "exp_m1", "ln", "ln_1p", "log2", "log10", "powf", "powi", "cbrt", "hypot",
];

/// What no Rust of ours has, tests included.
const NOWHERE: &[(&str, &str)] = &[
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
    ("dbg!", "left over from debugging"),
    ("#[ignore", "a test that does not run proves nothing"),
];

/// The core outside tests: no IO, clock, threads, chance, hash order, or floats that differ between machines.
pub(crate) fn core(source: &Source) -> Vec<Finding> {
    let Some(file) = source.path.strip_prefix(CORE_SRC).filter(|_| source.is_rust()) else { return Vec::new() };
    let module = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
    let bans: Vec<_> = CORE.iter().filter(|ban| !ban.except.contains(&module)).collect();
    let mut findings = Vec::new();
    for (line, path) in paths(&source.code).into_iter().filter(|(line, _)| !source.in_test(*line)) {
        let banned = |ban: &&&Ban| matches!(ban.what, Use::Path(banned) if starts_with_path(&path, banned));
        if let Some(ban) = bans.iter().find(banned).filter(|_| !ALLOWED.contains(&path.as_str())) {
            findings.push(source.finding(line, format!("`{path}`: {}", ban.why)));
        }
        if let Some(method) = ["f64::", "f32::"].iter().find_map(|float| path.strip_prefix(float)) {
            findings.extend(FLOAT_METHODS.contains(&method).then(|| source.finding(line, not_bit_stable(method))));
        }
    }
    for (number, line) in source.product_lines() {
        for ban in &bans {
            if let Use::Word(word) = ban.what
                && has_word(line, word)
            {
                findings.push(source.finding(number, format!("`{word}`: {}", ban.why)));
            }
        }
        for method in FLOAT_METHODS {
            if line.contains(&format!(".{method}(")) {
                findings.push(source.finding(number, not_bit_stable(method)));
            }
        }
    }
    findings.extend(if module == "index" { hash_iteration(source) } else { Vec::new() });
    findings
}

fn not_bit_stable(method: &str) -> String {
    format!("`{method}` of a float differs between machines in its last bit; use libm")
}

/// Hash maps are there to look things up: a line that walks over a name declared as one in the same file.
fn hash_iteration(source: &Source) -> Vec<Finding> {
    const WALKS: [&str; 8] =
        [".iter()", ".iter_mut()", ".keys()", ".values()", ".values_mut()", ".drain(", ".retain(", ".into_iter()"];
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let declared = source.product_lines().filter(|(_, line)| has_word(line, "HashMap")).filter_map(|(_, line)| {
        let before = line[..line.find("HashMap")?].split([':', '=']).next()?.trim_end();
        let name = &before[before.rfind(|c| !is_name(c)).map_or(0, |at| at + 1)..];
        (!name.is_empty() && name != "use").then(|| name.to_owned())
    });
    let names: Vec<String> = declared.collect();
    let mut findings = Vec::new();
    for (number, line) in source.product_lines() {
        for name in names.iter().filter(|name| has_word(line, name)) {
            let behind = &line[line.find(name.as_str()).unwrap_or(0)..];
            let loops = line.contains("for ") && line.split(" in ").nth(1).is_some_and(|over| has_word(over, name));
            if loops || WALKS.iter().any(|walk| behind.contains(walk)) {
                findings.push(source.finding(number, format!("`{name}` is walked over: {ORDERED}")));
            }
        }
    }
    findings
}

/// All Rust: nothing unfinished, no test that does not run, no `unwrap` outside tests.
pub(crate) fn everywhere(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in source.code.lines().zip(1..) {
        for (word, why) in NOWHERE.iter().filter(|(word, _)| has_word(line, word)) {
            findings.push(source.finding(number, format!("`{word}`: {why}")));
        }
    }
    for (number, line) in source.product_lines() {
        if line.contains(".unwrap()") || line.contains(".unwrap_err()") {
            findings.push(source.finding(number, "`unwrap`: use `expect` with the reason why it cannot fail, or `?`"));
        }
    }
    findings
}

/// Whether a line has a word that is not part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part) && word.starts_with(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part) && word.ends_with(part);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_core(file: &str, code: &str) -> usize {
        core(&Source::new(&format!("{CORE_SRC}{file}"), code)).len()
    }

    #[test]
    fn every_ban_catches_something_and_not_in_its_exceptions_or_tests() {
        for Ban { what, except, .. } in CORE {
            let code = match what {
                Use::Path(path) => format!("use {path}::thing;"),
                Use::Word(word) => format!("let x = y {word} z"),
            };
            assert_eq!(in_core("engine.rs", &code), 1, "{code}");
            for module in *except {
                assert_eq!(in_core(&format!("{module}/mod.rs"), &code), 0, "{code}");
            }
            assert_eq!(in_core("engine.rs", &format!("#[cfg(test)]\nmod tests {{ {code} }}")), 0, "{code}");
            assert_eq!(in_core("engine.rs", &format!("// {code}\nlet s = \"{code}\";")), 0, "{code}");
        }
    }

    #[test]
    fn grouped_and_shortened_imports_are_seen_through() {
        assert_eq!(in_core("engine.rs", "use std::{collections::BTreeMap, fs, time::{Duration, Instant}};"), 2);
        assert_eq!(in_core("engine.rs", "use std::time;"), 1);
        assert_eq!(in_core("engine.rs", "use std::time::Duration;"), 0);
        assert_eq!(in_core("sim/city.rs", "use std::time::Instant;"), 1);
        assert_eq!(in_core("sim/city.rs", "use std::thread;"), 1);
    }

    #[test]
    fn floats_that_differ_between_machines_are_found() {
        for method in FLOAT_METHODS {
            assert_eq!(in_core("geo.rs", &format!("x.{method}(y)")), 1, "{method}");
            assert_eq!(in_core("geo.rs", &format!("xs.map(f64::{method})")), 1, "{method}");
        }
        assert_eq!(in_core("geo.rs", "libm::sin(x) + x.sqrt() + x.to_radians() + a.total_cmp(b)"), 0);
    }

    #[test]
    fn walking_over_a_hash_map_is_found() {
        let walks = |body: &str| {
            in_core("index/mod.rs", &format!("struct I {{\n  slots: RwLock<HashMap<u8, u8>>,\n}}\n{body}"))
        };
        for body in ["self.slots.read().values().sum()", "for (k, v) in &self.slots {", "for x in slots.iter() {"] {
            assert_eq!(walks(body), 1, "{body}");
        }
        assert_eq!(walks("self.slots.read().get(&driver)\nfor slot in list {"), 0);
    }

    #[test]
    fn what_stands_nowhere_is_found_in_tests_too() {
        let found = |code: &str| everywhere(&Source::new("xtask/tests/a.rs", code)).len();
        for (word, _) in NOWHERE {
            assert_eq!(found(&format!("{word}(x)]")), 1, "{word}");
        }
        assert_eq!(found("mytodo!() // todo!()"), 0);
    }

    #[test]
    fn unwrap_is_found_outside_tests() {
        let found = |path: &str, code: &str| everywhere(&Source::new(path, code)).len();
        assert_eq!(found("examples/a.rs", "x\n    .unwrap();\ny.unwrap_err()"), 2);
        assert_eq!(found("examples/a.rs", "x.unwrap_or(1)\n#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }"), 0);
        assert_eq!(found("dispatch-core/tests/a.rs", "x.unwrap()"), 0);
    }
}
