//! Positions by the connection: a sender names its drivers once, and then sends numbers.

use super::fleet::{Fleet, Item, Post, Run};
use crate::State;
use crate::auth::{Cost, Principal};
use crate::telemetry::{FixOutcome, Tally};
use crate::wire::frame::{Frame, FrameError};
use dispatch_core::DriverId;
use std::sync::Arc;

/// What became of positions that came together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// How many came to what.
    pub(crate) tally: Tally,
    /// Which were refused, by their index from 0, each with the reason.
    pub(crate) refused: Vec<(u32, FixOutcome)>,
    /// After how many seconds to send more, where none was looked at: the server sheds load, or the sender sent too much.
    pub(crate) retry_after_s: Option<u64>,
}

/// A sender of positions and the drivers it has numbered.
pub(crate) struct Session {
    state: State,
    who: Arc<Principal>,
    /// Absent for a tenant without a market.
    fleet: Option<Arc<Fleet>>,
    seats: Vec<Seat>,
}

/// A numbered driver.
struct Seat {
    driver: DriverId,
    /// Where it reports to, as far as that is known and it is there for the sender.
    post: Option<Arc<Post>>,
}

/// Drivers that cannot be numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    #[error("one connection numbers at most {most} drivers, not {count}")]
    TooMany { count: usize, most: usize },
    #[error("numbers follow each other, and {numbered} have been given, so the next cannot be {first}")]
    Gap { first: usize, numbered: usize },
}

impl Session {
    /// A session of a sender who may report positions, whose drivers are not numbered yet.
    pub(crate) fn new(state: &State, who: Arc<Principal>) -> Self {
        let fleet = state.handle().fleet(&who.scope.tenant).cloned();
        Self { state: state.clone(), who, fleet, seats: Vec::new() }
    }

    /// Numbers drivers from `first` on; whoever had these numbers loses them. A driver that is unknown, or not the sender's, has its
    /// number all the same: its positions are refused until it is there. Says how many numbers there are.
    pub(crate) fn number(&mut self, first: usize, drivers: &[DriverId]) -> Result<usize, NumberError> {
        let (numbered, most) = (self.seats.len(), self.state.config().limits.session_drivers);
        let count = first.saturating_add(drivers.len());
        if count > most {
            return Err(NumberError::TooMany { count, most });
        }
        if first > numbered {
            return Err(NumberError::Gap { first, numbered });
        }
        let seats = drivers.iter().map(|driver| Seat { driver: driver.clone(), post: None });
        self.seats.splice(first..count.min(numbered), seats);
        Ok(self.seats.len())
    }

    /// Takes in a frame of positions.
    pub(crate) fn report_frame(&mut self, bytes: &[u8]) -> Result<Receipt, FrameError> {
        let frame = Frame::read(bytes, self.state.config().limits.batch_fixes)?;
        if let Some(refused) = self.refuse_all(frame.len()) {
            return Ok(refused);
        }
        let Some(fleet) = &self.fleet else { return Ok(self.refused(frame.len(), FixOutcome::UnknownDriver, None)) };
        for fix in frame.fixes() {
            if let Some(seat) = self.seats.get_mut(fix.driver as usize) {
                seat.find(fleet, &self.who);
            }
        }
        let mut receipt = Receipt::default();
        let mut run = Run::new(fleet, fleet.now(), frame.len(), |number, outcome| receipt.note(number, outcome));
        for (fix, number) in frame.fixes().zip(0..) {
            let post = self.seats.get(fix.driver as usize).and_then(|seat| seat.post.as_deref());
            match (post, fix.read(frame.base())) {
                (Some(post), Some((fix, motion))) => run.add(number, post, fix, motion),
                (Some(_), None) => (run.judged)(number, FixOutcome::Invalid),
                (None, _) => (run.judged)(number, FixOutcome::UnknownDriver),
            }
        }
        run.end();
        self.state.handle().count_fixes(&receipt.tally);
        receipt.refused.sort_unstable_by_key(|(number, _)| *number);
        Ok(receipt)
    }

    /// Takes in positions whose drivers are named, numbered or not; those that could not be read are refused as invalid.
    pub(crate) fn report_items(&self, items: &[Result<Item, String>]) -> Receipt {
        if let Some(refused) = self.refuse_all(items.len()) {
            return refused;
        }
        let Some(fleet) = &self.fleet else { return self.refused(items.len(), FixOutcome::UnknownDriver, None) };
        let mut receipt = Receipt::default();
        fleet.report_all(&self.who, items, |number, outcome| receipt.note(number, outcome));
        receipt.refused.sort_unstable_by_key(|(number, _)| *number);
        receipt
    }

    /// What there is to say where none of so many positions is looked at.
    fn refuse_all(&self, count: usize) -> Option<Receipt> {
        if self.state.handle().sheds(&self.who.scope.tenant) {
            return Some(self.refused(count, FixOutcome::Shed, Some(1)));
        }
        let cost = Cost::Positions(u32::try_from(count).unwrap_or(u32::MAX));
        let counted = self.state.auth().rates.count(&self.who, cost);
        counted.err().map(|too_often| self.refused(count, FixOutcome::RateLimited, Some(too_often.after_s)))
    }

    fn refused(&self, count: usize, outcome: FixOutcome, retry_after_s: Option<u64>) -> Receipt {
        let mut receipt = Receipt { retry_after_s, ..Receipt::default() };
        (0..count).for_each(|number| receipt.note(number, outcome));
        self.state.handle().count_fixes(&receipt.tally);
        receipt
    }
}

impl Seat {
    /// Looks the driver up if that was not done, or has to be done again.
    fn find(&mut self, fleet: &Fleet, who: &Principal) {
        if !self.post.as_ref().is_some_and(|post| post.is_current()) {
            self.post = fleet.post(who, &self.driver);
        }
    }
}

impl Receipt {
    fn note(&mut self, number: usize, outcome: FixOutcome) {
        self.tally.add(outcome, 1);
        if outcome.is_refusal() {
            self.refused.push((number as u32, outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::Sightings;
    use super::super::{Clock, ManualClock};
    use super::*;
    use crate::Sources;
    use crate::auth::{Grant, Scope};
    use crate::wire::frame::{FrameFix, encode_frame};
    use dispatch_core::{FixRules, MarketId, Millis, Motion, Position, Timestamp};
    use proptest::prelude::*;

    const NOW: i64 = 1_767_225_600_000;
    const HERE: (i32, i32) = (525_200_000, 134_000_000);

    /// A server whose clock stands, with these settings.
    fn server(settings: &[&str]) -> (State, ManualClock) {
        let clock = ManualClock::new(Timestamp::from_millis(NOW));
        let flags = ["durability=memory"].iter().chain(settings).map(|flag| (*flag).to_owned()).collect();
        let config = Sources { flags, ..Sources::default() }.load().unwrap();
        (State::start_with_clock(config, Clock::from(clock.clone())).unwrap(), clock)
    }

    fn fleet(state: &State) -> &Arc<Fleet> {
        state.handle().fleet(&crate::TenantId::default()).unwrap()
    }

    fn market(id: &str) -> Arc<Sightings> {
        Sightings::new(MarketId::new(id).unwrap(), FixRules::default()).unwrap()
    }

    fn id(text: &str) -> DriverId {
        DriverId::new(text).unwrap()
    }

    fn fix(driver: u32, north: i32, after_base_ms: i32) -> FrameFix {
        let unknown = FrameFix::UNKNOWN;
        let (lat_e7, lng_e7) = (HERE.0 + north, HERE.1);
        FrameFix { driver, lat_e7, lng_e7, after_base_ms, accuracy: unknown, speed: unknown, heading: unknown }
    }

    fn report(session: &mut Session, fixes: &[FrameFix]) -> Receipt {
        session.report_frame(&encode_frame(NOW, fixes, true)).unwrap()
    }

    use FixOutcome::{FromFuture, Invalid, Moved, RateLimited, Stale, TooFast, TooOld, UnknownDriver};

    #[test]
    fn a_frame_is_judged_fix_by_fix() {
        let (state, clock) = server(&[]);
        let berlin = market("berlin");
        fleet(&state).register(&id("ana"), &berlin);
        fleet(&state).register(&id("bob"), &berlin);
        let mut session = Session::new(&state, Principal::anybody().into());
        assert_eq!(session.number(0, &[id("ana"), id("nobody"), id("bob")]), Ok(3));
        let receipt = report(
            &mut session,
            &[
                fix(0, 0, -1_000),
                FrameFix { accuracy: 50, speed: 420, heading: 9_000, ..fix(2, 0, 0) },
                fix(1, 0, 0),
                fix(3, 0, 0),
                FrameFix { lat_e7: i32::MAX, ..fix(0, 0, 0) },
                FrameFix { heading: 36_000, ..fix(0, 0, 0) },
                fix(0, 0, -1_000),
                fix(0, 0, -400_000),
                fix(0, 0, 60_001),
                fix(0, 10_000_000, 0),
                fix(0, 0, 0),
            ],
        );
        let refused = [
            (2, UnknownDriver),
            (3, UnknownDriver),
            (4, Invalid),
            (5, Invalid),
            (7, TooOld),
            (8, FromFuture),
            (9, TooFast),
            (10, RateLimited),
        ];
        assert_eq!(receipt.refused, refused);
        let counted: Vec<_> = receipt.tally.counted().collect();
        assert_eq!(counted[..2], [(Moved, 2), (Stale, 1)]);
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 11);
        assert_eq!(berlin.counts(), (7, 2), "those of known drivers, and those that moved one");
        let (last, motion) = fleet(&state).last_fix(&id("bob")).unwrap();
        assert_eq!((last.at.as_millis(), last.position), (NOW, Position::new(52.52, 13.4).unwrap()));
        assert_eq!((motion.speed_mps, motion.heading_deg), (Some(4.2), Some(90.0)));
        clock.advance(Millis::from_secs(1));
        assert_eq!(report(&mut session, &[fix(2, 0, 500)]).tally.of(Moved), 1);
        let (last, motion) = fleet(&state).last_fix(&id("bob")).unwrap();
        assert_eq!((last.at.as_millis(), motion.speed_mps), (NOW + 500, None), "nobody said how fast");
        assert!(state.metrics().contains("dispatch_fixes_total{outcome=\"moved\"} 3"));
    }

    #[test]
    fn who_comes_or_moves_is_noticed() {
        let (state, clock) = server(&[]);
        let (north, south) = (market("north"), market("south"));
        let northern = Scope { markets: Some([MarketId::new("north").unwrap()].into()), ..Scope::default() };
        let narrow = Principal { scope: northern, ..Principal::anybody() };
        let own = Principal { grant: Grant::Driver(id("ana")), ..Principal::anybody() };
        let mut sessions = [Principal::anybody(), narrow, own].map(|who| Session::new(&state, who.into()));
        for session in &mut sessions {
            assert_eq!(session.number(0, &[id("bob"), id("ana")]), Ok(2));
        }
        let mut moved = |state: &State| {
            clock.advance(Millis::from_secs(3));
            let after = (fleet(state).now().as_millis() - NOW) as i32;
            let mut after = (0..).map(|more| after + more);
            sessions.each_mut().map(|session| report(session, &[fix(1, 0, after.next().unwrap())]).tally.of(Moved))
        };
        assert_eq!(moved(&state), [0, 0, 0]);
        fleet(&state).register(&id("ana"), &north);
        assert_eq!(moved(&state), [1, 1, 1]);
        fleet(&state).register(&id("ana"), &south);
        assert_eq!(moved(&state), [1, 0, 1], "in a market that the second may not see");
        assert_eq!((north.counts(), south.counts()), ((3, 3), (2, 2)));
        fleet(&state).register(&id("bob"), &south);
        clock.advance(Millis::from_secs(3));
        let other = sessions.each_mut().map(|session| report(session, &[fix(0, 0, 10_000)]).tally.of(UnknownDriver));
        assert_eq!(other, [0, 1, 1], "not the driver's own");
    }

    #[test]
    fn numbers_follow_each_other_and_are_few() {
        let (state, _) = server(&["limits.session_drivers=3", "limits.batch_fixes=2"]);
        fleet(&state).register(&id("ana"), &market("berlin"));
        let mut session = Session::new(&state, Principal::anybody().into());
        assert_eq!(session.number(1, &[id("ana")]), Err(NumberError::Gap { first: 1, numbered: 0 }));
        assert_eq!(session.number(0, &["a", "b", "c"].map(id)), Ok(3));
        assert_eq!(session.number(2, &["d", "e"].map(id)), Err(NumberError::TooMany { count: 4, most: 3 }));
        assert!(session.number(usize::MAX, &[id("a")]).is_err());
        assert_eq!(session.number(1, &[id("ana")]), Ok(3));
        assert_eq!(report(&mut session, &[fix(1, 0, 0), fix(0, 0, 0)]).refused, [(1, UnknownDriver)]);
        let three = encode_frame(NOW, &[fix(0, 0, 0); 3], false);
        assert_eq!(session.report_frame(&three), Err(FrameError::TooMany { count: 3, most: 2 }));
    }

    #[test]
    fn who_sends_too_much_is_told_when_to_send_again() {
        let (state, clock) = server(&["rates.positions_per_second=10", "fixes.burst=100"]);
        fleet(&state).register(&id("ana"), &market("berlin"));
        let who = Principal { rate: crate::auth::Rate::Times(1.0), id: "a".into(), ..Principal::anybody() };
        let mut session = Session::new(&state, who.into());
        session.number(0, &[id("ana")]).unwrap();
        assert_eq!(report(&mut session, &[fix(0, 0, 0); 10]).tally.of(Stale), 9);
        let refused = report(&mut session, &[fix(0, 0, 0); 10]);
        assert_eq!((refused.tally.of(RateLimited), refused.retry_after_s), (10, Some(1)));
        assert_eq!(refused.refused.len(), 10);
        clock.advance(Millis::from_secs(1));
        let item = |after: i64| {
            let at = Some(Timestamp::from_millis(NOW + after));
            Ok(Item { driver: id("ana"), position: Position::new(52.52, 13.4).unwrap(), at, motion: Motion::default() })
        };
        let receipt = session.report_items(&[item(1), Err("no item".into()), item(2), item(2)]);
        assert_eq!((receipt.tally.of(Moved), receipt.tally.of(Stale), receipt.refused), (2, 1, vec![(1, Invalid)]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// Whether they come in frames, as items or one by one.
        #[test]
        fn how_they_come_does_not_matter(
            fixes in proptest::collection::vec((0..5_u32, -20_000..20_000, -40_000..2_000, any::<bool>()), 1..100),
            home in proptest::collection::vec(0..2_usize, 4),
        ) {
            let fixes: Vec<_> = fixes.into_iter().map(|(driver, north, after, moving)| {
                FrameFix { heading: if moving { 100 } else { FrameFix::UNKNOWN }, ..fix(driver, north, after) }
            }).collect();
            let names = ["a", "b", "c", "d", "unknown"].map(id);
            let mut ends = Vec::new();
            for way in 0..3 {
                let (state, _) = server(&["fixes.burst=20"]);
                let markets = [market("north"), market("south")];
                for (name, home) in names.iter().zip(&home) {
                    fleet(&state).register(name, &markets[*home]);
                }
                let who = Principal::anybody();
                let items: Vec<_> = fixes.iter().map(|fix| {
                    let (read, motion) = fix.read(Timestamp::from_millis(NOW)).unwrap();
                    let driver = names[fix.driver as usize].clone();
                    Ok(Item { driver, position: read.position, at: Some(read.at), motion })
                }).collect();
                let mut session = Session::new(&state, who.clone().into());
                session.number(0, &names).unwrap();
                let receipt = match way {
                    0 => report(&mut session, &fixes),
                    1 => session.report_items(&items),
                    _ => {
                        let mut receipt = Receipt::default();
                        for (number, item) in items.iter().enumerate() {
                            receipt.note(number, fleet(&state).report(&who, item.as_ref().unwrap()));
                        }
                        receipt
                    }
                };
                let last: Vec<_> = names.iter().map(|name| fleet(&state).last_fix(name)).collect();
                ends.push((receipt, last, markets.map(|market| market.counts())));
            }
            prop_assert_eq!(&ends[0], &ends[1]);
            prop_assert_eq!(&ends[0], &ends[2]);
        }
    }
}
