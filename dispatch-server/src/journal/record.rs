//! What one record says, and what all of them amount to.
//!
//! A record and a snapshot are JSON objects; fields may be added, and a reader takes the default for one that is not there.

use dispatch_core::{DriverId, Event, MarketId, Snapshot, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one command or one deadline came to in a market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The server's time.
    pub(crate) at: Timestamp,
    pub(crate) market: MarketId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<Event>,
    /// Who works in this market from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) joined: Option<DriverId>,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("records have text keys")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// All records up to one, folded.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Image {
    /// The server's time of the last one; absent before the first.
    pub(crate) at: Option<Timestamp>,
    pub(crate) markets: BTreeMap<MarketId, Snapshot>,
    /// Where each driver works.
    pub(crate) homes: BTreeMap<DriverId, MarketId>,
}

impl Image {
    /// Goes on by the next record. A whole record that contradicts those before it is an error, and nobody's image any more.
    pub(crate) fn apply(&mut self, record: Record) -> Result<(), String> {
        let Record { at, market, events, joined } = record;
        self.at = self.at.max(Some(at));
        if let Some(driver) = joined {
            self.homes.insert(driver, market.clone());
        }
        let snapshot = self.markets.entry(market).or_default();
        events.iter().try_for_each(|event| snapshot.apply(event)).map_err(|error| error.to_string())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("images have text keys")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the snapshot makes no sense: {error}"))
    }
}
