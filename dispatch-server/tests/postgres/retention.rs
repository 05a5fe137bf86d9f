//! What becomes of old rows: nothing is dropped that is not in a file first, and nothing that was archived is written over.

use super::{Place, SHARED, work};
use dispatch_server::{RetentionOptions, migrate_database, retain, verify_data_dir, verify_database};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A database of which all rows are old: the server's clock stands in January 2026, and a day is all that is kept.
struct Old {
    place: Place,
    archive: PathBuf,
}

impl Old {
    /// With the events of a day and the orders that retired since.
    async fn rows() -> Self {
        let place = Place::on(&SHARED);
        for (round, later) in [0, 4_000].into_iter().enumerate() {
            let server = place.start(later).await;
            work(&server, round).await;
            server.stop().await;
        }
        Self::keeping_a_day(place)
    }

    fn nothing() -> Self {
        let place = Place::on(&SHARED);
        migrate_database(&place.config()).unwrap();
        Self::keeping_a_day(place)
    }

    fn keeping_a_day(place: Place) -> Self {
        let archive = place.folder.join("archive");
        let old = Self { place, archive };
        old.sql("UPDATE dispatch.retention_policies SET keep_days = 1");
        old
    }

    fn sql(&self, sql: &str) -> String {
        SHARED.sql(&self.place.database, sql)
    }

    fn count(&self, table: &str) -> usize {
        self.sql(&format!("SELECT count(*) FROM dispatch.{table}")).parse().unwrap()
    }

    /// Every table with a hash of its rows.
    fn everything(&self) -> String {
        let tables =
            self.sql("SELECT relname FROM pg_class WHERE relnamespace = 'dispatch'::regnamespace AND relkind = 'r'");
        let hash =
            |table| format!("SELECT '{table}', md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM dispatch.{table} t");
        self.sql(&tables.lines().map(hash).collect::<Vec<_>>().join(" UNION ALL "))
    }

    /// Puts an event into the first day.
    fn late_event(&self, seq: u32) {
        self.sql("SELECT dispatch.make_partition('events', '2026-01-01')");
        self.sql(&format!(
            "INSERT INTO dispatch.events (market, seq, at, kind, orders, role, event)
             VALUES ('late', {seq}, '2026-01-01 12:00Z', 'late', '{{}}', 'system', '{{\"seq\": {seq}}}')"
        ));
    }

    /// Carries out the policies; what was said, line by line, and what went wrong.
    fn retain(&self, dry_run: bool) -> (Vec<String>, Result<(), String>) {
        let options = RetentionOptions { dry_run, archive_dir: Some(self.archive.clone()) };
        let mut said = Vec::new();
        let done = retain(&self.place.config(), &options, &mut |line| said.push(line));
        (said, done.map_err(|error| error.to_string()))
    }

    /// The same without trouble.
    #[track_caller]
    fn done(&self) -> Vec<String> {
        let (said, done) = self.retain(false);
        done.unwrap();
        said
    }

    fn archived(&self, name: &str) -> String {
        fs::read_to_string(self.archive.join(name)).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(&self.archive).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_archived_before_they_are_dropped() {
    let old = Old::rows().await;
    let (events, retired) = (old.count("events"), old.count("orders WHERE retired_at IS NOT NULL"));
    let estimates = old.count("eta_history_20260101");
    assert!(events > 0 && retired > 0 && estimates > 0);

    let said = old.done();
    assert_eq!(old.count("events"), 0);
    let file = old.archived("events_20260101.jsonl");
    assert_eq!(file.lines().count(), events);
    let first: Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"]["seq"], 1);
    let manifest: Value = serde_json::from_str(&old.archived("events_20260101.manifest.json")).unwrap();
    assert_eq!(manifest["rows"], events);
    assert_eq!(old.sql("SELECT state FROM dispatch.archives WHERE partition = 'events_20260101'"), "dropped");
    assert_eq!(old.count("orders WHERE retired_at IS NOT NULL"), 0);
    assert_eq!(old.archived("orders_history_202601.jsonl").lines().count(), retired);
    let dropped = format!("eta_history_20260101: was dropped, with {estimates} rows");
    assert!(said.contains(&dropped), "{said:?}");
    // Nobody but their owner reads them.
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(old.archive.clone()), 0o700);
    for file in old.files() {
        assert_eq!(mode(old.archive.join(&file)), 0o600, "{file}");
    }
    // Nothing that a restore takes is gone.
    let (kept, shown) = (verify_data_dir(&old.place.folder).unwrap(), verify_database(&old.place.config()).unwrap());
    assert_eq!((shown.applied, shown.markets), (kept.last, kept.markets));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let old = Old::rows().await;
    old.sql(
        "INSERT INTO dispatch.idempotency_keys (market, key, payload, created, seq, at)
         SELECT 'default', 'key' || i, '', true, i, '2026-01-01' FROM generate_series(1, 7) AS i",
    );
    let before = old.everything();
    let (said, done) = old.retain(true);
    done.unwrap();
    assert_eq!(old.everything(), before);
    assert!(!old.archive.exists());
    let retired = old.count("orders WHERE retired_at IS NOT NULL");
    for expected in [
        format!("orders: {retired} would be moved to orders_history, into 1 months"),
        format!("offers: {} would be deleted", old.count("offers WHERE retired_at IS NOT NULL")),
        "idempotency_keys: 7 would be deleted".to_owned(),
        format!("eta_history_20260101: would be dropped, with {} rows", old.count("eta_history")),
        format!(
            "events_20260101: {} rows would be written to {}, and dropped",
            old.count("events"),
            old.archive.join("events_20260101.jsonl").display()
        ),
    ] {
        assert!(said.contains(&expected), "{expected} is not in {said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_again_is_archived_again() {
    let old = Old::nothing();
    for seq in 1..=3 {
        old.late_event(seq);
        assert_eq!(old.retain(true).1, Ok(()));
        old.done();
    }
    assert_eq!(old.done().len(), 4, "there is nothing left but to look");
    for (number, name) in ["events_20260101", "events_20260101.2", "events_20260101.3"].into_iter().enumerate() {
        let line: Value = serde_json::from_str(&old.archived(&format!("{name}.jsonl"))).unwrap();
        assert_eq!(line["seq"], number + 1);
        let manifest: Value = serde_json::from_str(&old.archived(&format!("{name}.manifest.json"))).unwrap();
        assert_eq!((&manifest["partition"], &manifest["rows"]), (&"events_20260101".into(), &1.into()));
    }
    assert_eq!(old.files().len(), 6);
    let known = old.sql("SELECT partition, number, state, rows FROM dispatch.archives ORDER BY number");
    assert_eq!(known, "events_20260101|1|dropped|1\nevents_20260101|2|dropped|1\nevents_20260101|3|dropped|1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_of_many_rows_is_archived_whole() {
    let old = Old::nothing();
    old.late_event(1);
    // More than are read at once, and more than a page of them.
    old.sql(
        "INSERT INTO dispatch.events (market, seq, at, kind, orders, role, event)
         SELECT market, i, at, kind, orders, role, event FROM dispatch.events, generate_series(2, 12000) AS i",
    );
    old.done();
    let file = old.archived("events_20260101.jsonl");
    let seqs = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap());
    assert!(seqs.eq(1..=12_000));
}

/// Each moment at which it may be stopped, by what is there then.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_stopped_is_finished() {
    for stopped in ["writing", "before the file has its name", "before the manifest", "before the drop"] {
        let old = Old::nothing();
        old.late_event(1);
        old.done();
        // As it was before it was dropped.
        old.late_event(1);
        let (file, unfinished) =
            (old.archive.join("events_20260101.jsonl"), old.archive.join("events_20260101.unfinished"));
        let manifest = old.archive.join("events_20260101.manifest.json");
        let whole = old.archived("events_20260101.jsonl");
        match stopped {
            "writing" => {
                old.sql("DELETE FROM dispatch.archives");
                fs::write(unfinished, &whole[..whole.len() / 2]).unwrap();
                fs::remove_file(&file).unwrap();
                fs::remove_file(manifest).unwrap();
            }
            "before the file has its name" => {
                fs::rename(&file, unfinished).unwrap();
                fs::remove_file(manifest).unwrap();
            }
            "before the manifest" => fs::write(manifest, "").unwrap(),
            _ => {}
        }
        old.sql("UPDATE dispatch.archives SET state = 'written'");
        old.done();
        assert_eq!(old.files(), ["events_20260101.jsonl", "events_20260101.manifest.json"], "{stopped}");
        assert_eq!(old.archived("events_20260101.jsonl"), whole, "{stopped}");
        let manifest: Value = serde_json::from_str(&old.archived("events_20260101.manifest.json")).unwrap();
        assert_eq!(manifest["bytes"], whole.len(), "{stopped}");
        assert_eq!((old.count("events"), old.count("archives WHERE state = 'dropped'")), (0, 1), "{stopped}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_tampered_with_keeps_its_partition() {
    let old = Old::rows().await;
    let events = old.count("events");
    // As if it had been stopped between writing and dropping, and the file was changed since.
    fs::create_dir_all(&old.archive).unwrap();
    let file = old.archive.join("events_20260101.jsonl");
    fs::write(&file, "{}\n").unwrap();
    old.sql(&format!(
        "INSERT INTO dispatch.archives (partition, number, state, file, rows, bytes, sha256)
         VALUES ('events_20260101', 1, 'written', '{}', {events}, 3, 'x')",
        file.display()
    ));
    // And something that nobody can do.
    old.sql("INSERT INTO dispatch.retention_policies VALUES (0, 'nonsense', 'drop', 1)");
    let (_, done) = old.retain(false);
    let said = done.unwrap_err();
    assert!(said.contains("events_20260101") && said.contains("nothing was dropped"), "{said}");
    assert!(said.contains("nobody knows how to drop nonsense"), "{said}");
    assert_eq!(old.count("events"), events);
    assert_ne!(old.archived("orders_history_202601.jsonl"), "", "the others were not kept from theirs");

    old.sql("DELETE FROM dispatch.retention_policies WHERE number = 0; DELETE FROM dispatch.archives WHERE state = 'written'");
    old.done();
    assert_eq!(old.count("events"), 0);
    assert_eq!(old.archived("events_20260101.jsonl"), "{}\n", "what was there is not written over");
    assert_eq!(old.archived("events_20260101.2.jsonl").lines().count(), events);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_table_is_not_waited_for() {
    let old = Old::rows().await;
    let reader = SHARED.hold(&old.place.database, "LOCK TABLE dispatch.events IN ACCESS SHARE MODE");
    let (_, done) = old.retain(false);
    let said = done.unwrap_err();
    assert!(said.contains("events_20260101: another session holds it"), "{said}");
    assert_ne!(old.count("events"), 0);
    assert_eq!(old.count("orders_history"), 0, "the others were not kept from theirs");
    drop(reader);
    old.done();
    assert_eq!(old.count("events"), 0);
    assert!(old.files().iter().all(|file| !file.contains(".2.")), "what was written counts");
}
