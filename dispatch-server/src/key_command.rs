//! `dispatch-server key`: API keys, in the data directory of a server that runs or not.

use crate::{ConfigOptions, load};
use clap::Subcommand;
use dispatch_core::Millis;
use dispatch_server::{Clock, KeyFile, KeyHash, NewKeyOptions, Role, Sources, new_key};
use std::error::Error;
use toml::{Table, Value};

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, which is printed once. A server that runs takes it within a second.
    Create {
        #[command(flatten)]
        sources: ConfigOptions,
        #[command(flatten)]
        about: About,
        /// Keep nothing: print the lines for the configuration that let the key in.
        #[arg(long)]
        print: bool,
    },
    /// List the keys in the data directory: id, tenant, role, name, and whether they are in force.
    List(ConfigOptions),
    /// Give a key a new secret, which is printed once.
    Rotate {
        #[command(flatten)]
        sources: ConfigOptions,
        /// The id of the key.
        id: String,
        /// For how long the secret before still counts.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=604_800))]
        grace_seconds: u32,
    },
    /// Have a key let nobody in any more.
    Revoke {
        #[command(flatten)]
        sources: ConfigOptions,
        /// The id of the key.
        id: String,
    },
    /// Make every tracking link that was ever given out worthless.
    RevokeLinks(ConfigOptions),
}

#[derive(clap::Args)]
pub(crate) struct About {
    /// What it is for.
    #[arg(long)]
    role: Role,
    /// Who holds it; the role and whom it is for, if absent.
    #[arg(long)]
    name: Option<String>,
    /// For a driver: its id.
    #[arg(long)]
    driver: Option<String>,
    /// For a merchant: the ids of its places.
    #[arg(long, value_name = "PLACE", num_args = 1..)]
    places: Vec<String>,
    /// Whose markets it is for; "default" if absent.
    #[arg(long)]
    tenant: Option<String>,
    /// Which of them; all, if absent.
    #[arg(long, value_name = "MARKET", num_args = 1..)]
    markets: Vec<String>,
    /// How many times what is usual it may ask.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// After how many days it ends by itself; never, if absent.
    #[arg(long)]
    days: Option<u32>,
}

pub(crate) fn run(command: KeyCommand) -> Result<(), Box<dyn Error>> {
    let now = Clock::real().now();
    match command {
        KeyCommand::Create { about, print: true, .. } => print(about)?,
        KeyCommand::Create { sources, about, print: false } => {
            let expires_at = about.days.map(|days| now + Millis::from_mins(i64::from(days) * 24 * 60));
            let name = about.name();
            let About { role, driver, places, tenant, markets, rate, .. } = about;
            let options = NewKeyOptions { role, name, places, driver, tenant, markets, rate, expires_at };
            let file = file(sources)?;
            let (id, secret) = file.create(options, now)?;
            eprintln!("Kept in {}. The key, {id}, shown only now:", file.path().display());
            println!("{secret}");
        }
        KeyCommand::List(sources) => file(sources)?.list(now)?.iter().for_each(|line| println!("{line}")),
        KeyCommand::Rotate { sources, id, grace_seconds } => {
            let secret = file(sources)?.rotate(&id, Millis::from_secs(i64::from(grace_seconds)), now)?;
            eprintln!("The new secret of {id}, shown only now:");
            println!("{secret}");
        }
        KeyCommand::Revoke { sources, id } => file(sources)?.revoke(&id, now)?,
        KeyCommand::RevokeLinks(sources) => file(sources)?.revoke_links()?,
    }
    Ok(())
}

fn file(sources: ConfigOptions) -> Result<KeyFile, Box<dyn Error>> {
    let file = load(sources)?.key_file();
    file.ok_or_else(|| {
        "with durability = \"memory\" nothing is kept: use --print, and put its lines into the configuration".into()
    })
}

impl About {
    fn name(&self) -> String {
        let of = self.driver.iter().chain(&self.places).next().map(|subject| format!("-{subject}"));
        self.name.clone().unwrap_or_else(|| format!("{}{}", self.role, of.unwrap_or_default()))
    }
}

fn print(about: About) -> Result<(), Box<dyn Error>> {
    if about.days.is_some() {
        return Err("a key of the configuration is there until it is taken out: --days takes a key that is kept".into());
    }
    let key = new_key()?;
    let mut entry = Table::from_iter([
        ("name".to_owned(), Value::from(about.name())),
        ("hash".to_owned(), KeyHash::of(&key).to_hex().into()),
        ("role".to_owned(), about.role.name().into()),
    ]);
    entry.extend(about.driver.map(|driver| ("driver".to_owned(), driver.into())));
    entry.extend(about.tenant.map(|tenant| ("tenant".to_owned(), tenant.into())));
    for (name, ids) in [("places", about.places), ("markets", about.markets)] {
        if !ids.is_empty() {
            entry.insert(name.to_owned(), ids.into());
        }
    }
    if about.rate.to_bits() != 1_f64.to_bits() {
        entry.insert("rate".to_owned(), about.rate.into());
    }
    let lines = Table::from_iter([("keys".to_owned(), Value::from(vec![entry]))]).to_string();
    // What the server would not take is not worth handing out.
    Sources { file: Some(lines.clone()), ..Sources::default() }.load()?;
    eprintln!("The key, shown only now:");
    println!("{key}");
    eprintln!("For the configuration:");
    println!("{lines}");
    Ok(())
}
