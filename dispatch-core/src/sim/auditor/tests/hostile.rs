//! Logs that make no sense.

use super::*;
use crate::event::Event;
use crate::model::Actor;
use proptest::prelude::*;

/// Every event of every log above, for any other log to get mixed with.
fn pool() -> Vec<Event> {
    cases().iter().flat_map(|(_, script)| script.events()).collect()
}

proptest! {
    /// A log that makes no sense is a violation, never a panic.
    #[test]
    fn no_sequence_of_events_makes_the_auditor_fail(picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..60)) {
        let pool = pool();
        let mut auditor = super::super::Auditor::new();
        auditor.observe(&new().events()[0]).unwrap();
        let mut seq = 1;
        for pick in picks {
            let Event { kind, .. } = pick.get(&pool).clone();
            let event = Event { seq: seq + 1, at: secs(0), actor: Actor::of(Role::Dispatcher), kind };
            // A refused event is left out, as if the log had gone on without it.
            let mut next = auditor.clone();
            if next.observe(&event).is_ok() {
                (auditor, seq) = (next, seq + 1);
            }
            let _ = auditor.clone().check_instant(secs(100_000));
        }
        let orders: Vec<_> = auditor.drivers.values().flat_map(|driver| &driver.orders).collect();
        let distinct: BTreeSet<_> = orders.iter().collect();
        prop_assert_eq!(orders.len(), distinct.len(), "an order has two drivers");
        prop_assert!(auditor.open.values().all(|offer| auditor.drivers[&offer.driver].offer == Some(offer.id)));
    }
}
