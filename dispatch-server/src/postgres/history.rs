//! What is only ever added to: the log, versions of rules, assignments, expected times, positions.

use super::Trouble;
use super::changes::Changes;
use super::columns::{MAX_ROWS, columns, joined, json, millis, plain};
use super::samples::Sample;
use super::session::Session;
use crate::journal::Image;
use dispatch_core::{Event, EventKind};
use sqlx::query;

columns!(EventColumns {
    market: String,
    seq: i64,
    at: Option<i64>,
    kind: String,
    orders: String,
    driver: Option<String>,
    offer: Option<i64>,
    role: String,
    name: Option<String>,
    address: Option<String>,
    user_agent: Option<String>,
    before: Option<String>,
    after: Option<String>,
    event: String,
});

columns!(AssignmentColumns {
    market: String,
    order: String,
    seq: i64,
    driver: String,
    at: Option<i64>,
    ended_at: Option<i64>,
    outcome: Option<&'static str>,
});

columns!(EndColumns { market: String, order: String, at: Option<i64>, outcome: &'static str });

columns!(EtaColumns {
    market: String,
    order: String,
    seq: i64,
    at: Option<i64>,
    driver: String,
    pickup_at: Option<i64>,
    dropoff_at: Option<i64>,
});
columns!(KeyColumns { market: String, key: String, payload: String, created: bool, at: Option<i64> });

columns!(SampleColumns { market: String, driver: String, at: Option<i64>, lat: f64, lng: f64 });

/// Writes what was added, but for assignments, which follow the orders.
pub(super) async fn write(session: &mut Session, changes: &Changes, image: &Image) -> Result<(), Trouble> {
    events(session, changes).await?;
    rules(session, changes, image).await?;
    assignments(session, changes).await?;
    etas(session, changes).await?;
    keys(session, changes).await
}

/// Before the transaction: makes the partitions that rows of history go to.
pub(super) async fn partitions(session: &mut Session, changes: &Changes) -> Result<(), Trouble> {
    for entry in &changes.events {
        session.partition("events", entry.at).await?;
    }
    for eta in &changes.etas {
        session.partition("eta_history", eta.at).await?;
    }
    Ok(())
}

async fn events(session: &mut Session, changes: &Changes) -> Result<(), Trouble> {
    for some in changes.events.chunks(MAX_ROWS) {
        let mut columns = EventColumns::default();
        for entry in some {
            let Event { seq, actor, .. } = &entry.event;
            let event = json(&entry.event);
            columns.push(
                entry.market.to_string(),
                seq.cast_signed(),
                millis(entry.at),
                kind_of(&event),
                joined(&entry.orders),
                entry.driver.as_ref().map(ToString::to_string),
                entry.offer.map(|offer| offer.0.cast_signed()),
                actor.role.to_string(),
                actor.name.as_ref().map(|text| plain(text.as_str())),
                actor.address.as_ref().map(|text| plain(text.as_str())),
                actor.user_agent.as_ref().map(|text| plain(text.as_str())),
                entry.before.clone(),
                entry.after.clone(),
                event,
            );
        }
        let insert = query(
            "INSERT INTO dispatch.events (market, seq, at, kind, orders, driver, offer, role, name, address, user_agent,
                                          before, after, event)
             SELECT a, b, to_timestamp(c / 1000.0), d, string_to_array(e, ' '), f, g, h, i, j, k, l, m, n::json
             FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                         $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[])
                  AS rows (a, b, c, d, e, f, g, h, i, j, k, l, m, n)",
        );
        session.run(columns.bind(insert)).await?;
    }
    Ok(())
}

async fn rules(session: &mut Session, changes: &Changes, image: &Image) -> Result<(), Trouble> {
    for rules in &changes.rules {
        let entry = &changes.events[rules.entry];
        let event = &entry.event;
        let EventKind::Configured { version, config } = &event.kind else { continue };
        let insert = query(
            "INSERT INTO dispatch.config_versions (market, version, at, actor_role, actor_name, rules)
             VALUES ($1, $2, to_timestamp($3 / 1000.0), $4, $5, $6::json) ON CONFLICT DO NOTHING",
        );
        let insert = insert
            .bind(rules.market.as_str())
            .bind(i64::from(*version))
            .bind(millis(entry.at))
            .bind(event.actor.role.to_string())
            .bind(event.actor.name.as_ref().map(|name| plain(name.as_str())))
            .bind(json(config));
        session.run(insert).await?;
    }
    if !changes.all {
        return Ok(());
    }
    for (market, snapshot) in &image.markets {
        let state = snapshot.state();
        let former = state.former_configs.iter().map(|(version, config)| (*version, config));
        for (version, config) in former.chain([(state.config_version, &state.config)]) {
            let insert = query(
                "INSERT INTO dispatch.config_versions (market, version, at, actor_role, rules)
                 VALUES ($1, $2, to_timestamp($3 / 1000.0), 'unknown', $4::json) ON CONFLICT DO NOTHING",
            );
            let insert =
                insert.bind(market.as_str()).bind(i64::from(version)).bind(millis(state.at)).bind(json(config));
            session.run(insert).await?;
        }
    }
    Ok(())
}

async fn assignments(session: &mut Session, changes: &Changes) -> Result<(), Trouble> {
    let mut ended = EndColumns::default();
    for (market, order, at, outcome) in &changes.assignments.ended {
        ended.push(market.to_string(), order.to_string(), millis(*at), outcome);
    }
    if !ended.order.is_empty() {
        let update = query(
            "UPDATE dispatch.assignments t SET ended_at = to_timestamp(rows.at / 1000.0), outcome = rows.outcome
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS rows (market, id, at, outcome)
             WHERE t.market = rows.market AND t.order_id = rows.id AND t.ended_at IS NULL",
        );
        session.run(ended.bind(update)).await?;
    }
    for some in changes.assignments.begun.chunks(MAX_ROWS) {
        let mut columns = AssignmentColumns::default();
        for assignment in some {
            columns.push(
                assignment.market.to_string(),
                assignment.order.to_string(),
                assignment.seq.cast_signed(),
                assignment.driver.to_string(),
                millis(assignment.at),
                assignment.ended.and_then(|(at, _)| millis(at)),
                assignment.ended.map(|(_, outcome)| outcome),
            );
        }
        let insert = query(
            "INSERT INTO dispatch.assignments (market, order_id, seq, driver, at, ended_at, outcome)
             SELECT a, b, c, d, to_timestamp(e / 1000.0), to_timestamp(f / 1000.0), g
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::text[])
                  AS rows (a, b, c, d, e, f, g)",
        );
        session.run(columns.bind(insert)).await?;
    }
    Ok(())
}

async fn etas(session: &mut Session, changes: &Changes) -> Result<(), Trouble> {
    for some in changes.etas.chunks(MAX_ROWS) {
        let mut columns = EtaColumns::default();
        for eta in some {
            columns.push(
                eta.market.to_string(),
                eta.order.to_string(),
                eta.seq.cast_signed(),
                millis(eta.at),
                eta.driver.to_string(),
                eta.pickup_at.and_then(millis),
                eta.dropoff_at.and_then(millis),
            );
        }
        let insert = query(
            "INSERT INTO dispatch.eta_history (market, order_id, seq, at, driver, pickup_at, dropoff_at)
             SELECT a, b, c, to_timestamp(d / 1000.0), e, to_timestamp(f / 1000.0), to_timestamp(g / 1000.0)
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[])
                  AS rows (a, b, c, d, e, f, g)",
        );
        session.run(columns.bind(insert)).await?;
    }
    Ok(())
}

async fn keys(session: &mut Session, changes: &Changes) -> Result<(), Trouble> {
    for some in changes.accepted.chunks(MAX_ROWS) {
        let mut columns = KeyColumns::default();
        for (market, at, accepted) in some {
            let (key, payload) = (accepted.key.into(), accepted.payload.into());
            columns.push(market.to_string(), key, payload, accepted.created, millis(*at));
        }
        // Of a key that was used again after its day the later use counts.
        let insert = query(
            "INSERT INTO dispatch.idempotency_keys (market, key, payload, created, at, seq)
             SELECT DISTINCT ON (a, b) a, b, c, d, to_timestamp(e / 1000.0), $6
             FROM unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::bigint[]) AS rows (a, b, c, d, e)
             ORDER BY a, b, e DESC
             ON CONFLICT (market, key) DO UPDATE SET payload = excluded.payload, created = excluded.created,
                 at = excluded.at, seq = excluded.seq",
        );
        session.run(columns.bind(insert).bind(changes.upto.seq.cast_signed())).await?;
    }
    Ok(())
}

/// Writes where drivers were.
pub(super) async fn samples(session: &mut Session, samples: &[Sample]) -> Result<(), Trouble> {
    for some in samples.chunks(MAX_ROWS) {
        let mut columns = SampleColumns::default();
        for Sample { market, driver, position, at } in some {
            session.partition("location_history", *at).await?;
            columns.push(market.to_string(), driver.to_string(), millis(*at), position.lat(), position.lng());
        }
        let insert = query(
            "INSERT INTO dispatch.location_history (market, driver, at, lat, lng)
             SELECT a, b, to_timestamp(c / 1000.0), d, e
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::float8[], $5::float8[]) AS rows (a, b, c, d, e)
             ON CONFLICT DO NOTHING",
        );
        session.run(columns.bind(insert)).await?;
    }
    Ok(())
}

/// The name of an event's kind, from its JSON: what is said before has no such key, and texts quote their quotes.
fn kind_of(event: &str) -> String {
    let kind = event.split_once("\"kind\":{\"").and_then(|(_, rest)| rest.split('"').next());
    kind.unwrap_or("unknown").to_owned()
}
