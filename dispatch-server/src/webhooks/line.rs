//! What a webhook still has to be told, and when: no clock, no network. Each letter is sent a first time in the order of the log, one
//! after the other; one that failed is sent again by itself, while those behind it go on, until it arrives or is given up.

use crate::config::WebhooksConfig;
use dispatch_core::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a line behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// How often a letter is sent before it is given up.
    attempts: u32,
    /// After the first failure the next attempt is up to this later; the bound doubles with each further one,
    first: Millis,
    /// up to this.
    longest: Millis,
    /// Most letters on their way; while there are so many, no further ones are taken.
    pending: usize,
    /// Most letters that failed and are sent again at once.
    retries_at_once: usize,
    /// Most letters that were given up and are still known.
    dead_letters: usize,
}

impl From<&WebhooksConfig> for Policy {
    fn from(config: &WebhooksConfig) -> Self {
        Self {
            attempts: config.attempts,
            first: Millis::new(i64::from(config.backoff_first_ms)),
            longest: Millis::new(i64::from(config.backoff_max_ms)),
            pending: config.pending,
            retries_at_once: config.retries_at_once,
            dead_letters: config.dead_letters,
        }
    }
}

/// What is sent: an event in its envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    /// The event's id,
    pub(crate) event: String,
    /// and its type.
    pub(crate) kind: String,
    pub(crate) at: Timestamp,
    /// The JSON of all of it.
    pub(super) body: String,
}

/// A letter on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    letter: Letter,
    /// How often it was sent in vain.
    failures: u32,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// It was never sent.
    Fresh,
    /// It is being sent for the first time,
    First,
    /// or again.
    Again,
    /// It failed, and is not sent again before this time.
    Until(Timestamp),
}

/// A letter that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dead {
    pub(crate) letter: Letter,
    pub(crate) attempts: u32,
    pub(crate) died_at: Timestamp,
    /// Why it failed the last time.
    pub(crate) problem: String,
}

/// What came of sending a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// There is nobody any more who wants to be told.
    Gone,
    Failed {
        problem: String,
        /// Not to be sent again before this long.
        retry_after: Option<Millis>,
    },
}

/// What an outcome led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    /// It will be sent again.
    Failed,
    Dead,
    /// The webhook takes nothing any more; the letter waits.
    Gone,
}

/// How a line stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) delivered_at: Option<Timestamp>,
    pub(crate) failed_at: Option<Timestamp>,
    /// Why it failed then.
    pub(crate) problem: Option<String>,
}

/// The letters of one webhook. What is kept of it is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Up to where the log was taken; absent before the first time.
    cursor: Option<String>,
    /// Letters are numbered in the order in which they were taken.
    next: u64,
    pending: BTreeMap<u64, Pending>,
    dead: BTreeMap<u64, Dead>,
    /// How many dead letters were forgotten because there were too many.
    dropped: u64,
    standing: Standing,
}

impl Line {
    /// A line as it was kept: what was being sent is sent again.
    pub(super) fn resume(mut self) -> Self {
        for pending in self.pending.values_mut() {
            pending.step = match pending.step {
                Step::First => Step::Fresh,
                Step::Again => Step::Until(Timestamp::MIN),
                step => step,
            };
        }
        self
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Takes over that the log was seen up to here.
    pub(super) fn move_to(&mut self, cursor: String) {
        self.cursor = Some(cursor);
    }

    pub(super) fn has_room(&self, policy: &Policy) -> bool {
        self.pending.len() < policy.pending
    }

    /// Puts a letter at the end. Whoever does sees to it that there is room.
    pub(super) fn push(&mut self, letter: Letter) {
        self.pending.insert(self.next, Pending { letter, failures: 0, step: Step::Fresh });
        self.next += 1;
    }

    /// A letter to send now, with its number; it is under way until [`Line::ended`].
    pub(super) fn take(&mut self, now: Timestamp, policy: &Policy) -> Option<(u64, Letter)> {
        let number =
            self.fresh().or_else(|| self.due(policy).filter(|(at, _)| *at <= now).map(|(_, number)| number))?;
        let pending = self.pending.get_mut(&number)?;
        pending.step = if pending.step == Step::Fresh { Step::First } else { Step::Again };
        Some((number, pending.letter.clone()))
    }

    /// When there will be a letter to send if nothing happens before.
    pub(super) fn next_at(&self, policy: &Policy) -> Option<Timestamp> {
        self.due(policy).map(|(at, _)| at)
    }

    /// The first letter that was never sent, unless another one is being sent for the first time.
    fn fresh(&self) -> Option<u64> {
        let mut steps = self.pending.iter().map(|(number, pending)| (*number, pending.step));
        let first = steps.find(|(_, step)| matches!(step, Step::Fresh | Step::First));
        first.filter(|(_, step)| *step == Step::Fresh).map(|(number, _)| number)
    }

    /// The letter that is to be sent again next, unless as many as may are being sent again.
    fn due(&self, policy: &Policy) -> Option<(Timestamp, u64)> {
        if self.count(Step::Again) >= policy.retries_at_once {
            return None;
        }
        let until = |(number, pending): (&u64, &Pending)| match pending.step {
            Step::Until(at) => Some((at, *number)),
            _ => None,
        };
        self.pending.iter().filter_map(until).min()
    }

    fn count(&self, step: Step) -> usize {
        self.pending.values().filter(|pending| pending.step == step).count()
    }

    /// Takes over what came of sending a letter. `chance` is drawn evenly from all numbers, so that letters that failed together
    /// do not come back together.
    pub(super) fn ended(
        &mut self,
        number: u64,
        outcome: Outcome,
        now: Timestamp,
        chance: u32,
        policy: &Policy,
    ) -> Fate {
        let (problem, retry_after) = match outcome {
            Outcome::Delivered => {
                self.pending.remove(&number);
                self.standing.delivered_at = Some(now);
                return Fate::Delivered;
            }
            Outcome::Gone => {
                if let Some(pending) = self.pending.get_mut(&number) {
                    pending.step = if pending.step == Step::First { Step::Fresh } else { Step::Until(now) };
                }
                self.fail(now, "the receiver is gone (410)".to_owned());
                return Fate::Gone;
            }
            Outcome::Failed { problem, retry_after } => (problem, retry_after),
        };
        self.fail(now, problem.clone());
        let Some(pending) = self.pending.get_mut(&number) else { return Fate::Failed };
        pending.failures += 1;
        if pending.failures < policy.attempts {
            pending.step = Step::Until(now + policy.wait(pending.failures, retry_after, chance));
            return Fate::Failed;
        }
        if let Some(Pending { letter, failures: attempts, .. }) = self.pending.remove(&number) {
            self.dead.insert(number, Dead { letter, attempts, died_at: now, problem });
        }
        while self.dead.len() > policy.dead_letters {
            self.dead.pop_first();
            self.dropped += 1;
        }
        Fate::Dead
    }

    fn fail(&mut self, now: Timestamp, problem: String) {
        self.standing.failed_at = Some(now);
        self.standing.problem = Some(problem);
    }

    /// Sends letters again that were given up, these or all: how many they are.
    pub(super) fn replay(&mut self, numbers: Option<&[u64]>, now: Timestamp) -> usize {
        let all: Vec<u64> = self.dead.keys().copied().collect();
        let again = |number: &u64| Some((*number, self.dead.remove(number)?));
        let again: Vec<_> = numbers.unwrap_or(&all).iter().filter_map(again).collect();
        let count = again.len();
        // As letters that failed, so that those of today do not wait for them.
        let revive = |Dead { letter, .. }| Pending { letter, failures: 0, step: Step::Until(now) };
        self.pending.extend(again.into_iter().map(|(number, dead)| (number, revive(dead))));
        count
    }

    /// The dead letters after this one, with their numbers.
    pub(super) fn dead_letters(&self, after: Option<u64>) -> impl Iterator<Item = (u64, &Dead)> {
        let rest = after.map_or(0, |after| after.saturating_add(1));
        self.dead.range(rest..).map(|(number, dead)| (*number, dead))
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn dead(&self) -> usize {
        self.dead.len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl Policy {
    /// How long to wait after so many failures: full jitter below a bound that doubles, and no less than the receiver asks for
    /// within the longest wait.
    fn wait(&self, failures: u32, retry_after: Option<Millis>, chance: u32) -> Millis {
        let doubled =
            2_i64.checked_pow(failures.saturating_sub(1)).and_then(|times| self.first.get().checked_mul(times));
        let bound = doubled.map_or(self.longest, Millis::new).min(self.longest);
        let drawn = (i128::from(bound.get()) * i128::from(chance) / i128::from(u32::MAX)) as i64;
        Millis::new(drawn).max(retry_after.unwrap_or(Millis::ZERO).min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const POLICY: Policy = Policy {
        attempts: 4,
        first: Millis::new(1_000),
        longest: Millis::new(5_000),
        pending: 8,
        retries_at_once: 2,
        dead_letters: 3,
    };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn letter(number: u64) -> Letter {
        Letter { event: number.to_string(), kind: "k".into(), at: at(0), body: format!("body {number}") }
    }

    fn failed(retry_after: Option<i64>) -> Outcome {
        Outcome::Failed { problem: "down".into(), retry_after: retry_after.map(Millis::new) }
    }

    #[test]
    fn a_letter_that_failed_holds_nobody_up() {
        let mut line = Line::default();
        (0..3).for_each(|number| line.push(letter(number)));
        assert_eq!(line.take(at(0), &POLICY).map(|(number, _)| number), Some(0));
        assert_eq!(line.take(at(0), &POLICY), None, "one after the other");
        assert_eq!(line.ended(0, failed(None), at(0), u32::MAX, &POLICY), Fate::Failed);
        assert_eq!(line.take(at(0), &POLICY).map(|(number, _)| number), Some(1));
        assert_eq!(line.next_at(&POLICY), Some(at(1_000)));
        assert_eq!(line.take(at(999), &POLICY), None);
        assert_eq!(line.take(at(1_000), &POLICY).map(|(number, _)| number), Some(0));
        line.ended(1, Outcome::Delivered, at(1_000), 0, &POLICY);
        assert_eq!(line.take(at(1_000), &POLICY).map(|(number, _)| number), Some(2));
    }

    #[test]
    fn what_is_dead_may_be_sent_again() {
        let mut line = Line::default();
        for number in 0..5 {
            line.push(letter(number));
            for attempt in 1..=POLICY.attempts {
                let (taken, _) = line.take(at(i64::MAX / 2), &POLICY).unwrap();
                let fate = line.ended(taken, failed(None), at(0), 0, &POLICY);
                assert_eq!(fate, if attempt < POLICY.attempts { Fate::Failed } else { Fate::Dead });
            }
        }
        let numbers = |line: &Line, after| line.dead_letters(after).map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!((numbers(&line, None), line.dropped()), (vec![2, 3, 4], 2));
        assert_eq!((numbers(&line, Some(3)), numbers(&line, Some(u64::MAX))), (vec![4], vec![]));
        assert_eq!(line.replay(Some(&[3, 99]), at(0)), 1);
        assert_eq!(line.replay(None, at(0)), 2);
        assert_eq!(line.replay(None, at(0)), 0);
        let again: Vec<_> = std::iter::from_fn(|| line.take(at(0), &POLICY)).map(|(number, _)| number).collect();
        assert_eq!(again, [2, 3], "two at once");
    }

    #[test]
    fn a_receiver_that_is_gone_gets_the_letter_once_it_is_back() {
        let mut line = Line::default();
        line.push(letter(0));
        line.take(at(0), &POLICY).unwrap();
        assert_eq!(line.ended(0, Outcome::Gone, at(0), 0, &POLICY), Fate::Gone);
        assert_eq!(line.take(at(9), &POLICY).map(|(number, _)| number), Some(0));
        assert_eq!(line.clone().resume().take(at(9), &POLICY).map(|(number, _)| number), Some(0), "after a restart");
    }

    proptest! {
        /// Waits are drawn below a bound that doubles up to the longest, and are no shorter than the receiver asks for within it.
        #[test]
        fn waits_keep_their_bounds(failures in 1u32..80, asked in proptest::option::of(0i64..100_000), chance: u32) {
            let wait = POLICY.wait(failures, asked.map(Millis::new), chance).get();
            let bound = 1_000i64.saturating_mul(2i64.saturating_pow(failures - 1)).min(5_000);
            let asked = asked.unwrap_or(0).min(5_000);
            prop_assert!(wait >= asked && wait <= bound.max(asked), "{} {} {}", wait, bound, asked);
            prop_assert_eq!(POLICY.wait(failures, None, u32::MAX).get(), bound);
            prop_assert_eq!(POLICY.wait(failures, None, 0), Millis::ZERO);
        }

        /// Whatever fails, and however often the server starts anew: every letter is delivered, dead or still on its way; nothing is
        /// sent after it was delivered; first attempts go in order; nothing is beyond its bounds.
        #[test]
        fn no_letter_is_lost(steps in vec((0u8..8, any::<u32>(), 0i64..3_000), 1..200)) {
            let (mut line, mut now, mut pushed) = (Line::default(), 0, 0);
            let (mut under_way, mut delivered, mut sent) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            let mut last_first = None;
            for (what, chance, pass) in steps {
                now += pass;
                match what {
                    0 | 1 if line.has_room(&POLICY) => {
                        line.push(letter(pushed));
                        pushed += 1;
                    }
                    2 | 3 => if let Some((number, letter)) = line.take(at(now), &POLICY) {
                        prop_assert_eq!(&letter.body, &format!("body {number}"));
                        prop_assert!(!delivered.contains(&number), "{} was delivered", number);
                        if sent.insert(number) {
                            prop_assert!(last_first < Some(number), "{} is late", number);
                            last_first = Some(number);
                        }
                        under_way.push(number);
                        prop_assert!(under_way.len() <= 1 + POLICY.retries_at_once);
                    }
                    4 | 5 if !under_way.is_empty() => {
                        let number = under_way.remove(chance as usize % under_way.len());
                        let outcome = match chance % 7 {
                            0..=2 => Outcome::Delivered,
                            3 => Outcome::Gone,
                            4 => failed(Some(i64::from(chance))),
                            _ => failed(None),
                        };
                        if outcome == Outcome::Delivered {
                            delivered.insert(number);
                        }
                        line.ended(number, outcome, at(now), chance, &POLICY);
                    }
                    6 => {
                        line = line.resume();
                        under_way.clear();
                    }
                    7 => {
                        line.replay(None, at(now));
                    }
                    _ => {}
                }
                let dead = line.dead() as u64 + line.dropped();
                prop_assert_eq!(delivered.len() as u64 + line.pending() as u64 + dead, pushed);
                prop_assert!(line.dead() <= POLICY.dead_letters);
                prop_assert!(line.pending() <= POLICY.pending + POLICY.dead_letters);
                let json = serde_json::to_string(&line).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Line>(&json).unwrap(), &line);
            }
            // Once the receiver takes everything, everything arrives.
            line = line.resume();
            while let Some((number, _)) = line.take(at(now + 10_000), &POLICY) {
                line.ended(number, Outcome::Delivered, at(now), 0, &POLICY);
            }
            prop_assert_eq!(line.pending(), 0);
        }
    }
}
