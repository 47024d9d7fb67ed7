//! What was used is known after a restart, and the data directory belongs to one gateway.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relayfreellm::app::{App, StartError};
use relayfreellm::catalog::IdBook;
use relayfreellm::config::{self, Flags};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{Gateway, Program, Setup, Upstream, ask, call};

const KEY: &str = "sk-live-Qx7rT2mVb9Lp4ZsK";

fn setup(dir: &Path) -> Setup {
    let alpha = Upstream::plain("Alpha").key(KEY).limits(json!({"requests_per_hour": 5}));
    Gateway::with([alpha, Upstream::plain("Beta").model("n")])
        .settings(json!({"routing": {"max_quota_wait_seconds": 0}}))
        .data_dir(dir)
}

#[tokio::test]
async fn usage_quota_and_sessions_survive() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    let gateway = setup(&dir).start().await;
    for _ in 0..3 {
        gateway.chat(&ask("alpha/m")).await.expect(200);
    }
    let session = [("x-session-id", "s-1")];
    let home = gateway.chat_with(&ask("n"), &session).await.expect(200);
    let before = gateway.usage().await;
    gateway.stop().await;

    let gateway = setup(&dir).start().await;
    assert_eq!(gateway.usage().await, before);
    let again = gateway.chat_with(&ask("auto"), &session).await.expect(200);
    assert_eq!(again.header("x-relay-route-reason"), "affinity");
    assert_eq!(again.header("x-relay-model"), home.header("x-relay-model"));
    for status in [200, 200, 429] {
        gateway.chat(&ask("alpha/m")).await.expect(status);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_directory_is_its_owners_and_holds_no_key() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    let gateway = setup(&dir).start().await;
    gateway.chat(&ask("alpha/m")).await.expect(200);
    gateway.stop().await;
    let mode = std::fs::metadata(&dir).expect("a directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
    let files: Vec<_> = std::fs::read_dir(&dir).expect("a directory").collect();
    assert!(!files.is_empty());
    for file in files {
        let path = file.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        let shown = memchr::memmem::find(&bytes, &KEY.as_bytes()[8..]).is_some();
        assert!(!shown, "{} holds a key", path.display());
    }
}

#[tokio::test]
async fn two_gateways_do_not_share_a_directory() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    let first = setup(&dir).start().await;
    let flags =
        Flags { port: Some(0), data_dir: Some(dir.clone()), demo: true, ..Flags::default() };
    let mut ids = IdBook::default();
    let config = config::load(&flags, &|_| None, &mut ids).expect("a configuration");
    let Err(fault) = App::start(config, ids, Arc::new(|_| unreachable!("nobody asks"))).await
    else {
        panic!("the directory is in use");
    };
    assert!(matches!(fault, StartError::Store(_)), "{fault:?}");
    assert!(fault.to_string().contains(&dir.display().to_string()), "{fault}");
    first.chat(&ask("alpha/m")).await.expect(200);
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_stops_nobody() {
    let root = TempDir::new().expect("a directory");
    // A file where a directory is wanted: not even root can write into it.
    let file = root.path().join("data");
    std::fs::write(&file, "").expect("written");
    let gateway = setup(&file.join("kept")).start().await;
    gateway.chat(&ask("alpha/m")).await.expect(200);
    assert_eq!(gateway.usage().await["total"]["requests"], 1);
    gateway.stop().await;
}

/// Waits until the file in `dir` tells of so many answers.
async fn saved(dir: &Path, answers: i64) {
    let file = dir.join("relayfreellm.sqlite3");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let count = || {
        let sql = rusqlite::Connection::open_with_flags(&file, flags).ok()?;
        let sum = "SELECT coalesce(sum(requests), 0) FROM usage";
        sql.query_row(sum, (), |row| row.get::<_, i64>(0)).ok()
    };
    let begun = Instant::now();
    while count() != Some(answers) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?} are saved", count());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_directory_that_can_be_used_after_all_is_used() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    std::fs::write(&dir, "").expect("a file in the way");
    let gateway = setup(&dir).start().await;
    for _ in 0..3 {
        gateway.chat(&ask("alpha/m")).await.expect(200);
    }
    std::fs::remove_file(&dir).expect("out of the way");
    saved(&dir, 3).await;
    gateway.stop().await;

    // What can be read alone is taken over, and given once.
    let lock = dir.join("relayfreellm.lock");
    std::fs::remove_file(&lock).expect("removed");
    std::fs::create_dir(&lock).expect("a lock that nobody can take");
    let gateway = setup(&dir).start().await;
    assert_eq!(gateway.usage().await["total"]["requests"], 3);
    for status in [200, 200, 429] {
        gateway.chat(&ask("alpha/m")).await.expect(status);
    }
    std::fs::remove_dir(&lock).expect("out of the way");
    saved(&dir, 5).await;
    assert_eq!(gateway.usage().await["total"]["requests"], 5);
    gateway.stop().await;

    let gateway = setup(&dir).start().await;
    assert_eq!(gateway.usage().await["total"]["requests"], 5);
    gateway.chat(&ask("alpha/m")).await.expect(429);
    gateway.stop().await;
}

#[tokio::test]
async fn a_disk_that_stands_still_stops_nobody() {
    let root = TempDir::new().expect("a directory");
    let dir = root.path().join("data");
    let gateway = setup(&dir).start().await;
    // Whoever holds the file makes every write of the gateway wait.
    let sql = rusqlite::Connection::open(dir.join("relayfreellm.sqlite3")).expect("opens");
    sql.execute_batch("BEGIN EXCLUSIVE").expect("held");
    let begun = Instant::now();
    for _ in 0..8 {
        gateway.chat(&ask("n")).await.expect(200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    sql.execute_batch("COMMIT").expect("let go");
    drop(sql);
    gateway.stop().await;
    let gateway = setup(&dir).start().await;
    assert_eq!(gateway.usage().await["total"]["requests"], 8, "and nothing is lost");
}

#[test]
fn a_sudden_end_loses_no_more_than_a_second() {
    let root = TempDir::new().expect("a directory");
    let arguments = ["--data-dir", "kept"];
    let total = |addr: &str| -> Value {
        let answer = call(addr, "GET /v1/usage", "");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        serde_json::from_str::<Value>(body).expect("JSON")["total"].clone()
    };
    let (demo, addr) = Program::demo(root.path(), &arguments);
    for _ in 0..3 {
        let answer = call(&addr, "POST /v1/chat/completions", &ask("free-smart").to_string());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let before = total(&addr);
    assert_eq!(before["requests"], 3);
    std::thread::sleep(Duration::from_millis(1_050));
    demo.kill();
    let (demo, addr) = Program::demo(root.path(), &arguments);
    assert_eq!(total(&addr), before);
    demo.kill();
}
