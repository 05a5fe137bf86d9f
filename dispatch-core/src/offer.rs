//! The offer book: offers are opened, answered once, and forgotten with their order.

use crate::model::{DriverId, OfferId, OrderId};
use crate::route::Stop;
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An order, or several, put to a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its number.
    pub id: OfferId,
    /// Who is asked.
    pub driver: DriverId,
    /// What for.
    pub orders: Vec<OrderId>,
    /// The route the driver would have.
    pub stops: Vec<Stop>,
    /// When it was made.
    pub made_at: Timestamp,
    /// It can be accepted strictly before this.
    pub expires_at: Timestamp,
    /// Which attempt of its round this is, from 1; an offer that is withdrawn was none. A whole wave is one attempt. For
    /// several orders it is that of the order that has had the most.
    pub attempt: u16,
    /// The first offer of the wave it belongs to, which may be itself: several drivers are asked for the same orders, and
    /// the first to accept gets them. Absent where drivers are asked one at a time.
    pub wave: Option<OfferId>,
    /// What became of it; open while absent.
    pub outcome: Option<OfferOutcome>,
}

/// What became of an offer: exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferOutcome {
    /// The driver took it.
    Accepted,
    /// The driver turned it down.
    Declined,
    /// The driver did not answer in time.
    Expired,
    /// The engine took it back: the order ended or went elsewhere, another driver of its wave was faster, or the driver
    /// paused, ended its shift or fell silent.
    Withdrawn,
}

impl OfferOutcome {
    /// The outcome in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "was accepted",
            Self::Declined => "was declined",
            Self::Expired => "has expired",
            Self::Withdrawn => "was withdrawn",
        }
    }
}

impl Offer {
    /// Whether the other one belongs to the same attempt to find a driver: to the same wave, or it is the same offer.
    pub(crate) fn is_of_one_wave_with(&self, other: &Self) -> bool {
        self.id == other.id || (self.wave.is_some() && self.wave == other.wave)
    }

    /// Whether a driver may still take it at `now`: a predicate on time, not a timer that fired.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.outcome.is_none() && now < self.expires_at
    }

    /// The offer's state at `now` in words.
    pub fn describe(&self, now: Timestamp) -> &'static str {
        match self.outcome {
            Some(outcome) => outcome.name(),
            None if now < self.expires_at => "is open",
            None => OfferOutcome::Expired.name(),
        }
    }
}

/// Most offers kept for one order, open ones included; the oldest are forgotten first.
pub const MAX_OFFERS_PER_ORDER: usize = 16;

/// All offers in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferBook {
    /// How many offers were ever made; the next has this number plus one.
    made: u64,
    offers: BTreeMap<OfferId, Offer>,
}

impl OfferBook {
    /// The number the next offer will have.
    pub fn next_id(&self) -> OfferId {
        OfferId(self.made + 1)
    }

    /// The offer of this number, if it is still in memory.
    pub fn get(&self, id: OfferId) -> Option<&Offer> {
        self.offers.get(&id)
    }

    /// What became of an offer of this book, at `now`, in words.
    pub(crate) fn describe(&self, offer: &Offer, now: Timestamp) -> &'static str {
        // The offers of a wave follow each other, beginning with the one it is called by.
        let wave = offer.wave.into_iter().flat_map(|first| {
            self.offers.range(first..).map(|(_, other)| other).take_while(move |other| other.wave == Some(first))
        });
        let mut accepted = wave.filter(|other| other.outcome == Some(OfferOutcome::Accepted));
        match offer.outcome {
            Some(OfferOutcome::Withdrawn) if accepted.next().is_some() => "was taken by another driver",
            _ => offer.describe(now),
        }
    }

    /// Enters a new offer.
    pub(crate) fn open(&mut self, offer: Offer) {
        assert_eq!(offer.id, self.next_id(), "offers are numbered in sequence");
        assert!(offer.outcome.is_none(), "an offer begins open");
        self.made += 1;
        self.offers.insert(offer.id, offer);
    }

    /// Gives an open offer its outcome.
    pub(crate) fn close(&mut self, id: OfferId, outcome: OfferOutcome) -> &Offer {
        let offer = self.offers.get_mut(&id).expect("an offer that is closed exists");
        assert!(offer.outcome.is_none(), "offer {id} {}, it cannot be closed again", offer.describe(Timestamp::MIN));
        offer.outcome = Some(outcome);
        offer
    }

    /// Lets an open offer expire later.
    pub(crate) fn extend(&mut self, id: OfferId, expires_at: Timestamp) {
        let offer = self.offers.get_mut(&id).expect("an offer that is extended exists");
        assert!(offer.outcome.is_none() && expires_at >= offer.expires_at, "an open offer is extended");
        offer.expires_at = expires_at;
    }

    /// Removes a closed offer from memory. One for several orders goes with the first of them.
    pub(crate) fn forget(&mut self, id: OfferId) {
        let forgotten = self.offers.remove(&id);
        assert!(forgotten.is_none_or(|o| o.outcome.is_some()), "only a closed offer is forgotten");
    }

    /// Every offer in memory, by number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Offer> {
        self.offers.values()
    }
}
