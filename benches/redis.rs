//! A Redis server of one's own over a socket, if there is a `redis-server`: what people use today.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// So many commands are sent before the first answer is read.
pub(crate) const PIPELINE: usize = 100;

pub(crate) struct RedisServer {
    server: Child,
    directory: PathBuf,
    pub(crate) stream: BufReader<UnixStream>,
    /// Commands to be sent with the next one that is waited for.
    unsent: Vec<u8>,
}

impl RedisServer {
    /// Starts a server that keeps nothing. `None` if there is no Redis here.
    pub(crate) fn start() -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("dispatch-redis-{}", std::process::id()));
        fs::create_dir_all(&directory).ok()?;
        let socket = directory.join("socket");
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let stream = (0..100).find_map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            UnixStream::connect(&socket).ok()
        });
        Some(Self { server, directory, stream: BufReader::new(stream?), unsent: Vec::new() })
    }

    /// Says where a member of a key is.
    pub(crate) fn add(&mut self, key: &str, lat: f64, lng: f64, member: &str) {
        self.queue(&["GEOADD", key, &format!("{lng:.7}"), &format!("{lat:.7}"), member]);
    }

    /// A command to be sent with the next one that is waited for.
    pub(crate) fn queue(&mut self, words: &[&str]) {
        // Nothing that is written to memory fails.
        let _ = write!(self.unsent, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(self.unsent, "${}\r\n{word}\r\n", word.len());
        }
    }

    /// Sends what was queued.
    pub(crate) fn send(&mut self) {
        let unsent = std::mem::take(&mut self.unsent);
        self.stream.get_mut().write_all(&unsent).expect("the server listens");
    }

    /// The bulk strings of one answer.
    pub(crate) fn read(&mut self) -> Vec<String> {
        self.send();
        self.read_value().expect("the server answers")
    }

    /// Waits for so many answers.
    pub(crate) fn read_all(&mut self, answers: usize) {
        (0..answers).for_each(|_| _ = self.read());
    }

    fn read_value(&mut self) -> io::Result<Vec<String>> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1);
        let count: i64 = rest.parse().unwrap_or(0);
        match kind {
            "*" => {
                let mut words = Vec::new();
                for _ in 0..count {
                    words.extend(self.read_value()?);
                }
                Ok(words)
            }
            "$" => Ok(vec![self.line()?]),
            ":" => Ok(Vec::new()),
            _ => Err(io::Error::other(line)),
        }
    }

    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// What the server has used so far.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.server.id())).ok()?;
        Some(stat.split(' ').next()?.parse::<f64>().ok()? / 1e9)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It keeps nothing, so nothing is lost.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
