//! `dispatch-server journal`: the data directory, for people. Nothing is changed, and a server may be writing meanwhile.

use clap::{Args, Subcommand};
use dispatch_journal::{Directory, Log, Record};
use dispatch_server::{Sources, verify_data_dir};
use std::error::Error;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum JournalCommand {
    /// List the files: segments with their records, and snapshots.
    Inspect(Place),
    /// Read everything, and say what is damaged.
    Verify(Place),
    /// Print the records as JSON, one a line.
    Export {
        #[command(flatten)]
        place: Place,
        /// From this record on.
        #[arg(long, default_value_t = 1)]
        from: u64,
    },
}

#[derive(Args)]
pub(crate) struct Place {
    /// The data directory.
    #[arg(long, env = "DISPATCH_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn log(self) -> Result<Log<Directory>, Box<dyn Error>> {
        Ok(Log::open(Directory::read_only(self.path()?))?)
    }

    fn path(self) -> Result<PathBuf, Box<dyn Error>> {
        Ok(match self.data_dir {
            Some(path) => path,
            None => Sources::default().load()?.data_dir().to_owned(),
        })
    }
}

pub(crate) fn run(command: JournalCommand) -> Result<(), Box<dyn Error>> {
    match command {
        JournalCommand::Inspect(place) => inspect(&place.log()?),
        JournalCommand::Verify(place) => verify(place),
        JournalCommand::Export { place, from } => export(&place.log()?, from),
    }
}

fn inspect(log: &Log<Directory>) -> Result<(), Box<dyn Error>> {
    println!("{:<42} {:>12} {:>12} {:>12}", "file", "records", "from", "bytes");
    for segment in log.segments() {
        let found = log.inspect(segment)?;
        println!("{:<42} {:>12} {:>12} {:>12}", segment.name(), found.records, segment.first, found.bytes);
        if let Some(problem) = found.problem {
            println!("  {problem}");
        }
    }
    for (seq, problem) in log.check_snapshots()? {
        println!(
            "a snapshot of all records up to {seq}{}",
            problem.map_or(String::new(), |problem| format!(": {problem}"))
        );
    }
    Ok(())
}

fn verify(place: Place) -> Result<(), Box<dyn Error>> {
    let report = verify_data_dir(&place.path()?)?;
    println!("{report}");
    if report.damage.is_empty() { Ok(()) } else { Err("the data directory is damaged".into()) }
}

fn export(log: &Log<Directory>, from: u64) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    log.replay_all(|Record { seq, epoch, payload }| {
        if seq >= from && written.is_ok() {
            let record = String::from_utf8_lossy(payload);
            written = writeln!(out, r#"{{"seq":{seq},"epoch":{epoch},"record":{record}}}"#);
        }
        Ok(())
    })?;
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
