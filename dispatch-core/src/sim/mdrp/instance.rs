//! Reading an instance: four tab-separated files, checked so that nothing after them needs to be.

use super::Minute;
use super::plane::{MAX_COORDINATE_M, PlanarTravel, Point};
use super::table::{Fault, Layout, MdrpError, Row, read_text};
use crate::model::{DriverId, IdError, OrderId, PlaceId};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU32;
use std::path::Path;

/// The latest time of an instance, in minutes: about two years, far beyond the one day that instances span.
pub const MAX_MINUTE: i64 = 1_000_000;

/// The longest service time or target, in minutes.
const MAX_DURATION: i64 = 24 * 60;

/// The largest speed, in metres a minute, and pay.
const MAX_RATE: i64 = 1_000_000;

static ORDERS: Layout = Layout {
    file: "orders.txt",
    separator: '\t',
    columns: &["order", "x", "y", "placement_time", "restaurant", "ready_time"],
    last_repeats: false,
};
static RESTAURANTS: Layout =
    Layout { file: "restaurants.txt", separator: '\t', columns: &["restaurant", "x", "y"], last_repeats: false };
static COURIERS: Layout = Layout {
    file: "couriers.txt",
    separator: '\t',
    columns: &["courier", "x", "y", "on_time", "off_time"],
    last_repeats: false,
};
static PARAMETERS: Layout = Layout {
    file: "instance_parameters.txt",
    separator: '\t',
    columns: &[
        "meters_per_minute",
        "pickup service minutes",
        "dropoff service minutes",
        "target click-to-door",
        "maximum click-to-door",
        "pay per order",
        "guaranteed pay per hour",
    ],
    last_repeats: false,
};

/// The texts of the four files of an instance.
#[derive(Clone, Copy, Debug)]
pub struct InstanceFiles<'a> {
    /// `orders.txt`
    pub orders: &'a str,
    /// `restaurants.txt`
    pub restaurants: &'a str,
    /// `couriers.txt`
    pub couriers: &'a str,
    /// `instance_parameters.txt`
    pub instance_parameters: &'a str,
}

/// Where orders are picked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restaurant {
    /// Its name.
    pub id: PlaceId,
    /// Where it is.
    pub at: Point,
}

/// One order, to be brought from its restaurant to its customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// Where the customer is.
    pub at: Point,
    /// When it becomes known.
    pub placement: Minute,
    /// When it can be picked up; not before `placement`.
    pub ready: Minute,
    /// Its restaurant, as an index into [`Instance::restaurants`].
    pub restaurant: u32,
}

/// One courier and the shift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Courier {
    /// The name.
    pub id: DriverId,
    /// Where the shift begins.
    pub at: Point,
    /// When it begins.
    pub on: Minute,
    /// After which nothing is picked up any more, while drop-offs go on; not before `on`.
    pub off: Minute,
}

/// What holds for a whole instance. Durations are whole minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Speed.
    pub meters_per_minute: NonZeroU32,
    /// Time at a restaurant for a whole bundle: half before the pickup and half after. Even.
    pub pickup_service_minutes: i64,
    /// Time at a customer: half before the drop-off and half after. Even.
    pub dropoff_service_minutes: i64,
    /// The click-to-door time above which overage is counted.
    pub target_click_to_door: i64,
    /// The click-to-door time an order should never exceed; nothing enforces it.
    pub maximum_click_to_door: i64,
    /// What a courier earns per order.
    pub pay_per_order: u32,
    /// What a courier gets at least per hour of the shift.
    pub guaranteed_pay_per_hour: u32,
}

impl Parameters {
    /// Minutes between arrival and pickup, and again between pickup and departure.
    pub fn half_pickup(&self) -> i64 {
        self.pickup_service_minutes / 2
    }

    /// Minutes between arrival and drop-off, and again between drop-off and departure.
    pub fn half_dropoff(&self) -> i64 {
        self.dropoff_service_minutes / 2
    }
}

/// What an id names, and where that stands in its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Order(u32),
    Restaurant(u32),
    Courier(u32),
}

impl Named {
    /// Where it is in the files: rows follow the header one a line.
    fn file_and_line(self) -> (&'static str, usize) {
        let (layout, index) = match self {
            Self::Order(index) => (&ORDERS, index),
            Self::Restaurant(index) => (&RESTAURANTS, index),
            Self::Courier(index) => (&COURIERS, index),
        };
        (layout.file, index as usize + 2)
    }
}

/// A day to be dispatched. Has at least one order, restaurant and courier; ids are unique across the three kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    name: String,
    restaurants: Vec<Restaurant>,
    orders: Vec<Order>,
    couriers: Vec<Courier>,
    parameters: Parameters,
    named: BTreeMap<Box<str>, Named>,
}

impl Instance {
    /// Reads the texts of an instance that is called `name`.
    pub fn parse(name: &str, files: &InstanceFiles<'_>) -> Result<Self, MdrpError> {
        let parameters = parse_parameters(name, files.instance_parameters)?;
        let mut named = BTreeMap::new();
        let restaurants = parse_rows(&RESTAURANTS, name, files.restaurants, |row, index| {
            let id = name_row(row, &mut named, Named::Restaurant(index), |id| PlaceId::new(id))?;
            Ok(Restaurant { id, at: point(row)? })
        })?;
        let couriers = parse_rows(&COURIERS, name, files.couriers, |row, index| {
            let id = name_row(row, &mut named, Named::Courier(index), |id| DriverId::new(id))?;
            let (on, off) = (row.integer(3, 0..=MAX_MINUTE)?, row.integer(4, 0..=MAX_MINUTE)?);
            if off < on {
                return Err(row.fault(Fault::OffBeforeOn { on, off }));
            }
            Ok(Courier { id, at: point(row)?, on: Minute(on), off: Minute(off) })
        })?;
        let orders = parse_rows(&ORDERS, name, files.orders, |row, index| {
            let id = name_row(row, &mut named, Named::Order(index), |id| OrderId::new(id))?;
            let (placement, ready) = (row.integer(3, 0..=MAX_MINUTE)?, row.integer(5, 0..=MAX_MINUTE)?);
            if ready < placement {
                return Err(row.fault(Fault::ReadyBeforePlacement { placement, ready }));
            }
            let place = row.id(row.field(4), |id| PlaceId::new(id))?;
            let Some(Named::Restaurant(restaurant)) = named.get(place.as_str()).copied() else {
                return Err(row.fault(Fault::Unknown { kind: "restaurant", id: place.into() }));
            };
            Ok(Order { id, at: point(row)?, placement: Minute(placement), ready: Minute(ready), restaurant })
        })?;
        Ok(Self { name: name.to_owned(), restaurants, orders, couriers, parameters, named })
    }

    /// Reads the folder of an instance, which gives it its name. Files the format does not know are left alone.
    pub fn read(dir: &Path) -> Result<Self, MdrpError> {
        let name = dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy();
        let text = |layout: &Layout| read_text(dir, layout.file);
        Self::parse(
            &name,
            &InstanceFiles {
                orders: &text(&ORDERS)?,
                restaurants: &text(&RESTAURANTS)?,
                couriers: &text(&COURIERS)?,
                instance_parameters: &text(&PARAMETERS)?,
            },
        )
    }

    /// What the instance is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All restaurants, in the order of their file.
    pub fn restaurants(&self) -> &[Restaurant] {
        &self.restaurants
    }

    /// All orders, in the order of their file, which is not that of their placement.
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// All couriers, in the order of their file.
    pub fn couriers(&self) -> &[Courier] {
        &self.couriers
    }

    /// What holds for the whole instance.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Travel at the speed of this instance.
    pub fn travel(&self) -> PlanarTravel {
        PlanarTravel::new(self.parameters.meters_per_minute)
    }

    /// Where `order` of this instance is picked up.
    pub fn restaurant_of(&self, order: &Order) -> &Restaurant {
        &self.restaurants[order.restaurant as usize]
    }

    /// The order with this id, in logarithmic time.
    pub fn order(&self, id: &OrderId) -> Option<&Order> {
        match self.named.get(id.as_str())? {
            Named::Order(index) => self.orders.get(*index as usize),
            _ => None,
        }
    }

    /// The restaurant with this id, in logarithmic time.
    pub fn restaurant(&self, id: &PlaceId) -> Option<&Restaurant> {
        match self.named.get(id.as_str())? {
            Named::Restaurant(index) => self.restaurants.get(*index as usize),
            _ => None,
        }
    }

    /// The courier with this id, in logarithmic time.
    pub fn courier(&self, id: &DriverId) -> Option<&Courier> {
        match self.named.get(id.as_str())? {
            Named::Courier(index) => self.couriers.get(*index as usize),
            _ => None,
        }
    }
}

/// All rows of a table, at least one, each with its index.
fn parse_rows<T>(
    layout: &'static Layout,
    name: &str,
    text: &str,
    mut parse: impl FnMut(&Row<'_>, u32) -> Result<T, MdrpError>,
) -> Result<Vec<T>, MdrpError> {
    let rows: Vec<T> =
        layout.rows(name, text)?.zip(0..).map(|(row, index)| parse(&row?, index)).collect::<Result<_, _>>()?;
    if rows.is_empty() { Err(layout.fault(name, 1, Fault::NoRows)) } else { Ok(rows) }
}

/// Takes the id in the first column, which nothing may have had before.
fn name_row<T>(
    row: &Row<'_>,
    named: &mut BTreeMap<Box<str>, Named>,
    this: Named,
    make: impl FnOnce(&str) -> Result<T, IdError>,
) -> Result<T, MdrpError> {
    let text = row.field(0);
    let id = row.id(text, make)?;
    match named.entry(text.into()) {
        Entry::Vacant(vacant) => {
            vacant.insert(this);
            Ok(id)
        }
        Entry::Occupied(first) => {
            let (file, line) = first.get().file_and_line();
            Err(row.fault(Fault::Duplicate { id: text.to_owned(), file, line }))
        }
    }
}

/// The point in the second and third columns.
fn point(row: &Row<'_>) -> Result<Point, MdrpError> {
    let max = i64::from(MAX_COORDINATE_M);
    let (x, y) = (row.integer(1, -max..=max)?, row.integer(2, -max..=max)?);
    Ok(Point::new(x as i32, y as i32).expect("both are within the range of a point"))
}

fn parse_parameters(name: &str, text: &str) -> Result<Parameters, MdrpError> {
    let mut rows = PARAMETERS.rows(name, text)?;
    let row = rows.next().ok_or_else(|| PARAMETERS.fault(name, 1, Fault::NoRows))??;
    let service = |column| {
        let found = row.integer(column, 0..=MAX_DURATION)?;
        let odd = Fault::OddService { column: PARAMETERS.columns[column], found };
        if found % 2 == 0 { Ok(found) } else { Err(row.fault(odd)) }
    };
    let parameters = Parameters {
        meters_per_minute: NonZeroU32::new(row.integer(0, 1..=MAX_RATE)? as u32).expect("the range begins at one"),
        pickup_service_minutes: service(1)?,
        dropoff_service_minutes: service(2)?,
        target_click_to_door: row.integer(3, 0..=MAX_DURATION)?,
        maximum_click_to_door: row.integer(4, 0..=MAX_DURATION)?,
        pay_per_order: row.integer(5, 0..=MAX_RATE)? as u32,
        guaranteed_pay_per_hour: row.integer(6, 0..=MAX_RATE)? as u32,
    };
    match rows.next() {
        None => Ok(parameters),
        Some(extra) => Err(extra?.fault(Fault::ExtraRow)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SMALL, public_instances, small_instance};
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    const FILES: [&str; 4] = ["orders.txt", "restaurants.txt", "couriers.txt", "instance_parameters.txt"];

    fn texts() -> [String; 4] {
        [SMALL.orders, SMALL.restaurants, SMALL.couriers, SMALL.instance_parameters].map(str::to_owned)
    }

    fn parse(texts: &[String; 4]) -> Result<Instance, MdrpError> {
        let [orders, restaurants, couriers, instance_parameters] = texts.each_ref().map(String::as_str);
        Instance::parse("small", &InstanceFiles { orders, restaurants, couriers, instance_parameters })
    }

    /// The texts that give this instance.
    fn render(instance: &Instance) -> [String; 4] {
        let orders = instance.orders().iter().map(|order| {
            let restaurant = &instance.restaurant_of(order).id;
            let Order { id, at, placement, ready, .. } = order;
            format!("{id}\t{}\t{}\t{placement}\t{restaurant}\t{ready}", at.x(), at.y())
        });
        let restaurants =
            instance.restaurants().iter().map(|one| format!("{}\t{}\t{}", one.id, one.at.x(), one.at.y()));
        let couriers = instance
            .couriers()
            .iter()
            .map(|Courier { id, at, on, off }| format!("{id}\t{}\t{}\t{on}\t{off}", at.x(), at.y()));
        let Parameters {
            meters_per_minute,
            pickup_service_minutes,
            dropoff_service_minutes,
            target_click_to_door,
            maximum_click_to_door,
            pay_per_order,
            guaranteed_pay_per_hour,
        } = instance.parameters();
        let parameters = format!(
            "{meters_per_minute}\t{pickup_service_minutes}\t{dropoff_service_minutes}\t{target_click_to_door}\t\
             {maximum_click_to_door}\t{pay_per_order}\t{guaranteed_pay_per_hour}"
        );
        [
            ORDERS.render(orders),
            RESTAURANTS.render(restaurants),
            COURIERS.render(couriers),
            PARAMETERS.render([parameters]),
        ]
    }

    #[test]
    fn reads_what_the_files_say() {
        let instance = small_instance();
        let [_, second, ..] = instance.orders() else { panic!("five orders") };
        assert_eq!((second.id.as_str(), second.at, second.restaurant), ("o2", Point::new(400, 300).unwrap(), 0));
        assert_eq!((second.placement, second.ready), (Minute(6), Minute(18)));
        assert_eq!(instance.order(&second.id), Some(second));
        assert_eq!(instance.courier(&DriverId::new("c2").unwrap()).unwrap().off, Minute(60));
        assert_eq!(instance.restaurant(&PlaceId::new("r2").unwrap()).unwrap().at.x(), 1000);
        // Ids are looked up by kind, although all kinds share one name space.
        assert_eq!(instance.order(&OrderId::new("r1").unwrap()), None);
        assert_eq!((instance.parameters().half_pickup(), instance.parameters().target_click_to_door), (2, 25));
    }

    #[test]
    fn every_fault_is_named_with_file_and_line() {
        for (file, from, to, message) in [
            (0, "order\tx", "order\ty", r#"orders.txt:1: column 2 of the header must be "x", not "y""#),
            (0, "\tready_time", "", r#"orders.txt:1: column 6 of the header must be "ready_time", not """#),
            (0, "ready_time", "ready_time\tz", r#"orders.txt:1: the header has a column too many: "z""#),
            (0, "o2\t400\t300\t6\tr1\t18", "o2\t400", "orders.txt:3: 6 fields belong into a row, not 2"),
            (0, "r1\t18", "r1\t18\t", "orders.txt:3: 6 fields belong into a row, not 7"),
            (0, "o3\t", "\no3\t", "orders.txt:4: 6 fields belong into a row, not 1"),
            (0, "r1\t18", "r1\t18.5", r#"orders.txt:3: ready_time must be a whole number, not "18.5""#),
            (0, "300\t6\t", "300\t-6\t", "orders.txt:3: placement_time must be within 0 to 1000000, not -6"),
            (0, "o2\t400", "o2\t1000001", "orders.txt:3: x must be within -1000000 to 1000000, not 1000001"),
            (0, "r1\t18", "r1\t5", "orders.txt:3: ready_time 5 is before placement_time 6"),
            (0, "r1\t18", "r9\t18", r#"orders.txt:3: the instance has no restaurant "r9""#),
            (0, "r1\t18", "c1\t18", r#"orders.txt:3: the instance has no restaurant "c1""#),
            (0, "o2\t", "o1\t", r#"orders.txt:3: the id "o1" is already in line 2 of orders.txt"#),
            (0, "o2\t", "r2\t", r#"orders.txt:3: the id "r2" is already in line 3 of restaurants.txt"#),
            (0, "o2\t", "0\t", "orders.txt:3: the id 0 is reserved for the place where a courier starts"),
            (1, "r2\t", "r 2\t", "restaurants.txt:3: the place id consists of A-Z a-z 0-9 . _ : - and has no ' '"),
            (1, "r2\t", "r1\t", r#"restaurants.txt:3: the id "r1" is already in line 2 of restaurants.txt"#),
            (1, "r2\t1000\t0\n", "r2\t1000\t99999999999999999999", "restaurants.txt:3: y must be a whole number"),
            (2, "10\t60", "10\t9", "couriers.txt:3: off_time 9 is before on_time 10"),
            (2, "c2\t", "r1\t", r#"couriers.txt:3: the id "r1" is already in line 2 of restaurants.txt"#),
            (3, "100\t4", "0\t4", "instance_parameters.txt:2: meters_per_minute must be within 1 to 1000000, not 0"),
            (3, "100\t4", "100\t3", "instance_parameters.txt:2: pickup service minutes must be even"),
            (3, "10\t15\n", "10\t15\n100\t4\t4\t25\t90\t10\t15\n", "instance_parameters.txt:3: only one row belongs"),
        ] {
            let mut texts = texts();
            assert!(texts[file].contains(from), "{from:?} is not in {}", FILES[file]);
            texts[file] = texts[file].replacen(from, to, 1);
            let error = parse(&texts).unwrap_err().to_string();
            assert!(error.starts_with(&format!("small/{message}")), "{error}\nexpected {message}");
        }
        for (file, name) in FILES.iter().enumerate() {
            let mut texts = texts();
            texts[file].truncate(texts[file].find('\n').unwrap());
            assert_eq!(parse(&texts).unwrap_err().to_string(), format!("small/{name}:1: no row follows the header"));
            texts[file].clear();
            assert_eq!(parse(&texts).unwrap_err().to_string(), format!("small/{name}:1: the file is empty"));
        }
    }

    #[test]
    fn line_ends_of_either_kind_do_and_the_last_may_lack() {
        let crlf = texts().map(|text| text.replace('\n', "\r\n"));
        assert_eq!(parse(&crlf).unwrap(), small_instance());
        assert_eq!(parse(&texts().map(|text| text.trim_end().to_owned())).unwrap(), small_instance());
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let dir = std::env::temp_dir().join(format!("mdrp-instance-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let error = |dir: &Path| Instance::read(dir).unwrap_err().to_string();
        assert!(error(&dir).contains("orders.txt"), "{}", error(&dir));
        for (file, text) in FILES.iter().zip(texts()) {
            std::fs::write(dir.join(file), text).unwrap();
        }
        assert_eq!(Instance::read(&dir).unwrap().orders(), small_instance().orders());
        std::fs::write(dir.join("couriers.txt"), b"courier\tx\n\xff").unwrap();
        assert!(error(&dir).ends_with("couriers.txt:2: not UTF-8 text"), "{}", error(&dir));
        let huge = std::fs::File::create(dir.join("orders.txt")).unwrap();
        huge.set_len(super::super::MAX_FILE_BYTES + 1).unwrap();
        assert!(error(&dir).ends_with("orders.txt: more than 67108864 bytes"), "{}", error(&dir));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn public_instances_parse_and_render_to_the_same_bytes() {
        for dir in public_instances() {
            let instance = Instance::read(&dir).unwrap();
            for (file, text) in FILES.iter().zip(render(&instance)) {
                assert_eq!(text, std::fs::read_to_string(dir.join(file)).unwrap(), "{}/{file}", instance.name());
            }
        }
    }

    /// One edit of a text at a place given as a share of its length.
    #[derive(Clone, Debug)]
    enum Edit {
        Insert(Index, String),
        Delete(Index, Index),
        DropLine(Index),
        RepeatLine(Index),
        SwapLines(Index, Index),
        Truncate(Index),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let index = any::<Index>;
        prop_oneof![
            (index(), r"[\t\n\r 0-9ocr.\-]{1,3}|\PC{1,2}|-?[0-9]{1,25}").prop_map(|(at, text)| Edit::Insert(at, text)),
            (index(), index()).prop_map(|(from, to)| Edit::Delete(from, to)),
            index().prop_map(Edit::DropLine),
            index().prop_map(Edit::RepeatLine),
            (index(), index()).prop_map(|(a, b)| Edit::SwapLines(a, b)),
            index().prop_map(Edit::Truncate),
        ]
    }

    fn apply(text: &str, edit: &Edit) -> String {
        let chars: Vec<char> = text.chars().collect();
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let at = |index: &Index| index.index(chars.len() + 1);
        if lines.is_empty() {
            return text.to_owned();
        }
        let line = |index: &Index| index.index(lines.len());
        match edit {
            Edit::Insert(index, new) => {
                let (head, tail) = chars.split_at(at(index));
                return head.iter().copied().chain(new.chars()).chain(tail.iter().copied()).collect();
            }
            Edit::Delete(from, to) => {
                let (from, to) = (at(from).min(at(to)), at(from).max(at(to)));
                let to = to.min(from + 5);
                return chars[..from].iter().chain(&chars[to..]).collect();
            }
            Edit::Truncate(index) => return chars[..at(index)].iter().collect(),
            Edit::DropLine(index) => {
                let line = line(index);
                lines.remove(line);
            }
            Edit::RepeatLine(index) => {
                let line = line(index);
                lines.insert(line, lines[line]);
            }
            Edit::SwapLines(a, b) => {
                let (a, b) = (line(a), line(b));
                lines.swap(a, b);
            }
        }
        lines.concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn edited_files_are_understood_or_refused_by_name(edits in prop::collection::vec((0..4usize, edit()), 1..4)) {
            let mut texts = texts();
            for (file, edit) in &edits {
                texts[*file] = apply(&texts[*file], edit);
            }
            match parse(&texts) {
                Ok(instance) => prop_assert_eq!(parse(&render(&instance)).unwrap(), instance),
                Err(error) => {
                    let MdrpError::Line { file, line, .. } = &error else { panic!("{error}") };
                    let index = FILES.iter().position(|name| file.strip_prefix("small/") == Some(name)).unwrap();
                    prop_assert!((1..=texts[index].lines().count().max(1)).contains(line), "{}", error);
                }
            }
        }

        #[test]
        fn arbitrary_text_never_panics(file in 0..4usize, header in any::<bool>(), text in r"(\PC|[\t\n\r])*") {
            let mut texts = texts();
            let kept = if header { texts[file].find('\n').unwrap() + 1 } else { 0 };
            texts[file].truncate(kept);
            texts[file].push_str(&text);
            if let Err(error) = parse(&texts) {
                prop_assert!(FILES.iter().any(|name| error.to_string().contains(name)), "{}", error);
            }
        }
    }
}
