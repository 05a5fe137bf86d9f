//! The house rules as tests over the sources. Each rule has bad samples of its own that it must catch.

mod bans;
mod layers;
mod paths;
mod source;
mod texts;

use source::{Finding, Source, repository, root};

fn none(findings: impl IntoIterator<Item = Finding>) {
    let mut findings: Vec<_> = findings.into_iter().collect();
    findings.sort();
    let list: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} found\n{}", list.len(), list.join("\n"));
}

fn none_in(rule: impl Fn(&Source) -> Vec<Finding>) {
    none(repository().iter().flat_map(rule));
}

#[test]
fn modules_of_the_core_name_only_modules_above_them() {
    none_in(layers::core);
}

#[test]
fn the_code_map_is_the_one_in_the_architecture() {
    none(repository().iter().filter(|source| source.path == "ARCHITECTURE.md").flat_map(layers::code_map));
}

#[test]
fn the_core_is_pure_and_repeatable() {
    none_in(bans::core);
}

#[test]
fn modules_of_the_server_keep_to_their_own() {
    none_in(layers::server);
    none(layers::status_codes(&repository()));
}

#[test]
fn code_is_finished_and_does_not_unwrap() {
    none_in(bans::everywhere);
}

#[test]
fn lines_are_clean() {
    none_in(texts::lines);
}

#[test]
fn files_are_short() {
    none_in(|source| texts::length(source).into_iter().collect());
}

#[test]
fn crates_inherit_the_lints() {
    none_in(|source| texts::inherits_lints(source).into_iter().collect());
}

#[test]
fn the_files_readers_look_for_are_there() {
    let missing: Vec<_> = texts::REQUIRED.iter().filter(|file| !root().join(file).is_file()).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
}

#[test]
fn cargo_keeps_to_the_lock_and_the_lock_is_kept() {
    none_in(texts::locked);
    let ignored = std::fs::read_to_string(root().join(".gitignore")).expect("the repository has a .gitignore");
    assert!(!ignored.contains(".lock"), "what is built has to be known: Cargo.lock is part of the repository");
    assert!(root().join("Cargo.lock").is_file());
}

#[test]
fn every_request_is_fuzzed() {
    none(texts::unfuzzed(&repository()));
}

#[test]
fn links_lead_somewhere() {
    none_in(|source| texts::links(&root(), source));
}
