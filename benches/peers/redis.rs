//! Redis GEO over a socket, if there is a `redis-server`: what people use today.

use crate::designs::Design;
use crate::workload::{Fleet, LIMIT, RADIUS, Update, is_available};
use dispatch_core::Position;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// So many commands are sent before the first answer is read.
const PIPELINE: usize = 100;

pub(crate) struct Redis {
    server: Child,
    directory: PathBuf,
    stream: BufReader<UnixStream>,
    /// Commands to be sent with the next one that is waited for.
    unsent: Vec<u8>,
    /// The first circle that is searched, in metres.
    first_radius: f64,
}

impl Redis {
    /// Starts a server of its own that keeps nothing, and fills it. `None` if there is no Redis here.
    pub(crate) fn start(fleet: &Fleet) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("peers-redis-{}", std::process::id()));
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
        let mut redis = Self {
            server,
            directory,
            stream: BufReader::new(stream?),
            unsent: Vec::new(),
            // About twice as many as are wanted, where most are.
            first_radius: 350.0 * (30_000.0 / fleet.ids.len() as f64).sqrt(),
        };
        for batch in fleet.fixes.iter().zip(0..).filter(|(_, n)| is_available(*n)).collect::<Vec<_>>().chunks(PIPELINE)
        {
            for (fix, driver) in batch {
                redis.add(*driver, fix.position);
            }
            redis.read_all(batch.len());
        }
        Some(redis)
    }

    fn add(&mut self, driver: u32, at: Position) {
        // Busy drivers are another key's.
        let key = if is_available(driver) { "free" } else { "busy" };
        self.send(&["GEOADD", key, &format!("{:.7}", at.lng()), &format!("{:.7}", at.lat()), &driver.to_string()]);
    }

    fn send(&mut self, words: &[&str]) {
        // Nothing that is written to memory fails.
        let _ = write!(self.unsent, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(self.unsent, "${}\r\n{word}\r\n", word.len());
        }
    }

    /// The bulk strings of one answer.
    fn read(&mut self) -> Vec<String> {
        let unsent = std::mem::take(&mut self.unsent);
        self.stream.get_mut().write_all(&unsent).expect("the server listens");
        self.read_value().expect("the server answers")
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

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn read_all(&mut self, answers: usize) {
        (0..answers).for_each(|_| _ = self.read());
    }

    fn ask(&mut self, at: Position, radius: f64) {
        let (lng, lat) = (format!("{:.7}", at.lng()), format!("{:.7}", at.lat()));
        let (radius, limit) = (format!("{radius:.0}"), LIMIT.to_string());
        let words = [
            "GEOSEARCH",
            "free",
            "FROMLONLAT",
            &lng,
            &lat,
            "BYRADIUS",
            &radius,
            "m",
            "ASC",
            "COUNT",
            &limit,
            "WITHDIST",
        ];
        self.send(&words);
    }

    /// A small circle first, then larger ones: the time Redis takes grows with all that is within.
    fn find(&mut self, at: Position) -> Vec<(u32, f64)> {
        let mut radius = self.first_radius;
        loop {
            radius = radius.min(RADIUS.get());
            self.ask(at, radius);
            let found = self.read();
            if found.len() >= 2 * LIMIT || radius >= RADIUS.get() {
                let number = |word: &String| word.parse::<f64>().expect("members are numbers");
                return found.chunks(2).map(|pair| (number(&pair[0]) as u32, number(&pair[1]))).collect();
            }
            radius *= 2.0;
        }
    }
}

impl Design for Redis {
    fn update(&mut self, updates: &[Update]) {
        for batch in updates.chunks(PIPELINE) {
            for (slot, fix) in batch {
                self.add(slot.index(), fix.position);
            }
            self.read_all(batch.len());
        }
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        queries.iter().map(|at| self.find(*at).len()).sum()
    }

    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>> {
        Some(self.find(at))
    }

    /// Bytes that the server uses, as it says.
    fn bytes(&mut self) -> Option<f64> {
        self.send(&["INFO", "memory"]);
        let unsent = std::mem::take(&mut self.unsent);
        self.stream.get_mut().write_all(&unsent).expect("the server listens");
        let header = self.line().expect("the server answers");
        let mut body = vec![0; header[1..].parse::<usize>().expect("a length") + 2];
        io::Read::read_exact(&mut self.stream, &mut body).expect("the server answers");
        let text = String::from_utf8_lossy(&body);
        let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used?.parse().ok()
    }

    /// What the server has used so far.
    fn cpu_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.server.id())).ok()?;
        Some(stat.split(' ').next()?.parse::<f64>().ok()? / 1e9)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It keeps nothing, so nothing is lost.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
