//! One accepted connection, and the ways to end it that HTTP has no words for.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::record::{Trace, lock};
use super::server::{House, route};

/// What happens to the connection after a request failed on purpose.
pub(super) enum LastAct {
    Close,
    Reset,
    EndlessHeaders(Trace),
}

/// Where a request leaves word of the last act.
#[derive(Clone, Default)]
pub(super) struct Afterwards(Arc<Mutex<Option<LastAct>>>);

impl Afterwards {
    pub(super) fn set(&self, act: LastAct) {
        *lock(&self.0) = Some(act);
    }

    fn take(&self) -> Option<LastAct> {
        lock(&self.0).take()
    }
}

/// Serves one connection until either side ends it.
pub(super) async fn serve(house: Arc<House>, socket: TcpStream) {
    let afterwards = Afterwards::default();
    let service = {
        let afterwards = afterwards.clone();
        service_fn(move |request| {
            // Boxed, because only a connection that can be moved gives its socket back.
            Box::pin(route(Arc::clone(&house), request, afterwards.clone()))
        })
    };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // Without shutdown, so that the socket can be had back for the last act. An error is the
    // other side's, or a cut of our own; neither is news.
    let _ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let socket = connection.into_parts().io.into_inner();
    match afterwards.take() {
        Some(LastAct::Reset) => {
            // Closing with a linger of zero is how a socket is told to send RST.
            let _unsupported = socket.set_zero_linger();
        }
        Some(LastAct::EndlessHeaders(trace)) => {
            let _gone = endless_headers(&socket).await;
            // Dropped, not ended: the record then says when the caller had had enough.
            drop(trace);
        }
        Some(LastAct::Close) | None => {}
    }
}

/// Writes header lines until the other side has had enough.
async fn endless_headers(socket: &TcpStream) -> io::Result<()> {
    let line = format!("x-padding: {}\r\n", "x".repeat(1_010));
    write(socket, b"HTTP/1.1 200 OK\r\n").await?;
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        write(socket, line.as_bytes()).await?;
    }
}

async fn write(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}
