//! What is durable, handed on to whoever follows the journal. The journal never waits for a follower: one that falls behind reads
//! on from the disk.

use dispatch_journal::Batch;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A follower may be this many bytes behind before it has to read from the disk.
const MAX_QUEUED_BYTES: usize = 16 << 20;

/// The records that are durable, and how far a follower is.
#[derive(Debug)]
pub(crate) struct Feed {
    queue: Mutex<Queue>,
    news: Notify,
    backlog_bytes: AtomicU64,
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Vec<u8>>,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    durable: u64,
    closed: bool,
    /// The last record that the follower has applied, once it is known.
    applied: Option<u64>,
    /// It will never apply any more.
    is_let_go: bool,
    /// When some of the records became durable that are not applied, the oldest first, a second apart at least.
    marks: VecDeque<(u64, Instant)>,
}

/// So many marks are kept; of what comes after them it is only known that it is younger.
const MAX_MARKS: usize = 3_600;

/// What a follower gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next records, each with its number.
    Records(Vec<(u64, Vec<u8>)>),
    /// They are on the disk: all up to this one.
    OnDisk(u64),
    /// There are none yet.
    Nothing,
}

impl Feed {
    /// Follows a journal that holds all records up to `durable`.
    pub(super) fn new(durable: u64) -> Self {
        let queue = Queue { first: durable + 1, durable, ..Queue::default() };
        Self {
            queue: Mutex::new(queue),
            news: Notify::new(),
            backlog_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Hands on a batch that is durable now; `last` is its last record.
    pub(super) fn offer(&self, batch: &Batch, last: u64) {
        let mut queue = self.queue.lock();
        queue.durable = last;
        let is_due = queue.marks.back().is_none_or(|(_, at)| at.elapsed() >= Duration::from_secs(1));
        if is_due && queue.marks.len() < MAX_MARKS {
            queue.marks.push_back((last, Instant::now()));
        }
        if queue.bytes + batch.bytes() > MAX_QUEUED_BYTES {
            (queue.records, queue.bytes, queue.first) = (VecDeque::new(), 0, last + 1);
        } else {
            queue.bytes += batch.bytes();
            queue.records.extend(batch.payloads().map(<[u8]>::to_vec));
        }
        drop(queue);
        self.news.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.news.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Done when something came or the feed was closed, since the last call or now.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// The records after `after`, of about `bytes` at most.
    pub(crate) fn next(&self, after: u64, bytes: usize) -> Next {
        let mut queue = self.queue.lock();
        while queue.first <= after
            && let Some(old) = queue.records.pop_front()
        {
            queue.first += 1;
            queue.bytes -= old.len();
        }
        if queue.durable <= after {
            return Next::Nothing;
        }
        if queue.first != after + 1 || queue.records.is_empty() {
            return Next::OnDisk(queue.durable);
        }
        let (mut records, mut taken) = (Vec::new(), 0);
        while taken < bytes
            && let Some(record) = queue.records.pop_front()
        {
            taken += record.len();
            records.push((queue.first, record));
            queue.first += 1;
        }
        queue.bytes -= taken;
        Next::Records(records)
    }

    /// The last record that is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.queue.lock().durable
    }

    /// The last record that the follower has applied; absent until it is known.
    pub(crate) fn applied(&self) -> Option<u64> {
        self.queue.lock().applied
    }

    /// Notes that all up to `seq` is applied.
    pub(crate) fn set_applied(&self, seq: u64) {
        let mut queue = self.queue.lock();
        queue.applied = Some(seq);
        while queue.marks.front().is_some_and(|(last, _)| *last <= seq) {
            queue.marks.pop_front();
        }
    }

    /// How long the oldest record that is not applied has been durable, to the second.
    pub(crate) fn lag_time(&self) -> Duration {
        let queue = self.queue.lock();
        let oldest = queue.marks.front().filter(|_| !queue.is_let_go);
        oldest.map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }

    /// The follower will never apply anything any more: nothing waits for it.
    pub(crate) fn let_go(&self) {
        self.queue.lock().is_let_go = true;
        self.set_backlog(0);
        self.set_full(false);
    }

    /// The last record that nobody waits for; while nobody knows what is applied, none.
    pub(super) fn not_awaited(&self) -> u64 {
        let queue = self.queue.lock();
        if queue.is_let_go { u64::MAX } else { queue.applied.unwrap_or(0) }
    }

    /// How long the records are that are not applied, in bytes: as the files are that hold them.
    pub(crate) fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes.load(Ordering::Relaxed)
    }

    /// Notes how much that is.
    pub(crate) fn set_backlog(&self, bytes: u64) {
        self.backlog_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether there is so much to catch up with that nothing should be added that can wait elsewhere.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Sets whether there is; true if that is new.
    pub(crate) fn set_full(&self, full: bool) -> bool {
        self.full.swap(full, Ordering::Relaxed) != full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(first: u64, count: u64, size: usize) -> Batch {
        let mut batch = Batch::default();
        for seq in first..first + count {
            let mut payload = seq.to_le_bytes().to_vec();
            payload.resize(size.max(8), 0);
            batch.push(&payload).unwrap();
        }
        batch
    }

    #[test]
    fn a_follower_lags_until_it_has_applied_what_is_durable() {
        let feed = Feed::new(5);
        assert_eq!(feed.lag_time(), Duration::ZERO);
        feed.offer(&batch(6, 2, 8), 7);
        std::thread::yield_now();
        assert!(feed.lag_time() > Duration::ZERO);
        feed.set_applied(6);
        assert!(feed.lag_time() > Duration::ZERO);
        feed.set_applied(7);
        assert_eq!(feed.lag_time(), Duration::ZERO);
        feed.offer(&batch(8, 1, 8), 8);
        feed.let_go();
        assert_eq!(feed.lag_time(), Duration::ZERO, "nothing waits for it any more");
    }

    proptest! {
        // Each case moves many megabytes.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_follower_misses_nothing(steps in proptest::collection::vec((0_u64..4, 0_usize..6_000_000, any::<bool>()), 1..40)) {
            let feed = Feed::new(5);
            let (mut last, mut seen) = (5, 5);
            for (count, size, reads) in steps {
                if count > 0 {
                    let batch = batch(last + 1, count, size);
                    last += count;
                    feed.offer(&batch, last);
                }
                if !reads {
                    continue;
                }
                match feed.next(seen, 1_000) {
                    Next::Nothing => prop_assert_eq!(seen, last),
                    Next::OnDisk(durable) => {
                        prop_assert_eq!(durable, last);
                        seen = durable;
                    }
                    Next::Records(records) => for (seq, record) in records {
                        prop_assert_eq!(seq, seen + 1);
                        prop_assert_eq!(&record[..8], &seq.to_le_bytes());
                        seen = seq;
                    },
                }
            }
        }
    }
}
