//! A score term of your own: this market wants an order to go to a driver who knows the neighbourhood.
//!
//! Key points:
//! * a term is a value per candidate; its weight stands in the configuration, beside the built-in ones;
//! * the explanation shows what it contributed.

use dispatch_core::{
    Action, Candidate, DriverId, DriverSpec, Engine, EngineConfig, Fix, Label, OrderId, OrderSpec, Position, Positions,
    Role, ScoreTerm, ScoreWeight, StartOn, StraightLine, Timestamp,
};
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

/// 1 for drivers who have worked around here before.
#[derive(Debug)]
struct KnowsTheArea {
    locals: BTreeSet<DriverId>,
}

impl ScoreTerm for KnowsTheArea {
    fn name(&self) -> &'static str {
        "knows_the_area"
    }

    fn value(&self, candidate: &Candidate<'_>) -> f64 {
        f64::from(u8::from(self.locals.contains(&candidate.supply.driver.id)))
    }
}

/// Who is offered the order when knowing the area is worth this many minutes.
fn chosen(worth_minutes: f64) -> Result<String, Box<dyn Error>> {
    let now = Timestamp::from_millis(1_750_000_000_000);
    let (near, local) = (DriverId::new("near")?, DriverId::new("local")?);
    let mut config = EngineConfig { start_on: StartOn::Placed, ..EngineConfig::default() };
    config.score.push(ScoreWeight { term: Label::new("knows_the_area")?, weight: worth_minutes });
    let term = KnowsTheArea { locals: BTreeSet::from([local.clone()]) };
    let (mut engine, _) = Engine::with_terms(config, Arc::new(StraightLine::default()), vec![Arc::new(term)])?;

    let at = |lng| Position::new(52.5, lng);
    let fixes =
        [(near.clone(), Fix { position: at(13.41)?, at: now }), (local.clone(), Fix { position: at(13.45)?, at: now })];
    for driver in [near, local] {
        engine.handle(now, Action::RegisterDriver(DriverSpec::new(driver.clone())).by(Role::Driver))?;
        engine.handle(now, Action::StartShift { driver, until: None }.by(Role::Driver))?;
    }
    let order = OrderId::new("order-1")?;
    let mut spec = OrderSpec::new(order.clone(), at(13.40)?, at(13.38)?);
    spec.preparation = Some(dispatch_core::Millis::ZERO);
    engine.handle(now, Action::SubmitOrder(spec).by(Role::Customer))?;
    engine.advance(now, &Positions::from_fixes(fixes));
    let decision = engine.explain(&order).and_then(|explanation| explanation.decision).ok_or("it was decided")?;
    print!("worth {worth_minutes} min: {decision}");
    let chosen = decision.best.iter().find(|considered| considered.chosen).ok_or("somebody was chosen")?;
    Ok(chosen.driver.to_string())
}

fn main() -> Result<(), Box<dyn Error>> {
    assert_eq!(chosen(1.0)?, "near");
    assert_eq!(chosen(20.0)?, "local");
    Ok(())
}
