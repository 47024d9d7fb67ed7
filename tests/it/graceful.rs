//! Told to stop, the gateway takes no more and lets what is running finish.

use std::time::Duration;

use relayfreellm::sim::Pace;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{Gateway, Program, SOON, ask, call};

#[tokio::test]
async fn a_running_stream_finishes() {
    let gateway = Gateway::plain().await;
    let pace = Pace { first_token: Duration::ZERO, per_chunk: Duration::from_millis(10) };
    gateway.upstream("alpha").set_pace(pace);
    let mut stream = gateway.open(&ask("m"), &[]).await;
    stream.read_some().await;
    let (addr, alpha) = (gateway.addr(), gateway.upstream("alpha"));
    let stopping = gateway.stop();
    let finishing = stream.finish();
    let refused = async {
        // As soon as it stops listening.
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let all = async { tokio::join!(stopping, finishing, refused) };
    let ((cut, _sim), answer, ()) = tokio::time::timeout(SOON, all).await.expect("in time");
    assert_eq!(cut, 0);
    let answer = answer.expect_done();
    assert_eq!(answer.said(), alpha.records()[0].sent_content);
    assert_eq!(alpha.count_served(), 1);
}

#[tokio::test]
async fn a_running_answer_finishes() {
    let gateway = Gateway::plain().await;
    let alpha = gateway.upstream("alpha");
    let pace = Pace { first_token: Duration::from_millis(300), per_chunk: Duration::ZERO };
    alpha.set_pace(pace);
    let request =
        gateway.request(http::Method::POST, "/v1/chat/completions", &[], ask("m").to_string());
    let client = gateway.client().clone();
    let asking = async {
        let answer = client.request(request).await.expect("an answer");
        answer.status().as_u16()
    };
    let stopping = async {
        assert!(alpha.wait_for(SOON, |it| it.len() == 1).await.is_some());
        gateway.stop().await
    };
    let both = async { tokio::join!(asking, stopping) };
    let (status, (cut, _sim)) = tokio::time::timeout(SOON, both).await.expect("in time");
    assert_eq!((status, cut), (200, 0));
}

#[test]
fn who_says_stop_twice_waits_for_nobody() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let upstream = format!("http://{}/v1", silent.local_addr().expect("an address"));
    let dir = TempDir::new().expect("a directory");
    let keys = [("GROQ_API_KEY", "gsk-example"), ("GROQ_BASE_URL", upstream.as_str())];
    let (mut program, addr) = Program::start(dir.path(), &[], &keys);
    let asking = std::thread::spawn(move || {
        let body = r#"{"messages":[{"role":"user","content":"Hello?"}]}"#;
        call(&addr, "POST /v1/chat/completions", body)
    });
    let _asked = silent.accept().expect("a call");
    program.signal("INT");
    let (tells, told) = std::sync::mpsc::channel();
    let ending = std::thread::spawn(move || tells.send(program.terminate().success()));
    // Of the 30 s that it may take.
    assert_eq!(told.recv_timeout(Duration::from_secs(15)), Ok(true));
    assert!(ending.join().is_ok());
    let answer = asking.join().expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("stream_interrupted"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let gateway = Gateway::plain().await;
    gateway.chat(&ask("m")).await.expect(200);
    // This connection is open and says nothing, and so is the one just used.
    let _idle = gateway.connect().await;
    let stopping = tokio::time::timeout(Duration::from_secs(5), gateway.stop()).await;
    let (cut, _sim) = stopping.expect("nobody is waited for");
    assert_eq!(cut, 0);
}
