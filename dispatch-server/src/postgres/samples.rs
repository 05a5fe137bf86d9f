//! Where drivers were, now and then: kept if the database is there, and forgotten if not.

use dispatch_core::{DriverId, MarketId, Millis, Position, Timestamp};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Most positions that wait; past it they are forgotten.
const MAX_WAITING: usize = 10_000;

/// Where a driver was.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) market: MarketId,
    pub(super) driver: DriverId,
    pub(super) position: Position,
    pub(super) at: Timestamp,
}

/// Takes positions in.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    sender: Sender<Sample>,
    every: Millis,
}

impl Samples {
    pub(super) fn new(every: Millis) -> (Self, Receiver<Sample>) {
        let (sender, samples) = channel(MAX_WAITING);
        (Self { sender, every }, samples)
    }

    /// Whether a driver whose last one was kept at `last` has another one kept now.
    pub(crate) fn is_due(&self, last: Timestamp, at: Timestamp) -> bool {
        at - last >= self.every
    }

    /// Has one kept, if there is room.
    pub(crate) fn keep(&self, market: &MarketId, driver: &DriverId, position: Position, at: Timestamp) {
        let _ = self.sender.try_send(Sample { market: market.clone(), driver: driver.clone(), position, at });
    }
}
