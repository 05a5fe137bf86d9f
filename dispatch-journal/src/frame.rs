//! How records lie in a file: in frames, each with what it takes to tell a whole one from anything else.
//!
//! All numbers are little-endian. A segment begins with a header of 32 bytes:
//!
//! | bytes | |
//! | --- | --- |
//! | 8 | `DSPJRNL1` |
//! | 4 | epoch |
//! | 4 | CRC-32 of the header without these four bytes |
//! | 8 | number of the first record |
//! | 8 | when it was begun, in milliseconds since 1970 |
//!
//! and goes on with frames, each padded with `0xff` to a multiple of eight bytes, so that no eight bytes in a row of a frame with text
//! are zeros:
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | length of the payload, at least 1 |
//! | 4 | CRC-32 of the other 24 bytes of this header |
//! | 8 | number of the record |
//! | 8 | number of the record after the last that was durable when this one was written |
//! | 4 | epoch |
//! | 4 | CRC-32 of the payload |
//! | … | payload |
//!
//! A snapshot is one frame behind `DSPSNAP1`, its number that of the last record in it.

use std::ops::Range;

/// The longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 << 20;

pub(crate) const SEGMENT: &[u8; 8] = b"DSPJRNL1";
pub(crate) const SNAPSHOT: &[u8; 8] = b"DSPSNAP1";

/// The longest snapshot, in bytes: what its header can say.
pub(crate) const MAX_SNAPSHOT: usize = u32::MAX as usize;

/// The length of both headers.
pub(crate) const HEADER: usize = 32;

/// What a disk writes at once: of a torn write each sector is there or not.
const SECTOR: usize = 512;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number, from 1.
    pub seq: u64,
    /// The epoch it was written in, from 1.
    pub epoch: u32,
    /// What it says.
    pub payload: &'a [u8],
}

/// A payload that is empty or longer than [`MAX_PAYLOAD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is of 1 to {MAX_PAYLOAD} bytes, not {0}")]
pub struct TooLarge(pub usize);

/// Records to be committed together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// Adds a record.
    pub fn push(&mut self, payload: &[u8]) -> Result<(), TooLarge> {
        if payload.is_empty() || payload.len() > MAX_PAYLOAD {
            return Err(TooLarge(payload.len()));
        }
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The length of all payloads, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The payloads, in sequence.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) epoch: u32,
    pub(crate) first: u64,
    pub(crate) begun_ms: i64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(SEGMENT);
        header[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        header[16..24].copy_from_slice(&self.first.to_le_bytes());
        header[24..].copy_from_slice(&self.begun_ms.to_le_bytes());
        let check = check(&header, 12..16);
        header[12..16].copy_from_slice(&check.to_le_bytes());
        header
    }

    pub(crate) fn decode(file: &[u8]) -> Result<Self, &'static str> {
        let header = file.get(..HEADER).ok_or("it ends within the header")?;
        if header[..7] != SEGMENT[..7] {
            return Err("it does not begin as a segment does");
        }
        if header[7] != SEGMENT[7] {
            return Err("it is of a version this program does not know");
        }
        if check(header, 12..16) != u32_at(header, 12) {
            return Err("the checksum of the header is wrong");
        }
        let begun_ms = u64_at(header, 24).cast_signed();
        Ok(Self { epoch: u32_at(header, 8), first: u64_at(header, 16), begun_ms })
    }
}

/// A frame as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) record: Record<'a>,
    /// All before this record was durable when it was written.
    pub(crate) settled: u64,
    /// Where the next frame begins.
    pub(crate) end: usize,
}

/// What is wrong where a frame should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The bytes the frame would take, as far as its header can be believed.
    pub(crate) bytes: Range<usize>,
    pub(crate) problem: &'static str,
}

impl Broken {
    /// Whether a write that was never synced can have left this: the file ends too early, or sectors are zeros.
    pub(crate) fn is_torn(&self, file: &[u8]) -> bool {
        let Range { start, end } = self.bytes;
        let missing = |from: usize| {
            let sector = from.max(start)..(from + SECTOR).min(end).min(file.len());
            file[sector].iter().all(|&byte| byte == 0)
        };
        end > file.len() || (start / SECTOR * SECTOR..end).step_by(SECTOR).any(missing)
    }
}

/// Writes a frame behind what is in `into`, which is aligned to eight bytes.
pub(crate) fn encode(into: &mut Vec<u8>, record: Record<'_>, settled: u64) {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(record.payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&record.seq.to_le_bytes());
    header[16..24].copy_from_slice(&settled.to_le_bytes());
    header[24..28].copy_from_slice(&record.epoch.to_le_bytes());
    header[28..].copy_from_slice(&crc32fast::hash(record.payload).to_le_bytes());
    let check = check(&header, 4..8);
    header[4..8].copy_from_slice(&check.to_le_bytes());
    into.extend_from_slice(&header);
    into.extend_from_slice(record.payload);
    into.resize(into.len().next_multiple_of(8), 0xff);
}

/// The frame at `start`, which is at most the length of the file, with a payload of `longest` bytes at most.
pub(crate) fn decode(file: &[u8], start: usize, longest: usize) -> Result<Frame<'_>, Broken> {
    let broken = |end, problem| Err(Broken { bytes: start..end, problem });
    let body = start + HEADER;
    let Some(header) = file.get(start..body) else { return broken(body, "the file ends within a header") };
    let len = u32_at(header, 0) as usize;
    if check(header, 4..8) != u32_at(header, 4) || len == 0 || len > longest {
        return broken(body, "the checksum of a header is wrong");
    }
    let end = (body + len).next_multiple_of(8);
    let Some(payload) = file.get(body..end).map(|padded| &padded[..len]) else {
        return broken(end, "the file ends within a record");
    };
    if crc32fast::hash(payload) != u32_at(header, 28) {
        return broken(end, "the checksum of a record is wrong");
    }
    let record = Record { seq: u64_at(header, 8), epoch: u32_at(header, 24), payload };
    Ok(Frame { record, settled: u64_at(header, 16), end })
}

/// The CRC-32 of a header but for where it stands.
fn check(header: &[u8], place: Range<usize>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..place.start]);
    hasher.update(&header[place.end..]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}
