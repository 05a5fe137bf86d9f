//! What was weighed: the decision that comes with a hold, an offer or an assignment.

use super::{Auditor, Breach, Check, ensure, rule};
use crate::matching::explanation::{Considered, Decision};
use crate::model::DriverId;

/// Most candidates one decision records.
const MOST_RECORDED: usize = 8;

/// Most bytes of its binary form.
const MOST_BYTES: usize = 1024;

impl Auditor {
    /// Judges a decision that sent orders to `chosen`, or held one.
    pub(super) fn check_decision(&self, decision: &Decision, chosen: Option<&DriverId>) -> Check {
        let Decision { config_version, candidates, terms, best, .. } = decision;
        let version = self.version;
        ensure(*config_version == version, rule::DECISION_VERSION, || format!("{config_version}, not {version}"))?;
        let bytes = postcard::to_stdvec(decision).map_or(usize::MAX, |binary| binary.len());
        ensure(best.len() <= MOST_RECORDED && bytes <= MOST_BYTES, rule::DECISION_SIZE, || {
            format!("{} candidates in {bytes} bytes", best.len())
        })?;
        self.check_candidates(best, *candidates)?;
        let mut marked = best.iter().filter(|considered| considered.chosen).map(|considered| &considered.driver);
        let first = marked.next();
        ensure(first == chosen && marked.next().is_none(), rule::DECISION_CHOSEN, || {
            format!("marked {first:?}, expected {chosen:?} alone")
        })?;
        best.iter().try_for_each(|considered| check_sum(considered, terms.len()))?;
        ensure(
            best.is_sorted_by_key(|considered| std::cmp::Reverse(considered.score_milli)),
            rule::DECISION_SORTED,
            || format!("scores {:?}", best.iter().map(|considered| considered.score_milli).collect::<Vec<_>>()),
        )
    }

    fn check_candidates(&self, best: &[Considered], candidates: u32) -> Check {
        ensure(best.len() <= candidates as usize, rule::DECISION_CANDIDATES, || {
            format!("{} recorded of {candidates}", best.len())
        })?;
        for (i, Considered { driver, .. }) in best.iter().enumerate() {
            let twice = best[..i].iter().any(|earlier| earlier.driver == *driver);
            if twice || !self.drivers.contains_key(driver) {
                let detail = format!("driver {driver} is {}", if twice { "recorded twice" } else { "not registered" });
                return Err(Breach { rule: rule::DECISION_CANDIDATES, detail });
            }
        }
        Ok(())
    }
}

/// Each contribution and the score itself are rounded to a thousandth, so that they may differ by one for each term.
/// Where long names left no room for the terms, there are no contributions either.
fn check_sum(considered: &Considered, terms: usize) -> Check {
    let Considered { driver, score_milli, contributions_milli, .. } = considered;
    let sum = contributions_milli.iter().fold(0_i64, |sum, part| sum.saturating_add(*part));
    let adds_up = terms == 0 || score_milli.abs_diff(sum) <= terms as u64;
    ensure(contributions_milli.len() == terms && adds_up, rule::DECISION_SUM, || {
        format!("driver {driver}: {contributions_milli:?} of {terms} terms against {score_milli}")
    })
}
