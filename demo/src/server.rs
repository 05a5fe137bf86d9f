//! The server: the real binary in a process of its own, started, listened to and asked to end.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// How long the server may take to start, and to end: more than it gives itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What stands before the address in the line that says where the server listens.
const LISTENING: &str = "listening on ";

/// How many lines of the log are kept to be shown.
const SHOWN: usize = 20;

/// A server that runs; it is killed if it is dropped.
pub(crate) struct Server {
    child: Child,
    lines: UnboundedReceiver<String>,
    log: Log,
    /// Where it listens, as `http://127.0.0.1:8080`.
    pub(crate) url: String,
}

/// What the server logged, as far as it matters here.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Log {
    pub(crate) errors: u64,
    pub(crate) warnings: u64,
    /// The first lines that are either.
    pub(crate) shown: Vec<String>,
}

impl Log {
    fn read(&mut self, line: &str) {
        // A time, a level, the rest. What has no level is no log but a last cry.
        match line.split_whitespace().nth(1) {
            Some("INFO" | "DEBUG" | "TRACE") => return,
            Some("WARN") => self.warnings += 1,
            None if line.trim().is_empty() => return,
            _ => self.errors += 1,
        }
        if self.shown.len() < SHOWN {
            self.shown.push(line.to_owned());
        }
    }
}

impl Server {
    /// Starts the server on this port of the loopback address, 0 for any that is free, and waits until it listens.
    pub(crate) async fn start(port: u16, settings: &[&str]) -> Result<Self, Box<dyn Error>> {
        let program = program()?;
        let mut command = Command::new(&program);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        // Nothing but these flags decides how it runs.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DISPATCH_")) {
            command.env_remove(name);
        }
        command.env("RUST_LOG", "info");
        // In a process group of its own, so that Ctrl-C ends the city first and the server after it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let stderr = child.stderr.take().expect("it was asked for a line above");
        let (read, lines) = unbounded_channel();
        std::thread::spawn(move || pass_on(stderr, &read));
        let mut server = Self { child, lines, log: Log::default(), url: String::new() };
        let heard = timeout(PATIENCE, server.listens()).await;
        server.url = heard
            .ok()
            .flatten()
            .ok_or_else(|| format!("the server did not start; it said:\n  {}", server.log.shown.join("\n  ")))?;
        Ok(server)
    }

    /// The URL of the server, as soon as it says it; `None` if it ends before.
    async fn listens(&mut self) -> Option<String> {
        loop {
            let line = self.lines.recv().await?;
            self.log.read(&line);
            if let Some((_, rest)) = line.split_once(LISTENING) {
                return rest.split([',', ' ']).next().map(str::to_owned);
            }
        }
    }

    /// Done when the server has ended, which it does not by itself.
    pub(crate) async fn ended(&mut self) {
        while let Some(line) = self.lines.recv().await {
            self.log.read(&line);
        }
    }

    /// Has the server end as an operator does. Gives its log, and what was wrong with its end.
    pub(crate) async fn stop(mut self) -> (Log, Result<(), Box<dyn Error>>) {
        let ended = self.end().await;
        (std::mem::take(&mut self.log), ended)
    }

    async fn end(&mut self) -> Result<(), Box<dyn Error>> {
        let early = self.child.try_wait()?.is_some();
        if !early {
            self.terminate()?;
        }
        if timeout(PATIENCE, self.ended()).await.is_err() {
            return Err(format!("the server did not end within {} s of being asked to", PATIENCE.as_secs()).into());
        }
        let status = self.child.wait()?;
        if early || !status.success() {
            let when = if early { " before it was asked to" } else { "" };
            return Err(format!("the server ended{when}, with {status}").into());
        }
        Ok(())
    }

    #[cfg(unix)]
    fn terminate(&mut self) -> std::io::Result<()> {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        Ok(())
    }

    #[cfg(not(unix))]
    fn terminate(&mut self) -> std::io::Result<()> {
        self.child.kill()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's binary: cargo puts it beside this one.
fn program() -> Result<PathBuf, Box<dyn Error>> {
    let name = format!("dispatch-server{}", std::env::consts::EXE_SUFFIX);
    let program = std::env::current_exe()?.with_file_name(name);
    if program.is_file() {
        return Ok(program);
    }
    Err(format!("there is no {}; `cargo xtask demo` builds it", program.display()).into())
}

fn pass_on(stderr: impl Read, lines: &UnboundedSender<String>) {
    // A log that cannot be read any more counts as ended.
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if lines.send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_counted_by_level() {
        let mut log = Log::default();
        for line in [
            "2026-01-01T00:00:00.000000Z  INFO dispatch_server: an ERROR in a text is none",
            "2026-01-01T00:00:00.000000Z  WARN dispatch_server: late",
            "2026-01-01T00:00:00.000000Z ERROR dispatch_server: broken",
            "the dispatch runner panicked",
            "",
        ] {
            log.read(line);
        }
        assert_eq!((log.errors, log.warnings, log.shown.len()), (2, 1, 3));
    }
}
