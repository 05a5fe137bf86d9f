//! What waits for the runner: a line for each tenant, served in turn, so that who asks much waits for itself.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lines of bounded length, with one who serves them.
pub(super) struct Queue<T> {
    state: Mutex<Lines<T>>,
    filled: Condvar,
    limit: usize,
    share: usize,
    own: usize,
}

struct Lines<T> {
    each: Vec<VecDeque<T>>,
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
    pub(super) fn new(lines: usize, tenants: usize, limit: usize) -> Self {
        let share = if tenants > 1 { limit.div_ceil(2) } else { limit };
        let own = limit.div_ceil(lines);
        let lines = (0..lines).map(|_| VecDeque::new()).collect();
        let state = Mutex::new(Lines { each: lines, turn: 0, waiting: 0, closed: false });
        Self { state, filled: Condvar::new(), limit, share, own }
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
        queue.each[line].push_back(item);
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
            if let Some(item) = queue.each[turn].pop_front() {
                queue.waiting -= 1;
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
        drop(queue);
        drop(waiting);
    }

    /// How much waits.
    pub(super) fn depth(&self) -> usize {
        self.state.lock().waiting
    }
}

#[cfg(test)]
mod tests {
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
        let queue = Queue::new(3, 3, 10);
        let taken = (0..10).filter(|&n| queue.push(0, (0, n)).is_ok()).count();
        assert_eq!(taken, 5, "half of the places");
        queue.push(2, (2, 0)).unwrap();
        queue.push(2, (2, 1)).unwrap();
        assert_eq!(queue.depth(), 7);
        assert_eq!(all(&queue), [(0, 0), (2, 0), (0, 1), (2, 1), (0, 2), (0, 3), (0, 4)]);
        assert_eq!(queue.next(Some(Duration::ZERO)), Next::Nothing);
        let alone = Queue::new(1, 1, 10);
        assert_eq!((0..20).filter(|&n| alone.push(0, (0, n)).is_ok()).count(), 10);
        // Two that take all there is leave the third its own.
        let queue = Queue::new(3, 3, 10);
        let taken = [0, 1, 2].map(|line| (0..20).filter(|&n| queue.push(line, (line, n)).is_ok()).count());
        assert_eq!(taken, [5, 5, 4]);
    }

    #[test]
    fn what_waits_at_the_end_is_still_given() {
        let queue = Queue::new(2, 2, 10);
        queue.push(1, 1).unwrap();
        queue.close();
        assert_eq!(queue.push(0, 2), Err(Refused::Closed));
        assert_eq!(queue.next(None), Next::This(1));
        assert_eq!(queue.next(None), Next::Ended);
        let queue = Queue::new(2, 2, 10);
        queue.push(1, 1).unwrap();
        queue.abandon();
        assert_eq!(queue.next(None), Next::Ended);
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_each_line_in_sequence(steps in proptest::collection::vec((0_usize..4, any::<bool>()), 1..200)) {
            let queue = Queue::new(4, 4, 16);
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
