//! An order as the engine takes it.

use dispatch_core::{OrderId, OrderSpec, Position};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let (restaurant, customer) = (Position::new(52.5200, 13.4050)?, Position::new(52.5030, 13.4290)?);
    let order = OrderSpec::new(OrderId::new("o-1")?, restaurant, customer);
    assert_eq!(order.units.get(), 1);
    println!("order {} goes {:.0} m as the crow flies", order.id, restaurant.distance(customer).get());
    Ok(())
}
