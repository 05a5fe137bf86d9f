//! Whole simulated days, each proven.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use dispatch_core::sim::city::{City, CityConfig};
use dispatch_core::sim::mdrp::{Day, Instance, Knowledge, Metrics, check};
use dispatch_core::sim::metrics::Metrics as CityMetrics;
use dispatch_core::sim::{Proven, log_hash};
use dispatch_core::{EngineConfig, EventKind, Millis, OfferRule, ScorePreset};
use std::io::Write;
use std::path::PathBuf;

/// The busy hours of a small city.
fn run(seed: u64, engine: EngineConfig) -> Proven {
    let config =
        CityConfig { seed, hours: 13, drivers: 40, places: 20, orders_per_day: 300, engine, ..CityConfig::default() };
    let mut city = City::new(config).unwrap();
    while city.run(Millis::from_mins(60)) {}
    city.prove().unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"))
}

#[test]
fn one_seed_one_day() {
    let (one, again) = (run(1, EngineConfig::default()), run(1, EngineConfig::default()));
    assert_eq!(one.log_hash, again.log_hash);
    assert_eq!(one.log_hash, log_hash(&again.log));
    assert_ne!(one.log_hash, run(2, EngineConfig::default()).log_hash);
}

#[test]
fn a_city_is_served_under_every_preset_and_offer_rule() {
    for (seed, preset) in (10..).zip([ScorePreset::Timely, ScorePreset::Classic, ScorePreset::Additive]) {
        let wave = OfferRule::Wave { size: 3, expires_after: Millis::from_secs(30) };
        for offers in [OfferRule::Direct, EngineConfig::default().offers, wave] {
            let proven = run(seed, EngineConfig { score: preset.weights(), offers, ..EngineConfig::default() });
            let metrics = CityMetrics::from_events(&proven.log);
            assert!(proven.summary.orders > 50, "seed {seed}: {metrics}");
            assert!(proven.summary.delivered * 100 >= proven.summary.orders * 80, "seed {seed}, {preset:?}: {metrics}");
            let offered = offers != OfferRule::Direct;
            assert_eq!(proven.summary.offers > 0, offered, "seed {seed}");
            // In waves most offers are answered by somebody else's acceptance.
            assert_eq!(metrics.offers_withdrawn > metrics.offers_accepted, offers == wave, "seed {seed}: {metrics}");
        }
    }
}

#[test]
fn a_city_is_served_through_outages() {
    let wave = OfferRule::Wave { size: 3, expires_after: Millis::from_secs(30) };
    for (seed, offers) in [(20, EngineConfig::default().offers), (21, wave), (22, OfferRule::Direct)] {
        let engine = EngineConfig { offers, ..EngineConfig::default() };
        let config = CityConfig {
            seed,
            hours: 13,
            drivers: 40,
            places: 20,
            orders_per_day: 300,
            engine,
            ..CityConfig::default()
        };
        let mut city = City::new(config).unwrap();
        // Away for seconds, for longer than an offer is open, and for longer than it takes to be silent.
        for down_s in [1, 45, 600].into_iter().cycle() {
            if !city.run(Millis::from_secs(3_001)) {
                break;
            }
            city.restart(Millis::from_secs(down_s));
        }
        let proven = city.prove().unwrap_or_else(|flaw| panic!("seed {seed}: {flaw}"));
        let restarts = proven.log.iter().filter(|event| matches!(event.kind, EventKind::Resumed { .. })).count();
        assert!(restarts >= 12, "seed {seed}: {restarts}");
        assert!(proven.summary.delivered * 100 >= proven.summary.orders * 80, "seed {seed}: {:?}", proven.summary);
    }
}

/// A public instance, or a word that there is none: users fetch them themselves.
fn instance(name: &str) -> Option<Instance> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/mdrp").join(name);
    if !dir.is_dir() {
        // Past the capture of the test harness, so that it is seen.
        let mut out = std::io::stderr();
        writeln!(out, "SKIPPED: no instance {name} at {}", dir.display()).unwrap();
        return None;
    }
    Some(Instance::read(&dir).unwrap())
}

#[test]
fn a_real_day_is_decided_and_its_solution_is_possible() {
    for (name, knowledge) in [("0o50t100s1p100", Knowledge::Exact), ("3r50t75s2p125", Knowledge::Noisy)] {
        let Some(instance) = instance(name) else { continue };
        let mut day = Day::new(&instance, Day::config(&instance, knowledge), knowledge).unwrap();
        while day.begin_minute() {
            day.decide();
        }
        let (solution, proven) = day.finish().unwrap();
        assert_eq!(check(&instance, &solution), Ok(()));
        let metrics = Metrics::of(&instance, &solution).unwrap();
        assert!(metrics.delivered_pct > 98.0, "{name}: {metrics:?}");
        assert!(metrics.delivered > 0.0 && proven.summary.delivered as f64 >= metrics.delivered - 0.5, "{name}");
        assert!(metrics.click_to_door_mean < 40.0, "{name}: {metrics:?}");
        assert!(knowledge == Knowledge::Noisy || metrics.orders_per_bundle > 1.0, "{name}: {metrics:?}");
    }
}
