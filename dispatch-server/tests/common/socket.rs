//! A client of sockets.

use super::{Server, asyncapi};
use axum::body::Bytes;
use serde_json::Value;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Nothing takes this long; who waits for it in vain is told so.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    /// Opens a socket with this key (none if empty).
    pub async fn socket(&self, key: &str) -> Socket {
        self.try_socket(key, false).await.unwrap()
    }

    /// The same, as browsers do it or others; the status of the answer if it is refused.
    pub async fn try_socket(&self, key: &str, as_browser: bool) -> Result<Socket, u16> {
        let mut request = format!("{}/v1/socket", self.url.replacen("http", "ws", 1)).into_client_request().unwrap();
        let headers = request.headers_mut();
        if as_browser {
            headers.insert("sec-websocket-protocol", format!("dispatch.v1, bearer.{key}").parse().unwrap());
        } else if !key.is_empty() {
            headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, answer)) => {
                let protocol = answer.headers().get("sec-websocket-protocol");
                assert_eq!(protocol.map(|value| value.to_str().unwrap()), as_browser.then_some("dispatch.v1"));
                Ok(Socket(socket))
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Socket {
    pub async fn say(&mut self, message: Value) {
        self.send(Message::Text(message.to_string().into())).await;
    }

    pub async fn say_bytes(&mut self, bytes: Vec<u8>) {
        self.send(Message::Binary(Bytes::from(bytes))).await;
    }

    pub async fn send(&mut self, message: Message) {
        use futures_util::SinkExt;
        self.0.send(message).await.unwrap();
    }

    /// The next message, as the contract describes it; `Err` has the reason of the close, if it has one.
    pub async fn hear(&mut self) -> Result<Value, String> {
        timeout(PATIENCE, self.next()).await.expect("a socket says something")
    }

    async fn next(&mut self) -> Result<Value, String> {
        loop {
            let next = poll_fn(|context| futures_util::Stream::poll_next(Pin::new(&mut self.0), context));
            match next.await {
                Some(Ok(Message::Text(text))) => {
                    let said = serde_json::from_str(&text).unwrap();
                    asyncapi::describes_said(&said);
                    return Ok(said);
                }
                Some(Ok(Message::Close(close))) => {
                    return Err(close.map_or_else(String::new, |close| close.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(String::new()),
            }
        }
    }

    /// The next answer, events aside.
    pub async fn answer(&mut self) -> Value {
        loop {
            let said = self.hear().await.unwrap();
            if said["subscription"].is_null() {
                return said;
            }
        }
    }

    /// The next event of this name of a subscription.
    pub async fn event(&mut self, subscription: u32, name: &str) -> Value {
        loop {
            let mut said = self.hear().await.unwrap();
            if said["subscription"] == subscription && said["event"]["type"] == name {
                return said["event"].take();
            }
        }
    }

    pub async fn ask(&mut self, message: Value) -> Value {
        self.say(message).await;
        self.answer().await
    }
}
