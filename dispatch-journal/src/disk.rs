//! What the journal asks of a disk, and a directory of this machine.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A directory of files. Names are plain file names.
pub trait Disk {
    /// A file that can be written to.
    type File: DiskFile;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// All of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Makes a file, empty, whether there was one or not.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, at once; a file of that name is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file away.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes what was created, renamed and removed durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile {
    /// Writes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all of the file durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of this machine.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Locked as long as it is open; absent for readers.
    _lock: Option<File>,
}

/// Why a directory cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The system says no.
    #[error("cannot use {path} as a data directory")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else writes there.
    #[error("another process uses the data directory {path}")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

const LOCK: &str = "lock";

impl Directory {
    /// Opens a directory to write, making it if there is none. No other process can until this is dropped.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, LockError> {
        let path = path.into();
        let locked = create_durably(&path).and_then(|()| File::create(path.join(LOCK)));
        let lock = match locked {
            Ok(lock) => lock,
            Err(source) => return Err(LockError::Io { path, source }),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(LockError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }

    /// Opens a directory to read, beside whoever writes.
    pub fn read_only(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), _lock: None }
    }

    /// The same directory, to read.
    #[must_use]
    pub fn reader(&self) -> Self {
        Self::read_only(&self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory, and those above it where they are missing, and makes that durable.
fn create_durably(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let was_there = path.is_dir();
    if !was_there {
        create_durably(above)?;
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // Whoever made it may have died before it was durable; where a directory cannot be synced it was not made by a server.
    match sync_directory(above) {
        Err(error) if !was_there => Err(error),
        _ => Ok(()),
    }
}

/// Makes what was created, renamed and removed in a directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    // A directory can be opened and synced where files are named by it, which is everywhere but on Windows.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

impl Disk for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        File::create(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        // The length of a file that grew is part of the data it takes to read it, and is synced with it.
        self.sync_data()
    }
}
