//! What an operator asks of the database: its tables, how they are, and that they do not grow for ever.

use super::session::Session;
use super::{Database, Trouble, blocking, restore, retention};
use crate::config::ServerConfig;
use crate::journal::chain;
use dispatch_core::{Digest, MarketId};
use sqlx::{Row, query};
use std::path::PathBuf;
use std::time::Duration;

/// Who asks by hand may wait longer than a server would.
const PATIENCE: Duration = Duration::from_hours(1);

/// Something asked of the database that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The configuration names none.
    #[error("no database: set database_url, or give --database-url")]
    Missing,
    /// It went wrong.
    #[error("{place}: {problem}")]
    Failed {
        /// Which database.
        place: String,
        /// What went wrong.
        problem: String,
    },
}

/// How retention is carried out.
#[derive(Clone, Debug, Default)]
pub struct RetentionOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Where what is archived goes, as one file and one manifest per partition. Without it such partitions stay.
    pub archive_dir: Option<PathBuf>,
}

fn database(config: &ServerConfig) -> Result<Database, DatabaseError> {
    let config = config.postgres.as_ref().ok_or(DatabaseError::Missing)?;
    Ok(Database { patience: PATIENCE, ..Database::new(config) })
}

fn failed(database: &Database) -> impl FnOnce(Trouble) -> DatabaseError {
    let place = database.place.clone();
    move |trouble| DatabaseError::Failed { place, problem: chain(&trouble) }
}

/// Makes the tables, or brings them up to date; forward only. Returns what was done. Blocks.
pub fn migrate_database(config: &ServerConfig) -> Result<Vec<String>, DatabaseError> {
    let database = database(config)?;
    let migrate = async {
        let mut session = Session::connect(&database).await?;
        let before = session.schema().await?;
        if before.is_complete() {
            return Ok(vec!["the tables are up to date".to_owned()]);
        }
        session.migrate().await?;
        session.close().await;
        let missing = before.migrations.into_iter().filter(|(_, _, applied)| !applied);
        Ok(missing.map(|(number, name, _)| format!("migration {number} was applied: {name}")).collect())
    };
    blocking(migrate).map_err(failed(&database))
}

/// How the tables are, which servers write there, and how far each is. Blocks.
pub fn database_status(config: &ServerConfig) -> Result<Vec<String>, DatabaseError> {
    let database = database(config)?;
    let look = async {
        let mut session = Session::connect(&database).await?;
        let schema = session.schema().await?;
        let word = |applied| if applied { "applied" } else { "missing" };
        let migrations = schema.migrations.iter();
        let mut lines: Vec<String> = migrations
            .map(|(number, name, applied)| format!("migration {number} ({name}): {}", word(*applied)))
            .collect();
        if !schema.is_complete() {
            return Ok(lines);
        }
        let select = "SELECT name, applied_seq, epoch, changed_at::text FROM dispatch.servers ORDER BY name";
        for row in session.rows(query(select)).await? {
            let (name, applied, epoch, changed): (String, i64, i64, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            lines.push(format!("server {name}: applied up to record {applied} of epoch {epoch}, at {changed}"));
        }
        let select = "SELECT relname::text, pg_total_relation_size(oid) FROM pg_class
                      WHERE relnamespace = 'dispatch'::regnamespace AND relkind = 'r' ORDER BY relname";
        for row in session.rows(query(select)).await? {
            let (table, bytes): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            lines.push(format!("table {table}: {bytes} bytes"));
        }
        let select = "SELECT partition, state, rows, file FROM dispatch.archives ORDER BY partition";
        for row in session.rows(query(select)).await? {
            let (partition, state, rows, file): (String, String, i64, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            lines.push(format!("archive {partition}: {state}, {rows} rows in {file}"));
        }
        session.close().await;
        Ok(lines)
    };
    blocking(look).map_err(failed(&database))
}

/// Does what the table `dispatch.retention_policies` says, and says each step. May be stopped at any time and run again. Blocks.
pub fn retain(
    config: &ServerConfig,
    options: &RetentionOptions,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), DatabaseError> {
    let database = database(config)?;
    blocking(retention::run(&database, options, say)).map_err(failed(&database))
}

/// What the tables hold of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseReport {
    /// The last record of its journal that is in them; 0 for none.
    pub applied: u64,
    /// Each market with the number of its last event and the hash of its engine's state, read back from the rows.
    pub markets: Vec<(MarketId, u64, Digest)>,
}

/// Reads all that a server would be restored from. Takes about as long as a restore; nothing is changed. Blocks.
pub fn verify_database(config: &ServerConfig) -> Result<DatabaseReport, DatabaseError> {
    let database = database(config)?;
    let read = async {
        let mut session = Session::connect(&database).await?;
        session.begin_to_read().await?;
        let restored = restore::read(&mut session, &database.server).await?;
        session.close().await;
        let Some(restored) = restored else { return Ok(DatabaseReport::default()) };
        let markets = restored.image.markets.into_iter();
        let market =
            |(id, snapshot): (MarketId, dispatch_core::Snapshot)| (id, snapshot.state().seq, snapshot.state().hash());
        Ok(DatabaseReport { applied: restored.seq, markets: markets.map(market).collect() })
    };
    blocking(read).map_err(failed(&database))
}
