//! Travel times of your own: a river runs through this city, and there is one bridge.
//!
//! Key points:
//! * the engine asks one question, `travel(from, to, vehicle, depart)`; a router or a table answers as well as this;
//! * the driver nearest as the crow flies is not the one chosen.

use dispatch_core::{
    Action, DriverId, DriverSpec, Engine, EngineConfig, Fix, Leg, OrderId, OrderSpec, Position, Positions, Role,
    StartOn, StraightLine, Timestamp, TravelTime, Vehicle,
};
use std::error::Error;

/// The river runs from west to east along this latitude.
const RIVER_LAT: f64 = 52.5;

#[derive(Debug)]
struct OneBridge {
    bridge: Position,
    ashore: StraightLine,
}

impl TravelTime for OneBridge {
    fn travel(&self, from: Position, to: Position, vehicle: Vehicle, depart: Timestamp) -> Leg {
        let crosses = (from.lat() < RIVER_LAT) != (to.lat() < RIVER_LAT);
        if !crosses {
            return self.ashore.travel(from, to, vehicle, depart);
        }
        let there = self.ashore.travel(from, self.bridge, vehicle, depart);
        let on = self.ashore.travel(self.bridge, to, vehicle, depart + there.duration);
        Leg { duration: there.duration + on.duration, distance: there.distance + on.distance }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let now = Timestamp::from_millis(1_750_000_000_000);
    let river = OneBridge { bridge: Position::new(RIVER_LAT, 13.50)?, ashore: StraightLine::default() };
    let config = EngineConfig { start_on: StartOn::Placed, ..EngineConfig::default() };
    let mut engine = Engine::new(config, river)?;

    let (across, same_side) = (DriverId::new("across-the-river")?, DriverId::new("same-side")?);
    let fixes = [
        (across.clone(), Fix { position: Position::new(52.495, 13.40)?, at: now }),
        (same_side.clone(), Fix { position: Position::new(52.520, 13.40)?, at: now }),
    ];
    for driver in [across, same_side] {
        engine.handle(now, Action::RegisterDriver(DriverSpec::new(driver.clone())).by(Role::Driver))?;
        engine.handle(now, Action::StartShift { driver, until: None }.by(Role::Driver))?;
    }
    let order = OrderId::new("order-1")?;
    let mut spec = OrderSpec::new(order.clone(), Position::new(52.505, 13.40)?, Position::new(52.53, 13.42)?);
    spec.preparation = Some(dispatch_core::Millis::ZERO);
    engine.handle(now, Action::SubmitOrder(spec).by(Role::Customer))?;
    engine.advance(now, &Positions::from_fixes(fixes));

    let explanation = engine.explain(&order).ok_or("the order is known")?;
    print!("{explanation}");
    let decision = explanation.decision.ok_or("it was decided")?;
    assert!(decision.best[0].chosen);
    assert_eq!(decision.best[0].driver.as_str(), "same-side");
    Ok(())
}
