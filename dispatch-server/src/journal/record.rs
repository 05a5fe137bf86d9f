//! What one record says, and what all of them amount to.
//!
//! A record and a snapshot are JSON objects; fields may be added, and a reader takes the default for one that is not there.

use super::keys::{Accepted, Keys};
use dispatch_core::{DriverId, Event, MarketId, Snapshot, State, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    pub(crate) moved: Option<Moved>,
    /// The same in older records: who works in this market alone. Read, and not written any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) joined: Option<DriverId>,
    /// The request it was, if that is to be carried out once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<Accepted>,
}

/// That a driver works in another market from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) driver: DriverId,
    /// The market it leaves. Absent for a driver that is new to its tenant: others may have one of the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<MarketId>,
}

impl Record {
    pub(crate) fn of(at: Timestamp, market: MarketId, events: Vec<Event>) -> Self {
        Self { at, market, events, moved: None, joined: None, accepted: None }
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
    /// Where drivers work: one market of each tenant that knows one of this id.
    #[serde(deserialize_with = "homes")]
    pub(crate) homes: BTreeMap<DriverId, BTreeSet<MarketId>>,
    /// What was accepted lately of what is to be carried out once.
    #[serde(default)]
    pub(crate) keys: Keys,
}

/// Reads where drivers work; older snapshots name one market each.
fn homes<'de, D: Deserializer<'de>>(json: D) -> Result<BTreeMap<DriverId, BTreeSet<MarketId>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Homes {
        One(MarketId),
        Several(BTreeSet<MarketId>),
    }
    let all = BTreeMap::<DriverId, Homes>::deserialize(json)?;
    let all = all.into_iter().map(|(driver, homes)| match homes {
        Homes::One(market) => (driver, BTreeSet::from([market])),
        Homes::Several(markets) => (driver, markets),
    });
    Ok(all.collect())
}

/// Is told again what happened lately, while it is read after a start.
pub(crate) trait Audience {
    /// What is told next comes after record `seq` of this log, and what it amounted to. May come again, if it has to be told anew.
    fn begin(&mut self, log: &str, seq: u64, image: &Image);

    /// The next record, and what all up to it amount to.
    fn hear(&mut self, record: &Record, image: &Image);
}

/// Looks on while records are folded.
pub(crate) trait Watch {
    /// A driver begins or ceases to work in a market.
    fn moves(&mut self, driver: &DriverId, market: &MarketId);

    /// A request that is to be carried out once was.
    fn accepts(&mut self, market: &MarketId, at: Timestamp, accepted: Accepted);

    /// An event is about to be applied to the state of its market.
    fn before(&mut self, market: &MarketId, state: &State, event: &Event);

    /// It has been.
    fn after(&mut self, market: &MarketId, state: &State, event: &Event);
}

impl Watch for () {
    fn moves(&mut self, _: &DriverId, _: &MarketId) {}
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
        let Record { at, market, events, moved, joined, accepted } = record;
        self.at = self.at.max(Some(at));
        if let Some(driver) = joined {
            for home in self.homes.remove(&driver).into_iter().flatten() {
                watch.moves(&driver, &home);
            }
            self.house(driver, &market, watch);
        }
        if let Some(Moved { driver, from }) = moved {
            if let Some(home) = from {
                watch.moves(&driver, &home);
                self.homes.entry(driver.clone()).or_default().remove(&home);
            }
            self.house(driver, &market, watch);
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

    fn house(&mut self, driver: DriverId, market: &MarketId, watch: &mut impl Watch) {
        watch.moves(&driver, market);
        self.homes.entry(driver).or_default().insert(market.clone());
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("images have text keys")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the snapshot makes no sense: {error}"))
    }
}
