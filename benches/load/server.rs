//! The server in a process of its own: this program, asked to be one.

use dispatch_server::{Sources, State};
use serde_json::Value;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) async fn serve(directory: &Path, durability: &str) -> Result<Value, Box<dyn Error>> {
    let flags = vec![format!("durability={durability}"), format!("data_dir={}", directory.display())];
    let state = State::start(Sources { flags, ..Sources::default() }.load()?)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    dispatch_server::serve(state, listener, std::future::pending()).await?;
    Err("a server that nobody stops has stopped".into())
}

/// A running server; it ends, and its data directory goes, when it is dropped.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(durability: &str) -> Result<Self, Box<dyn Error>> {
        let directory = std::env::temp_dir().join(format!("dispatch-load-{}", std::process::id()));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--durability", durability, "--serve"]).arg(&directory).stdout(Stdio::piped());
        let mut server = Self { process: command.spawn()?, directory, url: String::new() };
        let mut line = String::new();
        let output = server.process.stdout.take().expect("it was asked for above");
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            return Err(format!("the server did not start: {}", server.process.wait()?).into());
        }
        server.url = format!("http://{}", line.trim());
        Ok(server)
    }

    /// How many seconds of a processor it has used; 0 where the system does not say.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        // Behind the name, which may have spaces in it: user and system time, in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
