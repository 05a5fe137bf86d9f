//! One log for each rule that breaks it with its last line, beside logs of all events that break none.

mod hostile;
mod waves;

use super::rule;
use super::script::{Script, driver_id, driver_spec, edit, order_id, order_spec, secs};
use crate::config::{OfferRule, StartOn};
use crate::event::{EventKind, HoldReason, ReturnReason, RoundFailure};
use crate::model::{FailReason, KitchenStatus, OrderSpec, Rating, Reason, Role, Skill, Units, Vehicle};
use crate::offer::OfferOutcome::{Accepted, Declined, Expired, Withdrawn};
use crate::units::Millis;
use std::collections::BTreeSet;

type Case = (&'static str, Script);

fn new() -> Script {
    Script::new()
}

/// A driver and an order that waits.
fn waiting() -> Script {
    new().driver("d").order("o")
}

/// A driver that has accepted an order.
fn assigned() -> Script {
    waiting().offer("d", &["o"]).accept()
}

/// A driver with an order on board.
fn on_board() -> Script {
    assigned().picked_up("d", "o")
}

fn direct() -> Script {
    Script::with(|config| config.offers = OfferRule::Direct).driver("d").order("o")
}

/// A round of one attempt that was declined.
fn failed_round() -> Script {
    Script::with(|config| config.rounds.attempts = 1)
        .driver("d")
        .order("o")
        .offer("d", &["o"])
        .close(1, Declined)
        .round_failed("o", RoundFailure::AttemptsUsed)
}

/// A driver on shift, silent after two minutes.
fn patient() -> Script {
    Script::with(|config| config.positions.silent_after = Millis::from_secs(120)).driver("d")
}

fn cold() -> OrderSpec {
    OrderSpec { skills: BTreeSet::from([Skill::new("cold-box").unwrap()]), ..order_spec("o") }
}

fn heavy(id: &str) -> OrderSpec {
    OrderSpec { units: Units::new(2).unwrap(), ..order_spec(id) }
}

fn reported() -> FailReason {
    FailReason::Reported(Reason::new("spilled").unwrap())
}

fn log_and_drivers() -> Vec<Case> {
    let shared = on_board().order("p").offer("d", &["p"]).accept();
    vec![
        (rule::LOG_SEQUENCE, new().driver("d").edit_event(|event| event.seq += 1)),
        (rule::LOG_SEQUENCE, Script::empty().configure(|_| ()).edit_event(|event| event.seq = 0)),
        (rule::LOG_TIME, new().at(2).driver("d").at(1).paused("d")),
        (rule::LOG_TIME, new().at(2).driver("d").at(1).instant()),
        (rule::LOG_CONFIGURED_FIRST, Script::empty().register(driver_spec("d"))),
        (rule::LOG_CONFIG_ROLE, new().by(Role::Merchant).configure(|_| ())),
        (rule::LOG_CONFIG_VERSION, new().configure(|_| ()).edit(edit!(Configured { version } => *version += 1))),
        (
            rule::LOG_CONFIG_VERSION,
            Script::empty().configure(|_| ()).edit(edit!(Configured { version } => *version = 0)),
        ),
        (rule::RESUME_ROLE, new().by(Role::Dispatcher).restarted(0, &[])),
        (rule::RESUME_OUTAGE, new().at(10).restarted(11, &[])),
        (rule::RESUME_OUTAGE, new().at(10).restarted(-1, &[])),
        (rule::RESUME_OFFERS, waiting().offer("d", &["o"]).at(10).restarted(10, &[])),
        (rule::RESUME_OFFERS, waiting().offer("d", &["o"]).at(10).restarted(10, &[(1, 41)])),
        (rule::RESUME_OFFERS, waiting().offer("d", &["o"]).at(40).restarted(10, &[(1, 40)])),
        (rule::SILENT_EARLY, patient().at(119).silent("d")),
        (rule::SILENT_EARLY, patient().at(600).restarted(300, &[]).at(719).silent("d")),
        (rule::LIMIT_ORDERS, Script::with(|config| config.limits.orders = 1).placed("o").placed("p")),
        (rule::LIMIT_DRIVERS, Script::with(|config| config.limits.drivers = 1).driver("d").register(driver_spec("e"))),
        (rule::DRIVER_KNOWN, new().shift("d", None)),
        (rule::DRIVER_KNOWN, new().order("o").offer("d", &["o"])),
        (rule::DRIVER_CHANGED, {
            assigned()
                .register(driver_spec("d"))
                .edit(edit!(DriverRegistered { driver } => driver.vehicle = Vehicle::Van))
        }),
        (rule::DRIVER_SHIFT, new().driver("d").shift("d", None)),
        (rule::DRIVER_SHIFT, new().register(driver_spec("d")).shift_ended("d")),
        (rule::DRIVER_SHIFT, new().register(driver_spec("d")).shift_ending("d")),
        (rule::DRIVER_SHIFT, new().register(driver_spec("d")).paused("d")),
        (rule::DRIVER_SHIFT, new().register(driver_spec("d")).silent("d")),
        (rule::DRIVER_PAUSE, new().driver("d").resumed("d")),
        (rule::DRIVER_PAUSE, new().driver("d").paused("d").paused("d")),
        (rule::DRIVER_SILENCE, new().driver("d").heard("d")),
        (rule::DRIVER_SILENCE, new().driver("d").silent("d").silent("d")),
        (rule::REPOSITION_IDLE, assigned().reposition("d", 60)),
        (rule::REPOSITION_IDLE, new().driver("d").paused("d").reposition("d", 60)),
        (rule::REPOSITION_PAST, new().driver("d").at(61).reposition("d", 60)),
        (rule::SHIFT_PLANNED, new().register(driver_spec("d")).at(1).shift_planned("d", 0, 9)),
        (rule::SHIFT_PLANNED, new().register(driver_spec("d")).shift_planned("d", 9, 8)),
        (rule::SHIFT_ENDED_LOADED, on_board().shift_ended("d")),
        (rule::SHIFT_ENDING_EMPTY, assigned().shift_ending("d")),
        (rule::SHIFT_RETURNS, shared.clone().shift_ending("d").at(1).paused("d")),
        (rule::SHIFT_RETURNS, shared.clone().shift_ending("d").instant()),
        (rule::SILENT_RETURNS, shared.clone().silent("d").at(1).heard("d")),
        (rule::SILENT_RETURNS, shared.silent("d").finish()),
    ]
}

fn order_cases() -> Vec<Case> {
    let minutes = |config: &mut crate::EngineConfig| {
        config.lifetimes.overdue_after = Millis::from_mins(1);
        config.lifetimes.fail_after = Millis::from_mins(2);
    };
    vec![
        (rule::ORDER_KNOWN, new().kitchen("o", KitchenStatus::Ready)),
        (
            rule::ORDER_KNOWN,
            new().driver("d").order("o").at(1).cancelled(Role::Customer, "o").at(3_601).retired("o").started("o"),
        ),
        (rule::ORDER_DUPLICATE, new().placed("o").placed("o")),
        (rule::ORDER_ENDED, new().placed("o").cancelled(Role::Customer, "o").kitchen("o", KitchenStatus::Confirmed)),
        (rule::ORDER_ENDED, on_board().delivered("d", "o").failed("o", reported())),
        (rule::ORDER_TRANSITION, waiting().started("o")),
        (rule::ORDER_TRANSITION, new().driver("d").placed("o").offer("d", &["o"])),
        (rule::ORDER_TRANSITION, new().driver("d").placed("o").by_hand("d", &["o"])),
        (rule::ORDER_TRANSITION, waiting().offer("d", &["o"]).by_hand("d", &["o"])),
        (rule::ORDER_TRANSITION, waiting().offer("d", &["o"]).cancelled(Role::Customer, "o")),
        (rule::ORDER_TRANSITION, waiting().offer("d", &["o"]).failed("o", reported())),
        (rule::ORDER_TRANSITION, waiting().offer("d", &["o"]).hold("o", HoldReason::Outmatched, None)),
        (rule::ORDER_TRANSITION, waiting().at_pickup("d", "o")),
        (rule::ORDER_TRANSITION, assigned().at_pickup("d", "o").at_pickup("d", "o")),
        (rule::ORDER_TRANSITION, waiting().picked_up("d", "o")),
        (rule::ORDER_TRANSITION, on_board().picked_up("d", "o")),
        (rule::ORDER_TRANSITION, assigned().departed("d", "o")),
        (rule::ORDER_TRANSITION, on_board().departed("d", "o").departed("d", "o")),
        (rule::ORDER_TRANSITION, on_board().at_dropoff("d", "o").departed("d", "o")),
        (rule::ORDER_TRANSITION, assigned().at_dropoff("d", "o")),
        (rule::ORDER_TRANSITION, assigned().delivered("d", "o")),
        (rule::ORDER_TRANSITION, on_board().returned("d", "o")),
        (rule::ORDER_TRANSITION, waiting().returned("d", "o")),
        (rule::ORDER_TRANSITION, assigned().failed("o", FailReason::NoDriver)),
        (rule::ORDER_TRANSITION, assigned().overdue("o")),
        (rule::ORDER_TRANSITION, waiting().retired("o")),
        (rule::ORDER_DRIVER, assigned().driver("e").picked_up("e", "o")),
        (rule::ORDER_DRIVER, assigned().driver("e").returned("e", "o")),
        (rule::ORDER_TWO_DRIVERS, assigned().driver("e").by_hand("e", &["o"])),
        (rule::ORDER_READY_AT, new().placed("o").edit(edit!(OrderPlaced { ready_at } => *ready_at += Millis::new(1)))),
        (rule::ORDER_READY_CHANGED, new().placed("o").ready_at("o", 15 * 60)),
        (rule::ORDER_PLAN_AHEAD, new().placed("o").ready_at("o", 8 * 24 * 3_600)),
        (rule::ORDER_PLAN_AHEAD, new().place(OrderSpec { promised_at: Some(secs(8 * 24 * 3_600)), ..order_spec("o") })),
        (
            rule::ORDER_LEAVE_AT,
            assigned().at(60).picked_up("d", "o").edit(edit!(PickedUp { leave_at } => *leave_at = secs(59))),
        ),
        (
            rule::ORDER_LEAVE_AT,
            on_board().at(60).delivered("d", "o").edit(edit!(Delivered { leave_at } => *leave_at = secs(59))),
        ),
        (rule::KITCHEN_FORWARD, waiting().kitchen("o", KitchenStatus::Confirmed)),
        (rule::DISPATCH_START, new().placed("o").started("o")),
        (rule::CANCEL_PICKED_UP, on_board().cancelled(Role::Dispatcher, "o")),
        (rule::CANCEL_ROLE, waiting().kitchen("o", KitchenStatus::Preparing).cancelled(Role::Customer, "o")),
        (rule::CANCEL_ROLE, assigned().cancelled(Role::Driver, "o")),
        (rule::FAIL_NO_DRIVER, Script::with(minutes).order("o").at(119).failed("o", FailReason::NoDriver)),
        (
            rule::FAIL_NO_DRIVER,
            Script::with(minutes).order("o").ready_at("o", 20 * 60).at(419).failed("o", FailReason::NoDriver),
        ),
        (rule::FAIL_NEVER_FINISHED, on_board().at(15 * 60 + 24 * 3_600 - 1).failed("o", FailReason::NeverFinished)),
        (rule::OVERDUE_EARLY, Script::with(minutes).order("o").at(59).overdue("o")),
        (rule::OVERDUE_TWICE, Script::with(minutes).order("o").at(60).overdue("o").overdue("o")),
        (rule::RETIRE_EARLY, on_board().delivered("d", "o").at(3_599).retired("o")),
    ]
}

fn holds_and_rounds() -> Vec<Case> {
    let no_candidate = || waiting().at(5).hold("o", HoldReason::NoCandidate, None);
    vec![
        (rule::HOLD_REPEATED, no_candidate().at(9).hold("o", HoldReason::NoCandidate, None)),
        (rule::HOLD_SLACK, waiting().hold("o", HoldReason::SlackAmple, Some(120))),
        (rule::HOLD_SLACK, waiting().hold("o", HoldReason::SlackAmple, None)),
        (rule::ROUND_CLOSED, failed_round().driver("e").offer("e", &["o"])),
        (rule::ROUND_CLOSED, failed_round().round_failed("o", RoundFailure::AttemptsUsed)),
        (rule::ROUND_CLOSED, failed_round().configure(|config| config.offers = OfferRule::Direct).direct("d", &["o"])),
        (rule::ROUND_ATTEMPTS_USED, {
            waiting().offer("d", &["o"]).close(1, Declined).round_failed("o", RoundFailure::AttemptsUsed)
        }),
        (rule::ROUND_NO_CANDIDATE, no_candidate().at(604).round_failed("o", RoundFailure::NoCandidate)),
        (rule::ROUND_NO_CANDIDATE, waiting().at(605).round_failed("o", RoundFailure::NoCandidate)),
        (rule::ROUND_RETRY_AT, {
            let early = edit!(AssignmentFailed { retry_at } => *retry_at = secs(59));
            failed_round()
                .at(60)
                .round_started("o")
                .offer("d", &["o"])
                .close(2, Declined)
                .round_failed("o", RoundFailure::AttemptsUsed)
                .edit(early)
        }),
        (rule::ROUND_STARTED, failed_round().at(59).round_started("o")),
        (rule::ROUND_STARTED, waiting().round_started("o")),
    ]
}

fn offer_cases() -> Vec<Case> {
    let offered = || waiting().offer("d", &["o"]);
    let ending = || on_board().order("p").shift_ending("d");
    vec![
        (rule::OFFER_DIRECT, direct().offer("d", &["o"])),
        (rule::OFFER_NUMBER, offered().edit(edit!(OfferMade { offer } => offer.0 = 2))),
        (rule::OFFER_ORDERS, offered().edit(edit!(OfferMade { orders } => orders.clear()))),
        (rule::OFFER_ORDERS, offered().edit(edit!(OfferMade { orders } => orders.push(order_id("o"))))),
        (rule::OFFER_AVAILABLE, new().register(driver_spec("d")).order("o").offer("d", &["o"])),
        (rule::OFFER_AVAILABLE, waiting().paused("d").offer("d", &["o"])),
        (rule::OFFER_AVAILABLE, waiting().silent("d").offer("d", &["o"])),
        (rule::OFFER_AVAILABLE, ending().offer("d", &["p"])),
        (rule::OFFER_ONE_OPEN, offered().order("p").offer("d", &["p"])),
        (rule::OFFER_ASKED_BEFORE, offered().close(1, Declined).offer("d", &["o"])),
        (rule::OFFER_ASKED_BEFORE, offered().at(30).close(1, Expired).offer("d", &["o"])),
        (rule::OFFER_ATTEMPT, offered().edit(edit!(OfferMade { attempt } => *attempt = 2))),
        (rule::OFFER_ATTEMPT, {
            offered()
                .close(1, Declined)
                .driver("e")
                .offer("e", &["o"])
                .edit(edit!(OfferMade { attempt } => *attempt = 1))
        }),
        (rule::OFFER_ATTEMPT_LIMIT, {
            Script::with(|config| config.rounds.attempts = 1)
                .driver("d")
                .driver("e")
                .order("o")
                .offer("d", &["o"])
                .close(1, Declined)
                .offer("e", &["o"])
        }),
        (rule::OFFER_EXPIRES_AT, offered().edit(edit!(OfferMade { expires_at } => *expires_at += Millis::new(1)))),
        (rule::OFFER_KNOWN, offered().close(2, Declined)),
        (rule::OFFER_KNOWN, offered().close(0, Declined)),
        (rule::OFFER_ONE_OUTCOME, offered().close(1, Declined).close(1, Withdrawn)),
        (rule::OFFER_ANSWERED_LATE, offered().at(30).close(1, Accepted)),
        (rule::OFFER_ANSWERED_LATE, offered().at(30).close(1, Declined)),
        (rule::OFFER_EXPIRED_EARLY, offered().at(29).close(1, Expired)),
        (rule::OFFER_ACCEPT_ASSIGNS, offered().close(1, Accepted).paused("d")),
        (rule::OFFER_ACCEPT_ASSIGNS, offered().close(1, Accepted).at(1).assigned("d", &["o"])),
        (rule::OFFER_ACCEPT_ASSIGNS, offered().driver("e").close(1, Accepted).assigned("e", &["o"])),
        (rule::OFFER_ACCEPT_ASSIGNS, offered().order("p").close(1, Accepted).assigned("d", &["o", "p"])),
        (rule::OFFER_ACCEPT_ASSIGNS, offered().close(1, Accepted).instant()),
        (rule::OFFER_UNANSWERABLE, offered().paused("d").at(1).register(driver_spec("e"))),
        (rule::OFFER_UNANSWERABLE, offered().silent("d").instant()),
        (rule::OFFER_UNANSWERABLE, offered().shift_ended("d").instant()),
    ]
}

fn assignments() -> Vec<Case> {
    let small = |id| crate::DriverSpec { capacity: Units::MIN, ..driver_spec(id) };
    let two = || new().register(small("d")).shift("d", None).order("o").order("p");
    vec![
        (rule::ASSIGN_WITHOUT_OFFER, waiting().direct("d", &["o"])),
        (rule::ASSIGN_WITHOUT_OFFER, waiting().by(Role::Driver).assigned("d", &["o"])),
        (rule::ASSIGN_AVAILABLE, direct().paused("d").direct("d", &["o"])),
        (rule::ASSIGN_AVAILABLE, waiting().silent("d").by_hand("d", &["o"])),
        (rule::ASSIGN_AVAILABLE, waiting().shift_ended("d").by_hand("d", &["o"])),
        (rule::ASSIGN_SKILLS, new().driver("d").order_as(cold()).offer("d", &["o"])),
        (rule::ASSIGN_SKILLS, new().driver("d").order_as(cold()).by_hand("d", &["o"])),
        (rule::ASSIGN_CAPACITY, two().by_hand("d", &["o", "p"])),
        (
            rule::ASSIGN_CAPACITY,
            new()
                .driver("d")
                .order_as(heavy("o"))
                .by_hand("d", &["o"])
                .picked_up("d", "o")
                .order_as(heavy("p"))
                .offer("d", &["p"]),
        ),
        (rule::ASSIGN_ORDERS_PER_DRIVER, {
            Script::with(|config| config.limits.orders_per_driver = 1)
                .driver("d")
                .order("o")
                .order("p")
                .by_hand("d", &["o"])
                .offer("d", &["p"])
        }),
        (
            rule::ASSIGN_AFTER_SHIFT,
            new().register(driver_spec("d")).shift("d", Some(899)).order("o").offer("d", &["o"]),
        ),
        (rule::CAPACITY_ON_BOARD, two().one_by_one().by_hand("d", &["o", "p"]).picked_up("d", "o").picked_up("d", "p")),
    ]
}

fn routes() -> Vec<Case> {
    let offered = || waiting().offer("d", &["o"]);
    let later = |stop: &mut crate::Stop| {
        (stop.arrive_at, stop.done_at, stop.leave_at) = (
            stop.arrive_at + Millis::from_mins(9),
            stop.done_at + Millis::from_mins(9),
            stop.leave_at + Millis::from_mins(9),
        );
    };
    let two = || assigned().order("p").offer("d", &["p"]).accept();
    vec![
        (
            rule::ROUTE_PRESENT,
            assigned().cancelled(Role::Merchant, "o").edit(edit!(OrderCancelled { stops } => *stops = None)),
        ),
        (
            rule::ROUTE_PRESENT,
            waiting().failed("o", reported()).edit(edit!(OrderFailed { stops } => *stops = Some(vec![]))),
        ),
        (rule::ROUTE_ORDERS, offered().edit(edit!(OfferMade { stops } => stops.clear()))),
        (rule::ROUTE_ORDERS, offered().edit(edit!(OfferMade { stops } => stops.truncate(1)))),
        (rule::ROUTE_ORDERS, offered().edit(edit!(OfferMade { stops } => stops[0].orders.clear()))),
        (rule::ROUTE_ORDERS, offered().edit(edit!(OfferMade { stops } => stops[0].orders.push(order_id("o"))))),
        (rule::ROUTE_ORDERS, offered().edit(edit!(OfferMade { stops } => stops[1].orders.push(order_id("x"))))),
        (rule::ROUTE_ORDERS, two().returned("d", "o").edit(edit!(Returned { stops } => stops.clear()))),
        (rule::ROUTE_ORDERS, {
            assigned().order("p").offer("d", &["p"]).edit(edit!(OfferMade { stops } => drop(stops.remove(0))))
        }),
        (rule::ROUTE_PRECEDENCE, offered().edit(edit!(OfferMade { stops } => stops.swap(0, 1)))),
        (rule::ROUTE_POSITION, offered().edit(edit!(OfferMade { stops } => stops[0].position = stops[1].position))),
        (rule::ROUTE_TIMES, offered().edit(edit!(OfferMade { stops } => later(&mut stops[0])))),
        (rule::ROUTE_TIMES, offered().edit(edit!(OfferMade { stops } => stops[0].arrive_at = secs(1_000)))),
        (rule::ROUTE_SERVICE, offered().edit(edit!(OfferMade { stops } => stops[1].leave_at += Millis::new(1)))),
        (rule::ROUTE_SERVICE, offered().edit(edit!(OfferMade { stops } => stops[1].arrive_at += Millis::new(1)))),
        (rule::ROUTE_READY, {
            let early = edit!(OfferMade { stops } => (stops[0].done_at, stops[0].leave_at) = (secs(899), secs(1_019)));
            offered().edit(early)
        }),
        (
            rule::ROUTE_PAST,
            waiting().at(5).offer("d", &["o"]).edit(edit!(OfferMade { stops } => stops[0].arrive_at = secs(4))),
        ),
        (
            rule::ROUTE_ARRIVAL,
            offered().edit(edit!(OfferMade { stops } => stops[0].arrived_at = Some(stops[0].arrive_at))),
        ),
        (rule::ROUTE_ARRIVAL, {
            assigned()
                .at_pickup("d", "o")
                .order("p")
                .offer("d", &["p"])
                .edit(edit!(OfferMade { stops } => stops[0].arrived_at = None))
        }),
    ]
}

fn decisions() -> Vec<Case> {
    let offered = |change: fn(&mut crate::Decision)| {
        waiting().driver("e").offer("d", &["o"]).edit(edit!(OfferMade { decision } => change(decision)))
    };
    vec![
        (rule::DECISION_PRESENT, direct().assigned("d", &["o"])),
        (rule::DECISION_PRESENT, waiting().by(Role::Dispatcher).direct("d", &["o"])),
        (rule::DECISION_VERSION, offered(|decision| decision.config_version = 2)),
        (rule::DECISION_SIZE, offered(|decision| decision.best = vec![decision.best[0].clone(); 9])),
        (rule::DECISION_SIZE, offered(|decision| decision.best[0].contributions_milli = vec![i64::MAX; 103])),
        (rule::DECISION_CANDIDATES, offered(|decision| decision.candidates = 0)),
        (
            rule::DECISION_CANDIDATES,
            offered(|decision| {
                (decision.candidates, decision.best) = (2, vec![decision.best[0].clone(); 2]);
            }),
        ),
        (rule::DECISION_CANDIDATES, offered(|decision| decision.best[0].driver = driver_id("x"))),
        (rule::DECISION_CHOSEN, offered(|decision| decision.best[0].chosen = false)),
        (rule::DECISION_CHOSEN, offered(|decision| decision.best[0].driver = driver_id("e"))),
        (rule::DECISION_CHOSEN, {
            let chosen = direct().direct("d", &["o"]);
            let edited = edit!(Assigned { decision } => decision.as_mut().unwrap().best.clear());
            chosen.edit(edited)
        }),
        (rule::DECISION_SUM, offered(|decision| decision.best[0].score_milli = -1_002)),
        (rule::DECISION_SUM, offered(|decision| decision.best[0].contributions_milli.push(0))),
        (
            rule::DECISION_SORTED,
            offered(|decision| {
                decision.candidates = 2;
                let mut better = decision.best[0].clone();
                (better.driver, better.chosen, better.score_milli, better.contributions_milli) =
                    (driver_id("e"), false, 5, vec![5]);
                decision.best.push(better);
            }),
        ),
    ]
}

fn due() -> Vec<Case> {
    let waits = |fail_mins| {
        Script::with(|config| {
            config.lifetimes.overdue_after = Millis::from_mins(1);
            config.lifetimes.fail_after = Millis::from_mins(fail_mins);
        })
        .order("o")
    };
    vec![
        (rule::DUE_OFFER_EXPIRY, waiting().offer("d", &["o"]).at(29).instant().at(30).instant()),
        (rule::DUE_OVERDUE, waits(2).at(59).instant().at(60).instant()),
        (rule::DUE_FAIL, waits(2).at(60).overdue("o").instant().at(119).instant().at(120).instant()),
        (rule::DUE_NEVER_FINISHED, on_board().at(24 * 3_600).instant().at(24 * 3_600 + 900).instant()),
        (rule::DUE_RETRY, failed_round().at(59).instant().at(60).instant()),
        (
            rule::DUE_DISPATCH,
            new().placed("o").at(500).instant().kitchen("o", KitchenStatus::Confirmed).instant().at(501).instant(),
        ),
        (rule::DUE_RETIRE, on_board().delivered("d", "o").at(3_599).instant().at(3_600).instant()),
        (rule::DUE_SHIFT_END, new().register(driver_spec("d")).shift("d", Some(9)).at(8).instant().at(9).instant()),
        (rule::DUE_SHIFT_END, on_board().shift_ending("d").instant().delivered("d", "o").instant()),
        (rule::LIVE_ORDERS, on_board().finish()),
        (rule::LIVE_ORDERS, new().placed("o").finish()),
    ]
}

fn cases() -> Vec<Case> {
    let offers = [offer_cases(), waves::cases(), assignments(), routes(), decisions()].concat();
    [log_and_drivers(), order_cases(), holds_and_rounds(), offers, due()].concat()
}

#[test]
fn each_rule_is_found_broken_where_it_is() {
    for (rule, script) in cases() {
        script.breaks(rule);
    }
}

#[test]
fn each_rule_has_a_log_that_breaks_it() {
    let covered: BTreeSet<_> = cases().into_iter().map(|(rule, _)| rule).collect();
    let all: BTreeSet<_> = rule::ALL.iter().map(|&(rule, _)| rule).collect();
    assert_eq!(covered, all);
}

#[test]
fn an_offer_outlives_an_outage() {
    let offered = || waiting().offer("d", &["o"]).at(300).restarted(280, &[(1, 310)]).instant();
    offered().at(309).accept().instant().audit().unwrap();
    offered().at(310).close(1, Expired).instant().audit().unwrap();
    patient().at(600).restarted(300, &[]).at(720).silent("d").instant().audit().unwrap();
    waiting().offer("d", &["o"]).at(300).restarted(270, &[]).close(1, Expired).instant().audit().unwrap();
}

#[test]
fn the_life_of_an_order_under_offers_breaks_nothing() {
    let totals = new()
        .driver("d")
        .driver("e")
        .event(EventKind::DriverRated { driver: driver_id("d"), rating: Rating::BEST })
        .order("o")
        .hold("o", HoldReason::SlackAmple, Some(121))
        .at(10)
        .hold("o", HoldReason::Outmatched, Some(60))
        .offer("d", &["o"])
        .at(40)
        .close(1, Expired)
        .offer("e", &["o"])
        .ready_at("o", 1_000)
        .at(69)
        .accept()
        .instant()
        .kitchen("o", KitchenStatus::Preparing)
        .order("p")
        .at(70)
        .at_pickup("e", "o")
        .offer("e", &["p"])
        .accept()
        .at(1_000)
        .kitchen("o", KitchenStatus::Ready)
        .picked_up("e", "o")
        .departed("e", "o")
        .instant()
        .returned("e", "p")
        .at(1_200)
        .at_dropoff("e", "o")
        .shift_ending("e")
        .at(1_300)
        .delivered("e", "o")
        .shift_ended("e")
        .instant()
        .cancelled(Role::Customer, "p")
        .at(4_900)
        .retired("o")
        .retired("p")
        .finish()
        .audit()
        .map_err(|(_, violation)| violation)
        .unwrap();
    assert_eq!((totals.orders, totals.delivered, totals.cancelled, totals.offers, totals.drivers), (2, 1, 1, 3, 2));
}

#[test]
fn pauses_silence_and_withdrawn_offers_break_nothing() {
    let script = waiting()
        .offer("d", &["o"])
        .paused("d")
        .close(1, Withdrawn)
        .at(5)
        .resumed("d")
        .offer("d", &["o"])
        .edit(edit!(OfferMade { attempt } => *attempt = 1))
        .accept()
        .at(9)
        .silent("d")
        .returned("d", "o")
        .instant()
        .at(20)
        .heard("d")
        .by_hand("d", &["o"])
        .at(1_000)
        .picked_up("d", "o")
        .by(Role::Dispatcher)
        .returned("d", "o")
        .edit(edit!(Returned { reason } => *reason = ReturnReason::Reassigned))
        .by_hand("d", &["o"])
        .picked_up("d", "o")
        .delivered("d", "o")
        .shift_ended("d")
        .shift("d", Some(2_000))
        .at(2_000)
        .shift_ended("d")
        .instant()
        .finish();
    assert_eq!(script.audit().map(|totals| totals.delivered), Ok(1));
}

#[test]
fn rounds_that_fail_and_start_again_break_nothing() {
    let script = failed_round()
        .at(60)
        .round_started("o")
        .instant()
        .hold("o", HoldReason::NoCandidate, None)
        .at(660)
        .round_failed("o", RoundFailure::NoCandidate)
        .at(720)
        .round_started("o")
        .offer("d", &["o"])
        .close(2, Declined)
        .at(3_600)
        .overdue("o")
        .instant()
        .at(7_200)
        .failed("o", FailReason::NoDriver)
        .instant()
        .finish();
    assert_eq!(script.audit().map(|totals| totals.failed), Ok(1));
}

#[test]
fn direct_assignment_and_new_rules_break_nothing() {
    let script = Script::with(|config| {
        config.offers = OfferRule::Direct;
        config.start_on = StartOn::Placed;
    })
    .register(driver_spec("d"))
    .shift("d", Some(1_080))
    .placed("o")
    .started("o")
    .placed("p")
    .started("p")
    .at(60)
    .direct("d", &["o", "p"])
    .edit(edit!(Assigned { orders } => orders.reverse()))
    .configure(|config| config.service.after_pickup = Millis::ZERO)
    .at(900)
    .picked_up("d", "o")
    .at(1_081)
    .instant()
    .cancelled(Role::Merchant, "p")
    .at(1_100)
    .failed("o", reported())
    .shift_ended("d")
    .instant()
    .at(4_700)
    .retired("o")
    .retired("p")
    .placed("o")
    .at(15 * 60 + 4_700 + 24 * 3_600)
    .failed("o", FailReason::NeverFinished)
    .instant()
    .finish();
    assert_eq!(script.audit().map(|totals| (totals.orders, totals.failed)), Ok((3, 2)));
}

#[test]
fn a_shared_pickup_is_one_stop() {
    let twin = OrderSpec { id: order_id("p"), ..order_spec("o") };
    let share = |kind: &mut EventKind| {
        let EventKind::OfferMade { stops, .. } = kind else { panic!("this is {kind:?}") };
        let second = stops.remove(1);
        stops[0].orders.extend(second.orders);
    };
    let totals = new().driver("d").order("o").order_as(twin).offer("d", &["o", "p"]).edit(share).audit();
    assert_eq!(totals.map(|totals| totals.offers), Ok(1));
}

#[test]
fn a_violation_says_where_and_what() {
    let violation = waiting().at(7).picked_up("d", "o").audit().unwrap_err().1;
    let text = "event 7 at 7000 ms breaks order.transition: order o is waiting and cannot be picked up";
    assert_eq!(violation.to_string(), text);
}
