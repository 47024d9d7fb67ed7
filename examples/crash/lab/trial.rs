//! Lives and deaths of one gateway.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::Connection;
use super::program::Program;
use super::upstream::Upstream;

/// What each key may be asked for in a day: spent after some lives.
const LIMIT: u64 = 800;
/// Deaths in one data directory, before the next trial begins with a new one.
const DEATHS: u64 = 12;
const CALLERS: u64 = 4;
/// Rest of a caller between two requests, at most, in milliseconds.
const REST_MS: u64 = 8;
/// Provider, key and place in `/v1/quota` of each count.
const COUNTS: &[(&str, &str, usize, usize)] = &[
    ("Alpha", "key-alpha-one", 0, 0),
    ("Alpha", "key-alpha-two", 0, 1),
    ("Beta", "key-beta-only", 1, 0),
];
const KEYS: &[(&str, &str)] =
    &[("ALPHA_APIKEY", "key-alpha-one,key-alpha-two"), ("BETA_APIKEY", "key-beta-only")];

/// What is to be tried.
pub(crate) struct Trial {
    /// The gateway.
    pub(crate) program: PathBuf,
    pub(crate) kills: u64,
    pub(crate) seed: u64,
    /// How much of what happened last may be forgotten.
    pub(crate) latest: Duration,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) kills: u64,
    /// Of them before the gateway listened.
    pub(crate) at_start: u64,
    /// Requests that reached the provider.
    pub(crate) reached: u64,
    /// Of them forgotten, over all kills.
    pub(crate) forgotten: u64,
    /// How old the oldest of them was when it was forgotten.
    pub(crate) oldest: Duration,
    /// Data directories whose every key was spent.
    pub(crate) spent: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills ({} while starting), {} requests, {} of them forgotten, the oldest {} ms \
             before its kill; {} directories used until all was spent; nothing wrong",
            self.kills,
            self.at_start,
            self.reached,
            self.forgotten,
            self.oldest.as_millis(),
            self.spent
        )
    }
}

/// What a gateway knows.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    /// Requests used of each of [`COUNTS`].
    used: Vec<u64>,
    /// Answers in `/v1/usage`.
    answers: u64,
}

impl Trial {
    /// Kills as often as it should.
    pub(crate) fn run(&self) -> Found {
        let upstream = Upstream::start();
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut found = Found::default();
        while found.kills < self.kills {
            let root = TempDir::new().expect("a directory");
            write_files(root.path(), &upstream.url());
            let life = Life { trial: self, dir: root.path(), upstream: &upstream };
            life.and_deaths(&mut rng, &mut found);
        }
        found
    }
}

/// All that happens in one data directory.
struct Life<'a> {
    trial: &'a Trial,
    dir: &'a Path,
    upstream: &'a Upstream,
}

impl Life<'_> {
    fn and_deaths(&self, rng: &mut fastrand::Rng, found: &mut Found) {
        let (mut known, mut born) = (Known::default(), self.upstream.now());
        known.used = vec![0; COUNTS.len()];
        let mut died = born;
        for _ in 0..DEATHS.min(self.trial.kills - found.kills) {
            if rng.u64(..8) == 0 {
                let program = Program::spawn(&self.trial.program, self.dir, KEYS);
                thread::sleep(Duration::from_millis(rng.u64(..80)));
                program.kill();
                found.at_start += 1;
                found.kills += 1;
                self.check_file();
                continue;
            }
            let mut program = Program::spawn(&self.trial.program, self.dir, KEYS);
            let addr = program.addr();
            let restored = ask(&addr);
            self.compare(&known, &restored, (born, died), found);
            (known, born) = (restored, self.upstream.now());
            load(&addr, rng, || program.kill());
            died = self.upstream.now();
            // What was on its way arrives.
            thread::sleep(Duration::from_millis(30));
            found.kills += 1;
            self.check_file();
            self.check_limits(&known, born, found);
        }
    }

    /// What is known after a restart is what happened, but for the end of it.
    fn compare(
        &self,
        before: &Known,
        after: &Known,
        (born, died): (Duration, Duration),
        found: &mut Found,
    ) {
        let sure = died.saturating_sub(self.trial.latest);
        let (mut all, mut all_sure) = (0, 0);
        for ((_, key, ..), (was, is)) in COUNTS.iter().zip(before.used.iter().zip(&after.used)) {
            let happened = was + self.upstream.count(key, born, None);
            let least = was + self.upstream.count(key, born, Some(sure));
            // Reserved but not yet sent counts as used: a crash must not free what was under way.
            let most = happened + CALLERS;
            assert!((least..=most).contains(is), "{key}: {is}, not {least} to {most}");
            let forgotten = happened.saturating_sub(*is);
            found.forgotten += forgotten;
            if let Some(oldest) = forgotten.checked_sub(1) {
                let oldest = self.upstream.last_but(key, oldest).unwrap_or(died);
                found.oldest = found.oldest.max(died.saturating_sub(oldest));
            }
            all += happened - was;
            all_sure += least - was;
        }
        let (least, most) = (before.answers + all_sure, before.answers + all);
        // Those that were under way were not answered yet.
        let least = least.saturating_sub(CALLERS);
        let answers = after.answers;
        assert!((least..=most).contains(&answers), "{answers} answers, not {least} to {most}");
    }

    /// Nobody got more than the gateway knew to be free.
    fn check_limits(&self, known: &Known, born: Duration, found: &mut Found) {
        let mut spent = true;
        for ((_, key, ..), used) in COUNTS.iter().zip(&known.used) {
            let got = self.upstream.count(key, born, None);
            found.reached += got;
            assert!(used + got <= LIMIT, "{key}: {used} known and {got} more");
            spent &= used + got == LIMIT && got > 0;
        }
        found.spent += u64::from(spent);
    }

    /// The database as the crash left it is whole, and none was ever given up.
    fn check_file(&self) {
        let copy = TempDir::new().expect("a directory");
        let data = self.dir.join("data");
        let Ok(files) = fs::read_dir(&data) else { return };
        for file in files {
            let file = file.expect("an entry");
            let name = file.file_name();
            assert!(!name.to_string_lossy().contains("damaged"), "{}", name.display());
            fs::copy(file.path(), copy.path().join(&name)).expect("a copy");
        }
        let path = copy.path().join("relayfreellm.sqlite3");
        if path.exists() {
            let sql = rusqlite::Connection::open(path).expect("it opens");
            let check = sql.query_row("PRAGMA integrity_check", [], |it| it.get::<_, String>(0));
            assert_eq!(check.expect("it is checked"), "ok");
        }
    }
}

fn write_files(dir: &Path, url: &str) {
    let model = json!({"name": "m", "type": "text", "scale": "medium",
        "limits": {"requests_per_day": LIMIT}});
    let limits = json!({"providers": [
        {"name": "Alpha", "url": url, "models": [model]},
        {"name": "Beta", "url": url, "quota_scope": "account", "reset": "month", "models": [model]},
    ]});
    let settings = json!({"routing": {"max_quota_wait_seconds": 0}});
    for (name, content) in [("provider_model_limits.json", limits), ("settings.json", settings)] {
        fs::write(dir.join(name), content.to_string()).expect("written");
    }
}

/// Lets callers ask until the gateway is killed, and they have noticed.
fn load(addr: &str, rng: &mut fastrand::Rng, kill: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            let (mut rng, stop) = (rng.fork(), &stop);
            scope.spawn(move || call_until(addr, &mut rng, stop));
        }
        thread::sleep(Duration::from_millis(rng.u64(1..1_600)));
        kill();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Asks again and again until told to stop, or the gateway is gone.
fn call_until(addr: &str, rng: &mut fastrand::Rng, stop: &AtomicBool) {
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"Is it on?"}]}"#;
    let Ok(mut connection) = Connection::to(addr) else { return };
    while !stop.load(Ordering::Relaxed) {
        let Ok((status, answer)) = connection.ask("POST /v1/chat/completions", body) else {
            return;
        };
        assert!(status == 200 || status == 429, "{status}: {answer}");
        thread::sleep(Duration::from_millis(rng.u64(..REST_MS)));
    }
}

/// What a gateway says it knows.
fn ask(addr: &str) -> Known {
    let mut connection = Connection::to(addr).expect("it listens");
    let mut get = |path: &str| -> Value {
        let (status, body) = connection.ask(path, "").expect("an answer");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    };
    let (quota, usage) = (get("GET /v1/quota"), get("GET /v1/usage"));
    let used = COUNTS.iter().map(|(_, _, provider, key)| {
        let windows = &quota["providers"][provider]["keys"][key]["models"][0]["windows"];
        windows[0]["used"].as_u64().unwrap_or_else(|| panic!("no figure: {quota}"))
    });
    Known { used: used.collect(), answers: usage["total"]["requests"].as_u64().expect("a figure") }
}
