//! The least a gateway built on axum and hyper-util can do: read the request, find its model, pass
//! it on and pass the answer back. What a gateway is measured against, beside nginx.
//!
//! `pass UPSTREAM`, such as `pass 127.0.0.1:9900`, prints its address and serves until it is ended.

use std::borrow::Cow;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

#[derive(Clone)]
struct Pass {
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: Arc<str>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let upstream = std::env::args().nth(1).ok_or("which upstream?")?.into();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .with_state(Pass { client, upstream });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout().lock(), "http://{}/v1", listener.local_addr()?)?;
    let connections = TaskTracker::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            // An error is a caller that left.
            let _ended =
                http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
}

async fn chat(
    State(pass): State<Pass>,
    uri: Uri,
    body: Bytes,
) -> Result<Response<Body>, StatusCode> {
    let head: Head<'_> = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if head.model.is_empty() {
        return Err(StatusCode::NOT_FOUND);
    }
    let request = Request::post(format!("http://{}{}", pass.upstream, uri.path()))
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, "Bearer key")
        .body(Full::new(body))
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    let answer = pass.client.request(request).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(TRANSFER_ENCODING);
    Ok(Response::from_parts(parts, Body::new(body)))
}
