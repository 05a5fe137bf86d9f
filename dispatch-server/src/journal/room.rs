//! How much room there is where the journal is.

use std::path::PathBuf;
use std::time::Duration;

/// The disk of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    path: PathBuf,
    min_free_bytes: u64,
}

impl Room {
    pub(super) fn new(path: PathBuf, min_free_bytes: u64) -> Self {
        Self { path, min_free_bytes }
    }

    /// Whether so little is free that nothing should be added that can wait elsewhere. Asks the system, which takes a microsecond.
    pub(crate) fn is_low(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < self.min_free_bytes)
    }

    /// How much may still be written, where the system says so.
    #[cfg(unix)]
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    #[cfg(not(unix))]
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let _ = &self.path;
        None
    }

    /// How old the newest snapshot is, if there is one.
    pub(crate) fn newest_snapshot(&self) -> Option<Duration> {
        let files = std::fs::read_dir(&self.path).ok()?.flatten();
        let snapshots = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "snapshot"));
        let ages = snapshots.filter_map(|file| file.metadata().ok()?.modified().ok());
        ages.map(|made| made.elapsed().unwrap_or_default()).min()
    }
}
