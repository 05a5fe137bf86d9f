//! What a connection is doing, and for how long it may go on so. A client that sends little, reads little or says nothing costs a
//! place; here is what ends that.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much of an answer is handed over at once. A client has to take so much within the time for it, so this is also how slow it
/// may be at most.
const PIECE: usize = 16_384;

/// For how long a connection may go on without what is expected of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request's head to its last.
    pub(super) head: Duration,
    /// With nothing under way.
    pub(super) idle: Duration,
    /// With an answer of which the client takes nothing.
    pub(super) stall: Duration,
}

impl Patience {
    /// No deadline is nearer to what sets it.
    pub(super) fn shortest(&self) -> Duration {
        self.head.min(self.idle).min(self.stall)
    }
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A head that has not ended in time.
    Head,
    /// Nothing under way for too long.
    Idle,
    /// A client that does not read its answer.
    Stall,
}

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes, and nothing can be wrong with it before then.
    LookAgain(Instant),
    /// No.
    Over(Fault),
}

/// What one connection is doing. Whoever carries it says so; who looks at it at the times it names misses nothing, so that one timer
/// for a connection is enough, and none is set anew for a byte.
#[derive(Debug)]
pub(super) struct Watch {
    patience: Patience,
    doing: Mutex<Doing>,
}

#[derive(Debug)]
struct Doing {
    speaks: Speaks,
    /// Requests whose answers have not ended.
    requests: usize,
    /// Since when there is none.
    idle_since: Instant,
    /// Since when there is the beginning of a head. Frames of HTTP/2 come without requests, too, and begin none.
    head_since: Option<Instant>,
    /// Since when the system takes no byte of what is to be sent.
    stuck_since: Option<Instant>,
    /// The answers whose next piece waits until the client has taken the last one, and since when.
    waiting: BTreeMap<u64, Instant>,
    /// The number of the next answer.
    next: u64,
}

/// Which HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// So many bytes were those of the preface of HTTP/2.
    Unknown(usize),
    Http1,
    Http2,
}

impl Watch {
    pub(super) fn new(patience: Patience) -> Self {
        let doing = Doing {
            speaks: Speaks::Unknown(0),
            requests: 0,
            idle_since: Instant::now(),
            head_since: None,
            stuck_since: None,
            waiting: BTreeMap::new(),
            next: 0,
        };
        Self { patience, doing: Mutex::new(doing) }
    }

    /// The handshake is over: what was agreed upon, and whether a request came with its end.
    pub(super) fn agree(&self, http2: bool, begun: bool) {
        let (mut doing, now) = (self.doing.lock(), Instant::now());
        doing.speaks = if http2 { Speaks::Http2 } else { Speaks::Http1 };
        doing.head_since = (begun && !http2).then_some(now);
        doing.idle_since = now;
    }

    /// Whether it may go on. A deadline lies at least the shortest time after what sets it, so to look that often is enough.
    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let Patience { head, idle, stall } = self.patience;
        let doing = self.doing.lock();
        let stalled =
            doing.waiting.values().chain(&doing.stuck_since).min().map(|since| (*since + stall, Fault::Stall));
        let is_idle = doing.requests == 0;
        let begun = doing.head_since.filter(|_| is_idle).map(|since| (since + head, Fault::Head));
        let silent = is_idle.then(|| (doing.idle_since + idle, Fault::Idle));
        match [stalled, begun, silent].into_iter().flatten().min_by_key(|(due, _)| *due) {
            Some((due, fault)) if due <= now => Verdict::Over(fault),
            Some((due, _)) => Verdict::LookAgain(due.min(now + self.patience.shortest())),
            None => Verdict::LookAgain(now + self.patience.shortest()),
        }
    }

    /// A request begins; it is under way until what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut doing = self.doing.lock();
        doing.requests += 1;
        doing.head_since = None;
        doing.next += 1;
        UnderWay { watch: self.clone(), number: doing.next }
    }

    fn came(&self, bytes: &[u8]) {
        let mut doing = self.doing.lock();
        if let Speaks::Unknown(known) = doing.speaks {
            let expected = &PREFACE[known..];
            let shared = expected.len().min(bytes.len());
            doing.speaks = match known + shared {
                _ if expected[..shared] != bytes[..shared] => Speaks::Http1,
                known if known == PREFACE.len() => {
                    doing.head_since = None;
                    Speaks::Http2
                }
                known => Speaks::Unknown(known),
            };
        }
        if doing.speaks != Speaks::Http2 && doing.requests == 0 && doing.head_since.is_none() {
            doing.head_since = Some(Instant::now());
        }
    }

    fn wrote(&self, is_stuck: bool) {
        let mut doing = self.doing.lock();
        doing.stuck_since = is_stuck.then(|| doing.stuck_since.unwrap_or_else(Instant::now));
    }
}

/// A request from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct UnderWay {
    watch: Arc<Watch>,
    number: u64,
}

impl UnderWay {
    /// The client has to take what it was given.
    fn gave(&self) {
        self.watch.doing.lock().waiting.insert(self.number, Instant::now());
    }

    /// The client is ready for more.
    fn asked(&self) {
        self.watch.doing.lock().waiting.remove(&self.number);
    }

    /// An answer that is under way until it has ended.
    pub(super) fn answer(self, body: Body) -> Answer {
        Answer { body, rest: Bytes::new(), under_way: self }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut doing = self.watch.doing.lock();
        doing.waiting.remove(&self.number);
        doing.requests -= 1;
        if doing.requests == 0 {
            doing.idle_since = Instant::now();
        }
    }
}

/// The body of an answer, in pieces: so it is known how fast the client takes it, and little of it is in buffers.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    /// What came of the body and was not given yet.
    rest: Bytes,
    under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.under_way.asked();
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(piece);
        self.under_way.gave();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (behind, here) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = behind.upper() {
            hint.set_upper(upper + here);
        }
        hint.set_lower(behind.lower() + here);
        hint
    }
}

/// The bytes of a connection as they come and go.
#[derive(Debug)]
pub(super) struct Watched<T> {
    stream: T,
    watch: Arc<Watch>,
}

impl<T> Watched<T> {
    pub(super) fn new(stream: T, watch: Arc<Watch>) -> Self {
        Self { stream, watch }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.came(&buffer.filled()[before..]);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch.wrote(wrote.is_pending());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch.wrote(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::time::advance;

    const PATIENCE: Patience =
        Patience { head: Duration::from_secs(10), idle: Duration::from_secs(75), stall: Duration::from_secs(30) };

    /// In time that stands still unless a test moves it.
    fn in_still_time<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
    }

    /// What a connection does at some second.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Bytes(&'static [u8]),
        Stuck(bool),
        Begin,
        Give,
        Ask,
        End,
    }

    use Act::{Ask, Begin, Bytes, End, Give, Stuck};

    /// When and why a connection is over that does these things, each at its second, if it is within ten minutes: by looking at
    /// every second, and by looking when the watch says.
    async fn ends(acts: &[(u64, Act)]) -> [Option<(u64, Fault)>; 2] {
        let (watch, begun) = (Arc::new(Watch::new(PATIENCE)), Instant::now());
        let (mut open, mut look) = (Vec::new(), begun);
        let mut found = [None; 2];
        for second in 0..600 {
            let now = begun + Duration::from_secs(second);
            for (_, act) in acts.iter().filter(|(at, _)| *at == second) {
                match act {
                    Bytes(bytes) => watch.came(bytes),
                    Stuck(is_stuck) => watch.wrote(*is_stuck),
                    Begin => open.push(watch.begin()),
                    Give => open.iter().for_each(UnderWay::gave),
                    Ask => open.iter().for_each(UnderWay::asked),
                    End => drop(open.pop()),
                }
            }
            if let Verdict::Over(fault) = watch.verdict(now) {
                found[0].get_or_insert((second, fault));
            }
            if look <= now && found[1].is_none() {
                match watch.verdict(now) {
                    Verdict::LookAgain(at) => look = at,
                    Verdict::Over(fault) => found[1] = Some((second, fault)),
                }
            }
            if found[0].is_some() && found[1].is_some() {
                break;
            }
            advance(Duration::from_secs(1)).await;
        }
        found
    }

    #[test]
    fn what_is_expected_and_does_not_come_ends_a_connection() {
        let every = |step: usize, act: Act| (0..600).step_by(step).map(move |at| (at, act)).collect::<Vec<_>>();
        let and = |one: &[(u64, Act)], other: Vec<(u64, Act)>| [one, &other].concat();
        for (about, acts, end) in [
            ("silence", vec![], Some((75, Fault::Idle))),
            ("a head that dribbles", every(2, Bytes(b"x")), Some((10, Fault::Head))),
            ("a head that begins late", vec![(20, Bytes(b"GET"))], Some((30, Fault::Head))),
            ("a preface that dribbles", vec![(3, Bytes(b"PRI * ")), (9, Bytes(b"HTTP"))], Some((13, Fault::Head))),
            ("what only begins as HTTP/2", vec![(1, Bytes(b"PRI /"))], Some((11, Fault::Head))),
            ("HTTP/2 that only pings", and(&[(0, Bytes(PREFACE))], every(2, Bytes(b"ping"))), Some((75, Fault::Idle))),
            ("a request that is thought about", vec![(1, Bytes(b"GET")), (1, Begin)], None),
            ("a body that dribbles", and(&[(0, Bytes(b"POST")), (0, Begin)], every(2, Bytes(b"x"))), None),
            ("after an answer", vec![(0, Begin), (50, End)], Some((125, Fault::Idle))),
            ("a head after an answer", vec![(0, Begin), (50, End), (60, Bytes(b"G"))], Some((70, Fault::Head))),
            ("after the last of two", vec![(0, Begin), (1, Begin), (5, End), (9, End)], Some((84, Fault::Idle))),
            ("a client that reads nothing", vec![(0, Begin), (4, Stuck(true))], Some((34, Fault::Stall))),
            (
                "a client that reads slowly",
                vec![(0, Begin), (0, Stuck(true)), (29, Stuck(false)), (29, Stuck(true)), (50, Stuck(true))],
                Some((59, Fault::Stall)),
            ),
            ("a piece that nobody takes", vec![(0, Begin), (7, Give)], Some((37, Fault::Stall))),
            ("pieces that are taken", vec![(0, Begin), (0, Give), (29, Ask), (29, Give), (58, Ask)], None),
            ("an answer that was taken", vec![(0, Begin), (1, Give), (2, End)], Some((77, Fault::Idle))),
        ] {
            assert_eq!(in_still_time(ends(&acts)), [end; 2], "{about}");
        }
    }

    proptest! {
        /// One timer is enough: who looks only when it is said to is never late.
        #[test]
        fn looking_when_it_is_said_misses_nothing(
            acts in proptest::collection::vec(
                (0_u64..300, prop::sample::select(vec![
                    Bytes(b"x"), Bytes(PREFACE), Stuck(true), Stuck(false), Begin, Give, Ask, End,
                ])),
                0..20,
            )
        ) {
            let [each_second, as_said] = in_still_time(ends(&acts));
            prop_assert_eq!(each_second, as_said);
        }
    }
}
