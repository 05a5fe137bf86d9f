//! The bodies of the fuzz targets, one function each, and valid input to begin with.
//!
//! A target panics when it finds a bug. `targets/` runs them under libFuzzer, `examples/random.rs` without it. Beside the valid input
//! each begins with what lies in `corpus/`, below its name: input that was found to reach far, or to break it once.

mod bytes;
mod commands;
mod frame;
mod journal;
mod wire;

pub use commands::commands;
pub use frame::frame;
pub use journal::journal;
pub use wire::wire;

use dispatch_core::{
    Action, Command, DriverId, DriverSpec, EngineConfig, Millis, OrderId, OrderSpec, Position, Reason, Role, Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::path::Path;

/// What is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its function, and of its file in `targets/`.
    pub name: &'static str,
    /// Takes any bytes; panics on a bug.
    pub body: fn(&[u8]),
    /// Valid input.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "position_json", body: position_json, seeds: position_json_seeds },
    Target { name: "wire", body: wire, seeds: wire::wire_seeds },
    Target { name: "commands", body: commands, seeds: commands::commands_seeds },
    Target { name: "journal", body: journal, seeds: journal::journal_seeds },
    Target { name: "frame", body: frame, seeds: frame::frame_seeds },
];

impl Target {
    /// The valid input, and what lies in `corpus/`.
    #[must_use]
    pub fn inputs(&self) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut inputs: Vec<_> = files.filter_map(|file| std::fs::read(file.path()).ok()).collect();
        inputs.sort();
        (self.seeds)().into_iter().chain(inputs).collect()
    }
}

/// Whatever is accepted as a position, an order, a configuration or a command is the same after writing and reading it
/// again, and checking a configuration never panics.
pub fn position_json(input: &[u8]) {
    comes_back::<Position>(input);
    comes_back::<OrderSpec>(input);
    let config = comes_back::<EngineConfig>(input);
    let command = comes_back::<Command>(input);
    let configured = command.and_then(|command| match command.action {
        Action::Configure(config) => Some(*config),
        _ => None,
    });
    for config in config.into_iter().chain(configured) {
        if let Err(error) = config.validate() {
            assert!(!error.problems.is_empty(), "refused for no reason");
        }
    }
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(input).ok()?;
    let written = serde_json::to_string(&value).expect("what was read from JSON can be written as JSON");
    match serde_json::from_str::<T>(&written) {
        Ok(again) => assert_eq!(value, again, "came back changed from {written}"),
        Err(error) => panic!("{written} is not read again: {error}"),
    }
    Some(value)
}

/// One value of every kind that [`position_json`] reads.
fn position_json_seeds() -> Vec<Vec<u8>> {
    let position = Position::new(52.520_008_1, -13.404_954).expect("in range");
    let id = OrderId::new("o-1").expect("a valid id");
    let driver = DriverId::new("d:1").expect("a valid id");
    let order = OrderSpec::new(id.clone(), position, Position::new(90.0, 180.0).expect("in range"));
    let config = EngineConfig::default();
    let actions = [
        Action::SubmitOrder(order.clone()),
        Action::Configure(Box::new(config.clone())),
        Action::RegisterDriver(DriverSpec::new(driver.clone())),
        Action::StartShift { driver, until: Some(Timestamp::from_millis(1_700_000_000_000)) },
        Action::Resume { down_for: Millis::from_secs(60) },
        Action::CancelOrder { order: id, reason: Reason::new("changed \"their\" mind").expect("short") },
    ];
    let mut seeds = vec![json(&position), json(&order), json(&config)];
    seeds.extend(actions.into_iter().map(|action| json(&action.by(Role::Dispatcher))));
    seeds
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("every value of the core can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_valid_and_pass() {
        for target in TARGETS {
            assert!(!(target.seeds)().is_empty(), "{}", target.name);
            for input in target.inputs() {
                (target.body)(&input);
            }
        }
        let read = |seed: &[u8]| {
            serde_json::from_slice::<Position>(seed).is_ok()
                || serde_json::from_slice::<OrderSpec>(seed).is_ok()
                || serde_json::from_slice::<EngineConfig>(seed).is_ok()
                || serde_json::from_slice::<Command>(seed).is_ok()
        };
        assert!(position_json_seeds().iter().all(|seed| read(seed)));
    }

    #[test]
    fn a_value_that_does_not_come_back_is_caught() {
        /// Written one higher than it was read.
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Creeping(u8);
        impl Serialize for Creeping {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u8(self.0 + 1)
            }
        }
        assert!(std::panic::catch_unwind(|| comes_back::<Creeping>(b"1")).is_err());
        assert!(comes_back::<Creeping>(b"x").is_none());
    }
}
