//! What becomes of old rows: moved, deleted, dropped by the partition, or written to files first.
//!
//! Each step stands on its own: whoever runs this again after it was stopped goes on where it was.

use super::admin::RetentionOptions;
use super::session::Session;
use super::{Database, Trouble};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row, query};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Most rows that are moved, deleted or read at once.
const BATCH: i64 = 5_000;

/// What is known of the file a partition was written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    partition: String,
    rows: i64,
    bytes: u64,
    sha256: String,
}

/// Carries out every policy.
pub(super) async fn run(
    database: &Database,
    options: &RetentionOptions,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), Trouble> {
    let mut session = Session::connect(database).await?;
    if !session.schema().await?.is_complete() {
        return Err(Trouble::Schema("its tables are not those of this version; run `database migrate` first".into()));
    }
    let locked = session.rows(query("SELECT pg_try_advisory_lock(hashtext('dispatch retention')) AS locked")).await?;
    if !locked[0].try_get::<bool, _>("locked")? {
        return Err(Trouble::Schema("another retention is running".into()));
    }
    let select = "SELECT subject, action, keep_days FROM dispatch.retention_policies ORDER BY number";
    for row in session.rows(query(select)).await? {
        let (subject, action, days): (String, String, i32) =
            (row.try_get("subject")?, row.try_get("action")?, row.try_get("keep_days")?);
        match (action.as_str(), subject.as_str()) {
            ("move", "orders") => move_orders(&mut session, days, options.dry_run, say).await?,
            ("delete", subject) => delete(&mut session, subject, days, options.dry_run, say).await?,
            ("drop" | "archive", subject) => {
                for partition in old_partitions(&mut session, subject, days).await? {
                    match (action.as_str(), &options.archive_dir) {
                        ("drop", _) => drop_partition(&mut session, &partition, options.dry_run, say).await?,
                        (_, Some(folder)) => archive(&mut session, &partition, folder, options.dry_run, say).await?,
                        (_, None) => say(format!("{partition}: stays; say where to archive it (--archive-dir)")),
                    }
                }
            }
            (action, subject) => return Err(Trouble::Schema(format!("nobody knows how to {action} {subject}"))),
        }
    }
    session.close().await;
    Ok(())
}

/// Moves orders that retired long ago to the months they were placed in.
async fn move_orders(
    session: &mut Session,
    days: i32,
    dry_run: bool,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), Trouble> {
    let old = "SELECT count(*), count(DISTINCT date_trunc('month', placed_at AT TIME ZONE 'UTC')) FROM dispatch.orders
               WHERE retired_at < now() - make_interval(days => $1)";
    let counted = session.rows(query(old).bind(days)).await?;
    let (count, months): (i64, i64) = (counted[0].try_get(0)?, counted[0].try_get(1)?);
    if dry_run || count == 0 {
        say(format!("orders: {count} would be moved to orders_history, into {months} months"));
        return Ok(());
    }
    let months = "SELECT dispatch.make_partition('orders_history', month) FROM (
                      SELECT DISTINCT date_trunc('month', placed_at AT TIME ZONE 'UTC')::date AS month
                      FROM dispatch.orders WHERE retired_at < now() - make_interval(days => $1)) AS months";
    session.run(query(months).bind(days)).await?;
    let mut moved = 0;
    loop {
        session.begin().await?;
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
        let counted = session.rows(some.bind(days).bind(BATCH)).await?;
        let (gone, kept): (i64, i64) = (counted[0].try_get(0)?, counted[0].try_get(1)?);
        if gone != kept {
            return Err(Trouble::Nonsense(format!("{gone} orders were taken and {kept} put; nothing was changed")));
        }
        session.commit().await?;
        moved += gone;
        if gone == 0 {
            say(format!("orders: {moved} were moved to orders_history"));
            return Ok(());
        }
    }
}

async fn delete(
    session: &mut Session,
    subject: &str,
    days: i32,
    dry_run: bool,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), Trouble> {
    let (count, some) = match subject {
        "offers" => (
            "SELECT count(*) FROM dispatch.offers WHERE retired_at < now() - make_interval(days => $1)",
            "DELETE FROM dispatch.offers WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM dispatch.offers WHERE retired_at < now() - make_interval(days => $1) LIMIT $2))",
        ),
        "assignments" => (
            "SELECT count(*) FROM dispatch.assignments WHERE ended_at < now() - make_interval(days => $1)",
            "DELETE FROM dispatch.assignments WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM dispatch.assignments WHERE ended_at < now() - make_interval(days => $1) LIMIT $2))",
        ),
        "idempotency_keys" => (
            "SELECT count(*) FROM dispatch.idempotency_keys WHERE at < now() - make_interval(days => $1)",
            "DELETE FROM dispatch.idempotency_keys WHERE ctid = ANY(ARRAY(
                 SELECT ctid FROM dispatch.idempotency_keys WHERE at < now() - make_interval(days => $1) LIMIT $2))",
        ),
        other => return Err(Trouble::Schema(format!("nobody knows which {other} to delete"))),
    };
    if dry_run {
        let counted: i64 = session.rows(query(count).bind(days)).await?[0].try_get(0)?;
        say(format!("{subject}: {counted} would be deleted"));
        return Ok(());
    }
    let mut deleted = 0;
    loop {
        let gone = session.run(query(some).bind(days).bind(BATCH)).await?;
        deleted += gone;
        if gone == 0 {
            say(format!("{subject}: {deleted} were deleted"));
            return Ok(());
        }
    }
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

async fn drop_partition(
    session: &mut Session,
    partition: &str,
    dry_run: bool,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), Trouble> {
    if dry_run {
        say(format!("{partition}: would be dropped"));
        return Ok(());
    }
    session.run(query(AssertSqlSafe(format!("DROP TABLE dispatch.{partition}")))).await?;
    say(format!("{partition}: was dropped"));
    Ok(())
}

/// Writes a partition to a file, reads that again, and drops the partition if the one holds what the other does.
async fn archive(
    session: &mut Session,
    partition: &str,
    folder: &Path,
    dry_run: bool,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<(), Trouble> {
    let rows = count(session, partition).await?;
    let file = folder.join(format!("{partition}.jsonl"));
    if dry_run {
        say(format!("{partition}: {rows} rows would be written to {}, and dropped", file.display()));
        return Ok(());
    }
    let select =
        query("SELECT file, rows, bytes, sha256 FROM dispatch.archives WHERE partition = $1 AND state = 'written'");
    let written = session.rows(select.bind(partition)).await?;
    let (file, manifest) = if let Some(row) = written.first() {
        let (rows, bytes, sha256): (i64, i64, String) =
            (row.try_get("rows")?, row.try_get("bytes")?, row.try_get("sha256")?);
        let file: String = row.try_get("file")?;
        (PathBuf::from(file), Manifest { partition: partition.to_owned(), rows, bytes: bytes.cast_unsigned(), sha256 })
    } else {
        let manifest = write(session, partition, folder, &file).await?;
        let insert = query(
            "INSERT INTO dispatch.archives (partition, state, file, rows, bytes, sha256) VALUES ($1, 'written', $2, $3, $4, $5)
             ON CONFLICT (partition) DO UPDATE SET state = 'written', file = excluded.file, rows = excluded.rows,
                 bytes = excluded.bytes, sha256 = excluded.sha256, at = now()",
        );
        let insert = insert.bind(partition).bind(file.to_string_lossy().into_owned());
        session.run(insert.bind(manifest.rows).bind(manifest.bytes.cast_signed()).bind(&manifest.sha256)).await?;
        say(format!("{partition}: {} rows were written to {}", manifest.rows, file.display()));
        (file, manifest)
    };
    session.begin().await?;
    session.run(query(AssertSqlSafe(format!("LOCK TABLE dispatch.{partition} IN ACCESS EXCLUSIVE MODE")))).await?;
    let rows = count(session, partition).await?;
    let found = read(&file, partition).map_err(|error| unusable(&file, &error))?;
    if found != manifest || rows != manifest.rows {
        return Err(Trouble::Nonsense(format!(
            "{partition} has {rows} rows, its manifest says {}, and {} has {}{}; nothing was dropped. To write it again, delete \
             its row in dispatch.archives",
            manifest.rows,
            file.display(),
            found.rows,
            if found.sha256 == manifest.sha256 { "" } else { ", and is not what was written" },
        )));
    }
    session.run(query(AssertSqlSafe(format!("DROP TABLE dispatch.{partition}")))).await?;
    let update = query("UPDATE dispatch.archives SET state = 'dropped', at = now() WHERE partition = $1");
    session.run(update.bind(partition)).await?;
    session.commit().await?;
    say(format!("{partition}: {rows} rows are in {}; it was dropped", file.display()));
    Ok(())
}

async fn count(session: &mut Session, partition: &str) -> Result<i64, Trouble> {
    let count = query(AssertSqlSafe(format!("SELECT count(*) FROM dispatch.{partition}")));
    Ok(session.rows(count).await?[0].try_get(0)?)
}

/// Writes every row as a line of JSON, and a manifest beside them; both are there whole or not at all.
async fn write(session: &mut Session, partition: &str, folder: &Path, file: &Path) -> Result<Manifest, Trouble> {
    let unfinished = folder.join(format!("{partition}.unfinished"));
    let created = std::fs::create_dir_all(folder).and_then(|()| File::create(&unfinished));
    let mut lines = BufWriter::new(created.map_err(|error| unusable(&unfinished, &error))?);
    let mut hash = Sha256::new();
    let (mut rows, mut bytes, mut after) = (0, 0, "(0,0)".to_owned());
    loop {
        let select = query(AssertSqlSafe(format!(
            "SELECT t.ctid::text AS place, row_to_json(t)::text FROM dispatch.{partition} t WHERE t.ctid > $1::tid ORDER BY t.ctid LIMIT $2"
        )));
        let some = session.rows(select.bind(&after).bind(BATCH)).await?;
        for row in &some {
            let mut line: String = row.try_get(1)?;
            line.push('\n');
            hash.update(line.as_bytes());
            rows += 1;
            bytes += line.len() as u64;
            lines.write_all(line.as_bytes()).map_err(|error| unusable(&unfinished, &error))?;
        }
        match some.last() {
            Some(last) => after = last.try_get(0)?,
            None => break,
        }
    }
    let sha256 = hex(&hash.finalize());
    let manifest = Manifest { partition: partition.to_owned(), rows, bytes, sha256 };
    let keep = || {
        lines.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&unfinished, file)?;
        let beside = folder.join(format!("{partition}.manifest.json"));
        let mut file = File::create(beside)?;
        file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
        file.sync_all()?;
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    };
    keep().map_err(|error: io::Error| unusable(file, &error))?;
    Ok(manifest)
}

/// What a file holds.
fn read(file: &Path, partition: &str) -> io::Result<Manifest> {
    let mut lines = BufReader::new(File::open(file)?);
    let mut hash = Sha256::new();
    let (mut rows, mut bytes, mut line) = (0, 0, Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        hash.update(&line);
        rows += 1;
        bytes += line.len() as u64;
        line.clear();
    }
    Ok(Manifest { partition: partition.to_owned(), rows, bytes, sha256: hex(&hash.finalize()) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("texts take everything");
        text
    })
}

fn unusable(file: &Path, error: &io::Error) -> Trouble {
    Trouble::Archive(format!("{}: {error}", file.display()))
}
