//! An append-only log on a disk. What was committed is there after a crash, whole and in its sequence, or [`Journal::start`]
//! does not start and says which file is damaged where.
//!
//! It knows records of bytes, numbered from 1 without gaps; what they mean is its caller's affair. A directory holds
//!
//! - **segments**, the records in files of a bounded size, named after the first record in them and the epoch they were
//!   written in. The epoch grows by one with each start, so that two writers can never be mistaken for one;
//! - **snapshots**, what the caller made of all records up to one, so that recovery need not read them all;
//! - a lock, held by the one process that writes.
//!
//! # How a crash is told from damage
//!
//! A record is written behind the ones before it and is durable once the file is synced. A crash may lose or tear
//! what was not: then the file ends early, or whole sectors of it are zeros. Such a tail was never acknowledged, and is cut off.
//! Whatever else is wrong is damage. Each record says up to which record all was durable when it was written; if a
//! record that is broken was durable by the word of a later one, it is damage, too, however torn it looks.
//!
//! ```
//! use dispatch_journal::{Batch, Directory, Journal, Log, Options};
//!
//! # let dir = std::env::temp_dir().join(format!("journal-doc-{}", std::process::id()));
//! let mut log = Log::open(Directory::open(&dir)?)?;
//! let mut seen = Vec::new();
//! log.replay(|record| { seen.push(record.payload.to_vec()); Ok(()) })?;
//! let mut journal = Journal::start(log, Options::default(), 0)?;
//! let mut batch = Batch::default();
//! batch.push(b"an order was placed")?;
//! assert_eq!(journal.commit(&batch, 1)?, seen.len() as u64 + 1);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod disk;
mod frame;
mod journal;
mod log;
#[cfg(feature = "sim")]
pub mod sim;

pub use disk::{Directory, Disk, DiskFile, LockError};
pub use frame::{Batch, MAX_PAYLOAD, Record, TooLarge};
pub use journal::{CommitError, Journal, Options, appear, remove_segments, save_snapshot, set_damaged_aside};
pub use log::{Contents, Log, OpenError, Report, Segment, Snapshot, is_unwritten, read_on, segments};
