//! A city that is watched: gateways with moving drivers, orders that are offered, accepted and delivered, and watchers of orders and of
//! the whole market; or watchers that come back again and again; or some that do not read.

mod clock;
mod gateway;
mod reconnects;
mod stream;
mod tally;
mod watch;

pub(crate) use reconnects::run as reconnects;

use crate::Options;
use crate::child::Server;
use crate::orders::{Load, STEPS, cpu_seconds};
use clock::now_ms;
use gateway::{Gateway, place};
use reqwest::Method;
use serde_json::{Value, json};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use stream::Events;
use tally::Tally;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How often orders and drivers are matched, in milliseconds: the default of the rules.
pub(crate) const WINDOW_MS: i64 = 1_000;

/// The settings of the server.
pub(crate) fn flags() -> Vec<String> {
    // So many connections as there are watchers, from this machine.
    ["limits.connections=40000", "streams.per_principal=50000"].map(str::to_owned).into()
}

/// Most orders that are on their way while they are watched; several watchers share one.
const MAX_WATCHED: u32 = 2_000;

/// How many watch the whole market.
const MARKET_WATCHERS: usize = 10;

/// How long everything goes on before it counts.
const WARM_UP: Duration = Duration::from_secs(5);

/// A city and those who watch it.
struct City {
    load: Arc<Load>,
    address: String,
    tally: Arc<Tally>,
    /// They end with it.
    tasks: JoinSet<()>,
}

pub(crate) async fn run(server: &Server, options: &Options, watchers: u32) -> Result<Value, Box<dyn Error>> {
    let mut city = City::found(server, options, watchers).await?;
    let mut orders = JoinSet::new();
    let mut figures = city.measure(server, options, options.seconds, &mut orders).await;
    if options.stalled > 0 {
        let mut one = Events::open(&city.address, "/v1/feed", None).await?;
        let here = one.next().await?.id.ok_or("a stream begins with how things stand, and its id")?;
        for _ in 0..options.stalled {
            let stream = Events::open(&city.address, "/v1/feed", Some(&here)).await?;
            // Held, and never read.
            city.tasks.spawn(async move {
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
        let stalled = city.measure(server, options, options.seconds, &mut orders).await;
        figures = json!({"before": figures, "stalled": stalled});
    }
    orders.join_all().await;
    let (errors, first_error) = city.tally.errors();
    let (more, first) = city.load.errors();
    let head = json!({
        "drivers": options.drivers,
        "interval_s": options.interval,
        "gateways": options.gateways,
        "orders_per_s": options.orders_per_s,
        "watchers": watchers,
        "market_watchers": MARKET_WATCHERS,
        "stalled": options.stalled,
        "durability": options.durability,
        "window_ms": WINDOW_MS,
        "errors": errors + more,
        "first_error": first_error.or(first),
    });
    Ok(joined(head, figures))
}

fn joined(mut head: Value, figures: Value) -> Value {
    if let (Value::Object(head), Value::Object(figures)) = (&mut head, figures) {
        head.extend(figures);
    }
    head
}

impl City {
    /// Drivers on shift and reporting, orders on board of some, and everybody who watches.
    async fn found(server: &Server, options: &Options, watchers: u32) -> Result<Self, Box<dyn Error>> {
        let load = Arc::new(Load::new(server, options.drivers)?);
        load.clone().staff(options.drivers).await;
        let address = server.url.trim_start_matches("http://").to_owned();
        let mut city = Self { load, address, tally: Arc::default(), tasks: JoinSet::new() };
        let interval = Duration::from_secs(options.interval.into());
        let begin = Instant::now() + Duration::from_secs(1);
        let each = options.drivers.div_ceil(options.gateways);
        for number in 0..options.gateways {
            let drivers = number * each..((number + 1) * each).min(options.drivers);
            let gateway = Gateway::open(&city.address, drivers).await.map_err(|error| error.to_string())?;
            let begin = begin + interval * number / options.gateways;
            city.tasks.spawn(gateway.run(begin, interval, city.tally.clone()));
        }
        sleep_until(begin + interval).await;
        let watched = watchers.min(MAX_WATCHED).min(options.drivers / 2);
        for number in 0..watched {
            // All over the city, and so of all gateways.
            city.send_off(number, number * (options.drivers / watched)).await;
        }
        for number in 0..watchers {
            let path = format!("/v1/orders/w-{}/feed", number % watched);
            let events = Events::open(&city.address, &path, None).await?;
            city.tasks.spawn(watch::order(events, city.tally.clone()));
        }
        for number in 0..MARKET_WATCHERS {
            let events = Events::open(&city.address, "/v1/feed?market=default", None).await?;
            let drivers_load = (number == 0).then(|| city.load.clone());
            city.tasks.spawn(watch::market(events, city.tally.clone(), drivers_load));
        }
        sleep(WARM_UP).await;
        Ok(city)
    }

    /// An order that a driver has on board.
    async fn send_off(&self, number: u32, by: u32) {
        let (order, driver) = (format!("w-{number}"), format!("d-{by}"));
        let path = format!("/v1/orders/{order}");
        let give = async |method, path: String, body: Value| self.load.give(Instant::now(), method, &path, &body).await;
        give(Method::POST, "/v1/orders".into(), order_of(&order, by)).await;
        give(Method::POST, format!("{path}/kitchen"), json!({"status": "confirmed"})).await;
        give(Method::POST, format!("{path}/assign"), json!({"driver": driver})).await;
        for step in &STEPS[..2] {
            give(Method::POST, format!("{path}/progress"), json!({"step": step})).await;
        }
    }

    /// Orders at a steady rate for a while, and what everybody saw.
    async fn measure(&self, server: &Server, options: &Options, seconds: u32, orders: &mut JoinSet<()>) -> Value {
        let process = server.process.id();
        self.tally.take(1.0);
        let (began, cpu) = (Instant::now(), cpu_seconds(process));
        for number in 0..options.orders_per_s * seconds {
            sleep_until(began + Duration::from_secs(1) * number / options.orders_per_s).await;
            let (load, start) = (self.load.clone(), now_ms());
            // Where somebody is.
            let driver = number.wrapping_mul(2_654_435_761) % options.drivers;
            orders.spawn(async move {
                let order = format!("o-{start}-{number}");
                load.give(Instant::now(), Method::POST, "/v1/orders", &order_of(&order, driver)).await;
                let ready = json!({"status": "ready"});
                load.give(Instant::now(), Method::POST, &format!("/v1/orders/{order}/kitchen"), &ready).await;
            });
            while orders.try_join_next().is_some() {}
        }
        sleep_until(began + Duration::from_secs(seconds.into())).await;
        let took = began.elapsed().as_secs_f64();
        let figures = json!({
            "seconds": took,
            "server_cpu_share": (cpu_seconds(process) - cpu) / took,
            "server_resident_mb": resident_mb(process),
        });
        joined(figures, self.tally.take(took))
    }
}

fn order_of(id: &str, driver: u32) -> Value {
    let at = |(lat, lng): (i32, i32)| json!({"lat": f64::from(lat) / 1e7, "lng": f64::from(lng) / 1e7});
    json!({"id": id, "pickup": at(place(driver, 0)), "dropoff": at(place(driver + 7, 0))})
}

/// How much memory a process has, in megabytes; 0 where the system does not say.
fn resident_mb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kb.unwrap_or(0) / 1_024
}
