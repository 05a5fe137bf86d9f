//! Recordings: what went into an engine, so that a day can be run again.

use crate::command::{Action, Command};
use crate::config::{ConfigError, EngineConfig, FixRules};
use crate::engine::{Engine, Snapshot};
use crate::eta::TravelTime;
use crate::event::Event;
use crate::index::{Fix, PositionIndex, Positions, Reported, Slot};
use crate::matching::score::ScoreTerm;
use crate::model::{DriverId, Role};
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// One thing that went into an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A command, carried out or refused.
    Command {
        /// When.
        now: Timestamp,
        /// What was asked.
        command: Box<Command>,
    },
    /// A driver's position was reported.
    Fix {
        /// When it came in.
        now: Timestamp,
        /// Whose.
        driver: DriverId,
        /// Where and when it was there.
        fix: Fix,
    },
    /// The engine was away, and went on from its log without any position.
    Restart {
        /// When it went on.
        now: Timestamp,
        /// For how long it was away.
        down_for: Millis,
    },
    /// Time passed, with the positions as they stood.
    Advance {
        /// Until when.
        now: Timestamp,
    },
}

/// A recorded day: the rules it began with and everything that went in.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The rules of the market at the start.
    pub config: EngineConfig,
    /// The rules for fixes.
    pub fix_rules: FixRules,
    /// What went in, in sequence.
    pub inputs: Vec<Input>,
}

/// The first line of a recording's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    config: EngineConfig,
    fix_rules: FixRules,
}

/// A file that is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A line is not what it should be.
    #[error("line {line}: {problem}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An engine and its position index, fed input by input.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) engine: Engine,
    pub(crate) travel: Arc<dyn TravelTime>,
    pub(crate) terms: Vec<Arc<dyn ScoreTerm>>,
    fix_rules: FixRules,
    index: PositionIndex,
    slots: BTreeMap<DriverId, Slot>,
    positions: Positions,
}

impl Player {
    pub(crate) fn new(
        config: EngineConfig,
        fix_rules: FixRules,
        travel: Arc<dyn TravelTime>,
        terms: Vec<Arc<dyn ScoreTerm>>,
    ) -> Result<(Self, Event), ConfigError> {
        let (engine, first) = Engine::with_terms(config, travel.clone(), terms.clone())?;
        let index = PositionIndex::new(fix_rules)?;
        Ok((
            Self { engine, travel, terms, fix_rules, index, slots: BTreeMap::new(), positions: Positions::default() },
            first,
        ))
    }

    pub(crate) fn report(&mut self, now: Timestamp, driver: &DriverId, fix: Fix) -> Reported {
        let known = self.slots.get(driver).copied();
        let slot = known.unwrap_or_else(|| self.index.slot(driver).expect("a simulated fleet fits the index"));
        if known.is_none() {
            self.slots.insert(driver.clone(), slot);
        }
        self.index.report(slot, fix, now)
    }

    /// Goes on after an outage, from a snapshot and the events after it.
    pub(crate) fn restart(
        &mut self,
        snapshot: Snapshot,
        tail: Vec<Event>,
        now: Timestamp,
        down_for: Millis,
    ) -> Vec<Event> {
        let restored = Engine::restore(self.travel.clone(), self.terms.clone(), snapshot, tail)
            .expect("the log has no gap and its configuration was accepted before");
        assert_eq!(restored.state(), self.engine.state(), "a restored engine knows what the old one knew");
        self.engine = restored;
        self.index = PositionIndex::new(self.fix_rules).expect("these rules were accepted before");
        self.slots.clear();
        let resume = Action::Resume { down_for: down_for.max(Millis::ZERO) }.by(Role::System);
        self.engine.handle(now, resume).expect("the system may resume")
    }

    pub(crate) fn advance(&mut self, now: Timestamp) -> Vec<Event> {
        self.index.snapshot(&mut self.positions);
        self.engine.advance(now, &self.positions)
    }
}

impl Recording {
    /// Runs the day again and returns its log. The same travel times and score terms give the same log, byte for byte.
    pub fn replay(
        &self,
        travel: Arc<dyn TravelTime>,
        terms: Vec<Arc<dyn ScoreTerm>>,
    ) -> Result<Vec<Event>, ConfigError> {
        let (mut player, first) = Player::new(self.config.clone(), self.fix_rules, travel, terms)?;
        let mut log = vec![first];
        for input in &self.inputs {
            match input {
                Input::Command { now, command } => {
                    log.extend(player.engine.handle(*now, (**command).clone()).unwrap_or_default());
                }
                Input::Fix { now, driver, fix } => {
                    let _reported = player.report(*now, driver, *fix);
                }
                Input::Restart { now, down_for } => {
                    let snapshot = player.engine.snapshot();
                    log.extend(player.restart(snapshot, Vec::new(), *now, *down_for));
                }
                Input::Advance { now } => log.extend(player.advance(*now)),
            }
        }
        Ok(log)
    }

    /// Writes the recording as JSON lines: the rules, then one input a line.
    pub fn write(&self, mut to: impl Write) -> Result<(), RecordingError> {
        let header = Header { config: self.config.clone(), fix_rules: self.fix_rules };
        write_line(&mut to, &header)?;
        self.inputs.iter().try_for_each(|input| write_line(&mut to, input))?;
        Ok(to.flush()?)
    }

    /// Reads what [`Recording::write`] wrote.
    pub fn read(from: impl BufRead) -> Result<Self, RecordingError> {
        let mut lines = (1..).zip(from.lines());
        let Some((line, text)) = lines.next() else {
            return Err(RecordingError::Line { line: 1, problem: "the file is empty".into() });
        };
        let Header { config, fix_rules } = parse(line, &text?)?;
        let inputs = lines.map(|(line, text)| parse(line, &text?)).collect::<Result<_, _>>()?;
        Ok(Self { config, fix_rules, inputs })
    }
}

fn write_line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}

fn parse<T: for<'a> Deserialize<'a>>(line: usize, text: &str) -> Result<T, RecordingError> {
    serde_json::from_str(text).map_err(|error| RecordingError::Line { line, problem: error.to_string() })
}
