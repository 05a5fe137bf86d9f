//! Where a measurement's data goes.

use std::io;
use std::path::{Path, PathBuf};

/// A directory of this run's own, gone with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Makes it in a directory, or else beside this program, where cargo's output is: the directory for temporary files may be in
    /// memory, and then no disk is measured.
    pub(crate) fn new(within: Option<&Path>, name: &str) -> io::Result<Self> {
        let within = match within {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::current_exe()?.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let folder = within.join(format!("dispatch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the way of nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
