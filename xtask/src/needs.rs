//! What the checks need beside cargo: found, installed where that is allowed, or named with the reason.

use crate::run::{self, Failure};
use std::process::Command;

/// A program from outside the Rust toolchain.
struct System {
    /// Proof that it is there: a command that succeeds.
    proof: &'static [&'static str],
    /// The Debian packages that have it.
    packages: &'static [&'static str],
    /// What it is needed for.
    why: &'static str,
}

const SYSTEM: &[System] = &[
    System { proof: &["cc", "--version"], packages: &["gcc", "libc6-dev"], why: "rustc links every program with `cc`" },
    System {
        proof: &["curl", "--version"],
        packages: &["curl"],
        why: "the session in README.md is tested as it is printed",
    },
    System {
        // Debian keeps what only the server needs off the path.
        proof: &["sh", "-c", "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb"],
        packages: &["postgresql"],
        why: "the server's database is tested with a cluster of its own",
    },
];

/// What only the tests of the API by its contract need.
const PYTHON: &[System] = &[System {
    proof: &["python3", "-c", "import ensurepip, venv"],
    packages: &["python3-venv"],
    why: "schemathesis is a Python program and gets an environment of its own",
}];

/// A component of the Rust toolchain.
struct Component {
    name: &'static str,
    proof: &'static [&'static str],
    why: &'static str,
}

const COMPONENTS: &[Component] = &[
    Component { name: "rustfmt", proof: &["fmt", "--version"], why: "the format is checked" },
    Component { name: "clippy", proof: &["clippy", "--version"], why: "the lints are checked" },
];

/// Makes sure that everything the checks need is there.
pub(crate) fn install() -> Result<(), Failure> {
    components()?;
    system(SYSTEM)
}

/// Makes sure that there is a Python that makes virtual environments.
pub(crate) fn python() -> Result<(), Failure> {
    system(PYTHON)
}

fn components() -> Result<(), Failure> {
    let missing: Vec<_> = COMPONENTS.iter().filter(|c| !run::works(run::cargo(c.proof.iter().copied()))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("rustup");
    command.args(["component", "add"]).args(missing.iter().map(|c| c.name));
    run::run(command).map_err(|failure| {
        let named: Vec<_> = missing.iter().map(|c| format!("  {}: {}", c.name, c.why)).collect();
        Failure::Because(format!(
            "the Rust toolchain lacks\n{}\nand they could not be added ({failure}). `rustup component add` needs rustup \
             and the network; offline, install a toolchain that has them (rustup's default profile does).",
            named.join("\n")
        ))
    })
}

fn system(needed: &[System]) -> Result<(), Failure> {
    let missing: Vec<_> = needed.iter().filter(|s| !run::works(program(s.proof))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = missing.iter().map(|s| format!("  {}: {}", s.packages.join(" "), s.why)).collect();
    let named = named.join("\n");
    let packages: Vec<_> = missing.iter().flat_map(|s| s.packages).collect();
    let Some(mut apt_get) = apt_get() else {
        return Err(Failure::Because(format!(
            "this machine lacks\n{named}\nand they cannot be installed from here: that takes apt-get, and root or sudo \
             without a password. Please install them: apt-get install {}",
            packages.iter().map(|package| **package).collect::<Vec<_>>().join(" ")
        )));
    };
    eprintln!("this machine lacks\n{named}");
    // Package lists may be old or absent; where they cannot be had, what is cached may still do.
    if let Some(mut update) = self::apt_get() {
        update.arg("update");
        if let Err(failure) = run::run(update) {
            eprintln!("  going on with the package lists there are: {failure}");
        }
    }
    apt_get.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    run::run(apt_get).map_err(|failure| {
        Failure::Because(format!("this machine lacks\n{named}\nand they could not be installed: {failure}"))
    })
}

/// `apt-get` with the rights to install, if it may be run without asking anybody.
fn apt_get() -> Option<Command> {
    if !run::works(program(&["apt-get", "--version"])) {
        return None;
    }
    let mut command = if run::works(program(&["sh", "-c", "test $(id -u) = 0"])) {
        Command::new("env")
    } else if run::works(program(&["sudo", "--non-interactive", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "env"]);
        sudo
    } else {
        return None;
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    Some(command)
}

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
