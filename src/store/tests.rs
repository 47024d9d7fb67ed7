use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rusqlite::Connection;
use secrecy::SecretString;
use tempfile::TempDir;

use super::*;
use crate::breaker::Outcome;
use crate::breaker::Scope;
use crate::breaker::State;
use crate::callers::Tab;
use crate::callers::Terms;
use crate::catalog::IdBook;
use crate::catalog::ImageLimits;
use crate::catalog::Key;
use crate::catalog::Kind;
use crate::catalog::Limit;
use crate::catalog::Model;
use crate::catalog::Period;
use crate::catalog::Privacy;
use crate::catalog::Provider;
use crate::catalog::QuotaScope;
use crate::catalog::Reset;
use crate::catalog::Scale;
use crate::catalog::TargetId;
use crate::catalog::Unit;
use crate::quota::AsOf;
use crate::quota::Demand;
use crate::quota::Observation;
use crate::quota::SavedRatio;
use crate::quota::TargetBooks;
use crate::session::Params;
use crate::session::Pin;
use crate::usage::Spent;

const DAY: Duration = Duration::from_secs(86_400);
const SPENT: Spent = Spent { prompt: 100, completion: 11, estimated: true };

/// Names of providers with their keys and models.
type Providers<'a> = &'a [(&'a str, &'a [&'a str], &'a [&'a str])];

/// Two keys of one account, one that stands alone, and a provider that needs none.
const POOL: Providers<'_> = &[
    ("Groq", &["team:gsk_Zebra!one", "team:gsk_Zebra!two", "gsk_Zebra!three"], &["llama", "qwen"]),
    ("Home", &[""], &["phi"]),
];

fn start() -> Now {
    Now { monotonic: Duration::from_secs(5), unix_ms: 1_780_000_000_000 }
}

fn after(wait: Duration) -> Now {
    start().plus(wait)
}

/// A gateway as the store sees it, from its start to its end.
pub(super) struct Process {
    pub(super) ids: IdBook,
    pub(super) rooms: Rooms,
    pub(super) catalog: Arc<Catalog>,
    pub(super) store: Store,
}

impl Process {
    pub(super) fn start(dir: &Path, pool: &[(&str, &[&str], &[&str])], now: Now) -> Self {
        let mut process = Self::open(dir, pool, now);
        process.store.restore(&process.rooms, &process.catalog, now);
        process
    }

    /// As it is before anything was read.
    fn open(dir: &Path, pool: &[(&str, &[&str], &[&str])], now: Now) -> Self {
        let mut ids = IdBook::default();
        // No two processes give out the same ids.
        for number in 0..fastrand::u32(1..100) {
            ids.provider(&number.to_string());
        }
        let params = Params { enabled: true, ttl: DAY, max_sessions: 100 };
        let rooms = Rooms {
            ledger: Arc::new(Ledger::new()),
            usage: Arc::new(UsageBook::new()),
            sessions: Arc::new(Sessions::new(params)),
            breakers: Arc::new(Breakers::new()),
            callers: Arc::new(Callers::new()),
        };
        let store = Store::open(dir, now).expect("opens");
        let mut process = Self { ids, rooms, catalog: Arc::default(), store };
        process.reload(pool);
        process
    }

    fn reload(&mut self, pool: &[(&str, &[&str], &[&str])]) {
        let ids = &mut self.ids;
        let providers = pool.iter().map(|(name, keys, models)| provider(ids, name, keys, models));
        self.catalog = Arc::new(Catalog::new(providers.collect()));
        self.rooms.ledger.configure(self.catalog.targets().map(TargetBooks::from), start());
    }

    /// `place`: provider, key and model by their positions.
    fn path(&self, place: (usize, usize, usize)) -> crate::breaker::Path {
        let provider = &self.catalog.providers()[place.0];
        let model = &provider.models[place.2];
        let key = provider.keys[place.1].id;
        let target = model.targets[place.1];
        crate::breaker::Path { provider: provider.id, key, model: model.id, target }
    }

    fn target(&self, place: (usize, usize, usize)) -> TargetId {
        self.path(place).target
    }

    fn pin(&self, place: (usize, usize, usize)) -> Pin {
        let path = self.path(place);
        Pin { provider: path.provider, model: path.model }
    }

    fn trouble(&self, place: (usize, usize, usize), outcome: Outcome, now: Now) {
        let pass = self.rooms.breakers.enter(&self.path(place), now).expect("passes");
        pass.report(outcome, now);
    }

    fn spend(&self, place: (usize, usize, usize), tokens: u64, now: Now) {
        let demand = Demand { requests: 1, tokens };
        let reservation = self.rooms.ledger.reserve(self.target(place), demand, now);
        let reservation = reservation.expect("fits");
        reservation.mark_sent();
        reservation.settle(tokens);
    }

    /// Units used in the windows of a target.
    fn used(&self, place: (usize, usize, usize), now: Now) -> Vec<u64> {
        let view = self.rooms.ledger.view(self.target(place), now);
        view.iter().map(|it| it.used).collect()
    }

    pub(super) fn record(&self, place: (usize, usize, usize)) {
        self.rooms.usage.record(self.path(place).model, SPENT);
    }

    pub(super) fn save(&mut self, now: Now) -> Result<usize, SaveError> {
        self.store.save(&self.rooms, &self.catalog, now)
    }

    /// Something in every room, with three calls to `POOL`.
    fn live(&self, now: Now) {
        for place in [(0, 0, 0), (0, 2, 1), (1, 0, 0)] {
            self.record(place);
            self.spend(place, 70, now);
        }
        self.rooms.usage.failed(self.path((0, 0, 1)).model);
        let ratio = SavedRatio { model: self.path((0, 2, 1)).model, ratio: 1.5 };
        self.rooms.ledger.restore_ratios([ratio]);
        self.rooms.ledger.learn_context(self.path((0, 2, 1)).model, 8_192, now);
        let told = Observation {
            unit: Unit::Requests,
            period: Period::Day,
            limit: Some(50),
            remaining: Some(40),
            reset_at: Some(now.plus(DAY / 2).monotonic),
            refills_evenly: false,
            account_wide: false,
        };
        self.rooms.ledger.learn(self.target((0, 2, 1)), told, &AsOf::default(), now);
        self.rooms.sessions.pin("first", self.pin((0, 0, 1)), now);
        self.rooms.sessions.pin("second", self.pin((1, 0, 0)), now);
        self.trouble((0, 0, 1), Outcome::KeyRejected, now);
        self.trouble((0, 2, 0), Outcome::ModelGone, now);
        let until = now.plus(DAY / 4).monotonic;
        self.trouble((0, 2, 1), Outcome::Throttled { until }, now);
        self.trouble((1, 0, 0), Outcome::ConnectFault, now);
        self.trouble((1, 0, 0), Outcome::ConnectFault, now);
    }
}

/// Keys are `secret` or `group:secret`; an empty one is none.
fn provider(ids: &mut IdBook, name: &str, keys: &[&str], models: &[&str]) -> Provider {
    let keys: Vec<Key> = keys
        .iter()
        .map(|text| {
            let (group, secret) = match text.split_once(':') {
                Some((group, secret)) => (Some(group), secret),
                None => (None, *text),
            };
            Key {
                id: ids.key(name, secret),
                account: ids.account(name, group.unwrap_or(secret)),
                group: group.map(Arc::from),
                secret: (!secret.is_empty()).then(|| SecretString::from(secret)),
                label: "…".into(),
            }
        })
        .collect();
    let models = models.iter().map(|it| model(ids, name, &keys, it)).collect();
    Provider {
        id: ids.provider(name),
        name: name.into(),
        kind: Kind::OpenAi,
        base_url: "http://127.0.0.1:1/v1".into(),
        synonyms: &[],
        privacy: Privacy::default(),
        keys,
        models,
    }
}

fn model(ids: &mut IdBook, provider: &str, keys: &[Key], name: &str) -> Model {
    let id = ids.model(provider, name);
    Model {
        id,
        name: name.into(),
        routable: format!("{provider}/{name}").into(),
        kind: "text".into(),
        scale: Scale::Small,
        vision: false,
        limits: vec![
            Limit { unit: Unit::Requests, period: Period::Day, max: 100 },
            Limit { unit: Unit::Tokens, period: Period::Minute, max: 6_000 },
        ],
        scope: if provider == "Home" { QuotaScope::Account } else { QuotaScope::Model },
        reset: Reset::UtcDay,
        max_context: None,
        images: ImageLimits::default(),
        capabilities: HashMap::new(),
        weight: None,
        max_concurrent: None,
        failed_requests_count: false,
        reserves_max_tokens: false,
        privacy: Privacy::Unknown,
        privacy_source: None,
        last_verified: None,
        first_token_timeout: None,
        found: false,
        successor: None,
        targets: keys.iter().map(|it| ids.target(it.id, id)).collect(),
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn database(dir: &Path) -> PathBuf {
    dir.join("relayfreellm.sqlite3")
}

fn file_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("readable")
        .map(|it| it.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// What a process finds of [`Process::live`] one second later.
fn check_alive(process: &Process, now: Now) {
    let usage = |place| {
        let model = process.path(place).model;
        process.rooms.usage.view().into_iter().find(|(it, _)| *it == model).expect("known").1
    };
    let spent = (1, 100, 11, 1, 0);
    let figures = |it: crate::usage::Usage| {
        let tokens = (it.prompt_tokens, it.completion_tokens);
        (it.requests, tokens.0, tokens.1, it.estimated_requests, it.failed_attempts)
    };
    assert_eq!(figures(usage((0, 0, 0))), spent);
    assert_eq!(figures(usage((1, 0, 0))), spent);
    assert_eq!(figures(usage((0, 0, 1))), (1, 100, 11, 1, 1));
    check_quota_alive(process, now);
    check_breakers_alive(process, now);
    let sessions = process.rooms.sessions.snapshot(now);
    let found: Vec<_> = sessions.iter().map(|it| (it.id.as_str(), it.pin)).collect();
    assert_eq!(found, [("first", process.pin((0, 0, 1))), ("second", process.pin((1, 0, 0)))]);
}

fn check_quota_alive(process: &Process, now: Now) {
    assert_eq!(process.used((0, 0, 0), now), [1, 70]);
    assert_eq!(process.used((0, 1, 0), now), [1, 70], "the other key of the account");
    assert_eq!(process.used((0, 2, 0), now), [0, 0]);
    assert_eq!(process.used((0, 2, 1), now), [10, 70]);
    assert_eq!(process.used((1, 0, 0), now), [1, 70]);
    let view = process.rooms.ledger.view(process.target((0, 2, 1)), now);
    assert_eq!((view[0].learned, view[0].max), (Some(50), Some(50)));
    let tokens = |place| process.rooms.ledger.tokens(process.target(place), 100);
    assert_eq!((tokens((0, 2, 1)), tokens((0, 0, 0))), (150, 100));
    let context = |place| process.rooms.ledger.context(process.path(place).model, now);
    assert_eq!((context((0, 2, 1)), context((0, 0, 0))), (Some(8_192), None));
}

fn check_breakers_alive(process: &Process, now: Now) {
    let state = |scope| process.rooms.breakers.state(scope, now).state;
    let (key, gone) = (process.path((0, 0, 1)), process.path((0, 2, 0)));
    let (throttled, home) = (process.path((0, 2, 1)), process.path((1, 0, 0)));
    assert_eq!(state(Scope::Key(key.key)), State::Open);
    assert_eq!(state(Scope::Model(gone.model)), State::Open);
    assert_eq!(state(Scope::Target(throttled.target)), State::Open);
    assert_eq!(state(Scope::Provider(home.provider)), State::Open);
    assert_eq!(state(Scope::Provider(key.provider)), State::Closed);
    let wait = process.rooms.breakers.cooldown(&throttled, now).expect("throttled").as_secs();
    assert_eq!(wait, (DAY / 4).as_secs() - 1);
}

#[test]
fn every_room_survives_a_restart() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    assert!(process.save(start()).expect("saves") > 0);
    drop(process);

    let now = Now { monotonic: Duration::ZERO, ..after(Duration::from_secs(1)) };
    let mut process = Process::start(dir.path(), POOL, now);
    check_alive(&process, now);
    assert_eq!(process.save(now).expect("saves"), 0, "the file tells all that yet");
}

#[test]
fn what_was_saved_survives_a_kill() {
    let (dir, copy) = (directory(), directory());
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    process.record((0, 0, 0));
    // The files as they are in the middle of a run, with the log not yet in the database.
    for name in file_names(dir.path()) {
        fs::copy(dir.path().join(&name), copy.path().join(&name)).expect("copied");
    }
    let now = after(Duration::from_secs(1));
    let heir = Process::start(copy.path(), POOL, now);
    check_alive(&heir, now);
}

#[test]
fn only_what_has_changed_is_written() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    let mut check = |millis: u64, changed: usize, change: &dyn Fn(&Process, Now)| {
        // The two clocks are never read in the same instant; here the first time they almost are.
        let mut now = after(Duration::from_millis(millis));
        now.monotonic += Duration::from_micros(millis % 7 * 300);
        change(&process, now);
        assert_eq!(process.save(now).expect("saves"), changed, "after {millis} ms");
    };
    check(0, 0, &|_, _| {});
    // Two totals of usage, one window each for requests and tokens, one session, one breaker.
    check(504, 6, &|it, now| {
        it.record((0, 0, 0));
        it.record((1, 0, 0));
        it.spend((0, 0, 0), 5, now);
        it.rooms.sessions.pin("a", it.pin((0, 0, 0)), now);
        it.trouble((0, 0, 1), Outcome::KeyRejected, now);
    });
    for millis in [1_000, 1_501, 2_003, 2_504] {
        check(millis, 0, &|_, _| {});
    }
    check(3_001, 1, &|it, _| it.record((0, 0, 0)));
    check(3_501, 1, &|it, now| _ = it.rooms.sessions.get("a", now));
    check(4_001, 0, &|_, _| {});
    check(4_501, 0, &|_, _| {});
    // The minute's tokens have come back.
    check(62_000, 1, &|_, _| {});
    // A breaker that is half-open tells nothing new.
    check(302_000, 0, &|_, _| {});
    check(302_500, 0, &|_, _| {});
    drop(process);
    let sql = Connection::open(database(dir.path())).expect("opens");
    let count = |table: &str| -> i64 {
        let count = format!("SELECT count(*) FROM {table}");
        sql.query_row(&count, (), |row| row.get(0)).expect("counts")
    };
    assert_eq!(["usage", "uses", "sessions", "breakers"].map(count), [2, 1, 1, 1]);
}

#[test]
fn what_the_catalog_lost_is_kept_until_it_returns() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    drop(process);

    let others = &POOL[1..];
    let now = after(Duration::from_millis(300));
    let mut process = Process::start(dir.path(), others, now);
    assert_eq!(process.rooms.usage.view().len(), 1);
    assert_eq!(process.rooms.sessions.len(now), 1);
    process.save(now).expect("saves");

    // It comes back by a reload, and is asked before the store has noticed.
    process.reload(POOL);
    process.record((0, 0, 0));
    let now = after(Duration::from_secs(1));
    process.save(now).expect("saves");
    let total = process.rooms.usage.total();
    assert_eq!((total.requests, total.failed_attempts), (4, 1));
    assert_eq!(process.used((0, 1, 0), now), [1, 70]);

    // It goes by a reload, and comes back at the next start.
    process.reload(others);
    process.save(now).expect("saves");
    drop(process);
    let process = Process::start(dir.path(), POOL, now);
    assert_eq!(process.rooms.usage.total().requests, 4);
    assert_eq!(process.used((0, 2, 1), now), [10, 70]);
}

#[test]
fn rows_nobody_knows_go_after_two_months() {
    let check = |days: u32, requests: u64| {
        let dir = directory();
        let mut process = Process::start(dir.path(), POOL, start());
        process.live(start());
        process.save(start()).expect("saves");
        drop(process);
        let now = after(DAY * days);
        let mut process = Process::start(dir.path(), &POOL[1..], now);
        process.save(now).expect("saves");
        drop(process);
        let process = Process::start(dir.path(), POOL, now);
        assert_eq!(process.rooms.usage.total().requests, requests, "after {days} days");
    };
    check(62, 3);
    check(63, 1);
}

#[test]
fn an_account_is_told_by_its_group_or_its_key() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    drop(process);
    let other: &[(&str, &[&str], &[&str])] =
        &[("Groq", &["gsk_Zebra!three", "team:gsk_new", "rest:gsk_Zebra!two"], &["llama", "qwen"])];
    let process = Process::start(dir.path(), other, start());
    assert_eq!(process.used((0, 0, 1), start()), [10, 70]);
    assert_eq!(process.used((0, 1, 0), start()), [1, 70]);
    assert_eq!(process.used((0, 2, 0), start()), [0, 0]);
}

#[test]
fn what_a_key_has_used_is_known_whatever_its_group() {
    let dir = directory();
    let keys: &[&[&str]] = &[&["one", "two"], &["team:one", "team:two"]];
    let mut spent = 0;
    for group in [0, 1, 0, 1, 1] {
        let pool = [("Groq", keys[group], &["llama"][..])];
        let mut process = Process::start(dir.path(), &pool, start());
        process.spend((0, 0, 0), 10, start());
        spent += 1;
        let both = if group == 1 { spent } else { 0 };
        assert_eq!(process.used((0, 0, 0), start()), [spent, 10 * spent]);
        assert_eq!(process.used((0, 1, 0), start()), [both, 10 * both]);
        process.save(start()).expect("saves");
    }
}

#[test]
fn who_is_no_more_still_counts_in_what_was_shared() {
    let dir = directory();
    let pools: [Providers<'_>; 3] = [
        &[("Home", &["one"], &["phi", "psi"])],
        &[("Home", &["one"], &["phi"])],
        &[("Home", &["mine:one"], &["phi"])],
    ];
    let mut process = Process::start(dir.path(), pools[0], start());
    process.spend((0, 0, 1), 30, start());
    process.save(start()).expect("saves");
    drop(process);
    // Also with a key that has got a group, and never twice.
    for pool in [1, 1, 2, 2, 0, 0] {
        let mut process = Process::start(dir.path(), pools[pool], start());
        assert_eq!(process.used((0, 0, 0), start()), [1, 30], "{pool}");
        process.reload(pools[pool]);
        process.save(start()).expect("saves");
        assert_eq!(process.used((0, 0, 0), start()), [1, 30], "{pool}");
    }
}

#[test]
fn a_count_of_an_earlier_version_is_kept() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    drop(process);
    let sql = Connection::open(database(dir.path())).expect("opens");
    sql.execute_batch(
        "INSERT OR REPLACE INTO windows
             (saved_at, provider, account, model, unit, period, reset, entries)
             SELECT saved_at, provider, account, CASE shared WHEN 1 THEN '' ELSE model END, unit,
             period, reset, entries FROM uses;
         DROP TABLE uses; PRAGMA user_version = 5",
    )
    .expect("as version 5 was");
    drop(sql);
    for _ in 0..2 {
        let mut process = Process::start(dir.path(), POOL, start());
        for (place, used) in [((0, 1, 0), [1, 70]), ((0, 2, 1), [10, 70]), ((1, 0, 0), [1, 70])] {
            assert_eq!(process.used(place, start()), used, "{place:?}");
        }
        process.save(start()).expect("saves");
    }
}

#[test]
fn no_part_of_a_secret_is_in_any_file() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    let names = file_names(dir.path());
    let expected = ["lock", "sqlite3", "sqlite3-shm", "sqlite3-wal"];
    assert_eq!(names, expected.map(|it| format!("relayfreellm.{it}")));
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend(fs::read(dir.path().join(name)).expect("readable"));
    }
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|it| it == part);
    assert!(contains(b"llama"), "the search works");
    for part in ["gsk_Zebra", "Zebra", "ebra!", "!one", "!two", "three", "team"] {
        assert!(!contains(part.as_bytes()), "{part}");
    }
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let dir = directory();
    let first = Store::open(dir.path(), start()).expect("opens");
    let refused = Store::open(dir.path(), start()).expect_err("in use").to_string();
    let (place, pid) = (dir.path().display(), std::process::id());
    let expected = format!(
        "the data directory {place} is in use by another relayfreellm (process {pid}); stop that \
         one, or give this one a directory of its own with --data-dir"
    );
    assert_eq!(refused, expected);
    drop(first);
    Store::open(dir.path(), start()).expect("free again");
}

#[test]
fn a_damaged_file_is_moved_aside() {
    let check = |what: &str, damage: &dyn Fn(&Path)| {
        let dir = directory();
        let mut process = Process::start(dir.path(), POOL, start());
        process.live(start());
        process.save(start()).expect("saves");
        drop(process);
        let file = database(dir.path());
        damage(&file);
        let damaged = fs::read(&file).expect("readable");
        let mut process = Process::start(dir.path(), POOL, start());
        assert_eq!(process.rooms.usage.view(), [], "{what}");
        let aside = dir.path().join("relayfreellm.sqlite3.damaged-1780000000");
        assert!(fs::read(aside).expect("moved") == damaged, "{what}");
        process.live(start());
        process.save(start()).expect("saves");
        drop(process);
        let process = Process::start(dir.path(), POOL, start());
        check_alive(&process, after(Duration::from_secs(1)));
    };
    check("not a database", &|file| {
        fs::write(file, "no database at all ".repeat(500)).expect("works");
    });
    check("cut", &|file| {
        let bytes = fs::read(file).expect("works");
        fs::write(file, &bytes[..bytes.len() / 2]).expect("works");
    });
    check("overwritten", &|file| {
        let mut bytes = fs::read(file).expect("works");
        let end = bytes.len();
        bytes[4_096..end].fill(0xa5);
        fs::write(file, bytes).expect("works");
    });
    check("somebody else's", &|file| {
        fs::remove_file(file).expect("works");
        let sql = Connection::open(file).expect("works");
        sql.execute_batch("CREATE TABLE usage (kilowatt REAL)").expect("works");
    });
    check("without a table", &|file| {
        let sql = Connection::open(file).expect("works");
        sql.execute_batch("DROP TABLE windows; PRAGMA wal_checkpoint(TRUNCATE)").expect("works");
    });
    check("without a column", &|file| {
        let sql = Connection::open(file).expect("works");
        sql.execute_batch(
            "ALTER TABLE windows DROP COLUMN entries; PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .expect("works");
    });
    check("without its salt", &|file| {
        let sql = Connection::open(file).expect("works");
        sql.execute_batch("UPDATE meta SET value = x'00'; PRAGMA wal_checkpoint(TRUNCATE)")
            .expect("works");
    });
}

#[test]
fn a_row_that_cannot_be_read_takes_nothing_else_with_it() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    drop(process);
    let sql = Connection::open(database(dir.path())).expect("works");
    let broken = "UPDATE uses SET entries = '[[1'; UPDATE windows SET entries = '[[1'";
    sql.execute_batch(broken).expect("works");
    drop(sql);
    let mut process = Process::start(dir.path(), POOL, start());
    assert!(!process.rooms.usage.view().is_empty());
    assert_eq!(process.rooms.ledger.snapshot(start()), Saved::default());
    process.save(start()).expect("saving goes on");
}

#[test]
fn what_can_only_be_read_is_taken_over() {
    let check = |unsaved: bool| {
        let dir = directory();
        let mut process = Process::start(dir.path(), POOL, start());
        process.live(start());
        process.save(start()).expect("saves");
        // As a process that was killed leaves it, or as one that has ended.
        let odd = dir.path().join("a %2f?#b");
        fs::create_dir(&odd).expect("made");
        if !unsaved {
            let sql = &process.store.records.sql;
            sql.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("works");
        }
        for suffix in ["", "-wal", "-shm"] {
            let name = format!("relayfreellm.sqlite3{suffix}");
            if unsaved || suffix.is_empty() {
                fs::copy(dir.path().join(&name), odd.join(&name)).expect("copied");
            }
        }
        // Nobody can be kept from writing who is root: a directory in the lock's place is as good.
        fs::create_dir(odd.join("relayfreellm.lock")).expect("made");
        let now = after(Duration::from_secs(1));
        let unusable = Store::open(&odd, now).expect_err("no lock can be had");
        assert!(matches!(unusable, OpenError::Unusable { .. }), "{unusable}");
        let before = file_names(&odd);
        let elsewhere = directory();
        let heir = Process::start(elsewhere.path(), POOL, start());
        let recalled = Unopened::recall(&odd, &heir.rooms, &heir.catalog, now);
        assert!(recalled.has_read(), "{unsaved}");
        check_alive(&heir, now);
        assert!(unsaved || file_names(&odd) == before, "nothing is written there");
    };
    check(true);
    check(false);
    let (empty, rooms) = (directory(), directory());
    let heir = Process::start(rooms.path(), POOL, start());
    let recalled = Unopened::recall(empty.path(), &heir.rooms, &heir.catalog, start());
    assert!(!recalled.has_read(), "there is nothing");
}

#[test]
fn a_file_without_keys_gets_room_for_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saved");
    drop(process);
    let sql = Connection::open(dir.path().join("relayfreellm.sqlite3")).expect("opens");
    let older = "DROP TABLE uses; DROP TABLE contexts; DROP TABLE virtual_keys; DROP TABLE virtual_key_counts; \
                 ALTER TABLE usage DROP COLUMN continued; \
                 ALTER TABLE usage DROP COLUMN continued_estimated; PRAGMA user_version = 2";
    sql.execute_batch(older).expect("as the first version made it");
    drop(sql);
    let mut process = Process::start(dir.path(), POOL, start());
    assert_eq!(process.rooms.usage.total().requests, 3);
    let terms = Terms {
        label: "a".into(),
        daily_requests: Some(2),
        daily_tokens: None,
        models: Some(vec!["meta-model".into(), "Groq/a, b".into()]),
        expires_unix_ms: Some(u64::MAX / 4),
        no_training: true,
    };
    let (secret, key) = process.rooms.callers.issue(terms, [7; 20], start()).expect("room");
    let tab = Tab::open(&key, (1, 1), start()).expect("room");
    tab.record(SPENT);
    drop(tab);
    assert_eq!(process.save(start()).expect("saved"), 2);
    assert_eq!(process.save(start()).expect("saved"), 0);
    drop(process);
    let process = Process::start(dir.path(), POOL, start());
    let again = process.rooms.callers.find(secret.as_bytes()).expect("it is there");
    assert_eq!(again.terms, key.terms);
    assert_eq!(again.budget().used(start()), [1, 111]);
    assert_eq!(again.total(), key.total());
}

#[test]
fn an_older_file_is_brought_up_to_date() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    drop(process);
    // As the first version was.
    let sql = Connection::open(database(dir.path())).expect("opens");
    sql.execute_batch(
        "DROP TABLE uses; DROP TABLE ratios; DROP TABLE contexts; DROP TABLE virtual_keys; \
                 DROP TABLE virtual_key_counts; \
                 ALTER TABLE usage DROP COLUMN continued; \
                 ALTER TABLE usage DROP COLUMN continued_estimated; PRAGMA user_version = 1",
    )
    .expect("obeyed");
    drop(sql);
    let now = after(Duration::from_secs(1));
    let mut process = Process::start(dir.path(), POOL, now);
    assert_eq!(process.rooms.usage.total().requests, 3, "nothing is lost");
    assert_eq!(process.rooms.ledger.ratios(), []);
    let ratio = SavedRatio { model: process.path((0, 0, 0)).model, ratio: 0.5 };
    process.rooms.ledger.restore_ratios([ratio]);
    process.save(now).expect("saves");
    drop(process);
    let process = Process::start(dir.path(), POOL, now);
    let found = process.rooms.ledger.ratios();
    assert_eq!(found.iter().map(|it| it.ratio).collect::<Vec<_>>(), [0.5]);
}

#[test]
fn a_newer_file_is_left_alone() {
    let dir = directory();
    drop(Process::start(dir.path(), POOL, start()));
    let sql = Connection::open(database(dir.path())).expect("opens");
    sql.execute_batch("PRAGMA user_version = 7").expect("set");
    drop(sql);
    let refused = Store::open(dir.path(), start()).expect_err("too new").to_string();
    let file = database(dir.path());
    let expected = format!(
        "{} was written by a newer relayfreellm (its form is version 7, known here is 6); use \
         that one, or another --data-dir",
        file.display()
    );
    assert_eq!(refused, expected);
    assert_eq!(file_names(dir.path()), ["relayfreellm.lock", "relayfreellm.sqlite3"]);
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = directory();
    let check = |place: &Path, reason: &str| {
        let refused = Store::open(place, start()).expect_err("unusable").to_string();
        let begin = format!("can't use the data directory {}: {reason}", place.display());
        assert!(refused.starts_with(&begin), "{refused}");
        assert!(refused.ends_with("name another with --data-dir, or none with --data-dir none"));
    };
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    check(&file, "File exists");
    check(&file.join("below"), "Not a directory");
    let taken = dir.path().join("taken");
    fs::create_dir_all(taken.join("relayfreellm.sqlite3")).expect("made");
    check(&taken, "unable to open database file");
}

#[test]
fn what_could_not_be_read_is_not_overwritten() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    drop(process);
    let sql = || Connection::open(database(dir.path())).expect("opens");
    let mut process = Process::open(dir.path(), POOL, start());
    sql().execute_batch("ALTER TABLE breakers RENAME TO elsewhere").expect("renamed");
    process.store.restore(&process.rooms, &process.catalog, start());
    assert_eq!(process.rooms.usage.view(), []);
    process.record((0, 0, 0));
    let error = process.save(start()).expect_err("can't read").to_string();
    let place = database(dir.path()).display().to_string();
    assert!(error.starts_with(&format!("{place}: no such table: breakers")), "{error}");
    sql().execute_batch("ALTER TABLE elsewhere RENAME TO breakers").expect("renamed");
    process.save(start()).expect("saves");
    assert_eq!(process.rooms.usage.total().requests, 4);
}

#[test]
fn rows_that_make_no_sense_are_left_alone() {
    let dir = directory();
    let mut process = Process::start(dir.path(), POOL, start());
    process.live(start());
    process.save(start()).expect("saves");
    drop(process);
    let sql = Connection::open(database(dir.path())).expect("opens");
    sql.execute_batch(
        "UPDATE uses SET entries = '[[1,' WHERE unit = 'requests';
         UPDATE uses SET period = 'fortnight' WHERE unit = 'tokens' AND provider = 'Home';
         UPDATE breakers SET reason = 'mood', level = -1;
         UPDATE usage SET requests = -5;",
    )
    .expect("updated");
    drop(sql);
    let process = Process::start(dir.path(), POOL, start());
    assert_eq!(process.used((0, 0, 0), start()), [0, 70]);
    assert_eq!(process.used((1, 0, 0), start()), [0, 0]);
    assert_eq!(process.rooms.breakers.snapshot(start()), []);
    assert_eq!(process.rooms.usage.total().requests, 0);
}
