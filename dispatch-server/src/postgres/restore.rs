//! The engines' state, read back from the rows.

use super::Trouble;
use super::rows::{AllRules, Head};
use super::session::Session;
use crate::journal::{Accepted, Image, KNOWN_FOR, Keys, Mark, Restored};
use dispatch_core::{
    DemandMap, Driver, DriverId, MarketId, OfferBook, Order, OrderId, Readiness, Snapshot, State, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::{Row, query};
use std::collections::{BTreeMap, BTreeSet};

/// Most rows read at once.
const PAGE: i64 = 5_000;

/// An offer book as it is written.
#[derive(Serialize)]
struct Book {
    made: u64,
    offers: BTreeMap<u64, Box<RawValue>>,
}

/// Within a transaction: what the database holds of a server, if there is anything.
pub(super) async fn read(session: &mut Session, server: &str) -> Result<Option<Restored>, Trouble> {
    let select = query("SELECT applied_seq, applied_at_ms FROM dispatch.servers WHERE name = $1");
    let found = session.rows(select.bind(server)).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let (seq, at): (i64, Option<i64>) = (row.try_get("applied_seq")?, row.try_get("applied_at_ms")?);
    let mut image = Image { at: at.map(Timestamp::from_millis), ..Image::default() };
    let select = query(
        "SELECT market, head::text, rules::text, demand::text, readiness::text FROM dispatch.markets WHERE server = $1",
    );
    for row in session.rows(select.bind(server)).await? {
        let name: String = row.try_get("market")?;
        let market = MarketId::new(&name).map_err(|error| Trouble::Nonsense(error.to_string()))?;
        let Head { seq, at, config_version, resumed_at, offers_made } = decode(&row.try_get::<String, _>("head")?)?;
        let AllRules { config, former_configs }: AllRules<'_> = decode(&row.try_get::<String, _>("rules")?)?;
        let demand: DemandMap = decode(&row.try_get::<String, _>("demand")?)?;
        let readiness: Readiness = decode(&row.try_get::<String, _>("readiness")?)?;
        let state = State {
            seq,
            at,
            config_version,
            config: config.into_owned(),
            former_configs: former_configs.into_owned(),
            resumed_at,
            orders: orders(session, &name).await?,
            drivers: drivers(session, &name, &market, &mut image.homes).await?,
            offers: offers(session, &name, offers_made).await?,
            demand,
            readiness,
        };
        image.markets.insert(market, Snapshot::of(state));
    }
    image.keys = keys(session, server, image.at).await?;
    Ok(Some(Restored { image, seq: seq.cast_unsigned() }))
}

/// The keys that were still known at the last record.
async fn keys(session: &mut Session, server: &str, last: Option<Timestamp>) -> Result<Keys, Trouble> {
    let since = last.map_or(0, |last| (last - KNOWN_FOR).as_millis());
    let (mut known, mut after) = (Vec::new(), (String::new(), String::new()));
    loop {
        let select = query(
            "SELECT k.market, k.key, k.payload, k.created, k.seq, (extract(epoch FROM k.at) * 1000)::bigint AS at
             FROM dispatch.idempotency_keys k JOIN dispatch.markets m ON m.market = k.market
             WHERE m.server = $1 AND k.at > to_timestamp($2 / 1000.0) AND (k.market, k.key) > ($3, $4)
             ORDER BY k.market, k.key LIMIT $5",
        );
        let select = select.bind(server).bind(since).bind(&after.0).bind(&after.1).bind(PAGE);
        let rows = session.rows(select).await?;
        for row in &rows {
            let accepted = Accepted {
                key: mark(row.try_get("key")?)?,
                payload: mark(row.try_get("payload")?)?,
                created: row.try_get("created")?,
            };
            known.push((Timestamp::from_millis(row.try_get("at")?), row.try_get::<i64, _>("seq")?, accepted));
        }
        match rows.last() {
            Some(last) => after = (last.try_get("market")?, last.try_get("key")?),
            None => break,
        }
    }
    known.sort_by_key(|&(at, seq, Accepted { key, .. })| (at, seq, key));
    Ok(known.into_iter().map(|(at, _, accepted)| (at, accepted)).collect::<Vec<_>>().into())
}

async fn orders(session: &mut Session, market: &str) -> Result<BTreeMap<OrderId, Order>, Trouble> {
    let (mut orders, mut after) = (BTreeMap::new(), String::new());
    loop {
        let select = query(
            "SELECT id, state::text FROM dispatch.orders WHERE market = $1 AND retired_at IS NULL AND id > $2
             ORDER BY id LIMIT $3",
        );
        let rows = session.rows(select.bind(market).bind(&after).bind(PAGE)).await?;
        for row in &rows {
            let order: Order = decode(&row.try_get::<String, _>("state")?)?;
            orders.insert(order.spec.id.clone(), order);
        }
        match rows.last() {
            Some(last) => after = last.try_get("id")?,
            None => return Ok(orders),
        }
    }
}

async fn drivers(
    session: &mut Session,
    name: &str,
    market: &MarketId,
    homes: &mut BTreeMap<DriverId, BTreeSet<MarketId>>,
) -> Result<BTreeMap<DriverId, Driver>, Trouble> {
    let (mut drivers, mut after) = (BTreeMap::new(), String::new());
    loop {
        let select = query(
            "SELECT id, works_here, state::text FROM dispatch.drivers WHERE market = $1 AND id > $2 ORDER BY id LIMIT $3",
        );
        let rows = session.rows(select.bind(name).bind(&after).bind(PAGE)).await?;
        for row in &rows {
            let driver: Driver = decode(&row.try_get::<String, _>("state")?)?;
            let id = driver.spec.id.clone();
            if row.try_get("works_here")? {
                homes.entry(id.clone()).or_default().insert(market.clone());
            }
            drivers.insert(id, driver);
        }
        match rows.last() {
            Some(last) => after = last.try_get("id")?,
            None => return Ok(drivers),
        }
    }
}

async fn offers(session: &mut Session, market: &str, made: u64) -> Result<OfferBook, Trouble> {
    let (mut book, mut after) = (Book { made, offers: BTreeMap::new() }, -1_i64);
    loop {
        let select = query(
            "SELECT id, state::text FROM dispatch.offers WHERE market = $1 AND retired_at IS NULL AND id > $2
             ORDER BY id LIMIT $3",
        );
        let rows = session.rows(select.bind(market).bind(after).bind(PAGE)).await?;
        for row in &rows {
            after = row.try_get("id")?;
            let state = RawValue::from_string(row.try_get("state")?);
            book.offers.insert(after.cast_unsigned(), state.map_err(|error| Trouble::Nonsense(error.to_string()))?);
        }
        if rows.is_empty() {
            let text = serde_json::to_string(&book).map_err(|error| Trouble::Nonsense(error.to_string()))?;
            return decode(&text);
        }
    }
}

fn mark(text: String) -> Result<Mark, Trouble> {
    Mark::try_from(text).map_err(|problem| Trouble::Nonsense(format!("a key makes no sense: it {problem}")))
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Trouble> {
    serde_json::from_str(text).map_err(|error| Trouble::Nonsense(format!("a row makes no sense: {error}")))
}
