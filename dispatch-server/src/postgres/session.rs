//! One connection to the database: who may write through it, and how long it may take to answer.

use super::{Database, Trouble};
use dispatch_core::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, Postgres, Row, SqlSafeStr, query, raw_sql};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// What makes the tables, oldest first. Released ones never change.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "tables", include_str!("../../migrations/0001_tables.sql")),
    (2, "partitions and rights", include_str!("../../migrations/0002_partitions_and_rights.sql")),
];

const DAY_MS: i64 = 86_400_000;

/// For this long after a sign of life nobody takes the place of whoever writes.
pub(super) const LEASE: Duration = Duration::from_mins(1);

/// The file of a data directory that says that another process went on in its place: what it holds may have been folded since, and
/// cannot be compared any more.
pub(super) const REPLACED: &str = "replaced";

/// What to do where another server goes on.
pub(super) const WAY_OUT: &str =
    "If this is the one that is to go on, see \"Who may write\" in docs/postgres.md; if not, stop it";

pub(super) struct Session {
    connection: PgConnection,
    patience: Duration,
    /// The partitions that are known to be there, by their day.
    partitions: BTreeSet<(&'static str, i64)>,
}

/// Who writes: one process at a time, and the data directory that a server goes on in.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) server: String,
    /// Which data directory.
    pub(super) directory: String,
    /// Whether another process went on in the place of an earlier one with this directory.
    pub(super) was_replaced: bool,
    /// Which process.
    pub(super) token: String,
    /// The epoch that began when this process took the server over; absent before it has.
    pub(super) epoch: Option<i64>,
}

/// Up to where a journal is in the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// The last record; 0 for none.
    pub(super) seq: u64,
    /// Its hash; empty where it is not known.
    pub(super) hash: String,
}

/// How the tables are.
pub(super) struct Schema {
    /// Every migration, and whether it was applied.
    pub(super) migrations: Vec<(i64, &'static str, bool)>,
}

impl Holder {
    fn fenced(&self) -> Trouble {
        Trouble::Fenced(format!("server `{}` goes on elsewhere: another process took it over. {WAY_OUT}", self.server))
    }
}

impl Schema {
    pub(super) fn is_complete(&self) -> bool {
        self.migrations.iter().all(|(_, _, applied)| *applied)
    }
}

impl Session {
    /// Connects; whatever takes longer than the database's patience fails, now and later.
    pub(super) async fn connect(database: &Database) -> Result<Self, Trouble> {
        let patience = database.patience;
        let connection = timeout(patience, PgConnection::connect_with(&database.options)).await;
        let connection = connection.map_err(|_| Trouble::Slow(patience))??;
        let mut session = Self { connection, patience, partitions: BTreeSet::new() };
        // What this process gave up must not go on for longer than the process waits for it.
        for (setting, value) in [
            ("statement_timeout", patience),
            ("lock_timeout", patience),
            ("idle_in_transaction_session_timeout", 2 * patience),
        ] {
            let set = query("SELECT set_config($1, $2, false)").bind(setting).bind(format!("{}ms", value.as_millis()));
            session.run(set).await?;
        }
        session.order("SET TIME ZONE 'UTC'").await?;
        // What was committed is not written again, so that it has to be on the database's disk.
        session
            .order(
                "SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            )
            .await?;
        Ok(session)
    }

    /// Runs one statement; the number of rows it changed.
    pub(super) async fn run(&mut self, statement: Query<'_, Postgres, PgArguments>) -> Result<u64, Trouble> {
        let done = timeout(self.patience, statement.execute(&mut self.connection)).await;
        Ok(done.map_err(|_| Trouble::Slow(self.patience))??.rows_affected())
    }

    /// Runs one query.
    pub(super) async fn rows(&mut self, statement: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, Trouble> {
        let rows = timeout(self.patience, statement.fetch_all(&mut self.connection)).await;
        Ok(rows.map_err(|_| Trouble::Slow(self.patience))??)
    }

    /// Runs a statement that takes and gives nothing.
    async fn order(&mut self, statement: &'static str) -> Result<(), Trouble> {
        let done = timeout(self.patience, raw_sql(statement).execute(&mut self.connection)).await;
        done.map_err(|_| Trouble::Slow(self.patience))??;
        Ok(())
    }

    pub(super) async fn begin(&mut self) -> Result<(), Trouble> {
        self.order("BEGIN").await
    }

    /// As [`Session::begin`], to see everything as it is now, whatever happens meanwhile.
    pub(super) async fn begin_to_read(&mut self) -> Result<(), Trouble> {
        self.order("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// An error leaves it open whether it was done.
    pub(super) async fn commit(&mut self) -> Result<(), Trouble> {
        self.order("COMMIT").await
    }

    pub(super) async fn close(self) {
        // Whoever listens there learns of it anyway.
        let _ = timeout(self.patience, self.connection.close()).await;
    }

    /// Looks which migrations were applied.
    pub(super) async fn schema(&mut self) -> Result<Schema, Trouble> {
        let table = self.rows(query("SELECT to_regclass('dispatch.migrations') IS NOT NULL AS there")).await?;
        let there = table[0].try_get("there")?;
        let applied = if there {
            self.rows(query("SELECT version FROM dispatch.migrations WHERE success")).await?
        } else {
            Vec::new()
        };
        let applied = applied.iter().map(|row| row.try_get("version")).collect::<Result<BTreeSet<i64>, _>>()?;
        let known = |version: &i64| MIGRATIONS.iter().any(|(number, ..)| number == version);
        if let Some(newer) = applied.iter().find(|version| !known(version)) {
            let problem = format!("it has migration {newer}, which this version of dispatch-server does not know");
            return Err(Trouble::Schema(problem));
        }
        let migrations = MIGRATIONS.iter().map(|(number, name, _)| (*number, *name, applied.contains(number)));
        Ok(Schema { migrations: migrations.collect() })
    }

    /// Applies the migrations that were not, one after the other.
    pub(super) async fn migrate(&mut self) -> Result<(), Trouble> {
        let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        };
        let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect());
        migrator.create_schema("dispatch");
        migrator.dangerous_set_table_name("dispatch.migrations");
        // A migration takes what it takes.
        self.order("SET statement_timeout = 0").await?;
        migrator.run_direct(None, &mut self.connection, false).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => Trouble::Sql(error),
            error => Trouble::Schema(crate::journal::chain(&error)),
        })?;
        self.be_patient(self.patience).await
    }

    /// Begins to write, and says up to where all is applied. Waits for whoever is still writing, so that a transaction in doubt has
    /// ended by now, one way or the other. The first time it takes the server over from the process before it, if that wrote
    /// from the same data directory and `check` finds nothing against it; later only if nobody has taken over since.
    pub(super) async fn claim(
        &mut self,
        holder: &mut Holder,
        check: impl FnOnce(&Applied) -> Result<(), Trouble>,
    ) -> Result<Applied, Trouble> {
        self.begin().await?;
        let insert = query("INSERT INTO dispatch.servers (name) VALUES ($1) ON CONFLICT DO NOTHING");
        self.run(insert.bind(&holder.server)).await?;
        let select = query(
            "SELECT applied_seq, applied_hash, directory, epoch, holder FROM dispatch.servers WHERE name = $1 FOR UPDATE",
        );
        let row = self.rows(select.bind(&holder.server)).await?;
        let row = row.first().ok_or(sqlx::Error::RowNotFound)?;
        let (directory, epoch, token): (String, i64, String) =
            (row.try_get("directory")?, row.try_get("epoch")?, row.try_get("holder")?);
        let (seq, hash): (i64, String) = (row.try_get("applied_seq")?, row.try_get("applied_hash")?);
        let applied = Applied { seq: seq.cast_unsigned(), hash };
        match holder.epoch {
            Some(own) if own != epoch || token != holder.token => return Err(holder.fenced()),
            None if !directory.is_empty() && holder.was_replaced => {
                return Err(Trouble::Fenced(format!(
                    "another process went on in this one's place before, as the file `{REPLACED}` of the data directory says. \
                     {WAY_OUT}"
                )));
            }
            None if !directory.is_empty() && directory != holder.directory => {
                return Err(Trouble::Fenced(format!(
                    "server `{}` goes on from another data directory than this one, {directory}. {WAY_OUT}",
                    holder.server
                )));
            }
            Some(_) => {}
            None => check(&applied)?,
        }
        let epoch = holder.epoch.unwrap_or(epoch + 1);
        let update = query(
            "UPDATE dispatch.servers SET directory = $2, epoch = $3, holder = $4, changed_at = now() WHERE name = $1",
        );
        let update = update.bind(&holder.server).bind(&holder.directory).bind(epoch).bind(&holder.token);
        self.run(update).await?;
        self.commit().await?;
        holder.epoch = Some(epoch);
        Ok(applied)
    }

    /// Within a transaction: has a server go on in another data directory, which is empty. Whoever wrote for it does not any more;
    /// one that still does, or did a moment ago and has not said that it ends, is left alone. False if there is no such server.
    pub(super) async fn take_over(&mut self, server: &str, directory: &str) -> Result<bool, Trouble> {
        let select = query(
            "SELECT holder <> '' AND directory <> $2 AND changed_at > now() - make_interval(secs => $3) AS alive
             FROM dispatch.servers WHERE name = $1 FOR UPDATE",
        );
        let row = self.rows(select.bind(server).bind(directory).bind(LEASE.as_secs_f64())).await?;
        let Some(row) = row.first() else { return Ok(false) };
        if row.try_get("alive")? {
            return Err(Trouble::Alive(format!(
                "server `{server}` is alive, in another data directory: it gave a sign of life less than {} s ago. Stop it, if \
                 this one is to take its place; if not, give this one a database of its own",
                LEASE.as_secs()
            )));
        }
        let update = query(
            "UPDATE dispatch.servers SET directory = $2, epoch = epoch + 1, holder = 'restores', changed_at = now()
             WHERE name = $1",
        );
        self.run(update.bind(server).bind(directory)).await?;
        Ok(true)
    }

    /// Says that this process is there, and learns whether it is still the one who writes.
    pub(super) async fn hold(&mut self, holder: &Holder) -> Result<(), Trouble> {
        let select = query(
            "SELECT changed_at < now() - make_interval(secs => $4) AS is_old
             FROM dispatch.servers WHERE name = $1 AND epoch = $2 AND holder = $3",
        );
        let select = select.bind(&holder.server).bind(holder.epoch).bind(&holder.token);
        let row = self.rows(select.bind(LEASE.as_secs_f64() / 6.0)).await?;
        let row = row.first().ok_or_else(|| holder.fenced())?;
        if row.try_get("is_old")? {
            let update =
                query("UPDATE dispatch.servers SET changed_at = now() WHERE name = $1 AND epoch = $2 AND holder = $3");
            self.run(update.bind(&holder.server).bind(holder.epoch).bind(&holder.token)).await?;
        }
        Ok(())
    }

    /// Says that this process writes no more: another may take its place at once.
    pub(super) async fn release(&mut self, holder: &Holder) -> Result<(), Trouble> {
        let update = query("UPDATE dispatch.servers SET holder = '' WHERE name = $1 AND epoch = $2 AND holder = $3");
        self.run(update.bind(&holder.server).bind(holder.epoch).bind(&holder.token)).await.map(drop)
    }

    /// Within a transaction: moves on from one record to another, if it is still this server's to say.
    pub(super) async fn advance(
        &mut self,
        holder: &Holder,
        from: u64,
        to: &Applied,
        at: Option<Timestamp>,
    ) -> Result<(), Trouble> {
        let update = query(
            "UPDATE dispatch.servers SET applied_seq = $5, applied_hash = $6, applied_at_ms = $7, changed_at = now()
             WHERE name = $1 AND epoch = $2 AND holder = $3 AND applied_seq = $4",
        );
        let update = update.bind(&holder.server).bind(holder.epoch).bind(&holder.token).bind(from.cast_signed());
        let update = update.bind(to.seq.cast_signed()).bind(&to.hash).bind(at.map(Timestamp::as_millis));
        match self.run(update).await? {
            1 => Ok(()),
            _ => Err(holder.fenced()),
        }
    }

    /// From now on statements may take this long.
    pub(super) async fn be_patient(&mut self, patience: Duration) -> Result<(), Trouble> {
        let set = query("SELECT set_config('statement_timeout', $1, false)");
        self.run(set.bind(format!("{}ms", patience.as_millis()))).await?;
        self.patience = patience;
        Ok(())
    }

    /// Makes the partition of a table that a time belongs to, if it is not there. Not in a transaction that writes: what reads the
    /// table may have to wait for it.
    pub(super) async fn partition(&mut self, table: &'static str, at: Timestamp) -> Result<(), Trouble> {
        let day = at.as_millis().div_euclid(DAY_MS);
        if self.partitions.contains(&(table, day)) {
            return Ok(());
        }
        let make = query("SELECT dispatch.make_partition($1, '1970-01-01'::date + $2::int)");
        self.run(make.bind(table).bind(day as i32)).await?;
        self.partitions.insert((table, day));
        Ok(())
    }
}
