//! What is to be kept of what was done, and what was accepted of what is to be carried out once.

use super::Error;
use crate::journal::{Accepted, Keys, Mark, Once, Record};
use dispatch_core::{Event, MarketId, Timestamp};
use std::collections::VecDeque;

/// Most events of one record of a deadline: far below what the journal takes, as an event is a few kilobytes at most.
const MAX_EVENTS: usize = 4_000;

/// That something was done.
pub(crate) struct Done {
    /// Whether something new came to be.
    pub(crate) created: bool,
    /// Whether it was done before, and not again.
    pub(crate) before: bool,
}

/// The records of what was done since the journal was last given any, and the keys of requests.
pub(super) struct Ledger {
    records: Vec<Record>,
    /// How many records there were before these.
    taken: u64,
    keys: Keys,
    /// The keys in records that may not be durable yet, each with the number of its record.
    in_flight: VecDeque<(u64, Mark)>,
}

impl Ledger {
    pub(super) fn new(keys: Keys) -> Self {
        Self { records: Vec::new(), taken: 0, keys, in_flight: VecDeque::new() }
    }

    /// Keeps what a deadline came to. After a long outage that may be very much, and a record has a limit.
    pub(super) fn keep(&mut self, now: Timestamp, market: &MarketId, mut events: Vec<Event>) {
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(MAX_EVENTS));
            self.records.push(Record::of(now, market.clone(), events));
            events = rest;
        }
    }

    /// The record of what is being done in a market. All that one request does is one record, so that no crash divides it.
    pub(super) fn record(&mut self, now: Timestamp, market: &MarketId) -> &mut Record {
        if self.records.last().is_none_or(|record| record.market != *market) {
            self.records.push(Record::of(now, market.clone(), Vec::new()));
        }
        self.records.last_mut().expect("there is one by now")
    }

    /// What is to be kept since the last call.
    pub(super) fn take(&mut self) -> Vec<Record> {
        self.taken += self.records.len() as u64;
        std::mem::take(&mut self.records)
    }

    /// Notes that so many records are durable.
    pub(super) fn settle(&mut self, durable: u64) {
        while self.in_flight.front().is_some_and(|(record, _)| *record <= durable) {
            self.in_flight.pop_front();
        }
    }

    /// What became of a request if it was accepted before.
    pub(super) fn before(&self, once: Once, now: Timestamp) -> Result<Option<Done>, Error> {
        match self.keys.get(once.key, now) {
            None => Ok(None),
            Some(accepted) if accepted.payload != once.payload => Err(Error::KeyReused),
            Some(_) if self.in_flight.iter().any(|(_, key)| *key == once.key) => Err(Error::InFlight),
            Some(accepted) => Ok(Some(Done { created: accepted.created, before: true })),
        }
    }

    /// Keeps that a request was accepted, with what it did; what changed nothing is kept with `elsewhere`.
    pub(super) fn accept(&mut self, Once { key, payload }: Once, created: bool, now: Timestamp, elsewhere: &MarketId) {
        let accepted = Accepted { key, payload, created };
        if self.records.is_empty() {
            self.record(now, elsewhere);
        }
        let record = self.records.last_mut().expect("there is one by now");
        record.accepted = Some(accepted);
        self.keys.insert(now, accepted);
        self.in_flight.push_back((self.taken + self.records.len() as u64, key));
    }
}
