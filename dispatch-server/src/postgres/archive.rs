//! Partitions that go to files. A partition is written to a file without its final name, which is then known to the database,
//! then has its name and a manifest beside it, and only then is the partition dropped: stopped anywhere, this goes on from there.

use super::Trouble;
use super::session::Session;
use crate::journal::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row, query};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most rows that are read at once.
const BATCH: i64 = 5_000;

/// What is known of the file a partition was written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    partition: String,
    pub(super) rows: i64,
    bytes: u64,
    sha256: String,
}

/// A file that was written, and the partition not dropped yet.
pub(super) struct Archive {
    pub(super) file: PathBuf,
    pub(super) manifest: Manifest,
}

impl Archive {
    /// What was written of a partition by a run that was stopped.
    pub(super) async fn find(session: &mut Session, partition: &str) -> Result<Option<Self>, Trouble> {
        let select =
            query("SELECT file, rows, bytes, sha256 FROM dispatch.archives WHERE partition = $1 AND state = 'written'");
        let rows = session.rows(select.bind(partition)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (file, bytes): (String, i64) = (row.try_get("file")?, row.try_get("bytes")?);
        let manifest = Manifest {
            partition: partition.to_owned(),
            rows: row.try_get("rows")?,
            bytes: bytes.cast_unsigned(),
            sha256: row.try_get("sha256")?,
        };
        Ok(Some(Self { file: file.into(), manifest }))
    }

    /// Writes every row of a partition as a line of JSON, and tells the database.
    pub(super) async fn write(session: &mut Session, partition: &str, folder: &Path) -> Result<Self, Trouble> {
        let (number, file) = next_file(session, partition, folder).await?;
        let name = file.to_str().ok_or_else(|| Trouble::Archive(format!("{} is no text", file.display())))?;
        make_folder(folder).map_err(|error| unusable(folder, &error))?;
        let manifest = write_lines(session, partition, &file.with_extension("unfinished")).await?;
        let insert = query(
            "INSERT INTO dispatch.archives (partition, number, state, file, rows, bytes, sha256)
             VALUES ($1, $2, 'written', $3, $4, $5, $6)",
        );
        let insert = insert.bind(partition).bind(number).bind(name).bind(manifest.rows);
        session.run(insert.bind(manifest.bytes.cast_signed()).bind(&manifest.sha256)).await?;
        Ok(Self { file, manifest })
    }

    /// Gives the file its name and a manifest beside it, and reads it: whether it holds what was written, and how many rows.
    pub(super) fn check(&self) -> Result<(bool, i64), Trouble> {
        let read = || {
            self.put_in_place()?;
            self.read()
        };
        let found = read().map_err(|error| unusable(&self.file, &error))?;
        Ok((found == self.manifest, found.rows))
    }

    /// Done again after it was stopped it does what is left.
    fn put_in_place(&self) -> io::Result<()> {
        let unfinished = self.file.with_extension("unfinished");
        // A file that has the name already is never written over, whatever is in it.
        if unfinished.try_exists()? && !self.file.try_exists()? {
            fs::rename(unfinished, &self.file)?;
        }
        let mut beside = create(&self.file.with_extension("manifest.json"))?;
        beside.write_all(&serde_json::to_vec_pretty(&self.manifest)?)?;
        beside.sync_all()?;
        self.file.parent().map_or(Ok(()), sync_folder)
    }

    fn read(&self) -> io::Result<Manifest> {
        let mut lines = BufReader::new(File::open(&self.file)?);
        let mut hash = Sha256::new();
        let (mut rows, mut bytes, mut line) = (0, 0, Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 {
            hash.update(&line);
            rows += 1;
            bytes += line.len() as u64;
            line.clear();
        }
        Ok(Manifest { partition: self.manifest.partition.clone(), rows, bytes, sha256: hex(&hash.finalize()) })
    }
}

/// The number and the file of a partition's next archive: it may come again, by rows that came late, and then gets another file.
pub(super) async fn next_file(
    session: &mut Session,
    partition: &str,
    folder: &Path,
) -> Result<(i32, PathBuf), Trouble> {
    let select = query("SELECT coalesce(max(number), 0) FROM dispatch.archives WHERE partition = $1");
    let mut number: i32 = session.rows(select.bind(partition)).await?[0].try_get(0)?;
    // Whoever goes on with it may stand in another directory.
    let folder = std::path::absolute(folder).map_err(|error| unusable(folder, &error))?;
    loop {
        number += 1;
        let more = if number == 1 { String::new() } else { format!(".{number}") };
        let file = folder.join(format!("{partition}{more}.jsonl"));
        let is_taken = || Ok(file.try_exists()? || file.with_extension("manifest.json").try_exists()?);
        if !is_taken().map_err(|error| unusable(&file, &error))? {
            return Ok((number, file));
        }
    }
}

async fn write_lines(session: &mut Session, partition: &str, file: &Path) -> Result<Manifest, Trouble> {
    let unusable = |error: io::Error| unusable(file, &error);
    let mut lines = BufWriter::new(create(file).map_err(unusable)?);
    let mut hash = Sha256::new();
    let (mut rows, mut bytes, mut after) = (0, 0, "(0,0)".to_owned());
    loop {
        // `ORDER BY ctid` alone would sort by the text that is selected.
        let select = query(AssertSqlSafe(format!(
            "SELECT t.ctid::text, row_to_json(t)::text FROM dispatch.{partition} t WHERE t.ctid > $1::tid ORDER BY t.ctid LIMIT $2"
        )));
        let some = session.rows(select.bind(&after).bind(BATCH)).await?;
        for row in &some {
            let mut line: String = row.try_get(1)?;
            line.push('\n');
            hash.update(line.as_bytes());
            rows += 1;
            bytes += line.len() as u64;
            lines.write_all(line.as_bytes()).map_err(unusable)?;
        }
        match some.last() {
            Some(last) => after = last.try_get(0)?,
            None => break,
        }
    }
    let keep = || {
        lines.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        file.parent().map_or(Ok(()), sync_folder)
    };
    keep().map_err(unusable)?;
    Ok(Manifest { partition: partition.to_owned(), rows, bytes, sha256: hex(&hash.finalize()) })
}

/// Begins a file anew that nobody but its owner reads: addresses and names of people are in it.
fn create(file: &Path) -> io::Result<File> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(file)
}

/// Makes a directory, with those it is in, that nobody but its owner enters; one that is there stays as it is.
fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(folder)?;
    missing.iter().filter_map(|made| made.parent()).try_for_each(sync_folder)
}

/// Has names in a directory survive the loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn unusable(file: &Path, error: &io::Error) -> Trouble {
    Trouble::Archive(format!("{}: {error}", file.display()))
}
