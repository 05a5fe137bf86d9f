//! The `dispatch-server` command.

mod health_command;
mod journal_command;
mod key_command;

use clap::{Args, Parser, Subcommand};
use dispatch_server::{
    DOCUMENTED_DEFAULTS, RetentionOptions, ServerConfig, Sources, State, Telemetry, database_status, migrate_database,
    raise_open_files, retain, serve, serve_admin, verify_data_dir, verify_database,
};
use journal_command::JournalCommand;
use key_command::KeyCommand;
use std::error::Error;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The dispatch engine behind a network API.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API until interrupted.
    Serve {
        #[command(flatten)]
        sources: ConfigOptions,
        /// Print every setting with its default and its meaning instead.
        #[arg(long)]
        print_config: bool,
    },
    /// Check the configuration and say what is wrong with it.
    CheckConfig(ConfigOptions),
    /// Print every setting with its default and its meaning, as a file to start from.
    PrintConfig,
    /// Ask the server that runs with this configuration whether it is ready; the exit code says so.
    Health {
        #[command(flatten)]
        sources: ConfigOptions,
        /// Ask this one, without TLS, whatever the configuration says.
        #[arg(long)]
        url: Option<String>,
    },
    /// API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// What is kept in the data directory.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// The PostgreSQL database that follows.
    #[command(subcommand)]
    Database(DatabaseCommand),
}

#[derive(Subcommand)]
enum DatabaseCommand {
    /// Make the tables, or bring them up to date; forward only.
    Migrate(ConfigOptions),
    /// Say which migrations were applied, how far each server is, and how large the tables are.
    Status(ConfigOptions),
    /// Read all that a server would be restored from and compare it with the data directory of a server that stands still.
    Verify(ConfigOptions),
    /// Move, archive and drop old rows, as the table of retention policies says. May be stopped and run again.
    Retention {
        #[command(flatten)]
        sources: ConfigOptions,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Where what is archived goes; without it partitions that would be archived stay.
        #[arg(long)]
        archive_dir: Option<PathBuf>,
    },
}

#[derive(Args)]
struct ConfigOptions {
    /// A TOML file; `print-config` prints one with every setting.
    #[arg(long, env = "DISPATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen, as 127.0.0.1:8080.
    #[arg(long)]
    listen: Option<String>,
    /// A PostgreSQL database that follows; better given by the environment variable `DISPATCH_DATABASE_URL`.
    #[arg(long)]
    database_url: Option<String>,
    /// Where what happens is kept.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Any setting, as limits.queue=500.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

fn main() -> ExitCode {
    let Options { command } = Options::parse();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dispatch-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::PrintConfig | Command::Serve { print_config: true, .. } => print!("{DOCUMENTED_DEFAULTS}"),
        Command::CheckConfig(options) => {
            let config = load(options)?;
            println!("the configuration is valid; it listens on {}", config.listen);
        }
        Command::Serve { sources, .. } => run_server(load(sources)?)?,
        Command::Health { url: Some(url), .. } => health_command::run(&url)?,
        Command::Health { sources, url: None } => health_command::run(&health_command::here(&load(sources)?)?)?,
        Command::Key(command) => key_command::run(command)?,
        Command::Database(DatabaseCommand::Migrate(options)) => {
            migrate_database(&load(options)?)?.iter().for_each(|line| println!("{line}"));
        }
        Command::Database(DatabaseCommand::Status(options)) => {
            database_status(&load(options)?)?.iter().for_each(|line| println!("{line}"));
        }
        Command::Database(DatabaseCommand::Verify(options)) => verify(&load(options)?)?,
        Command::Database(DatabaseCommand::Retention { sources, dry_run, archive_dir }) => {
            let options = RetentionOptions { dry_run, archive_dir };
            retain(&load(sources)?, &options, &mut |line| println!("{line}"))?;
        }
        Command::Journal(command) => journal_command::run(command)?,
    }
    Ok(())
}

fn verify(config: &ServerConfig) -> Result<(), Box<dyn Error>> {
    let (shown, kept) = (verify_database(config)?, verify_data_dir(config.data_dir())?);
    println!("the database is at record {}, the data directory at {}", shown.applied, kept.last);
    for (market, seq, hash) in &shown.markets {
        println!("market {market}: {seq} events, hash {hash}");
    }
    if (shown.applied, &shown.markets) != (kept.last, &kept.markets) {
        return Err("the database does not hold what the data directory amounts to".into());
    }
    Ok(())
}

fn load(options: ConfigOptions) -> Result<ServerConfig, Box<dyn Error>> {
    let ConfigOptions { config, listen, data_dir, database_url, set } = options;
    let listen = listen.map(|listen| format!("listen={listen}"));
    let data_dir = data_dir.map(|path| format!("data_dir={path:?}"));
    let database_url = database_url.map(|url| format!("database_url={url}"));
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let flags = set.into_iter().chain(listen).chain(data_dir).chain(database_url).collect();
    let sources = Sources { file: None, environment: environment.collect(), flags };
    let sources = match config {
        Some(path) => sources.with_file(&path)?,
        None => sources,
    };
    Ok(sources.load()?)
}

#[tokio::main]
async fn run_server(config: ServerConfig) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for people: a log that goes into a file or a collector has none.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let telemetry = Telemetry::start(&config, filter, colours, std::io::stderr)?;
    let listener = tokio::net::TcpListener::bind(config.listen).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    let admin = match config.admin {
        Some(address) => {
            let listener = tokio::net::TcpListener::bind(address).await;
            Some(listener.map_err(|error| format!("cannot listen on {address}: {error}"))?)
        }
        None => None,
    };
    let scheme = if config.has_tls() { "https" } else { "http" };
    raise_open_files(&config);
    let state = State::start(config)?;
    let interrupted = interrupted()?;
    if let Some(listener) = admin {
        tracing::info!("metrics are at http://{}/metrics", listener.local_addr()?);
        tokio::spawn(serve_admin(state.clone(), listener));
    }
    let open = if state.is_open() { "; there are no keys: everybody on this machine is admin" } else { "" };
    tracing::info!("listening on {scheme}://{address}, the API is shown at {scheme}://{address}/docs/{open}");
    let served = serve(state, listener, interrupted).await;
    tracing::info!("stopped");
    telemetry.finish().await;
    Ok(served?)
}

/// Done when the process is asked to end, from this call on.
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let asked = {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    };
    #[cfg(not(unix))]
    let asked = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(async {
        asked.await;
        tracing::info!("stopping: no new connections, requests under way are finished");
    })
}
