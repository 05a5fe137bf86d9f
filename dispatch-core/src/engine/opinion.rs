//! What the engine thinks of giving an order to a driver by hand, and why a driver was passed over.

use super::Engine;
use super::window::{Fleet, driver_of};
use crate::command::Refusal;
use crate::matching::candidates::{Candidate, Demand, Terms, may_take};
use crate::matching::explanation::{Considered, Decision, Exclusion, write_score};
use crate::matching::plan::{Edge, Planner};
use crate::model::{DispatchStatus, DriverId, Label, OrderId};
use crate::route::plan::Task;
use crate::state::{Driver, Order};
use crate::units::{Meters, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What the engine thinks of giving an order to a driver by hand, with what it last saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opinion {
    /// Which order.
    pub order: OrderId,
    /// Which driver.
    pub driver: DriverId,
    /// The engine's time.
    pub at: Timestamp,
    /// The version of the rules it goes by.
    pub config_version: u32,
    /// The terms of the scores below.
    pub terms: Vec<Label>,
    /// Whether the driver could take it, and how good that is.
    pub standing: Standing,
    /// How many drivers could take it now, this one among them if it could.
    pub candidates: u32,
    /// How far from the pickup the others were searched.
    pub radius: Meters,
    /// The best of the others; absent where there is none. Who has the order is none of them unless it could move.
    pub best_other: Option<Prospect>,
    /// What it costs to take this driver and not the best of the others, in thousandths of a score point; negative where
    /// this driver is better. Counts what the rules charge for moving an order. Absent unless there are both.
    pub price_milli: Option<i64>,
}

/// Where a driver stands for an order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No candidate: the first test it fails.
    Excluded(Exclusion),
    /// It could take the order, after all it has to do.
    Candidate {
        /// What would come of it.
        prospect: Prospect,
        /// Its place among the candidates, from 1.
        rank: u32,
    },
}

/// What would come of a driver taking an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prospect {
    /// Who.
    pub driver: DriverId,
    /// Its score in thousandths: the sum of the contributions, higher is better.
    pub score_milli: i64,
    /// What each term contributes, in thousandths, in the sequence of [`Opinion::terms`].
    pub contributions_milli: Vec<i64>,
    /// When the driver would have the order.
    pub pickup_at: Timestamp,
    /// When the customer would have it.
    pub deliver_at: Timestamp,
    /// Whether it would be fetched or brought in between what the driver has to do, which only the engine does.
    pub joins: bool,
}

/// Why an order did not go to a driver, as far as was recorded when it was last decided or held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhyNot {
    /// Which order.
    pub order: OrderId,
    /// Which driver.
    pub driver: DriverId,
    /// What the record says.
    pub answer: Recorded,
}

/// What the record of a decision says about one driver.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// Nothing: the order was not weighed yet, or a dispatcher decided at once.
    Nothing,
    /// The driver was weighed, and is among the recorded.
    Weighed {
        /// The terms of the scores.
        terms: Vec<Label>,
        /// Its score, and whether the order went to it.
        considered: Considered,
        /// Its place among the recorded, from 1.
        rank: u32,
        /// Who the order went to, if that was another driver.
        chosen: Option<Considered>,
    },
    /// It fails a test for which drivers were excluded then.
    Failed(Exclusion),
    /// It is beyond what was recorded: too far away, excluded, or worse than the recorded.
    Beyond {
        /// How many drivers were candidates.
        candidates: u32,
        /// How many of them were recorded.
        recorded: u32,
        /// The score, in thousandths, of the last of the best that were recorded; absent where there is none.
        last_milli: Option<i64>,
        /// How far from the pickup drivers were searched.
        radius: Meters,
        /// How many drivers were no candidates, by the first test they failed.
        excluded: BTreeMap<Exclusion, u32>,
    },
}

fn points(milli: i64) -> f64 {
    milli as f64 / 1e3
}

impl Opinion {
    fn write_prospect(&self, f: &mut fmt::Formatter<'_>, prospect: &Prospect) -> fmt::Result {
        let Prospect { driver, score_milli, contributions_milli, pickup_at, deliver_at, .. } = prospect;
        let mins = |at: Timestamp| (at - self.at).as_mins_f64();
        write!(f, "   {driver} ")?;
        write_score(f, *score_milli, &self.terms, contributions_milli)?;
        writeln!(f, "; has it in {:.1} min, delivers in {:.1} min", mins(*pickup_at), mins(*deliver_at))
    }
}

impl fmt::Display for Opinion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, driver, candidates, .. } = self;
        match &self.standing {
            Standing::Excluded(test) => writeln!(f, "order {order} cannot go to driver {driver}: {}", test.name())?,
            Standing::Candidate { prospect, rank } => {
                writeln!(f, "order {order} could go to driver {driver}: rank {rank} of {candidates}")?;
                self.write_prospect(f, prospect)?;
            }
        }
        let Some(best) = &self.best_other else {
            return writeln!(f, "   no other driver within {:.0} m can take it", self.radius.get());
        };
        self.write_prospect(f, best)?;
        match self.price_milli {
            Some(price) if price > 0 => writeln!(f, "   {} is better by {:.3} points", best.driver, points(price)),
            Some(price) => writeln!(f, "   {driver} is better by {:.3} points", points(-price)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, driver, answer } = self;
        match answer {
            Recorded::Nothing => writeln!(f, "nothing was weighed for order {order}"),
            Recorded::Weighed { terms, considered, rank, chosen } => {
                let went = if considered.chosen { "went to" } else { "did not go to" };
                writeln!(f, "order {order} {went} driver {driver}, rank {rank}")?;
                for Considered { driver, score_milli, contributions_milli, .. } in
                    [Some(considered), chosen.as_ref()].into_iter().flatten()
                {
                    write!(f, "   {driver} ")?;
                    write_score(f, *score_milli, terms, contributions_milli)?;
                    writeln!(f)?;
                }
                Ok(())
            }
            Recorded::Failed(test) => writeln!(f, "order {order} could not go to driver {driver}: {}", test.name()),
            Recorded::Beyond { candidates, recorded, last_milli, radius, excluded } => {
                write!(
                    f,
                    "driver {driver} is not among the {recorded} recorded of {candidates} candidates of order {order}"
                )?;
                write!(f, ": it was beyond {:.0} m, excluded", radius.get())?;
                if let Some(last) = last_milli.filter(|_| candidates > recorded) {
                    write!(f, ", or no better than {:.3}", points(last))?;
                }
                writeln!(f)?;
                excluded.iter().try_for_each(|(test, count)| writeln!(f, "   {count} excluded: {}", test.name()))
            }
        }
    }
}

impl Engine {
    /// What the engine thinks of giving this order to this driver by hand, now: with the positions and the time of the
    /// last call. Changes nothing. Cost: that of a window with one order.
    ///
    /// Refused where [`Action::Assign`](crate::Action::Assign) would be for the state of the order, and for a driver who is
    /// off shift or has the order; whatever else speaks against the driver is an [`Exclusion`].
    pub fn opinion(&self, order: &OrderId, driver: &DriverId) -> Result<Opinion, Refusal> {
        let action = "opinion";
        let (known, asked) = (self.order(order)?, self.driver(driver)?);
        let status = &known.status;
        self.order_must(order, !status.is_terminal() && *status != DispatchStatus::Pending, action)?;
        self.driver_must(driver, asked.is_on_shift(), "is not on shift", action)?;
        self.driver_must(driver, status.driver() != Some(driver), "has this order", action)?;

        let Fleet { supplies, groups, excluded } = self.fleet();
        let config = &self.state.config;
        let terms = Terms { now: self.now(), service: &config.service, travel: &*self.travel };
        // Whoever takes it over fetches it at the pickup, wherever it is now.
        let task = Task::new(&known.spec, self.expected_ready_at(known), None, &*self.travel);
        let demands = vec![Demand { task, ..self.demand(known) }];
        let planner = Planner { terms, rules: config, score: &self.score, demands, supplies, rows: Vec::new() };
        let list = self.shortlist(&planner, 0, known, &groups, &excluded);

        let others: Vec<Edge> =
            list.found.iter().copied().filter(|edge| self.is_rival(&planner, *edge, known, driver)).collect();
        let best = others.iter().copied().min_by_key(|edge| (edge.cost, edge.supply));
        let own = self.by_hand(&planner, asked);
        let standing = match own {
            Err(test) => Standing::Excluded(test),
            Ok(own) => Standing::Candidate {
                prospect: self.prospect(&planner, own),
                rank: 1 + others.iter().filter(|edge| (edge.cost, edge.supply) < (own.cost, own.supply)).count() as u32,
            },
        };
        Ok(Opinion {
            order: order.clone(),
            driver: driver.clone(),
            at: self.now(),
            config_version: self.state.config_version,
            terms: self.score.names().to_vec(),
            standing,
            candidates: others.len() as u32 + u32::from(own.is_ok()),
            radius: list.radius,
            best_other: best.map(|edge| self.prospect(&planner, edge)),
            price_milli: own.ok().zip(best).map(|(own, best)| own.cost - best.cost),
        })
    }

    /// Whether the order could go to the driver of this edge, and not only to `asked`, as things are now.
    fn is_rival(&self, planner: &Planner<'_>, edge: Edge, order: &Order, asked: &DriverId) -> bool {
        let id = driver_of(planner, edge);
        // The route of who has the order holds it already, unless it is one that could move.
        let keeps = order.status.driver() == Some(id) && !self.derived.movable.contains(&order.spec.id);
        id != asked && !keeps && self.state.drivers[id].is_on_shift()
    }

    /// The driver fetching the order after all it has to do, which is what an assignment by hand comes to; otherwise the
    /// first test it fails.
    fn by_hand(&self, planner: &Planner<'_>, driver: &Driver) -> Result<Edge, Exclusion> {
        let id = &driver.spec.id;
        self.supply(driver, self.sighted(id))?;
        let place = planner.supplies.iter().position(|supply| supply.driver.id == *id);
        planner.append(0, place.expect("who could set out is in the fleet") as u32)
    }

    fn prospect(&self, planner: &Planner<'_>, edge: Edge) -> Prospect {
        let (supply, task) = (&planner.supplies[edge.supply as usize], &planner.demands[0].task);
        let times = |candidate: &Candidate<'_>| {
            let of_this = candidate.deliveries.iter().find(|delivery| delivery.order.id == task.order.id);
            let delivery = of_this.expect("what is weighed for an order delivers it");
            (delivery.pickup_at, delivery.deliver_at)
        };
        let known = if edge.joins {
            let joined = planner.best_join(0, edge.supply);
            joined.and_then(|(_, calls)| planner.terms.route(&calls, &supply.at_start(), supply, times))
        } else {
            planner.terms.alone(task, supply, times)
        };
        let (pickup_at, deliver_at) = known.expect("it was weighed before");
        let scored = self.explained(planner, 0, &edge);
        Prospect {
            driver: supply.driver.id.clone(),
            score_milli: scored.total_milli,
            contributions_milli: scored.contributions_milli,
            pickup_at,
            deliver_at,
            joins: edge.joins,
        }
    }

    /// Why the order did not go to this driver when it was last decided or held, as far as was recorded. A decision
    /// records its best candidates; about others the answer says how far the record goes.
    pub fn why_not(&self, order: &OrderId, driver: &DriverId) -> Result<WhyNot, Refusal> {
        let (known, asked) = (self.order(order)?, self.driver(driver)?);
        let answer = match &known.decision {
            None => Recorded::Nothing,
            Some(decision) => recorded(decision, known, asked),
        };
        Ok(WhyNot { order: order.clone(), driver: driver.clone(), answer })
    }
}

fn recorded(decision: &Decision, order: &Order, driver: &Driver) -> Recorded {
    let Decision { best, excluded, .. } = decision;
    if let Some(place) = best.iter().position(|considered| considered.driver == driver.spec.id) {
        return Recorded::Weighed {
            terms: decision.terms.clone(),
            considered: best[place].clone(),
            rank: place as u32 + 1,
            chosen: best.iter().find(|considered| considered.chosen && considered.driver != driver.spec.id).cloned(),
        };
    }
    // Tests whose outcome does not change with time can be told apart afterwards.
    let lasting = may_take(&order.spec, &order.round.asked, &driver.spec).err();
    if let Some(test) = lasting.filter(|test| excluded.contains_key(test)) {
        return Recorded::Failed(test);
    }
    // Who was chosen for other reasons than its score may stand after better ones that were not recorded.
    let last = best.iter().rfind(|considered| !considered.chosen);
    Recorded::Beyond {
        candidates: decision.candidates,
        recorded: best.len() as u32,
        last_milli: last.map(|considered| considered.score_milli),
        radius: decision.radius,
        excluded: excluded.clone(),
    }
}
