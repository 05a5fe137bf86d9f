//! Solutions in the files the public evaluator reads: who fetched what and when, and how the couriers moved.

use super::Minute;
use super::instance::Instance;
use super::table::{Fault, Layout, MdrpError, Row, io_error, read_text};
use crate::model::{DriverId, OrderId, PlaceId};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// The latest time of a solution, in minutes; what the last deliveries of an instance at one metre a minute could need.
const MAX_SOLUTION_MINUTE: i64 = 1_000_000_000;

static ASSIGNMENTS: Layout = Layout {
    file: "solution_info_assignments.txt",
    separator: ' ',
    columns: &["assignment_time", "pickup_time", "courier", "orders"],
    last_repeats: true,
};
// The evaluator reads these columns by name, so every one must be spelt like this.
static ORDERS: Layout = Layout {
    file: "solution_info_orders.txt",
    separator: ' ',
    columns: &["order", "placement_time", "ready_time", "pickup_time", "dropoff_time", "courier"],
    last_repeats: false,
};
// The evaluator skips this header because its second field is no number.
static MOVES: Layout = Layout {
    file: "solution_info_couriers.txt",
    separator: ' ',
    columns: &["courier", "departure_time", "origin", "destination"],
    last_repeats: false,
};

/// The origin of a courier's first move, in the files.
const START: &str = "0";

/// A bundle of orders of one restaurant that a courier fetched together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// When the decision became final.
    pub assigned: Minute,
    /// When the orders were taken over.
    pub pickup: Minute,
    /// By whom.
    pub courier: DriverId,
    /// The orders, in the sequence in which they were delivered; at least one.
    pub bundle: Vec<OrderId>,
}

/// The times of an order that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredOrder {
    /// Which order.
    pub order: OrderId,
    /// When it was placed.
    pub placement: Minute,
    /// When it was ready.
    pub ready: Minute,
    /// When it was taken over at the restaurant.
    pub pickup: Minute,
    /// When it was handed to the customer.
    pub dropoff: Minute,
    /// By whom.
    pub courier: DriverId,
}

/// Where a courier is between moves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// Where the courier's shift began.
    Start,
    /// At a restaurant.
    Restaurant(PlaceId),
    /// At the customer of an order.
    Customer(OrderId),
}

/// A courier's way from one location to the next. When it arrives follows from the instance's speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Who moves.
    pub courier: DriverId,
    /// When.
    pub departure: Minute,
    /// From where: where the move before ended, or the start.
    pub origin: Location,
    /// Where to.
    pub destination: Location,
}

/// What became of an instance's orders. Orders that were not delivered are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solution {
    /// The final assignments.
    pub assignments: Vec<Assignment>,
    /// The delivered orders.
    pub orders: Vec<DeliveredOrder>,
    /// The moves, in the sequence in which each courier made them; those of several couriers may be mixed.
    pub moves: Vec<Move>,
}

/// The texts of the three files of a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolutionFiles {
    /// `solution_info_assignments.txt`
    pub assignments: String,
    /// `solution_info_orders.txt`
    pub orders: String,
    /// `solution_info_couriers.txt`
    pub couriers: String,
}

impl Solution {
    /// The texts of the solution's files. Rows stand as they stand here, except that moves are brought together by
    /// courier, as the format demands.
    pub fn render(&self) -> SolutionFiles {
        let mut moves: Vec<&Move> = self.moves.iter().collect();
        moves.sort_by_key(|one| &one.courier); // stable: the sequence of each courier stays
        SolutionFiles {
            assignments: ASSIGNMENTS.render(self.assignments.iter().map(Assignment::row)),
            orders: ORDERS.render(self.orders.iter().map(DeliveredOrder::row)),
            couriers: MOVES.render(moves.into_iter().map(Move::row)),
        }
    }

    /// Writes the three files into `dir`, which is made when it is not there. Files of those names are replaced.
    pub fn write(&self, dir: &Path) -> Result<(), MdrpError> {
        let SolutionFiles { assignments, orders, couriers } = self.render();
        fs::create_dir_all(dir).map_err(io_error(dir))?;
        for (layout, text) in [(&ASSIGNMENTS, assignments), (&ORDERS, orders), (&MOVES, couriers)] {
            let path = dir.join(layout.file);
            fs::write(&path, text).map_err(io_error(&path))?;
        }
        Ok(())
    }

    /// Reads the texts of a solution of `instance`, which must know all ids in them. Says nothing about feasibility:
    /// that is for [`check`](super::check()).
    pub fn parse(instance: &Instance, files: &SolutionFiles) -> Result<Self, MdrpError> {
        let name = instance.name();
        let assignments = ASSIGNMENTS.rows(name, &files.assignments)?.map(|row| Assignment::parse(instance, &row?));
        let orders = ORDERS.rows(name, &files.orders)?.map(|row| DeliveredOrder::parse(instance, &row?));
        let mut blocks = Blocks::default();
        let moves = MOVES.rows(name, &files.couriers)?.map(|row| {
            let row = row?;
            let one = Move::parse(instance, &row)?;
            blocks.enter(&row, &one.courier)?;
            Ok(one)
        });
        Ok(Self {
            assignments: assignments.collect::<Result<_, _>>()?,
            orders: orders.collect::<Result<_, _>>()?,
            moves: moves.collect::<Result<_, _>>()?,
        })
    }

    /// Reads the three files of a solution of `instance` from `dir`, as [`Solution::parse`] does.
    pub fn read(instance: &Instance, dir: &Path) -> Result<Self, MdrpError> {
        let text = |layout: &Layout| read_text(dir, layout.file);
        Self::parse(
            instance,
            &SolutionFiles { assignments: text(&ASSIGNMENTS)?, orders: text(&ORDERS)?, couriers: text(&MOVES)? },
        )
    }
}

/// Which couriers' moves have been read: the evaluator would overlook a second block of one courier.
#[derive(Default)]
struct Blocks {
    current: Option<DriverId>,
    seen: BTreeSet<DriverId>,
}

impl Blocks {
    fn enter(&mut self, row: &Row<'_>, courier: &DriverId) -> Result<(), MdrpError> {
        if self.current.as_ref() == Some(courier) {
            return Ok(());
        }
        if !self.seen.insert(courier.clone()) {
            return Err(row.fault(Fault::SplitMoves { courier: courier.to_string() }));
        }
        self.current = Some(courier.clone());
        Ok(())
    }
}

fn minute(row: &Row<'_>, column: usize) -> Result<Minute, MdrpError> {
    row.integer(column, 0..=MAX_SOLUTION_MINUTE).map(Minute)
}

fn unknown(row: &Row<'_>, kind: &'static str, id: &str) -> MdrpError {
    row.fault(Fault::Unknown { kind, id: id.to_owned() })
}

fn courier(instance: &Instance, row: &Row<'_>, text: &str) -> Result<DriverId, MdrpError> {
    let id = row.id(text, |id| DriverId::new(id))?;
    if instance.courier(&id).is_some() { Ok(id) } else { Err(unknown(row, "courier", text)) }
}

fn order(instance: &Instance, row: &Row<'_>, text: &str) -> Result<OrderId, MdrpError> {
    let id = row.id(text, |id| OrderId::new(id))?;
    if instance.order(&id).is_some() { Ok(id) } else { Err(unknown(row, "order", text)) }
}

/// A location other than a start: ids are unique across the kinds, so the text says which kind it is.
fn place(instance: &Instance, row: &Row<'_>, text: &str) -> Result<Location, MdrpError> {
    let restaurant = row.id(text, |id| PlaceId::new(id))?;
    if instance.restaurant(&restaurant).is_some() {
        return Ok(Location::Restaurant(restaurant));
    }
    let customer = row.id(text, |id| OrderId::new(id))?;
    if instance.order(&customer).is_some() {
        return Ok(Location::Customer(customer));
    }
    Err(unknown(row, "restaurant or order", text))
}

impl Assignment {
    fn row(&self) -> String {
        let Self { assigned, pickup, courier, bundle } = self;
        let mut row = format!("{assigned} {pickup} {courier}");
        for order in bundle {
            row.push(' ');
            row.push_str(order.as_str());
        }
        row
    }

    fn parse(instance: &Instance, row: &Row<'_>) -> Result<Self, MdrpError> {
        Ok(Self {
            assigned: minute(row, 0)?,
            pickup: minute(row, 1)?,
            courier: courier(instance, row, row.field(2))?,
            bundle: row.fields_from(3).iter().map(|id| order(instance, row, id)).collect::<Result<_, _>>()?,
        })
    }
}

impl DeliveredOrder {
    fn row(&self) -> String {
        let Self { order, placement, ready, pickup, dropoff, courier } = self;
        format!("{order} {placement} {ready} {pickup} {dropoff} {courier}")
    }

    fn parse(instance: &Instance, row: &Row<'_>) -> Result<Self, MdrpError> {
        Ok(Self {
            order: order(instance, row, row.field(0))?,
            placement: minute(row, 1)?,
            ready: minute(row, 2)?,
            pickup: minute(row, 3)?,
            dropoff: minute(row, 4)?,
            courier: courier(instance, row, row.field(5))?,
        })
    }
}

impl Move {
    fn row(&self) -> String {
        let Self { courier, departure, origin, destination } = self;
        format!("{courier} {departure} {origin} {destination}")
    }

    fn parse(instance: &Instance, row: &Row<'_>) -> Result<Self, MdrpError> {
        let origin = match row.field(2) {
            START => Location::Start,
            text => place(instance, row, text)?,
        };
        Ok(Self {
            courier: courier(instance, row, row.field(0))?,
            departure: minute(row, 1)?,
            origin,
            destination: place(instance, row, row.field(3))?,
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => START,
            Self::Restaurant(id) => id.as_str(),
            Self::Customer(id) => id.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{small_instance, small_solution};
    use super::*;

    #[test]
    fn files_are_exactly_as_the_evaluator_reads_them() {
        let mut solution = small_solution();
        let files = solution.render();
        assert_eq!(
            files.orders.lines().next(),
            Some("order placement_time ready_time pickup_time dropoff_time courier")
        );
        assert_eq!(
            files.assignments,
            "assignment_time pickup_time courier orders\n6 18 c1 o1 o2\n12 24 c2 o3\n30 44 c1 o4\n"
        );
        assert_eq!(files.couriers.lines().nth(1), Some("c1 0 0 r1"));
        // As a simulation records them, moves are mixed; the files bring them together.
        solution.moves.sort_by_key(|one| one.departure);
        assert_ne!(solution, small_solution());
        assert_eq!(solution.render(), files);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = std::env::temp_dir().join(format!("mdrp-solution-{}", std::process::id())).join("new");
        for solution in [small_solution(), Solution::default()] {
            solution.write(&dir).unwrap();
            assert_eq!(Solution::read(&small_instance(), &dir).unwrap(), solution);
        }
        fs::remove_file(dir.join(MOVES.file)).unwrap();
        assert!(Solution::read(&small_instance(), &dir).unwrap_err().to_string().contains(MOVES.file));
        fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }

    #[test]
    fn every_fault_is_named_with_file_and_line() {
        type Pick = fn(&mut SolutionFiles) -> &mut String;
        let (assignments, orders, couriers): (Pick, Pick, Pick) =
            (|files| &mut files.assignments, |files| &mut files.orders, |files| &mut files.couriers);
        for (file, from, to, message) in [
            (assignments, "c1 o1 o2", "c1", "assignments.txt:2: 4 fields belong into a row, not 3"),
            (
                couriers,
                "12 0 r2",
                "12 0 r/2",
                "couriers.txt:7: the place id consists of A-Z a-z 0-9 . _ : - and has no '/'",
            ),
            (assignments, "c1 o1", "r1 o1", r#"assignments.txt:2: the instance has no courier "r1""#),
            (assignments, "o1 o2", "o1 c2", r#"assignments.txt:2: the instance has no order "c2""#),
            (assignments, "6 18", "6 18.0", r#"assignments.txt:2: pickup_time must be a whole number, not "18.0""#),
            (
                orders,
                "ready_time",
                "ready",
                r#"orders.txt:1: column 3 of the header must be "ready_time", not "ready""#,
            ),
            (orders, "31 c2", "-1 c2", "orders.txt:4: dropoff_time must be within 0 to 1000000000, not -1"),
            (couriers, "12 0 r2", "12 0 c2", r#"couriers.txt:7: the instance has no restaurant or order "c2""#),
            (couriers, "35 o2 r2", "35 o2 0", "couriers.txt:5: the id 0 is reserved"),
            (couriers, "c2 40", "c1 40", r#"couriers.txt:9: the moves of courier "c1" began further up"#),
        ] {
            let mut files = small_solution().render();
            let text = file(&mut files);
            assert!(text.contains(from), "{from:?}");
            *text = text.replacen(from, to, 1);
            let error = Solution::parse(&small_instance(), &files).unwrap_err().to_string();
            assert!(error.starts_with(&format!("small/solution_info_{message}")), "{error}\nexpected {message}");
        }
    }
}
