//! The rows that say how things are: all of an engine's state, written as it is after the last record.

use super::Trouble;
use super::changes::{Changes, Gone, MarketParts, kitchen_word, outcome_word, shift_word};
use super::columns::{MAX_ROWS, columns, joined, json, millis};
use super::session::Session;
use crate::journal::Image;
use dispatch_core::{Driver, EngineConfig, MarketId, Offer, Order, Snapshot, State, StopKind, Timestamp, Vehicle};
use serde::{Deserialize, Serialize};
use sqlx::{Row, query};
use std::borrow::Cow;
use std::collections::BTreeMap;

columns!(OrderColumns {
    market: String,
    id: String,
    status: &'static str,
    kitchen: &'static str,
    driver: Option<String>,
    place: Option<String>,
    pickup_lat: f64,
    pickup_lng: f64,
    dropoff_lat: f64,
    dropoff_lng: f64,
    placed_at: Option<i64>,
    ready_at: Option<i64>,
    promised_at: Option<i64>,
    assigned_at: Option<i64>,
    picked_up_at: Option<i64>,
    ended_at: Option<i64>,
    overdue: bool,
    retired_at: Option<i64>,
    state: String,
});

columns!(OfferColumns {
    market: String,
    id: i64,
    driver: String,
    orders: String,
    made_at: Option<i64>,
    expires_at: Option<i64>,
    attempt: i32,
    wave: Option<i64>,
    outcome: Option<&'static str>,
    retired_at: Option<i64>,
    state: String,
});

columns!(DriverColumns {
    market: String,
    id: String,
    works_here: bool,
    shift: &'static str,
    paused: bool,
    silent: bool,
    vehicle: &'static str,
    rating: f64,
    acceptance: f64,
    state: String,
});

columns!(StopColumns {
    market: String,
    driver: String,
    number: i32,
    kind: &'static str,
    lat: f64,
    lng: f64,
    orders: String,
    arrived_at: Option<i64>,
    arrive_at: Option<i64>,
    done_at: Option<i64>,
    leave_at: Option<i64>,
});

columns!(ActiveColumns { market: String, order: String, driver: String, slot: i32, since: Option<i64> });

columns!(NameColumns { market: String, id: String });

/// What of a state is not of one order, offer or driver, nor a table of its own.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) config_version: u32,
    pub(super) resumed_at: Option<Timestamp>,
    pub(super) offers_made: u64,
}

/// The rules in force, and those before.
#[derive(Serialize, Deserialize)]
pub(super) struct AllRules<'a> {
    pub(super) config: Cow<'a, EngineConfig>,
    pub(super) former_configs: Cow<'a, BTreeMap<u32, EngineConfig>>,
}

/// Writes what changed.
pub(super) async fn write(
    session: &mut Session,
    server: &str,
    changes: &Changes,
    image: &Image,
) -> Result<(), Trouble> {
    let version = changes.upto.seq.cast_signed();
    for (market, parts) in &changes.markets {
        if let Some(snapshot) = image.markets.get(market) {
            self::market(session, server, market, *parts, snapshot, version).await?;
        }
    }
    // Whoever loses an order comes before whoever gets it.
    release(session, changes).await?;
    drivers(session, changes, image, version).await?;
    keep_former(session, changes, version).await?;
    orders(session, changes, image, version).await?;
    offers(session, changes, image, version).await?;
    if changes.all { retire_the_rest(session, changes, version).await } else { Ok(()) }
}

async fn market(
    session: &mut Session,
    server: &str,
    market: &MarketId,
    parts: MarketParts,
    snapshot: &Snapshot,
    version: i64,
) -> Result<(), Trouble> {
    let state = snapshot.state();
    let head = Head {
        seq: state.seq,
        at: state.at,
        config_version: state.config_version,
        resumed_at: state.resumed_at,
        offers_made: state.offers.next_id().0 - 1,
    };
    let rules = AllRules { config: Cow::Borrowed(&state.config), former_configs: Cow::Borrowed(&state.former_configs) };
    let written = session
        .run(
            query(
                "INSERT INTO dispatch.markets AS t (market, server, version, seq, at, head, rules, demand, readiness)
                 SELECT $1, $2, $3, $4, to_timestamp($5 / 1000.0), $6::json, coalesce($7::json, old.rules),
                        coalesce($8::json, old.demand), coalesce($9::json, old.readiness)
                 FROM (SELECT) AS one LEFT JOIN dispatch.markets old ON old.market = $1
                 ON CONFLICT (market) DO UPDATE SET version = excluded.version, seq = excluded.seq, at = excluded.at,
                     head = excluded.head, rules = excluded.rules, demand = excluded.demand,
                     readiness = excluded.readiness
                 WHERE t.version < excluded.version AND t.server = excluded.server",
            )
            .bind(market.as_str())
            .bind(server)
            .bind(version)
            .bind(state.seq.cast_signed())
            .bind(millis(state.at))
            .bind(json(&head))
            .bind(parts.rules.then(|| json(&rules)))
            .bind(parts.demand.then(|| json(&state.demand)))
            .bind(parts.readiness.then(|| json(&state.readiness))),
        )
        .await?;
    if written == 1 {
        return Ok(());
    }
    Err(Trouble::Taken(format!("market {market} belongs to another server there")))
}

/// Frees what changed drivers have, and what changed orders are in.
async fn release(session: &mut Session, changes: &Changes) -> Result<(), Trouble> {
    let (drivers, orders) = (names(&changes.drivers), names(changes.orders.keys()));
    if !drivers.id.is_empty() {
        session
            .run(drivers.bind(query(
                "DELETE FROM dispatch.stops t USING unnest($1::text[], $2::text[]) AS rows (market, id)
                 WHERE t.market = rows.market AND t.driver = rows.id",
            )))
            .await?;
        session
            .run(drivers.bind(query(
                "DELETE FROM dispatch.active_assignments t USING unnest($1::text[], $2::text[]) AS rows (market, id)
                 WHERE t.market = rows.market AND t.driver = rows.id",
            )))
            .await?;
    }
    if !orders.id.is_empty() {
        session
            .run(orders.bind(query(
                "DELETE FROM dispatch.active_assignments t USING unnest($1::text[], $2::text[]) AS rows (market, id)
                 WHERE t.market = rows.market AND t.order_id = rows.id",
            )))
            .await?;
    }
    Ok(())
}

async fn drivers(session: &mut Session, changes: &Changes, image: &Image, version: i64) -> Result<(), Trouble> {
    let mut columns = DriverColumns::default();
    let (mut stops, mut active) = (StopColumns::default(), ActiveColumns::default());
    let mut left = changes.drivers.len();
    for (market, id) in &changes.drivers {
        left -= 1;
        let state = image.markets.get(market).map(Snapshot::state);
        if let Some((state, driver)) = state.and_then(|state| Some((state, state.drivers.get(id)?))) {
            let works_here = image.homes.get(id).is_some_and(|homes| homes.contains(market));
            push_driver(&mut columns, market, driver, works_here);
            push_route(&mut stops, &mut active, market, driver, state);
        }
        if columns.id.len() >= MAX_ROWS || left == 0 {
            write_drivers(session, &columns, &stops, &active, version).await?;
            (columns, stops, active) = (DriverColumns::default(), StopColumns::default(), ActiveColumns::default());
        }
    }
    Ok(())
}

async fn write_drivers(
    session: &mut Session,
    columns: &DriverColumns,
    stops: &StopColumns,
    active: &ActiveColumns,
    version: i64,
) -> Result<(), Trouble> {
    let upsert = query(
        "INSERT INTO dispatch.drivers AS t (market, id, works_here, shift, paused, silent, vehicle, rating, acceptance,
                                            state, version)
         SELECT a, b, c, d, e, f, g, h, i, j::json, $11
         FROM unnest($1::text[], $2::text[], $3::bool[], $4::text[], $5::bool[], $6::bool[], $7::text[], $8::float8[],
                     $9::float8[], $10::text[]) AS rows (a, b, c, d, e, f, g, h, i, j)
         ON CONFLICT (market, id) DO UPDATE SET version = excluded.version, works_here = excluded.works_here,
             shift = excluded.shift, paused = excluded.paused, silent = excluded.silent, vehicle = excluded.vehicle,
             rating = excluded.rating, acceptance = excluded.acceptance, state = excluded.state
         WHERE t.version < excluded.version",
    );
    session.run(columns.bind(upsert).bind(version)).await?;
    let insert = query(
        "INSERT INTO dispatch.stops (market, driver, number, kind, lat, lng, orders, arrived_at, arrive_at, done_at,
                                     leave_at)
         SELECT a, b, c, d, e, f, string_to_array(g, ' '), to_timestamp(h / 1000.0), to_timestamp(i / 1000.0),
                to_timestamp(j / 1000.0), to_timestamp(k / 1000.0)
         FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::float8[], $6::float8[], $7::text[],
                     $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
              AS rows (a, b, c, d, e, f, g, h, i, j, k)",
    );
    if !stops.driver.is_empty() {
        session.run(stops.bind(insert)).await?;
    }
    let insert = query(
        "INSERT INTO dispatch.active_assignments (market, order_id, driver, slot, since)
         SELECT a, b, c, d, to_timestamp(e / 1000.0)
         FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[]) AS rows (a, b, c, d, e)",
    );
    if !active.driver.is_empty() {
        session.run(active.bind(insert)).await?;
    }
    Ok(())
}

fn push_driver(columns: &mut DriverColumns, market: &MarketId, driver: &Driver, works_here: bool) {
    let Driver { spec, rating, acceptance, shift, paused, silent, .. } = driver;
    columns.push(
        market.to_string(),
        spec.id.to_string(),
        works_here,
        shift_word(*shift),
        *paused,
        *silent,
        vehicle_word(spec.vehicle),
        rating.stars(),
        acceptance.rate(),
        json(driver),
    );
}

fn push_route(stops: &mut StopColumns, active: &mut ActiveColumns, market: &MarketId, driver: &Driver, state: &State) {
    let id = driver.spec.id.to_string();
    for (number, stop) in driver.stops.iter().enumerate() {
        stops.push(
            market.to_string(),
            id.clone(),
            count(number),
            if stop.kind == StopKind::Pickup { "pickup" } else { "dropoff" },
            stop.position.lat(),
            stop.position.lng(),
            joined(&stop.orders),
            stop.arrived_at.and_then(millis),
            millis(stop.arrive_at),
            millis(stop.done_at),
            millis(stop.leave_at),
        );
    }
    for (slot, order) in driver.orders().enumerate() {
        let since = state.orders.get(order).and_then(|order| order.times.assigned);
        active.push(market.to_string(), order.to_string(), id.clone(), count(slot), since.and_then(millis));
    }
}

macro_rules! insert_orders {
    ($into:literal) => {
        concat!(
            "INSERT INTO ",
            $into,
            " (market, id, status, kitchen, driver, place, pickup_lat, pickup_lng, dropoff_lat, dropoff_lng, placed_at, ready_at,
               promised_at, assigned_at, picked_up_at, ended_at, overdue, retired_at, state, version)
             SELECT a, b, c, d, e, f, g, h, i, j, to_timestamp(k / 1000.0), to_timestamp(l / 1000.0),
                    to_timestamp(m / 1000.0), to_timestamp(n / 1000.0), to_timestamp(o / 1000.0),
                    to_timestamp(p / 1000.0), q, to_timestamp(r / 1000.0), s::json, $20
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[],
                         $8::float8[], $9::float8[], $10::float8[], $11::bigint[], $12::bigint[], $13::bigint[],
                         $14::bigint[], $15::bigint[], $16::bigint[], $17::bool[], $18::bigint[], $19::text[])
                  AS rows (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s) "
        )
    };
}

const UPSERT_ORDERS: &str = concat!(
    insert_orders!("dispatch.orders AS t"),
    "ON CONFLICT (market, id) DO UPDATE SET version = excluded.version, status = excluded.status,
         kitchen = excluded.kitchen, driver = excluded.driver, place = excluded.place, pickup_lat = excluded.pickup_lat,
         pickup_lng = excluded.pickup_lng, dropoff_lat = excluded.dropoff_lat, dropoff_lng = excluded.dropoff_lng,
         placed_at = excluded.placed_at, ready_at = excluded.ready_at, promised_at = excluded.promised_at,
         assigned_at = excluded.assigned_at, picked_up_at = excluded.picked_up_at, ended_at = excluded.ended_at,
         overdue = excluded.overdue, retired_at = excluded.retired_at, state = excluded.state
     WHERE t.version < excluded.version"
);

const KEEP_ORDERS: &str = concat!(insert_orders!("dispatch.orders_history"), "ON CONFLICT DO NOTHING");

/// Before the transaction: makes the partitions that orders go to whose ids were used again.
pub(super) async fn partitions(session: &mut Session, changes: &Changes) -> Result<(), Trouble> {
    for (_, former) in &changes.former {
        session.partition("orders_history", former.last.times.placed).await?;
    }
    let select = query(
        "SELECT DISTINCT (extract(epoch FROM date_trunc('day', t.placed_at, 'UTC')) * 1000)::bigint
         FROM unnest($1::text[], $2::text[]) AS rows (market, id) JOIN dispatch.orders t USING (market, id)
         WHERE t.retired_at IS NOT NULL",
    );
    if changes.placed.is_empty() {
        return Ok(());
    }
    for row in session.rows(names(&changes.placed).bind(select)).await? {
        session.partition("orders_history", Timestamp::from_millis(row.try_get(0)?)).await?;
    }
    Ok(())
}

fn names<'a, T: ToString + 'a>(ids: impl IntoIterator<Item = &'a (MarketId, T)>) -> NameColumns {
    let mut columns = NameColumns::default();
    ids.into_iter().for_each(|(market, id)| columns.push(market.to_string(), id.to_string()));
    columns
}

/// Keeps the orders whose ids are used again: their rows are taken by others.
async fn keep_former(session: &mut Session, changes: &Changes, version: i64) -> Result<(), Trouble> {
    if !changes.placed.is_empty() {
        let keep = query(
            "INSERT INTO dispatch.orders_history
             SELECT t.* FROM unnest($1::text[], $2::text[]) AS rows (market, id) JOIN dispatch.orders t USING (market, id)
             WHERE t.retired_at IS NOT NULL ON CONFLICT DO NOTHING",
        );
        session.run(names(&changes.placed).bind(keep)).await?;
    }
    let mut columns = OrderColumns::default();
    for (market, Gone { last, at }) in &changes.former {
        push_order(&mut columns, market, last, Some(*at));
    }
    if !columns.id.is_empty() {
        session.run(columns.bind(query(KEEP_ORDERS)).bind(version)).await?;
    }
    Ok(())
}

async fn orders(session: &mut Session, changes: &Changes, image: &Image, version: i64) -> Result<(), Trouble> {
    let mut columns = OrderColumns::default();
    let mut left = changes.orders.len();
    for ((market, id), gone) in &changes.orders {
        left -= 1;
        let order = image.markets.get(market).and_then(|snapshot| snapshot.state().orders.get(id));
        match (order, gone) {
            (Some(order), _) => push_order(&mut columns, market, order, None),
            (None, Some(Gone { last, at })) => push_order(&mut columns, market, last, Some(*at)),
            (None, None) => {}
        }
        if !columns.id.is_empty() && (columns.id.len() >= MAX_ROWS || left == 0) {
            session.run(columns.bind(query(UPSERT_ORDERS)).bind(version)).await?;
            columns = OrderColumns::default();
        }
    }
    Ok(())
}

fn push_order(columns: &mut OrderColumns, market: &MarketId, order: &Order, retired: Option<Timestamp>) {
    let Order { spec, kitchen, status, ready_at, times, overdue, .. } = order;
    let (pickup, dropoff) = (&spec.pickup, &spec.dropoff);
    columns.push(
        market.to_string(),
        spec.id.to_string(),
        status.name(),
        kitchen_word(*kitchen),
        status.driver().map(ToString::to_string),
        pickup.id.as_ref().map(ToString::to_string),
        pickup.position.lat(),
        pickup.position.lng(),
        dropoff.position.lat(),
        dropoff.position.lng(),
        millis(times.placed),
        millis(*ready_at),
        spec.promised_at.and_then(millis),
        times.assigned.and_then(millis),
        times.picked_up.and_then(millis),
        times.ended.and_then(millis),
        *overdue,
        retired.and_then(millis),
        json(order),
    );
}

async fn offers(session: &mut Session, changes: &Changes, image: &Image, version: i64) -> Result<(), Trouble> {
    let mut columns = OfferColumns::default();
    let mut left = changes.offers.len();
    for ((market, id), gone) in &changes.offers {
        left -= 1;
        let offer = image.markets.get(market).and_then(|snapshot| snapshot.state().offers.get(*id));
        match (offer, gone) {
            (Some(offer), _) => push_offer(&mut columns, market, offer, None),
            (None, Some(Gone { last, at })) => push_offer(&mut columns, market, last, Some(*at)),
            (None, None) => {}
        }
        if !columns.id.is_empty() && (columns.id.len() >= MAX_ROWS || left == 0) {
            let upsert = query(
                "INSERT INTO dispatch.offers AS t (market, id, driver, orders, made_at, expires_at, attempt, wave, outcome,
                                                   retired_at, state, version)
                 SELECT a, b, c, string_to_array(d, ' '), to_timestamp(e / 1000.0), to_timestamp(f / 1000.0), g, h, i,
                        to_timestamp(j / 1000.0), k::json, $12
                 FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::int[],
                             $8::bigint[], $9::text[], $10::bigint[], $11::text[])
                      AS rows (a, b, c, d, e, f, g, h, i, j, k)
                 ON CONFLICT (market, id) DO UPDATE SET version = excluded.version, expires_at = excluded.expires_at,
                     outcome = excluded.outcome, retired_at = excluded.retired_at, state = excluded.state
                 WHERE t.version < excluded.version",
            );
            session.run(columns.bind(upsert).bind(version)).await?;
            columns = OfferColumns::default();
        }
    }
    Ok(())
}

fn push_offer(columns: &mut OfferColumns, market: &MarketId, offer: &Offer, retired: Option<Timestamp>) {
    columns.push(
        market.to_string(),
        offer.id.0.cast_signed(),
        offer.driver.to_string(),
        joined(&offer.orders),
        millis(offer.made_at),
        millis(offer.expires_at),
        i32::from(offer.attempt),
        offer.wave.map(|wave| wave.0.cast_signed()),
        outcome_word(offer.outcome),
        retired.and_then(millis),
        json(offer),
    );
}

/// A number of a few as a column has it.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn vehicle_word(vehicle: Vehicle) -> &'static str {
    match vehicle {
        Vehicle::Bicycle => "bicycle",
        Vehicle::Motorcycle => "motorcycle",
        Vehicle::Car => "car",
        Vehicle::Van => "van",
    }
}

/// After all rows were written: what was not left the engines' memory at a time nobody knows any more.
async fn retire_the_rest(session: &mut Session, changes: &Changes, version: i64) -> Result<(), Trouble> {
    let markets: Vec<String> = changes.markets.keys().map(ToString::to_string).collect();
    for retire in [
        "UPDATE dispatch.orders SET retired_at = now(), version = $2
         WHERE market = ANY($1) AND version < $2 AND retired_at IS NULL",
        "UPDATE dispatch.offers SET retired_at = now(), version = $2
         WHERE market = ANY($1) AND version < $2 AND retired_at IS NULL",
        "DELETE FROM dispatch.stops t WHERE market = ANY($1)
         AND NOT EXISTS (SELECT FROM dispatch.drivers d WHERE (d.market, d.id) = (t.market, t.driver) AND d.version = $2)",
        "DELETE FROM dispatch.active_assignments t WHERE market = ANY($1)
         AND NOT EXISTS (SELECT FROM dispatch.orders o WHERE (o.market, o.id) = (t.market, t.order_id) AND o.version = $2)",
        "UPDATE dispatch.assignments t SET ended_at = now(), outcome = 'unknown' WHERE market = ANY($1) AND ended_at IS NULL
         AND NOT EXISTS (SELECT FROM dispatch.active_assignments a
                         WHERE (a.market, a.order_id, a.driver) = (t.market, t.order_id, t.driver))
         AND $2::bigint IS NOT NULL",
        "INSERT INTO dispatch.assignments (market, order_id, seq, driver, at)
         SELECT a.market, a.order_id, -$2::bigint, a.driver, coalesce(a.since, now())
         FROM dispatch.active_assignments a WHERE a.market = ANY($1)
         AND NOT EXISTS (SELECT FROM dispatch.assignments t WHERE (t.market, t.order_id) = (a.market, a.order_id)
                         AND t.ended_at IS NULL)",
    ] {
        session.run(query(retire).bind(&markets).bind(version)).await?;
    }
    Ok(())
}
