//! What waits for the runner: a line for each tenant, served in turn, so that who asks much waits for itself.

use super::Clock;
use dispatch_core::{Millis, Timestamp};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Lines of bounded length, with one who serves them.
pub(super) struct Queue<T> {
    state: Mutex<Lines<T>>,
    filled: Condvar,
    /// Since when the first of each line waits, in milliseconds since 1970; [`NOBODY`] where none does.
    waits_since: Vec<AtomicI64>,
    clock: Clock,
    limit: usize,
    share: usize,
    own: usize,
}

/// Nobody waits in a line.
const NOBODY: i64 = i64::MAX;

struct Lines<T> {
    /// With when each came.
    each: Vec<VecDeque<(Timestamp, T)>>,
    /// Whose turn it is.
    turn: usize,
    waiting: usize,
    closed: bool,
}

/// Why something cannot be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    This(T),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Ended,
}

impl<T> Queue<T> {
    /// So many lines, and places in all of them. Where there are several tenants, one takes half of the places at most, and each has
    /// some that no other takes: as many again in all.
    pub(super) fn new(lines: usize, tenants: usize, limit: usize, clock: Clock) -> Self {
        let share = if tenants > 1 { limit.div_ceil(2) } else { limit };
        let own = limit.div_ceil(lines);
        let waits_since = (0..lines).map(|_| AtomicI64::new(NOBODY)).collect();
        let lines = (0..lines).map(|_| VecDeque::new()).collect();
        let state = Mutex::new(Lines { each: lines, turn: 0, waiting: 0, closed: false });
        Self { state, filled: Condvar::new(), waits_since, clock, limit, share, own }
    }

    /// Puts something at the end of a line.
    pub(super) fn push(&self, line: usize, item: T) -> Result<(), Refused> {
        let mut queue = self.state.lock();
        if queue.closed {
            return Err(Refused::Closed);
        }
        let before = queue.each[line].len();
        if before >= self.share || (queue.waiting >= self.limit && before >= self.own) {
            return Err(Refused::Full);
        }
        let now = self.clock.now();
        if before == 0 {
            self.waits_since[line].store(now.as_millis(), Ordering::Relaxed);
        }
        queue.each[line].push_back((now, item));
        queue.waiting += 1;
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the first of the next line, waiting for one to come: for so long, or as long as it takes. What waits when the
    /// queue is closed is still given.
    pub(super) fn next(&self, wait: Option<Duration>) -> Next<T> {
        let until = wait.map(|wait| Instant::now() + wait);
        let mut queue = self.state.lock();
        while queue.waiting == 0 {
            if queue.closed {
                return Next::Ended;
            }
            let timed_out = if let Some(until) = until {
                self.filled.wait_until(&mut queue, until).timed_out()
            } else {
                self.filled.wait(&mut queue);
                false
            };
            if timed_out && queue.waiting == 0 && !queue.closed {
                return Next::Nothing;
            }
        }
        loop {
            let turn = queue.turn;
            queue.turn = (turn + 1) % queue.each.len();
            if let Some((_, item)) = queue.each[turn].pop_front() {
                queue.waiting -= 1;
                let since = queue.each[turn].front().map_or(NOBODY, |(since, _)| since.as_millis());
                self.waits_since[turn].store(since, Ordering::Relaxed);
                return Next::This(item);
            }
        }
    }

    /// Takes nothing any more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }

    /// The same, and drops what waits.
    pub(super) fn abandon(&self) {
        self.close();
        let mut queue = self.state.lock();
        queue.waiting = 0;
        let waiting: Vec<_> = queue.each.iter_mut().map(std::mem::take).collect();
        self.waits_since.iter().for_each(|since| since.store(NOBODY, Ordering::Relaxed));
        drop(queue);
        drop(waiting);
    }

    /// For how long the first of a line has been waiting. Takes no lock.
    pub(super) fn wait(&self, line: usize) -> Millis {
        match self.waits_since[line].load(Ordering::Relaxed) {
            NOBODY => Millis::ZERO,
            since => (self.clock.now() - Timestamp::from_millis(since)).max(Millis::ZERO),
        }
    }

    /// How much waits.
    pub(super) fn depth(&self) -> usize {
        self.state.lock().waiting
    }
}

#[cfg(test)]
mod tests {
    use super::super::ManualClock;
    use super::*;
    use proptest::prelude::*;

    fn all(queue: &Queue<(usize, u32)>) -> Vec<(usize, u32)> {
        let next = || match queue.next(Some(Duration::ZERO)) {
            Next::This(item) => Some(item),
            Next::Nothing | Next::Ended => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn who_asks_much_waits_for_itself() {
        let queue = Queue::new(3, 3, 10, Clock::real());
        let taken = (0..10).filter(|&n| queue.push(0, (0, n)).is_ok()).count();
        assert_eq!(taken, 5, "half of the places");
        queue.push(2, (2, 0)).unwrap();
        queue.push(2, (2, 1)).unwrap();
        assert_eq!(queue.depth(), 7);
        assert_eq!(all(&queue), [(0, 0), (2, 0), (0, 1), (2, 1), (0, 2), (0, 3), (0, 4)]);
        assert_eq!(queue.next(Some(Duration::ZERO)), Next::Nothing);
        let alone = Queue::new(1, 1, 10, Clock::real());
        assert_eq!((0..20).filter(|&n| alone.push(0, (0, n)).is_ok()).count(), 10);
        // Two that take all there is leave the third its own.
        let queue = Queue::new(3, 3, 10, Clock::real());
        let taken = [0, 1, 2].map(|line| (0..20).filter(|&n| queue.push(line, (line, n)).is_ok()).count());
        assert_eq!(taken, [5, 5, 4]);
    }

    #[test]
    fn the_first_of_a_line_says_how_long_it_waits() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let queue = Queue::new(2, 2, 10, clock.clone().into());
        let waits = |queue: &Queue<u32>| [0, 1].map(|line| queue.wait(line).get());
        clock.advance(Millis::new(5));
        assert_eq!(waits(&queue), [0, 0]);
        queue.push(0, 1).unwrap();
        clock.advance(Millis::new(20));
        queue.push(0, 2).unwrap();
        queue.push(1, 3).unwrap();
        clock.advance(Millis::new(100));
        assert_eq!(waits(&queue), [120, 100]);
        assert_eq!(queue.next(None), Next::This(1));
        assert_eq!(waits(&queue), [100, 100]);
        assert_eq!(queue.next(None), Next::This(3));
        assert_eq!(waits(&queue), [100, 0]);
        queue.abandon();
        assert_eq!(waits(&queue), [0, 0]);
    }

    #[test]
    fn what_waits_at_the_end_is_still_given() {
        let queue = Queue::new(2, 2, 10, Clock::real());
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(0, 2), Err(Refused::Closed));
        assert_eq!(queue.next(None), Next::This(1));
        assert_eq!(queue.next(None), Next::Ended);
        let queue = Queue::new(2, 2, 10, Clock::real());
        queue.push(1, 1).unwrap();
        queue.abandon();
        assert_eq!(queue.next(None), Next::Ended);
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_each_line_in_sequence(steps in proptest::collection::vec((0_usize..4, any::<bool>()), 1..200)) {
            let queue = Queue::new(4, 4, 16, Clock::real());
            let (mut given, mut taken) = (vec![Vec::new(); 4], vec![Vec::new(); 4]);
            for (n, (line, push)) in (0..).zip(steps) {
                if push {
                    let before = queue.depth();
                    let pushed = queue.push(line, (line, n));
                    prop_assert_eq!(queue.depth(), before + usize::from(pushed.is_ok()));
                    if pushed.is_ok() {
                        given[line].push(n);
                    }
                } else if let Next::This((line, n)) = queue.next(Some(Duration::ZERO)) {
                    taken[line].push(n);
                }
            }
            for (line, n) in all(&queue) {
                taken[line].push(n);
            }
            prop_assert_eq!(given, taken);
        }
    }
}
