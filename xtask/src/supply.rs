//! What the project is made of that others wrote: whether it may be (`deny`), a list of it (`sbom`), and which compiler it takes.

use crate::run::{self, Failure, cargo};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What is shipped, and for which target.
const SHIPPED: &str = "dispatch-server";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What `deny` is asked for.
#[derive(clap::Args)]
pub(crate) struct DenyArguments {
    /// Leave out what takes the network: the list of known flaws.
    #[arg(long)]
    offline: bool,
}

/// What `sbom` is asked for.
#[derive(clap::Args)]
pub(crate) struct SbomArguments {
    /// Where to write it; to the standard output if absent.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Has cargo-deny hold all dependencies against deny.toml.
pub(crate) fn deny(arguments: &DenyArguments) -> Result<(), Failure> {
    if !run::works(cargo(["deny", "--version"])) {
        return Err(Failure::Because("this takes cargo-deny: `cargo install cargo-deny --locked`".into()));
    }
    let (offline, checks): (&[&str], &[&str]) = if arguments.offline {
        eprintln!("known flaws are not looked up: their list is a repository that is fetched");
        (&["--offline"], &["bans", "licenses", "sources"])
    } else {
        (&[], &["all"])
    };
    let command = ["deny", "--locked", "--config", "deny.toml"].into_iter().chain(offline.iter().copied());
    // Duplicates are warnings that say a screen each.
    let command = command.chain(["check", "--hide-inclusion-graph"]);
    run::run(cargo(command.chain(checks.iter().copied())))
}

/// Writes what the released server is linked from as a CycloneDX document.
pub(crate) fn sbom(arguments: &SbomArguments) -> Result<(), Failure> {
    let lock = run::root().join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).map_err(|error| Failure::Because(format!("Cargo.lock: {error}")))?;
    let tree = metadata(&["--filter-platform", TARGET])?;
    let bill = format!("{:#}\n", bill(&tree, &checksums(&lock)));
    match &arguments.out {
        None => print!("{bill}"),
        Some(file) => std::fs::write(file, bill)
            .map_err(|error| Failure::Because(format!("{} cannot be written: {error}", file.display())))?,
    }
    Ok(())
}

/// Fails if a dependency takes a newer compiler than the manifest promises to be enough.
pub(crate) fn check_compiler() -> Result<(), Failure> {
    let ours = metadata(&["--no-deps"])?["packages"][0]["rust_version"].as_str().map(str::to_owned);
    let ours = ours.ok_or_else(|| Failure::Because("Cargo.toml names no rust-version".into()))?;
    let tree = metadata(&[])?;
    let packages = tree["packages"].as_array().into_iter().flatten();
    let newer: Vec<_> = packages.filter_map(|package| wants_newer(package, &ours)).collect();
    if newer.is_empty() {
        return Ok(());
    }
    Err(Failure::Because(format!("rust-version is {ours} in Cargo.toml, and {}", newer.join(", "))))
}

fn wants_newer(package: &Value, than: &str) -> Option<String> {
    let wanted = package["rust_version"].as_str()?;
    let numbers = |version: &str| version.split('.').map(|part| part.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>();
    let (a, b) = (numbers(wanted), numbers(than));
    // 1.95 and 1.95.0 are the same.
    let part = |numbers: &[u32], at: usize| numbers.get(at).copied().unwrap_or(0);
    let is_newer = (0..3).map(|at| part(&a, at)).gt((0..3).map(|at| part(&b, at)));
    is_newer.then(|| format!("{} takes {wanted}", package["name"].as_str().unwrap_or_default()))
}

fn metadata(arguments: &[&str]) -> Result<Value, Failure> {
    let fixed = ["metadata", "--format-version", "1", "--locked"];
    let output = cargo(fixed.into_iter().chain(arguments.iter().copied())).output();
    let output = output.map_err(|source| Failure::Start { command: "cargo metadata".into(), source })?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        Failure::Because(format!("cargo metadata says {}", String::from_utf8_lossy(&output.stderr).trim()))
    })
}

/// The SHA-256 of every package in a Cargo.lock that comes from a registry, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |package: &str, key: &str| {
        let value = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        value.map(|value| value.trim_end_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    let entry = |package| Some(((field(package, "name")?, field(package, "version")?), field(package, "checksum")?));
    packages.filter_map(entry).collect()
}

/// The bill of materials: whatever is linked into the server, and what each of that is linked from. The same tree gives the same bytes.
fn bill(tree: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let by_id = |list: &'_ Value| -> BTreeMap<String, Value> {
        let entries = list.as_array().into_iter().flatten();
        entries.map(|entry| (entry["id"].as_str().unwrap_or_default().to_owned(), entry.clone())).collect()
    };
    let (packages, nodes) = (by_id(&tree["packages"]), by_id(&tree["resolve"]["nodes"]));
    let shipped = packages.iter().find(|(_, package)| package["name"] == SHIPPED).map(|(id, _)| id.clone());
    let shipped = shipped.unwrap_or_default();
    let linked = |id: &str| -> Vec<String> {
        let dependencies = nodes.get(id).and_then(|node| node["deps"].as_array()).into_iter().flatten();
        // Neither what only tests nor what only build scripts use.
        let is_linked = |dependency: &&Value| {
            dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
        };
        dependencies.filter(is_linked).filter_map(|dependency| Some(dependency["pkg"].as_str()?.to_owned())).collect()
    };
    let (mut found, mut next) = (BTreeSet::from([shipped.clone()]), vec![shipped.clone()]);
    while let Some(id) = next.pop() {
        next.extend(linked(&id).into_iter().filter(|id| found.insert(id.clone())));
    }
    let url = |id: &str| {
        let text = |key| packages.get(id).and_then(|package| package[key].as_str()).unwrap_or_default();
        format!("pkg:cargo/{}@{}", text("name"), text("version").replace('+', "%2B"))
    };
    let component = |id: &str| {
        let package = &packages[id];
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let kind = if id == shipped { "application" } else { "library" };
        let mut component = json!({
            "type": kind, "bom-ref": url(id), "name": package["name"], "version": package["version"], "purl": url(id),
            // Older manifests have a slash for "or".
            "licenses": [{ "expression": text("license").replace('/', " OR ") }],
        });
        if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        component
    };
    let edges = |id: &String| json!({ "ref": url(id), "dependsOn": linked(id).iter().map(|id| url(id)).collect::<BTreeSet<_>>() });
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": component(&shipped) },
        "components": found.iter().filter(|id| **id != shipped).map(|id| component(id)).collect::<Vec<_>>(),
        "dependencies": found.iter().map(edges).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_compilers_are_found() {
        let newer = |wanted: Value| wants_newer(&json!({ "name": "x", "rust_version": wanted }), "1.95").is_some();
        assert!(newer("1.96".into()) && newer("1.95.1".into()) && newer("2.0".into()) && newer("1.100".into()));
        assert!(!newer("1.95".into()) && !newer("1.95.0".into()) && !newer("1.9".into()) && !newer(Value::Null));
    }

    #[test]
    fn what_the_server_is_linked_from_is_listed_once_with_its_checksum() {
        let tree = metadata(&["--filter-platform", TARGET, "--offline"]).unwrap();
        let lock = std::fs::read_to_string(run::root().join("Cargo.lock")).unwrap();
        let bill = bill(&tree, &checksums(&lock));
        let components = bill["components"].as_array().unwrap();
        let names: Vec<_> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"dispatch-core") && names.contains(&"tokio") && names.contains(&"ring"), "{names:?}");
        // Of tests alone, of build scripts alone, and of Windows.
        assert!(!names.contains(&"proptest") && !names.contains(&"cc") && !names.contains(&"windows-sys"));
        let references: BTreeSet<_> =
            components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(references.len(), components.len());
        for component in components {
            let is_ours = component["name"].as_str().unwrap().starts_with("dispatch-");
            let has_hash = component["hashes"][0]["content"].as_str().is_some_and(|hash| hash.len() == 64);
            assert!(has_hash != is_ours, "{component}");
            assert!(component["licenses"][0]["expression"].as_str().is_some_and(|licence| !licence.is_empty()));
        }
        let edges = bill["dependencies"].as_array().unwrap().iter();
        let targets = edges.flat_map(|edge| edge["dependsOn"].as_array().unwrap()).map(|to| to.as_str().unwrap());
        assert!(targets.into_iter().all(|to| references.contains(to)));
    }
}
