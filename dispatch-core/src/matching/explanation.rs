//! Why a driver was chosen, and why others were not: recorded with the decision, at most 1 KiB.

use crate::model::{DriverId, Label, OrderId};
use crate::units::Meters;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most candidates one decision records.
pub const MAX_RECORDED: usize = 8;

/// Most bytes one decision takes in its binary form.
pub const MAX_DECISION_BYTES: usize = 1024;

/// What the engine weighed when it decided about an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The version of the configuration it was decided under.
    pub config_version: u32,
    /// How far from the pickup drivers were searched.
    pub radius: Meters,
    /// How many drivers were candidates.
    pub candidates: u32,
    /// The terms of the scores below.
    pub terms: Vec<Label>,
    /// The best candidates, the best first, the chosen one among them; at most [`MAX_RECORDED`].
    pub best: Vec<Considered>,
    /// How many drivers on shift that the search came across were no candidates, by the first test they failed.
    pub excluded: BTreeMap<Exclusion, u32>,
    /// The orders it was bundled with.
    pub with: Vec<OrderId>,
}

/// One driver of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// Who.
    pub driver: DriverId,
    /// Its score in thousandths: the sum of the contributions, higher is better.
    pub score_milli: i64,
    /// What each term contributed, in thousandths, in the sequence of [`Decision::terms`].
    pub contributions_milli: Vec<i64>,
    /// Whether the order went to this driver.
    pub chosen: bool,
}

/// Why a driver was no candidate for an order: the first test it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// On shift, but its last fix is too old or none came yet.
    NoRecentFix,
    /// Paused, or its shift is ending.
    Paused,
    /// Has an open offer to answer.
    OfferOpen,
    /// Its route ends too late, or holds as many orders as a route may.
    Busy,
    /// Declined or let expire an offer of this order in this round.
    AskedBefore,
    /// Carries too little.
    Capacity,
    /// Lacks a skill.
    Skill,
    /// Would be at the pickup after its shift ends.
    ShiftEnds,
}

impl Exclusion {
    /// The reason as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoRecentFix => "no_recent_fix",
            Self::Paused => "paused",
            Self::OfferOpen => "offer_open",
            Self::Busy => "busy",
            Self::AskedBefore => "asked_before",
            Self::Capacity => "capacity",
            Self::Skill => "skill",
            Self::ShiftEnds => "shift_ends",
        }
    }
}

impl Decision {
    /// Drops the worst recorded candidates that were not chosen until the decision fits [`MAX_DECISION_BYTES`]; where long
    /// names of score terms do not let it, the contributions go.
    pub(crate) fn fit(mut self) -> Self {
        self.best.truncate(MAX_RECORDED);
        while self.encoded_len() > MAX_DECISION_BYTES {
            let Some(worst) = self.best.iter().rposition(|c| !c.chosen) else { break };
            self.best.remove(worst);
        }
        if self.encoded_len() > MAX_DECISION_BYTES {
            self.terms.clear();
            self.best.iter_mut().for_each(|considered| considered.contributions_milli.clear());
        }
        self
    }

    /// Bytes in the binary form.
    pub fn encoded_len(&self) -> usize {
        postcard::experimental::serialized_size(self).expect("every part of a decision has a binary form")
    }
}

/// A score and what each term contributes to it, in points.
pub(crate) fn write_score(f: &mut fmt::Formatter<'_>, score: i64, terms: &[Label], parts: &[i64]) -> fmt::Result {
    let points = |milli: i64| milli as f64 / 1e3;
    write!(f, "{:.3} =", points(score))?;
    terms.iter().zip(parts).try_for_each(|(term, milli)| write!(f, " {term} {:+.3}", points(*milli)))
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} candidates within {:.0} m (configuration {})",
            self.candidates,
            self.radius.get(),
            self.config_version
        )?;
        for considered in &self.best {
            let mark = if considered.chosen { "->" } else { "  " };
            write!(f, "{mark} {} ", considered.driver)?;
            write_score(f, considered.score_milli, &self.terms, &considered.contributions_milli)?;
            writeln!(f)?;
        }
        for (reason, drivers) in &self.excluded {
            writeln!(f, "   {drivers} excluded: {}", reason.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_decision_is_at_most_one_kibibyte_and_keeps_the_chosen(
            terms in proptest::collection::vec("[a-z]{1,128}", 1..=32),
            candidates in 0..=20usize,
            chosen in 0..MAX_RECORDED,
        ) {
            let considered = |i| Considered {
                driver: DriverId::new("d".repeat(64)).unwrap(),
                score_milli: i64::MAX,
                contributions_milli: vec![i64::MIN; terms.len()],
                chosen: i == chosen,
            };
            let decision = Decision {
                terms: terms.iter().map(|term| Label::new(term).unwrap()).collect(),
                best: (0..candidates).map(considered).collect(),
                excluded: [(Exclusion::Busy, u32::MAX), (Exclusion::Paused, u32::MAX)].into(),
                ..Decision::default()
            };
            let fitting = decision.fit();
            prop_assert!(fitting.encoded_len() <= MAX_DECISION_BYTES);
            prop_assert_eq!(fitting.best.iter().any(|considered| considered.chosen), chosen < candidates);
            prop_assert!(fitting.best.iter().all(|c| c.contributions_milli.len() == fitting.terms.len()));
        }
    }
}
