//! A client of event streams that takes little: it shares the processors with the server that is measured.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One event.
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// A stream of events over a connection of its own.
pub(super) struct Events {
    stream: TcpStream,
    /// What has come and is not unpacked: chunks.
    raw: Vec<u8>,
    /// What was in them.
    text: Vec<u8>,
    /// How much of the text was searched for an end.
    searched: usize,
}

impl Events {
    /// Opens a stream behind an id.
    pub(super) async fn open(address: &str, path: &str, after: Option<&str>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let after = after.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{after}\r\n").as_bytes()).await?;
        let mut events = Self { stream, raw: Vec::new(), text: Vec::new(), searched: 0 };
        loop {
            let end = find(&events.raw, b"\r\n\r\n", 0);
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&events.raw[..end]).into_owned();
                if !head.starts_with("HTTP/1.1 200") {
                    return Err(io::Error::other(format!("{path}: {head}")));
                }
                events.raw.drain(..end + 4);
                events.unpack()?;
                return Ok(events);
            }
            events.read().await?;
        }
    }

    /// The next event; heartbeats are none.
    pub(super) async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            self.read().await?;
            self.unpack()?;
        }
    }

    /// The next event of those that have come.
    fn take(&mut self) -> Option<Event> {
        loop {
            let Some(end) = find(&self.text, b"\n\n", self.searched) else {
                self.searched = self.text.len().saturating_sub(1);
                return None;
            };
            let block = String::from_utf8_lossy(&self.text[..end]).into_owned();
            self.text.drain(..end + 2);
            self.searched = 0;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                let id = field("id: ").map(str::to_owned);
                return Some(Event { name: name.to_owned(), id, data: data.to_owned() });
            }
        }
    }

    /// Ends the connection at once, and leaves nothing behind.
    pub(super) fn reset(self) {
        // If not, it ends a little later.
        let _ = self.stream.set_zero_linger();
    }

    async fn read(&mut self) -> io::Result<()> {
        let read = self.stream.read_buf(&mut self.raw).await?;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn unpack(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some(end) = find(&self.raw, b"\r\n", at) {
            let size =
                std::str::from_utf8(&self.raw[at..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| io::Error::other("not a chunk"))?;
            let chunk = end + 2..end + 2 + size;
            if self.raw.len() < chunk.end + 2 {
                break;
            }
            self.text.extend_from_slice(&self.raw[chunk.clone()]);
            at = chunk.end + 2;
        }
        self.raw.drain(..at);
        Ok(())
    }
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| at + from)
}
