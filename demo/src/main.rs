//! A server with a city of clients, to watch: `cargo xtask demo`.
//!
//! The server is the real binary in a process of its own. Drivers, customers and kitchens are agents that know of it what
//! its API tells them; each agent is a small state machine without IO (`Driver::tick`, `order::script`) and a loop that
//! carries out what it says.

mod api;
mod city;
mod driver;
mod figures;
mod order;
mod place;
mod server;

use api::Api;
use city::City;
use clap::Parser;
use server::Server;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// What differs from the server's defaults: a small city has short times.
const SETTINGS: &[&str] = &[
    "durability=memory",
    "speeds.bicycle_kmh=20.0",
    "rules.schedule.margin=10000",
    "rules.service.before_pickup=3000",
    "rules.service.after_pickup=0",
    "rules.service.before_dropoff=3000",
    "rules.offers.sequential.expires_after=10000",
];

/// A server and a city of clients that talk to it over HTTP.
#[derive(Parser)]
struct Options {
    /// Ends after this long; until Ctrl-C if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=365 * 24 * 3_600))]
    seconds: Option<u64>,
    /// Where the server listens on this machine; any free port if absent.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Decides who orders what from where, and who declines; not the moment at which things happen.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; true if all of it went as it should.
async fn run(options: Options) -> Result<bool, Box<dyn Error>> {
    // Before the server starts, so that nothing ends the demo without it.
    let mut interrupt = Interrupt::listen()?;
    let port = options.port.unwrap_or(0);
    let mut server = Server::start(port, SETTINGS).await?;
    figures::begin(&server.url, port, options.seed);
    let (open, is_open) = watch::channel(true);
    let city = Arc::new(City::new(Api::new(server.url.clone())?, options.seed, is_open));
    let life = tokio::spawn(city::live(city.clone()));

    let last = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let end = async {
        match last {
            Some(last) => sleep_until(last).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = interrupt.come() => {}
        () = end => {}
        () = server.ended() => {}
        () = watch(&city) => {}
    }
    let awake = city.now();
    open.send_replace(false);
    life.await?;
    let (log, ended) = server.stop().await;
    figures::sum(&city, &log, awake);
    ended?;
    Ok(log.errors == 0 && city.api.answers().unexpected == 0)
}

/// Shows the city's figures, once a second, for ever.
async fn watch(city: &City) {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    second.tick().await;
    let (mut sampled, mut fixes, mut at) = (false, 0, city.now());
    figures::say(figures::HEAD);
    loop {
        second.tick().await;
        if !sampled
            && city.tally.submitted.get() >= order::SHOWN
            && let Some(samples) = figures::samples(city).await
        {
            figures::show("");
            figures::say(&samples);
            figures::say(figures::HEAD);
            sampled = true;
        }
        let Some(stats) = city.api.get("/v1/stats").await else { continue };
        let (fixes_now, now) = (city.tally.fixes.get(), city.now());
        let rate = (fixes_now - fixes) as f64 / now.saturating_sub(at).as_secs_f64();
        figures::show(&figures::line(city, &stats, rate));
        (fixes, at) = (fixes_now, now);
    }
}

/// Somebody wants the demo to end: by Ctrl-C, by `kill`, or by closing the terminal.
#[cfg(unix)]
struct Interrupt([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Interrupt {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn come(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Somebody wants the demo to end, by Ctrl-C.
#[cfg(not(unix))]
struct Interrupt;

#[cfg(not(unix))]
impl Interrupt {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn come(&mut self) {
        // Without a way to hear of it the demo ends by itself or is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
