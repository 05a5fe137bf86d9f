//! How long a start takes, and how much memory, from a journal without any snapshot.

use crate::{Folder, Outcome, memory};
use dispatch_core::{
    Action, Actor, Command, DriverId, DriverSpec, Engine, EngineConfig, Event, KitchenStatus, MarketId, Millis,
    OfferRule, OrderId, OrderSpec, Position, Role, Step, StraightLine, Timestamp,
};
use dispatch_journal::{Batch, Directory, Journal, Log, Options};
use dispatch_server::{Sources, State};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::process::Command as Process;
use std::time::Instant;

const DRIVERS: u64 = 100_000;
const MAX_SECONDS: f64 = 5.0;
const MAX_MEMORY: f64 = 2.0;

pub(crate) fn run(records: u64, folder: &Folder) -> Result<Outcome, Box<dyn Error>> {
    let directory = folder.0.to_str().ok_or("the directory for the data has an odd name")?;
    let wrote = child(&["--write", directory, &records.to_string()])?;
    let hash = dispatch_server::verify_data_dir(&folder.0)?.markets.first().map(|(_, _, hash)| hash.to_string());
    let read = child(&["--recover", directory])?;
    let (seconds, peak) = (number(&read, "seconds")?, number(&read, "peak_bytes")?);
    let live = number(&wrote, "live_bytes")?;
    let line = json!({
        "records": records,
        "drivers": DRIVERS,
        "journal_bytes": wrote["journal_bytes"],
        "seconds": seconds,
        "live_bytes": live,
        "peak_bytes": peak,
        "peak_to_live": peak / live,
        "same_state": hash.as_deref() == wrote["hash"].as_str(),
    });
    let is_well = hash.as_deref() == wrote["hash"].as_str() && seconds <= MAX_SECONDS && peak / live <= MAX_MEMORY;
    Ok(Outcome { line, is_well })
}

/// Runs this program in a process of its own, so that its memory is its own.
fn child(args: &[&str]) -> Result<Value, Box<dyn Error>> {
    let output = Process::new(std::env::current_exe()?).args(args).output()?;
    if !output.status.success() {
        return Err(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(line: &Value, field: &str) -> Result<f64, String> {
    line[field].as_f64().ok_or_else(|| format!("no {field} in {line}"))
}

/// Starts from a directory, as the server does.
pub(crate) fn recover(directory: &Path) -> Result<Outcome, Box<dyn Error>> {
    let flags = vec![format!("data_dir={}", directory.display()), "rules.offers=direct".into()];
    let config = Sources { flags, ..Sources::default() }.load()?;
    let began = Instant::now();
    let state = State::start(config)?;
    let seconds = began.elapsed().as_secs_f64();
    let peak = memory::bytes("VmHWM");
    drop(state);
    Ok(Outcome { line: json!({"seconds": seconds, "peak_bytes": peak}), is_well: true })
}

/// A market whose every command and its events go into a journal.
struct Writer {
    engine: Engine,
    market: MarketId,
    now: Timestamp,
    batch: Batch,
    journal: Journal<Directory>,
    left: u64,
}

/// Writes a journal of so many records: drivers come on shift, and orders go from placed to delivered.
pub(crate) fn write(directory: &Path, records: u64) -> Result<Outcome, Box<dyn Error>> {
    let config = EngineConfig { offers: OfferRule::Direct, ..EngineConfig::default() };
    let market = config.market.clone();
    let (engine, first) = Engine::with_terms(config, std::sync::Arc::new(StraightLine::default()), Vec::new())?;
    let mut log = Log::open(Directory::open(directory)?)?;
    log.replay(|_| Ok(()))?;
    let journal = Journal::start(log, Options { sync: false, ..Options::default() }, 0)?;
    let now = Timestamp::from_millis(1_767_225_600_000);
    let mut writer = Writer { engine, market, now, batch: Batch::default(), journal, left: records };
    writer.keep(&[first], None)?;
    for number in 0..DRIVERS {
        let driver = DriverId::new(format!("driver-{number}"))?;
        writer.give(Action::RegisterDriver(DriverSpec::new(driver.clone())), Some(&driver))?;
        writer.give(Action::StartShift { driver, until: None }, None)?;
    }
    for number in 0.. {
        if writer.left == 0 {
            break;
        }
        writer.deliver(number)?;
    }
    writer.journal.commit(&writer.batch, 0)?;
    writer.batch = Batch::default();
    let bytes: u64 = std::fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum();
    let hash = writer.engine.state_hash().to_string();
    let line = json!({"live_bytes": memory::bytes("VmRSS"), "journal_bytes": bytes, "hash": hash});
    Ok(Outcome { line, is_well: true })
}

impl Writer {
    fn give(&mut self, action: Action, joined: Option<&DriverId>) -> Result<(), Box<dyn Error>> {
        if self.left == 0 {
            return Ok(());
        }
        let events = self
            .engine
            .handle(self.now, Command { actor: Actor { role: Role::Dispatcher, ..Actor::SYSTEM }, action })?;
        self.keep(&events, joined)
    }

    fn keep(&mut self, events: &[Event], joined: Option<&DriverId>) -> Result<(), Box<dyn Error>> {
        let record = json!({"at": self.now, "market": self.market, "events": events, "joined": joined});
        self.batch.push(&serde_json::to_vec(&record)?)?;
        self.left -= 1;
        if self.batch.len() >= 1_000 {
            self.journal.commit(&self.batch, 0)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// An order from placed to delivered.
    fn deliver(&mut self, number: u64) -> Result<(), Box<dyn Error>> {
        self.now += Millis::new(30);
        let driver = DriverId::new(format!("driver-{}", number % DRIVERS))?;
        let order = OrderId::new(format!("order-{number}"))?;
        let at = |step: u64| Position::new(52.4 + (step % 1_000) as f64 * 1e-4, 13.3 + (step % 777) as f64 * 1e-4);
        let spec = OrderSpec::new(order.clone(), at(number)?, at(number * 7 + 3)?);
        self.give(Action::SubmitOrder(spec), None)?;
        self.give(Action::Kitchen { order: order.clone(), status: KitchenStatus::Ready }, None)?;
        self.give(Action::Assign { order: order.clone(), driver: driver.clone() }, None)?;
        let steps = [Step::ArrivedAtPickup, Step::PickedUp, Step::Departed, Step::ArrivedAtDropoff, Step::Delivered];
        for step in steps {
            self.give(Action::Progress { order: order.clone(), driver: driver.clone(), step }, None)?;
        }
        Ok(())
    }
}
