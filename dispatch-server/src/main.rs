//! The dispatch engine behind a network API.
//!
//! So far a skeleton: it knows its name and version, and serves nothing.

use clap::Parser;

#[derive(Parser)]
#[command(version, about)]
struct Options {}

fn main() {
    let Options {} = Options::parse();
    eprintln!("dispatch-server {} does not serve yet; embed dispatch-core meanwhile", env!("CARGO_PKG_VERSION"));
    std::process::exit(1);
}
