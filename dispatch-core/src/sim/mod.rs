//! The simulator: virtual time, no clock, one seed one run.
//!
//! A [`Simulation`] feeds the same [`Engine`] that runs live, records what goes in and what comes out, and at the end
//! proves the run: an auditor re-derives every rule from the log alone, and the properties that always hold are checked.

pub mod auditor;
pub mod city;
pub mod mdrp;
pub mod metrics;
mod recording;

pub use recording::{Input, Recording, RecordingError};

use crate::command::{Command, Refusal};
use crate::config::{ConfigError, EngineConfig, FixRules};
use crate::engine::{Engine, Snapshot};
use crate::eta::TravelTime;
use crate::event::Event;
use crate::index::{Fix, Reported};
use crate::matching::score::ScoreTerm;
use crate::model::DriverId;
use crate::state::{Digest, State};
use crate::units::{Millis, Timestamp};
use auditor::{Auditor, Summary, Violation};
use recording::Player;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// An engine under simulation.
#[derive(Debug)]
pub struct Simulation {
    player: Player,
    recording: Recording,
    log: Vec<Event>,
    /// After how many events the engine had caught up with which time.
    instants: Vec<(usize, Timestamp)>,
    /// A snapshot from about the middle of the log, and how many events it contains.
    middle: (usize, Snapshot),
}

/// A simulated run that was proven.
#[derive(Debug)]
pub struct Proven {
    /// Everything that happened.
    pub log: Vec<Event>,
    /// The hash of the log.
    pub log_hash: Digest,
    /// What went in.
    pub recording: Recording,
    /// What the auditor counted.
    pub summary: Summary,
}

/// A run that broke a rule. Always a bug.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// The auditor found a rule broken.
    #[error(transparent)]
    Rule(#[from] Violation),
    /// The state is not the fold of the events.
    #[error("the events fold to state {folded}, but the engine has {engine}")]
    Fold {
        /// What the events fold to.
        folded: Digest,
        /// What the engine has.
        engine: Digest,
    },
    /// What is derived from the state is not what it would be if derived anew.
    #[error("what the engine derived from its state went out of step with it")]
    Derived,
    /// The same inputs gave other events.
    #[error("the recording replays to log {replayed}, but the run gave {run}")]
    Replay {
        /// What the replay gave.
        replayed: Digest,
        /// What the run gave.
        run: Digest,
    },
    /// A snapshot and the events after it do not give the state.
    #[error("the snapshot after event {seq} goes on to state {restored}, but the engine has {engine}")]
    Restore {
        /// Where the snapshot was taken.
        seq: u64,
        /// What it went on to.
        restored: Digest,
        /// What the engine has.
        engine: Digest,
    },
}

/// The hash of a log.
pub fn log_hash(log: &[Event]) -> Digest {
    Digest::of(&log)
}

impl Simulation {
    /// A simulation of an empty market.
    pub fn new(
        config: EngineConfig,
        fix_rules: FixRules,
        travel: Arc<dyn TravelTime>,
        terms: Vec<Arc<dyn ScoreTerm>>,
    ) -> Result<Self, ConfigError> {
        let recording = Recording { config: config.clone(), fix_rules, inputs: Vec::new() };
        let (player, first) = Player::new(config, fix_rules, travel, terms)?;
        let middle = (1, player.engine.snapshot());
        Ok(Self { player, recording, log: vec![first], instants: Vec::new(), middle })
    }

    /// The engine, for questions.
    pub fn engine(&self) -> &Engine {
        &self.player.engine
    }

    /// Everything that happened so far.
    pub fn log(&self) -> &[Event] {
        &self.log
    }

    /// Gives the engine a command, and returns what happened.
    pub fn command(&mut self, now: Timestamp, command: Command) -> Result<&[Event], Refusal> {
        self.recording.inputs.push(Input::Command { now, command: Box::new(command.clone()) });
        let events = self.player.engine.handle(now, command)?;
        Ok(self.append(events))
    }

    /// Reports where a driver is.
    pub fn report(&mut self, now: Timestamp, driver: &DriverId, fix: Fix) -> Reported {
        self.recording.inputs.push(Input::Fix { now, driver: driver.clone(), fix });
        self.player.report(now, driver, fix)
    }

    /// The engine was away until `now` and goes on: from a snapshot and the events after it, without any position.
    ///
    /// The snapshot is an older one, while a replay takes one of that very moment: it must make no difference.
    pub fn restart(&mut self, now: Timestamp, down_for: Millis) -> &[Event] {
        self.recording.inputs.push(Input::Restart { now, down_for });
        let (len, snapshot) = self.middle.clone();
        let tail = self.log[len..].to_vec();
        let events = self.player.restart(snapshot, tail, now, down_for);
        self.append(events)
    }

    /// Lets time pass, and returns what happened. Whatever was due by then has been done: nobody who calls at each deadline
    /// is kept at one instant.
    pub fn advance(&mut self, now: Timestamp) -> &[Event] {
        self.recording.inputs.push(Input::Advance { now });
        let events = self.player.advance(now);
        let next = self.player.engine.next_deadline();
        assert!(next.is_none_or(|next| next > now), "at {now} the next deadline is {next:?}");
        self.instants.push((self.log.len() + events.len(), now));
        self.append(events)
    }

    fn append(&mut self, events: Vec<Event>) -> &[Event] {
        let before = self.log.len();
        self.log.extend(events);
        // At every doubling, so that the snapshot ends up between the middle of the log and its end.
        if self.log.len() >= 2 * self.middle.0 {
            self.middle = (self.log.len(), self.player.engine.snapshot());
        }
        &self.log[before..]
    }

    /// Proves a run that is over: the auditor finds no rule broken and every order ended, and the properties hold that
    /// hold after every run.
    pub fn prove(self) -> Result<Proven, Flaw> {
        let summary = self.audit()?;
        let Self { player: Player { engine, travel, terms, .. }, recording, log, middle: (len, snapshot), .. } = self;
        if !engine.derived_is_consistent() {
            return Err(Flaw::Derived);
        }

        let mut folded = State::default();
        for event in &log {
            folded.apply(event);
        }
        if folded != *engine.state() {
            return Err(Flaw::Fold { folded: folded.hash(), engine: engine.state_hash() });
        }

        // What is kept is kept as text.
        let seq = snapshot.state().seq;
        let (snapshot, tail): (Snapshot, Vec<Event>) = through_json(&(&snapshot, &log[len..]));
        let restored = Engine::restore(travel.clone(), terms.clone(), snapshot, tail)
            .expect("the log has no gap and its configuration was accepted before");
        if restored.state_hash() != engine.state_hash() {
            return Err(Flaw::Restore { seq, restored: restored.state_hash(), engine: engine.state_hash() });
        }

        let replayed = recording.replay(travel, terms).expect("the configuration was accepted before");
        let (replayed, run) = (log_hash(&replayed), log_hash(&log));
        if replayed != run {
            return Err(Flaw::Replay { replayed, run });
        }
        Ok(Proven { log, log_hash: run, recording, summary })
    }

    fn audit(&self) -> Result<Summary, Violation> {
        let mut auditor = Auditor::new();
        let mut instants = self.instants.iter().peekable();
        for (i, event) in self.log.iter().enumerate() {
            while let Some((_, now)) = instants.next_if(|(len, _)| *len <= i) {
                auditor.check_instant(*now)?;
            }
            auditor.observe(event)?;
        }
        for (_, now) in instants {
            auditor.check_instant(*now)?;
        }
        auditor.finish(self.log.last().map_or(Timestamp::MIN, |event| event.at))
    }
}

/// A value as it comes back from JSON.
fn through_json<T: DeserializeOwned>(value: &impl Serialize) -> T {
    let text = serde_json::to_string(value).expect("snapshots and events have text keys");
    serde_json::from_str(&text).expect("what was written can be read")
}
