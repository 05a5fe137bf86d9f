//! What becomes of old rows: moved, deleted, dropped by the partition, or written to files first.
//!
//! Each step stands on its own: what fails keeps no other from its turn, and whoever runs this again goes on where it was.

use super::admin::RetentionOptions;
use super::archive::{Archive, next_file};
use super::session::Session;
use super::{Database, Trouble};
use crate::journal::chain;
use sqlx::{AssertSqlSafe, Row, query};
use std::path::Path;
use std::time::Duration;

/// Most rows that are moved or deleted at once.
const BATCH: i64 = 5_000;

/// What is waited for a lock at most: whoever comes later waits behind it, servers too.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The tables that have partitions.
const PARTITIONED: [&str; 4] = ["events", "eta_history", "location_history", "orders_history"];

/// Carries out every policy, beside servers that wait so long for the database.
pub(super) async fn run(
    database: &Database,
    servers_wait: Duration,
    options: &RetentionOptions,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), Trouble> {
    let session = Session::connect(database).await?;
    let mut run = Run { session, options, say, failures: Vec::new() };
    run.begin(LONGEST_WAIT.min(servers_wait / 2)).await?;
    if let Err(trouble) = run.all().await {
        run.failures.push(chain(&trouble));
    }
    run.session.close().await;
    if run.failures.is_empty() {
        return Ok(());
    }
    Err(Trouble::Archive(format!("not all was done:\n  {}", run.failures.join("\n  "))))
}

struct Run<'a> {
    session: Session,
    options: &'a RetentionOptions,
    say: &'a mut (dyn FnMut(String) + Send),
    /// What was not done, and why.
    failures: Vec<String>,
}

impl Run<'_> {
    async fn begin(&mut self, wait: Duration) -> Result<(), Trouble> {
        let session = &mut self.session;
        if !session.schema().await?.is_complete() {
            let missing = "its tables are not those of this version; run `database migrate` first";
            return Err(Trouble::Schema(missing.into()));
        }
        let locked =
            session.rows(query("SELECT pg_try_advisory_lock(hashtext('dispatch retention')) AS locked")).await?;
        if !locked[0].try_get::<bool, _>("locked")? {
            return Err(Trouble::Schema("another retention is running".into()));
        }
        let set = query(
            "SELECT set_config('lock_timeout', $1, false), set_config('default_transaction_read_only', $2, false)",
        );
        let read_only = if self.options.dry_run { "on" } else { "off" };
        session.run(set.bind(format!("{}ms", wait.as_millis().max(1))).bind(read_only)).await.map(drop)
    }

    /// An error means that the database is gone; every other is noted.
    async fn all(&mut self) -> Result<(), Trouble> {
        let select = "SELECT subject, action, keep_days FROM dispatch.retention_policies ORDER BY number";
        for row in self.session.rows(query(select)).await? {
            let (subject, action, days): (String, String, i32) =
                (row.try_get("subject")?, row.try_get("action")?, row.try_get("keep_days")?);
            let done = match (action.as_str(), subject.as_str()) {
                ("move", "orders") => self.move_orders(days).await,
                ("delete", subject) => self.delete(subject, days).await,
                ("drop" | "archive", table) if PARTITIONED.contains(&table) => {
                    for partition in old_partitions(&mut self.session, table, days).await? {
                        let done = match (action.as_str(), &self.options.archive_dir) {
                            ("drop", _) => self.drop(&partition).await,
                            (_, Some(folder)) => self.archive(&partition, folder).await,
                            (_, None) => {
                                (self.say)(format!("{partition}: stays; say where to archive it (--archive-dir)"));
                                Ok(())
                            }
                        };
                        self.note(&partition, done).await?;
                    }
                    Ok(())
                }
                (action, subject) => Err(Trouble::Schema(format!("nobody knows how to {action} {subject}"))),
            };
            self.note(&subject, done).await?;
        }
        Ok(())
    }

    /// Takes back what was begun and not done.
    async fn note(&mut self, what: &str, done: Result<(), Trouble>) -> Result<(), Trouble> {
        let Err(trouble) = done else { return Ok(()) };
        let why = match &trouble {
            Trouble::Sql(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                "another session holds it; run this again".to_owned()
            }
            trouble => chain(trouble),
        };
        self.failures.push(format!("{what}: {why}"));
        self.session.run(query("ROLLBACK")).await.map(drop)
    }

    /// Moves orders that retired long ago to the months they were placed in.
    async fn move_orders(&mut self, days: i32) -> Result<(), Trouble> {
        let old =
            "SELECT count(*), count(DISTINCT date_trunc('month', placed_at AT TIME ZONE 'UTC')) FROM dispatch.orders
                   WHERE retired_at < now() - make_interval(days => $1)";
        if self.options.dry_run {
            let counted = self.session.rows(query(old).bind(days)).await?;
            let (count, months): (i64, i64) = (counted[0].try_get(0)?, counted[0].try_get(1)?);
            (self.say)(format!("orders: {count} would be moved to orders_history, into {months} months"));
            return Ok(());
        }
        let months = "SELECT dispatch.make_partition('orders_history', month) FROM (
                          SELECT DISTINCT date_trunc('month', placed_at AT TIME ZONE 'UTC')::date AS month
                          FROM dispatch.orders WHERE retired_at < now() - make_interval(days => $1)) AS months";
        self.session.run(query(months).bind(days)).await?;
        let mut moved = 0;
        loop {
            self.session.begin().await?;
            let some = query(
                "WITH old AS (
                     SELECT market, id FROM dispatch.orders WHERE retired_at < now() - make_interval(days => $1)
                     LIMIT $2 FOR UPDATE
                 ), gone AS (
                     DELETE FROM dispatch.orders t USING old WHERE t.market = old.market AND t.id = old.id RETURNING t.*
                 ), kept AS (
                     INSERT INTO dispatch.orders_history SELECT * FROM gone RETURNING 1
                 )
                 SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM kept)",
            );
            let counted = self.session.rows(some.bind(days).bind(BATCH)).await?;
            let (gone, kept): (i64, i64) = (counted[0].try_get(0)?, counted[0].try_get(1)?);
            if gone != kept {
                return Err(Trouble::Nonsense(format!("{gone} orders were taken and {kept} put; nothing was changed")));
            }
            self.session.commit().await?;
            moved += gone;
            if gone == 0 {
                (self.say)(format!("orders: {moved} were moved to orders_history"));
                return Ok(());
            }
        }
    }

    async fn delete(&mut self, subject: &str, days: i32) -> Result<(), Trouble> {
        let (count, some) = match subject {
            "offers" => (
                "SELECT count(*) FROM dispatch.offers WHERE retired_at < now() - make_interval(days => $1)",
                "DELETE FROM dispatch.offers WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM dispatch.offers WHERE retired_at < now() - make_interval(days => $1) LIMIT $2))
                 AND retired_at < now() - make_interval(days => $1)",
            ),
            "assignments" => (
                "SELECT count(*) FROM dispatch.assignments WHERE ended_at < now() - make_interval(days => $1)",
                "DELETE FROM dispatch.assignments WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM dispatch.assignments WHERE ended_at < now() - make_interval(days => $1) LIMIT $2))
                 AND ended_at < now() - make_interval(days => $1)",
            ),
            "idempotency_keys" => (
                "SELECT count(*) FROM dispatch.idempotency_keys WHERE at < now() - make_interval(days => $1)",
                "DELETE FROM dispatch.idempotency_keys WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM dispatch.idempotency_keys WHERE at < now() - make_interval(days => $1) LIMIT $2))
                 AND at < now() - make_interval(days => $1)",
            ),
            other => return Err(Trouble::Schema(format!("nobody knows which {other} to delete"))),
        };
        if self.options.dry_run {
            let counted: i64 = self.session.rows(query(count).bind(days)).await?[0].try_get(0)?;
            (self.say)(format!("{subject}: {counted} would be deleted"));
            return Ok(());
        }
        let mut deleted = 0;
        loop {
            let gone = self.session.run(query(some).bind(days).bind(BATCH)).await?;
            deleted += gone;
            if gone == 0 {
                (self.say)(format!("{subject}: {deleted} were deleted"));
                return Ok(());
            }
        }
    }

    /// Drops a partition with what is in it, which nobody needs any more.
    async fn drop(&mut self, partition: &str) -> Result<(), Trouble> {
        if self.options.dry_run {
            let rows = count(&mut self.session, partition).await?;
            (self.say)(format!("{partition}: would be dropped, with {rows} rows"));
            return Ok(());
        }
        let rows = self.lock(partition).await?;
        self.session.run(query(AssertSqlSafe(format!("DROP TABLE dispatch.{partition}")))).await?;
        self.session.commit().await?;
        (self.say)(format!("{partition}: was dropped, with {rows} rows"));
        Ok(())
    }

    /// Writes a partition to a file, reads that again, and drops the partition if the one holds what the other does.
    async fn archive(&mut self, partition: &str, folder: &Path) -> Result<(), Trouble> {
        let found = Archive::find(&mut self.session, partition).await?;
        if self.options.dry_run {
            let rows = count(&mut self.session, partition).await?;
            (self.say)(if let Some(Archive { file, .. }) = found {
                format!("{partition}: {rows} rows were written to {}, and would be dropped", file.display())
            } else {
                let (_, file) = next_file(&mut self.session, partition, folder).await?;
                format!("{partition}: {rows} rows would be written to {}, and dropped", file.display())
            });
            return Ok(());
        }
        let archive = if let Some(archive) = found {
            archive
        } else {
            let archive = Archive::write(&mut self.session, partition, folder).await?;
            (self.say)(format!("{partition}: {} rows go to {}", archive.manifest.rows, archive.file.display()));
            archive
        };
        let (is_whole, in_file) = archive.check()?;
        let (file, expected) = (archive.file.display(), archive.manifest.rows);
        let rows = self.lock(partition).await?;
        if !is_whole || rows != expected {
            let changed = if is_whole { "" } else { ", and is not what was written" };
            return Err(Trouble::Nonsense(format!(
                "it has {rows} rows, its manifest says {expected}, and {file} has {in_file}{changed}; nothing was dropped. To \
                 write it again, delete its row with the state `written` in dispatch.archives"
            )));
        }
        self.session.run(query(AssertSqlSafe(format!("DROP TABLE dispatch.{partition}")))).await?;
        let update =
            "UPDATE dispatch.archives SET state = 'dropped', at = now() WHERE partition = $1 AND state = 'written'";
        self.session.run(query(update).bind(partition)).await?;
        self.session.commit().await?;
        (self.say)(format!("{partition}: {rows} rows are in {file}; it was dropped"));
        Ok(())
    }

    /// Begins a transaction in which the rows of a partition stay as many as they are. They can be read until it is dropped, and
    /// other partitions be written: what waits for a long count is late rows alone.
    async fn lock(&mut self, partition: &str) -> Result<i64, Trouble> {
        self.session.begin().await?;
        let lock = query(AssertSqlSafe(format!("LOCK TABLE dispatch.{partition} IN EXCLUSIVE MODE")));
        self.session.run(lock).await?;
        count(&mut self.session, partition).await
    }
}

async fn count(session: &mut Session, partition: &str) -> Result<i64, Trouble> {
    let count = query(AssertSqlSafe(format!("SELECT count(*) FROM dispatch.{partition}")));
    Ok(session.rows(count).await?[0].try_get(0)?)
}

/// The partitions of a table that end before the days that are kept, oldest first.
async fn old_partitions(session: &mut Session, table: &str, days: i32) -> Result<Vec<String>, Trouble> {
    let select = query(
        "SELECT c.relname::text, to_char((now() AT TIME ZONE 'UTC') - make_interval(days => $2), 'YYYYMMDD') AS until
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = to_regclass('dispatch.' || $1) ORDER BY c.relname",
    );
    let mut old = Vec::new();
    for row in session.rows(select.bind(table).bind(days)).await? {
        let (partition, until): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        // A day, or a month: it is over when the same digits of the first day that is kept are greater.
        let digits = partition.strip_prefix(table).and_then(|rest| rest.strip_prefix('_')).unwrap_or_default();
        let is_ours = [6, 8].contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        if is_ours && digits < &until[..digits.len()] {
            old.push(partition);
        }
    }
    Ok(old)
}
