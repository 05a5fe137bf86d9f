//! Positions: one, a batch, or a stream of lines. They pass the runner by, and are refused while commands wait for it too long.

use super::extract::{Json, PathId, announced_body, read};
use super::ok;
use super::problem::Problem;
use crate::State;
use crate::auth::{Caller, Cost};
use crate::runner::{Error, Item, Session};
use crate::telemetry::{FixOutcome, Tally};
use crate::wire::{
    Code, DriverPosition, LinesReply, NdJson, PositionReply, PositionsReply, ReportPosition, ReportPositions,
};
use axum::body::HttpBody;
use axum::extract::{Request, State as Extract};
use axum::http::header;
use axum::response::Response;
use dispatch_core::DriverId;
use std::future::poll_fn;
use std::pin::Pin;

pub(super) async fn report(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
    Json(body): Json<ReportPosition>,
) -> Result<Response, Problem> {
    admit(&state, &caller)?;
    let Some(fleet) = state.handle().fleet(&caller.who.scope.tenant) else {
        return Err(Problem::unknown_driver(&id));
    };
    let item = body.into_core(id);
    match fleet.report(&caller.who, &item) {
        FixOutcome::UnknownDriver => Err(Problem::unknown_driver(&item.driver)),
        FixOutcome::TooOld => Err(Problem::position(Code::TooOld, "at", "the position is older than the server takes")),
        FixOutcome::FromFuture => {
            Err(Problem::position(Code::FromFuture, "at", "the position is too far ahead of the server's time"))
        }
        FixOutcome::TooFast => {
            Err(Problem::position(Code::TooFast, "lat", "the driver cannot have come here since its last position"))
        }
        FixOutcome::RateLimited => Err(Problem::rate_limited()),
        outcome => Ok(ok(&PositionReply { outcome: outcome.into() })),
    }
}

pub(super) async fn report_many(
    Extract(state): Extract<State>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    // One before it is read, so that refusing is cheap.
    admit(&state, &caller)?;
    if NdJson::is_named(request.headers().get(header::CONTENT_TYPE)) {
        return report_lines(&state, &caller, request).await;
    }
    let limits = state.config().limits;
    // A driver speaks for itself alone.
    let is_driver = caller.who.grant.driver().is_some();
    let most = if is_driver { limits.body_bytes.min(limits.batch_bytes) } else { limits.batch_bytes };
    let items = ReportPositions::read(&read(request, &state, most).await?)?;
    let count = items.len();
    if count > limits.batch_fixes {
        let detail = format!("must be at most {}, not {count}", limits.batch_fixes);
        return Err(Problem::invalid("positions", detail));
    }
    state.auth().rates.count(&caller.who, Cost::Positions(count.saturating_sub(1) as u32))?;
    let outcomes = take(&state, &caller, &items);
    Ok(ok(&PositionsReply::new(outcomes, items)))
}

/// Lets a sender of positions in, unless commands wait too long or it has sent too much.
fn admit(state: &State, caller: &Caller) -> Result<(), Problem> {
    if state.handle().sheds(&caller.who.scope.tenant) {
        // How many there are nobody has looked.
        count(state, FixOutcome::Shed, 1);
        return Err(Error::Overloaded.into());
    }
    Ok(state.auth().rates.count(&caller.who, Cost::Positions(1))?)
}

fn count(state: &State, outcome: FixOutcome, count: usize) {
    let mut tally = Tally::default();
    tally.add(outcome, count as u64);
    state.handle().count_fixes(&tally);
}

/// Takes positions in, and says what became of each.
fn take(state: &State, caller: &Caller, items: &[Result<Item, String>]) -> Vec<FixOutcome> {
    let mut outcomes = vec![FixOutcome::UnknownDriver; items.len()];
    match state.handle().fleet(&caller.who.scope.tenant) {
        Some(fleet) => fleet.report_all(&caller.who, items, |number, outcome| outcomes[number] = outcome),
        None => count(state, FixOutcome::UnknownDriver, items.len()),
    }
    outcomes
}

/// So many lines are taken in together.
const LINES_AT_ONCE: usize = 256;

/// Reads lines as they come, and keeps none of them.
async fn report_lines(state: &State, caller: &Caller, request: Request) -> Result<Response, Problem> {
    let limits = state.config().limits;
    let mut body = announced_body(request, limits.stream_bytes)?;
    let session = Session::new(state, caller.who.clone());
    let most = limits.line_bytes;
    let mut stream = Stream { session, most, items: Vec::new(), numbers: Vec::new(), reply: LinesReply::default() };
    let (mut lines, mut bytes) = (NdJson::new(most), 0);
    let read = async {
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let frame = frame.map_err(|_| Problem::broken_body())?;
            let Ok(data) = frame.into_data() else { continue };
            bytes += data.len();
            if bytes > limits.stream_bytes {
                return Err(Problem::too_large(limits.stream_bytes));
            }
            lines.read(&data, |number, line| stream.add(number, line));
            // Nobody waits for the rest of what is here.
            stream.flush();
        }
        lines.end(|number, line| stream.add(number, line));
        stream.flush();
        Ok(())
    };
    tokio::time::timeout(state.patience(), read).await.map_err(|_| Problem::slow())??;
    Ok(ok(&stream.reply))
}

/// What came of a stream of lines so far, and those that are to be taken in together.
struct Stream {
    session: Session,
    /// Most bytes of a line.
    most: usize,
    items: Vec<Result<Item, String>>,
    /// The numbers of their lines.
    numbers: Vec<u64>,
    reply: LinesReply,
}

impl Stream {
    /// Takes a line; `None` is one that is too long.
    fn add(&mut self, number: u64, line: Option<&[u8]>) {
        let too_long = || Err(format!("must have at most {} bytes", self.most));
        self.items.push(line.map_or_else(too_long, DriverPosition::read));
        self.numbers.push(number);
        if self.items.len() == LINES_AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let receipt = self.session.report_items(&self.items);
        self.reply.count(&receipt.tally);
        for (index, outcome) in receipt.refused {
            let detail = self.items[index as usize].as_ref().err();
            self.reply.list(self.numbers[index as usize], outcome, detail.filter(|_| outcome == FixOutcome::Invalid));
        }
        self.items.clear();
        self.numbers.clear();
    }
}
