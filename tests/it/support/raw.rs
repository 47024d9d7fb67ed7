//! Callers and servers that no HTTP library would be: bytes on a socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::{Gateway, SOON};

/// What came back on a socket until it was closed.
#[derive(Debug)]
pub(crate) struct RawAnswer(pub(crate) String);

impl RawAnswer {
    /// The status of the first answer; 0 when there was none.
    pub(crate) fn status(&self) -> u16 {
        let word = self.0.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3));
        word.and_then(|it| it.parse().ok()).unwrap_or(0)
    }
}

impl Gateway {
    /// A bare connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr()).await.expect("a connection")
    }

    /// Sends these bytes as they are and reads until the gateway closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> RawAnswer {
        let mut socket = self.connect().await;
        socket.write_all(bytes.as_ref()).await.expect("a writable socket");
        let mut read = Vec::new();
        let reading = tokio::time::timeout(SOON, socket.read_to_end(&mut read)).await;
        reading.expect("in time").expect("an orderly end");
        RawAnswer(String::from_utf8_lossy(&read).into_owned())
    }

    /// Sends a chat request on a connection of its own and leaves the answer unread.
    pub(crate) async fn chat_on_socket(&self, body: &serde_json::Value) -> TcpStream {
        let body = body.to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut socket = self.connect().await;
        socket.write_all((head + &body).as_bytes()).await.expect("a writable socket");
        socket
    }
}

/// A server that says these very bytes to whatever it is asked, again and again if `endless`.
/// Gives its address.
pub(crate) async fn stranger(answer: Vec<u8>, endless: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // They end with the test's runtime.
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tasks.spawn(async move {
                let mut question = vec![0; 4_096];
                // Whoever asks nothing gets the same.
                let _read = socket.read(&mut question).await;
                while socket.write_all(&answer).await.is_ok() && endless {
                    tokio::task::yield_now().await;
                }
            });
        }
    });
    url
}
