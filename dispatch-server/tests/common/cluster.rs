//! A PostgreSQL cluster of a test's own: in a directory for temporary files, on a free port, run by a user without rights, gone with
//! the process that started it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The user and the group `nobody`: PostgreSQL refuses to be run by root.
const NOBODY: u32 = 65_534;

pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    databases: AtomicU32,
    /// Removes the cluster once this is closed, also by a process that was killed.
    watchdog: Mutex<Option<(Child, ChildStdin)>>,
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        Self::start_at(free_port())
    }

    /// The same on this port, or, if it is taken, on another: between its choice and its use anybody may take it.
    pub fn start_at(port: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dispatch-postgres-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("the directory for temporary files takes a directory");
        if is_root() {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root gives away what it made");
        }
        let programs = programs();
        let mut cluster = Self { folder, programs, port, databases: AtomicU32::new(0), watchdog: Mutex::new(None) };
        cluster.watchdog = Mutex::new(Some(cluster.watch()));
        let data = cluster.data();
        let settings = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"];
        run(cluster.program("initdb").args(settings).arg("-D").arg(&data));
        for _ in 0..50 {
            if cluster.try_begin() {
                return cluster;
            }
            cluster.port = free_port();
        }
        panic!("{}", cluster.log());
    }

    /// Starts what was stopped, and waits until it answers.
    pub fn begin(&self) {
        // What is left of a cluster that was killed may hold its memory for a moment.
        assert!((0..50).any(|_| self.try_begin()), "{}", self.log());
    }

    fn try_begin(&self) -> bool {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=60 -c shared_buffers=16MB \
             -c log_min_messages=fatal",
            self.port
        );
        let mut start = self.program("pg_ctl");
        start.args(["start", "-w", "-t", "60", "-o", &options, "-l"]).arg(self.folder.join("log"));
        start.arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(Stdio::null());
        start.status().is_ok_and(|status| status.success())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Ends all its processes at once, as the kernel does: nothing is written, nobody is told.
    pub fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// Has none of its processes do anything.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Has them go on.
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let postmaster = self.postmaster().expect("a cluster that runs says which process it is");
        let children = std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
            let number: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            let parent: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            (parent == postmaster).then_some(number)
        });
        let processes: Vec<i32> = std::iter::once(postmaster).chain(children).collect();
        for process in processes.into_iter().filter_map(rustix::process::Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(process, signal);
        }
    }

    fn postmaster(&self) -> Option<i32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// Makes a database, and says its name.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Carries out SQL as the cluster's owner; what it says, a line per row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(self.url(database));
        let output = psql.output().expect("psql comes with PostgreSQL");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// A transaction that has done this and stays open until what is returned is dropped.
    pub fn hold(&self, database: &str, sql: &str) -> Held {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).arg(self.url(database));
        let psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut session = psql.expect("psql comes with PostgreSQL");
        let input = session.stdin.as_mut().expect("it was asked for above");
        write!(input, "BEGIN; {sql};\n\\echo held\n").expect("it reads");
        let mut line = String::new();
        let output = session.stdout.as_mut().expect("it was asked for above");
        BufReader::new(output).read_line(&mut line).expect("it answers");
        assert_eq!(line, "held\n", "{sql}");
        Held(session)
    }

    /// Where a database is, for its owner.
    pub fn url(&self, database: &str) -> String {
        self.url_of("postgres", database)
    }

    /// The same for another user.
    pub fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> Command {
        unprivileged(self.programs.join(name), &self.folder)
    }

    /// Starts what removes the cluster when this process ends, however it does.
    fn watch(&self) -> (Child, ChildStdin) {
        let script = "cat >/dev/null; \"$0\" stop -m immediate -D \"$1/data\" >/dev/null 2>&1; cd /; rm -rf \"$1\"";
        let mut watchdog = unprivileged("sh", &self.folder);
        watchdog.args(["-c", script]).arg(self.programs.join("pg_ctl")).arg(&self.folder);
        watchdog.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = watchdog.spawn().expect("there is a shell");
        let input = child.stdin.take().expect("it was asked for a line above");
        (child, input)
    }
}

/// An open transaction; it ends without having happened.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // It leaves at the end of its input, and the database lets go of its locks a moment later.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A frozen cluster does not stop.
        if self.postmaster().is_some() {
            self.thaw();
        }
        let watchdog = self.watchdog.get_mut().ok().and_then(Option::take);
        if let Some((mut child, input)) = watchdog {
            drop(input);
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("there is a free port").port()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn unprivileged(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir(folder).env("LC_ALL", "C");
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("the programs were found");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Where PostgreSQL's programs are: where Debian puts them, or on the path.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        versions.into_iter().rev().chain(std::env::split_paths(&path)).find(|folder| folder.join("initdb").exists());
    found.expect("these tests take PostgreSQL: install Debian's package `postgresql`, or put its programs on the path")
}
