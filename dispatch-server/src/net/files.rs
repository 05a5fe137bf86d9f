//! How many files and connections the system lets a process have.

use crate::ServerConfig;

/// What beside connections takes a file: the journal, the database, the runtime.
#[cfg(unix)]
const OTHERS: u64 = 128;

/// Lets this process have as many open files as the system lets it ask for: most systems begin with 1024, and each connection is
/// one. Says so if that is too few for `limits.connections`.
#[cfg(unix)]
pub fn raise_open_files(config: &ServerConfig) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let connections = config.limits.connections;
    let mut limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum;
    if limit.current != allowed {
        limit.current = allowed;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!("cannot raise the limit of open files: {error}");
            limit = getrlimit(Resource::Nofile);
        }
    }
    if limit.current.is_some_and(|most| most < connections as u64 + OTHERS) {
        let most = limit.current.unwrap_or_default();
        tracing::warn!("the system allows {most} open files, too few for limits.connections = {connections}");
    }
}

/// Systems that count otherwise are left alone.
#[cfg(not(unix))]
pub fn raise_open_files(_: &ServerConfig) {}
