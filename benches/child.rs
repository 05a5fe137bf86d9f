//! A server in a process of its own, so that it can be killed and its figures are its own: the program that measures it, asked to be
//! one.

use dispatch_server::{Sources, State};
use std::convert::Infallible;
use std::error::Error;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Is the server that [`Server::start`] waits for, until it is killed.
pub(crate) fn serve(flags: Vec<String>) -> Result<Infallible, Box<dyn Error>> {
    let config = Sources { flags, ..Sources::default() }.load()?;
    dispatch_server::raise_open_files(&config);
    tokio::runtime::Runtime::new()?.block_on(async {
        let state = State::start(config)?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        dispatch_server::serve(state, listener, std::future::pending()).await?;
        Err("a server that nobody stops has stopped".into())
    })
}

/// A running server; killed when it is dropped.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) url: String,
}

impl Server {
    /// Starts this program with arguments that have it call [`serve`].
    pub(crate) fn start(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self, Box<dyn Error>> {
        let process = Command::new(std::env::current_exe()?).args(args).stdout(Stdio::piped()).spawn()?;
        let mut server = Self { process, url: String::new() };
        let mut line = String::new();
        let output = server.process.stdout.take().expect("it was asked for a line above");
        BufReader::new(output).read_line(&mut line)?;
        if line.is_empty() {
            return Err(format!("the server did not start: {}", server.process.wait()?).into());
        }
        server.url = format!("http://{}", line.trim());
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // As `kill -9` does: nothing is flushed, nobody is told.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
