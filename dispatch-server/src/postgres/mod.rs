//! PostgreSQL, where what the journal says is laid out in tables: for people, for reports, for history, and to begin again from
//! where the data directory is gone. Nothing waits for it, but with `durability = "postgres"`. It follows the journal, transaction by
//! transaction, each of which brings the tables from the state at one record to that at a later one, whole.

mod admin;
mod archive;
mod breaker;
mod changes;
mod columns;
mod history;
mod projector;
mod restore;
mod retention;
mod rows;
mod samples;
mod session;

pub use admin::{
    DatabaseError, DatabaseReport, RetentionOptions, database_status, migrate_database, retain, verify_database,
};
pub(crate) use projector::{Lag, Link, Projection};
pub(crate) use samples::Samples;

use crate::config::PostgresConfig;
use crate::journal::{Image, Restored, chain};
use dispatch_core::Millis;
use session::{LEASE, Session};
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Where the database is, with what it takes to get in: never shown.
#[derive(Clone)]
pub(crate) struct DatabaseUrl(PgConnectOptions);

impl FromStr for DatabaseUrl {
    type Err = String;
    fn from_str(url: &str) -> Result<Self, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err("must be as postgres://user:password@host/database".into());
        }
        // What the error says may be a part of the password.
        url.parse().map(Self).map_err(|_| "is no URL of a PostgreSQL database".into())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl DatabaseUrl {
    /// Where it is, and nothing secret.
    fn place(&self) -> String {
        let database = self.0.get_database().unwrap_or("");
        format!("{}:{}/{database}", self.0.get_host(), self.0.get_port())
    }
}

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("it did not answer within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("{0}")]
    Fenced(String),
    #[error("{0}")]
    Taken(String),
    #[error("{0}")]
    Alive(String),
    #[error("{0}")]
    Schema(String),
    #[error("{0}")]
    Nonsense(String),
    #[error("the journal cannot be read: {0}")]
    Journal(String),
    #[error("{0}")]
    Archive(String),
    #[error("writing to it panicked; this is a bug")]
    Bug,
}

/// The database of a server, as it is configured.
#[derive(Clone)]
pub(crate) struct Database {
    place: String,
    options: PgConnectOptions,
    server: String,
    migrate: bool,
    patience: Duration,
    longest_wait: Duration,
    flush: Duration,
    max_backlog_bytes: u64,
    sample_every: Millis,
}

impl Database {
    pub(crate) fn new(config: &PostgresConfig) -> Self {
        Self {
            place: config.url.place(),
            options: config.url.0.clone().application_name("dispatch-server"),
            server: config.server.clone(),
            migrate: config.migrate,
            patience: config.patience,
            longest_wait: config.longest_wait,
            flush: config.flush,
            max_backlog_bytes: config.max_backlog_bytes,
            sample_every: config.sample_every,
        }
    }

    /// What it holds of this server, if it has been here before: the server goes on in this data directory from then on, and in
    /// no other, if `check` finds nothing against it. Blocks.
    pub(crate) fn restore(
        &self,
        directory: &str,
        check: impl FnOnce(&Image) -> Result<(), String> + Send,
    ) -> Result<Option<Restored>, String> {
        tracing::info!("the data directory is empty: looking whether {} has what was in it", self.place);
        let restored = blocking(async {
            let (mut session, began) = (self.session().await?, Instant::now());
            let is_known = loop {
                session.begin().await?;
                match session.take_over(&self.server, directory).await {
                    Err(Trouble::Alive(problem)) if began.elapsed() < LEASE => {
                        tracing::warn!("{problem}; looking again until it is gone");
                        session.commit().await?;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    known => break known?,
                }
            };
            let restored = if is_known { restore::read(&mut session, &self.server).await? } else { None };
            // A server that cannot go on from it must not have taken anybody's place.
            restored.as_ref().map_or(Ok(()), |restored| check(&restored.image)).map_err(Trouble::Nonsense)?;
            session.commit().await?;
            session.close().await;
            Ok::<_, Trouble>(restored)
        });
        let restored = restored.map_err(|trouble| match trouble {
            Trouble::Alive(problem) | Trouble::Nonsense(problem) => {
                format!("the data directory is empty, and was not filled from {}: {problem}", self.place)
            }
            trouble => format!(
                "the data directory is empty, and whether {} has what was in it is not known: {}. Start it again once the \
                 database answers, or without database_url to begin anew",
                self.place,
                chain(&trouble)
            ),
        })?;
        if let Some(Restored { image, seq, .. }) = restored.as_ref().filter(|restored| restored.seq > 0) {
            tracing::warn!(
                "the data directory was empty: {} markets were restored from {} as they were at record {seq}; what came after \
                 it is lost",
                image.markets.len(),
                self.place
            );
        }
        Ok(restored.filter(|restored| restored.seq > 0))
    }

    /// Connects, with the tables as this version knows them.
    async fn session(&self) -> Result<Session, Trouble> {
        let mut session = Session::connect(self).await?;
        if session.schema().await?.is_complete() {
            return Ok(session);
        }
        if !self.migrate {
            let missing = "its tables are not those of this version; run `dispatch-server database migrate`";
            return Err(Trouble::Schema(missing.into()));
        }
        session.migrate().await?;
        tracing::info!("the tables in {} were brought up to date", self.place);
        Ok(session)
    }
}

/// Runs something to its end on a thread of its own: whoever asks may be on a thread that must not wait. Blocks.
fn blocking<T: Send>(task: impl Future<Output = T> + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime takes no more than a process has").block_on(task)
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("a panic is a bug, and goes on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let url: DatabaseUrl = "postgres://ana:hush@db.example:5433/city".parse().unwrap();
        assert_eq!(format!("{url:?}"), "db.example:5433/city");
        for wrong in ["mysql://ana:hush@db/city", "postgres://ana:hush@[db/city", "hush"] {
            let problem = wrong.parse::<DatabaseUrl>().unwrap_err();
            assert!(!problem.contains("hush"), "{problem}");
        }
    }
}
