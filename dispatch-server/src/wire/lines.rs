//! Positions one a line, as they come: <https://github.com/ndjson/ndjson-spec>.

use super::PositionOutcome;
use crate::telemetry::{FixOutcome, Tally};
use axum::http::HeaderValue;
use serde::Serialize;
use utoipa::ToSchema;

/// Cuts bytes into lines as they come, whatever the pieces.
#[derive(Debug)]
pub(crate) struct NdJson {
    /// Most bytes of a line.
    most: usize,
    /// What has come of a line that has not ended; one byte more than that of a line that is too long.
    begun: Vec<u8>,
    /// The number of that line, from 1.
    number: u64,
}

impl NdJson {
    pub(crate) const MEDIA_TYPE: &str = "application/x-ndjson";

    pub(crate) fn new(most: usize) -> Self {
        Self { most, begun: Vec::new(), number: 1 }
    }

    /// Whether the type of a body says that it is lines.
    pub(crate) fn is_named(kind: Option<&HeaderValue>) -> bool {
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(Self::MEDIA_TYPE))
    }

    /// Gives each line that has ended, with its number; `None` for one that is too long. Empty lines only count.
    pub(crate) fn read(&mut self, bytes: &[u8], mut take: impl FnMut(u64, Option<&[u8]>)) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let rest = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            if self.begun.is_empty() {
                self.give(piece, &mut take);
            } else {
                self.keep(piece);
                self.end(&mut take);
            }
            self.number += 1;
        }
        self.keep(rest);
    }

    /// Gives the last line, if it did not end.
    pub(crate) fn end(&mut self, mut take: impl FnMut(u64, Option<&[u8]>)) {
        let line = std::mem::take(&mut self.begun);
        self.give(&line, &mut take);
        self.begun = line;
        self.begun.clear();
    }

    fn give(&self, line: &[u8], take: &mut impl FnMut(u64, Option<&[u8]>)) {
        if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            take(self.number, Some(line).filter(|line| line.len() <= self.most));
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = self.most + 1 - self.begun.len();
        self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

/// Most refused lines that are listed.
const MAX_LISTED: usize = 100;

/// What became of positions that came one a line.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct LinesReply {
    /// How many lines with something in them there were.
    #[schema(minimum = 0)]
    lines: u64,
    outcomes: OutcomeCounts,
    /// The first 100 that were refused.
    #[schema(max_items = 100)]
    rejected: Vec<RefusedLine>,
}

/// How many positions came to what.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct OutcomeCounts {
    #[schema(minimum = 0)]
    moved: u64,
    #[schema(minimum = 0)]
    stale: u64,
    #[schema(minimum = 0)]
    too_old: u64,
    #[schema(minimum = 0)]
    from_future: u64,
    #[schema(minimum = 0)]
    too_fast: u64,
    #[schema(minimum = 0)]
    rate_limited: u64,
    #[schema(minimum = 0)]
    unknown_driver: u64,
    #[schema(minimum = 0)]
    invalid: u64,
    #[schema(minimum = 0)]
    shed: u64,
}

impl OutcomeCounts {
    pub(super) fn count(&mut self, tally: &Tally) {
        for (outcome, more) in tally.counted() {
            let count = match outcome {
                FixOutcome::Moved => &mut self.moved,
                FixOutcome::Stale => &mut self.stale,
                FixOutcome::TooOld => &mut self.too_old,
                FixOutcome::FromFuture => &mut self.from_future,
                FixOutcome::TooFast => &mut self.too_fast,
                FixOutcome::RateLimited => &mut self.rate_limited,
                FixOutcome::UnknownDriver => &mut self.unknown_driver,
                FixOutcome::Invalid => &mut self.invalid,
                FixOutcome::Shed => &mut self.shed,
            };
            *count += more;
        }
    }
}

/// A line whose position was refused.
#[derive(Debug, Serialize, ToSchema)]
struct RefusedLine {
    /// Its number, from 1.
    #[schema(minimum = 1)]
    line: u64,
    outcome: PositionOutcome,
    /// What is wrong with an `invalid` one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

impl LinesReply {
    /// Adds so many lines that came to this.
    pub(crate) fn count(&mut self, tally: &Tally) {
        self.outcomes.count(tally);
        self.lines += tally.counted().map(|(_, more)| more).sum::<u64>();
    }

    /// Lists a line that was refused, if there is room.
    pub(crate) fn list(&mut self, line: u64, outcome: FixOutcome, detail: Option<&String>) {
        if self.rejected.len() < MAX_LISTED {
            self.rejected.push(RefusedLine { line, outcome: outcome.into(), detail: detail.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]], most: usize) -> Vec<(u64, Option<String>)> {
        let (mut lines, mut given) = (NdJson::new(most), Vec::new());
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        for piece in pieces {
            lines.read(piece, |number, line| given.push((number, line.map(text))));
            assert!(lines.begun.len() <= most + 1);
        }
        lines.end(|number, line| given.push((number, line.map(text))));
        given
    }

    #[test]
    fn lines_end_where_they_end() {
        let line = |number: u64, text: &str| (number, Some(text.to_owned()));
        assert_eq!(
            cut(&[b"ab\r\n\nc", b"", b"d\nefgh", b"i\njklm\n", b" \nno"], 4),
            [line(1, "ab\r"), line(3, "cd"), (4, None), line(5, "jklm"), line(7, "no"),]
        );
        assert_eq!(cut(&[b"\n\n", b"\n"], 4), []);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\n]{0,60}", cuts in proptest::collection::vec(1..9_usize, 60), most in 1..6_usize) {
            let (mut pieces, mut rest) = (Vec::new(), text.as_bytes());
            for at in cuts {
                let (piece, next) = rest.split_at(at.min(rest.len()));
                pieces.push(piece);
                rest = next;
            }
            pieces.push(rest);
            prop_assert_eq!(cut(&pieces, most), cut(&[text.as_bytes()], most));
            let expected = text.split('\n').zip(1..).filter(|(line, _)| !line.is_empty());
            let expected: Vec<_> =
                expected.map(|(line, number)| (number, (line.len() <= most).then(|| line.to_owned()))).collect();
            prop_assert_eq!(cut(&pieces, most), expected);
        }
    }
}
