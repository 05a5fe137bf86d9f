//! What one record says, and what all of them amount to.
//!
//! A record and a snapshot are JSON objects; fields may be added, and a reader takes the default for one that is not there.

use super::keys::{Accepted, Keys};
use dispatch_core::{DriverId, Event, MarketId, Snapshot, State, Timestamp};
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
    /// The request it was, if that is to be carried out once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<Accepted>,
}

impl Record {
    pub(crate) fn of(at: Timestamp, market: MarketId, events: Vec<Event>) -> Self {
        Self { at, market, events, joined: None, accepted: None }
    }

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
    /// What was accepted lately of what is to be carried out once.
    #[serde(default)]
    pub(crate) keys: Keys,
}

/// Looks on while records are folded.
pub(crate) trait Watch {
    /// A driver leaves `home`, if it had one, to work in another market.
    fn moves(&mut self, driver: &DriverId, home: Option<&MarketId>, market: &MarketId);

    /// A request that is to be carried out once was.
    fn accepts(&mut self, market: &MarketId, at: Timestamp, accepted: Accepted);

    /// An event is about to be applied to the state of its market.
    fn before(&mut self, market: &MarketId, state: &State, event: &Event);

    /// It has been.
    fn after(&mut self, market: &MarketId, state: &State, event: &Event);
}

impl Watch for () {
    fn moves(&mut self, _: &DriverId, _: Option<&MarketId>, _: &MarketId) {}
    fn accepts(&mut self, _: &MarketId, _: Timestamp, _: Accepted) {}
    fn before(&mut self, _: &MarketId, _: &State, _: &Event) {}
    fn after(&mut self, _: &MarketId, _: &State, _: &Event) {}
}

impl Image {
    /// Goes on by the next record. A whole record that contradicts those before it is an error, and nobody's image any more.
    pub(crate) fn apply(&mut self, record: Record) -> Result<(), String> {
        self.apply_seen(record, &mut ())
    }

    /// As [`Image::apply`], with somebody looking on.
    pub(crate) fn apply_seen(&mut self, record: Record, watch: &mut impl Watch) -> Result<(), String> {
        let Record { at, market, events, joined, accepted } = record;
        self.at = self.at.max(Some(at));
        if let Some(driver) = joined {
            watch.moves(&driver, self.homes.get(&driver), &market);
            self.homes.insert(driver, market.clone());
        }
        if let Some(accepted) = accepted {
            watch.accepts(&market, at, accepted);
            self.keys.insert(at, accepted);
        }
        let snapshot = self.markets.entry(market.clone()).or_default();
        for event in &events {
            watch.before(&market, snapshot.state(), event);
            snapshot.apply(event).map_err(|error| error.to_string())?;
            watch.after(&market, snapshot.state(), event);
        }
        Ok(())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("images have text keys")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the snapshot makes no sense: {error}"))
    }
}
