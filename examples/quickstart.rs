//! One order, one driver: from submission to the customer's door.
//!
//! Key points: time is an argument; positions come from an index; the engine answers with events.

use dispatch_core::{
    Action, DriverId, DriverSpec, Engine, EngineConfig, EventKind, Fix, FixRules, KitchenStatus, OrderId, OrderSpec,
    Position, PositionIndex, Positions, Reported, Role, Step, StraightLine, Timestamp,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = Timestamp::from_millis(1_750_000_000_000);
    let (driver, order) = (DriverId::new("ana")?, OrderId::new("order-1")?);
    let mut engine = Engine::new(EngineConfig::default(), StraightLine::default())?;

    // A driver comes on shift and reports where it is.
    engine.handle(now, Action::RegisterDriver(DriverSpec::new(driver.clone())).by(Role::Driver))?;
    engine.handle(now, Action::StartShift { driver: driver.clone(), until: None }.by(Role::Driver))?;
    let index = PositionIndex::new(FixRules::default())?;
    let fix = Fix { position: Position::new(52.520, 13.405)?, at: now };
    assert_eq!(index.report(index.slot(&driver)?, fix, now), Reported::Moved);

    // An order comes in, is confirmed, and is ready for pickup.
    let spec = OrderSpec::new(order.clone(), Position::new(52.523, 13.411)?, Position::new(52.510, 13.390)?);
    engine.handle(now, Action::SubmitOrder(spec).by(Role::Customer))?;
    engine.handle(now, Action::Kitchen { order: order.clone(), status: KitchenStatus::Ready }.by(Role::Merchant))?;

    // Time passes: the next window offers the order to the driver, who takes and brings it.
    let mut positions = Positions::default();
    index.snapshot(&mut positions);
    let events = engine.advance(now, &positions);
    let Some(EventKind::OfferMade { offer, .. }) = events.last().map(|event| event.kind.clone()) else {
        return Err("the order was not offered".into());
    };
    println!("{}", engine.explain(&order).ok_or("the order is known")?);
    engine.handle(now, Action::AcceptOffer { offer, driver: driver.clone() }.by(Role::Driver))?;
    let eta = engine.eta(&order, now).ok_or("the order is on its way")?;
    println!("arrives in {:.1} min", (eta.at - now).as_mins_f64());
    for step in [Step::PickedUp, Step::Delivered] {
        let progress = Action::Progress { order: order.clone(), driver: driver.clone(), step };
        engine.handle(eta.at, progress.by(Role::Driver))?;
    }
    assert_eq!(engine.state().orders[&order].status.name(), "delivered");
    Ok(())
}
