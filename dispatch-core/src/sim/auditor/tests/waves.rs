//! Logs of offers to several drivers at once.

use super::*;

/// Three drivers who are asked for an order two at a time.
fn by_waves() -> Script {
    let rule = OfferRule::Wave { size: 2, expires_after: Millis::from_secs(30) };
    Script::with(|config| config.offers = rule).driver("d").driver("e").driver("f").order("o")
}

pub(super) fn cases() -> Vec<Case> {
    let wave = || by_waves().wave(&["d", "e"], &["o"]);
    let first = |of: Option<u64>| {
        let of = of.map(crate::OfferId);
        move |kind: &mut EventKind| {
            let EventKind::OfferMade { wave, .. } = kind else { panic!("this is {kind:?}") };
            *wave = of;
        }
    };
    vec![
        (rule::OFFER_WAVE, waiting().offer("d", &["o"]).edit(first(Some(1)))),
        (rule::OFFER_WAVE, by_waves().offer("d", &["o"]).edit(first(None))),
        (rule::OFFER_WAVE, wave().edit(first(Some(3)))),
        (rule::OFFER_WAVE_ALIKE, by_waves().wave(&["d"], &["o"]).at(1).offer("e", &["o"]).edit(first(Some(1)))),
        (rule::OFFER_WAVE_ALIKE, wave().edit(edit!(OfferMade { attempt } => *attempt = 2))),
        (rule::OFFER_WAVE_ALIKE, by_waves().order("p").wave(&["d"], &["o"]).offer("e", &["p"]).edit(first(Some(1)))),
        (rule::OFFER_WAVE_SIZE, by_waves().wave(&["d", "e", "f"], &["o"])),
        (rule::OFFER_WAVE_SIZE, {
            // Who is no longer asked was asked.
            wave()
                .close(2, Withdrawn)
                .offer("f", &["o"])
                .edit(edit!(OfferMade { attempt } => *attempt = 1))
                .edit(first(Some(1)))
        }),
        (rule::OFFER_WAVE_ONE_ACCEPTED, wave().close(1, Accepted).close(2, Accepted)),
        (rule::OFFER_WAVE_WITHDRAWN, wave().close(1, Accepted).assigned("d", &["o"])),
        (rule::OFFER_ACCEPT_ASSIGNS, wave().close(1, Accepted).close(2, Declined)),
        (rule::OFFER_ACCEPT_ASSIGNS, wave().close(1, Accepted).close(2, Withdrawn).instant()),
        (rule::OFFER_ACCEPT_ASSIGNS, wave().close(1, Accepted).at(1).close(2, Withdrawn)),
        (rule::OFFER_ASKED_BEFORE, wave().close(1, Declined).close(2, Declined).wave(&["f", "d"], &["o"])),
        (rule::OFFER_UNANSWERABLE, wave().paused("e").instant()),
        (rule::ORDER_TRANSITION, wave().close(1, Declined).cancelled(Role::Customer, "o")),
        (rule::ORDER_TRANSITION, wave().close(1, Withdrawn).by_hand("d", &["o"])),
        (rule::ORDER_TRANSITION, wave().close(1, Declined).wave(&["f"], &["o"])),
        (rule::OFFER_ATTEMPT, {
            // Both turned it down, and both were one attempt.
            wave()
                .close(1, Declined)
                .close(2, Declined)
                .wave(&["f"], &["o"])
                .edit(edit!(OfferMade { attempt } => *attempt = 3))
        }),
        (rule::ROUND_ATTEMPTS_USED, {
            // However many were asked.
            by_waves()
                .configure(|config| config.rounds.attempts = 2)
                .wave(&["d", "e"], &["o"])
                .close(1, Declined)
                .close(2, Declined)
                .round_failed("o", RoundFailure::AttemptsUsed)
        }),
        (rule::ROUND_ATTEMPTS_USED, {
            // A new order does not pay for what an old one has been through.
            by_waves()
                .configure(|config| config.rounds.attempts = 2)
                .wave(&["d"], &["o"])
                .close(1, Declined)
                .order("p")
                .wave(&["e"], &["o", "p"])
                .close(2, Declined)
                .round_failed("o", RoundFailure::AttemptsUsed)
                .round_failed("p", RoundFailure::AttemptsUsed)
        }),
        (rule::DUE_OFFER_EXPIRY, wave().at(30).close(1, Expired).instant()),
    ]
}

#[test]
fn waves_break_nothing() {
    let totals = by_waves()
        .wave(&["d", "e"], &["o"])
        .at(5)
        .close(1, Declined)
        .at(30)
        .close(2, Expired)
        .wave(&["f"], &["o"])
        .at(40)
        .paused("f")
        .close(3, Withdrawn)
        .by_hand("f", &["o"])
        .order("p")
        .order("q")
        .wave(&["d", "e"], &["p", "q"])
        .at(69)
        .close(4, Accepted)
        .close(5, Withdrawn)
        .assigned("d", &["p", "q"])
        .instant()
        .audit()
        .map_err(|(_, violation)| violation)
        .unwrap();
    assert_eq!((totals.orders, totals.offers), (3, 5));
}
