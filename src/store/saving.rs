//! The thread that saves.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::catalog::Catalog;
use crate::clock::SharedClock;
use crate::store::OpenError;
use crate::store::Rooms;
use crate::store::Store;
use crate::store::Unopened;

/// From the end of one save to the next. A crash just before a save ends loses what came since the
/// one before began: this and two saves, which have to stay below a second on a busy machine too.
const INTERVAL: Duration = Duration::from_millis(250);
/// While saving fails each try waits twice as long as the last, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Store {
    /// Saves the rooms from now on, on a thread of its own, for SQLite blocks. A swap of `catalog`
    /// is followed.
    ///
    /// # Errors
    /// [`OpenError::Unusable`] when the system gives no thread.
    pub fn start_saving(
        self,
        rooms: Rooms,
        catalog: Arc<ArcSwap<Catalog>>,
        clock: SharedClock,
    ) -> Result<Saving, OpenError> {
        let dir = self.directory.path().to_owned();
        Keeper::new(Place::Open(Box::new(self)), (rooms, catalog, clock)).start(dir)
    }
}

impl Unopened {
    /// Saves the rooms as soon as the directory can be used, which is tried again and again; till
    /// then everything is in memory alone.
    ///
    /// # Errors
    /// [`OpenError::Unusable`] when the system gives no thread.
    pub fn start_saving(
        self,
        rooms: Rooms,
        catalog: Arc<ArcSwap<Catalog>>,
        clock: SharedClock,
    ) -> Result<Saving, OpenError> {
        let dir = self.dir.clone();
        Keeper::new(Place::Shut(Box::new(self)), (rooms, catalog, clock)).start(dir)
    }
}

/// Saving goes on while this lives.
#[derive(Debug)]
pub struct Saving {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

enum Order {
    /// Save at once, and say how that went.
    Save(Sender<Result<(), String>>),
    /// Save a last time.
    Stop,
}

/// Has everything saved at once, for what must not be lost. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SaveNow(Sender<Order>);

impl SaveNow {
    /// Saves. Blocks while the disk works.
    ///
    /// # Errors
    /// What was to be saved is in memory alone: why.
    pub fn save(&self) -> Result<(), String> {
        let (tell, told) = mpsc::channel();
        let gone = || "saving has ended".to_owned();
        self.0.send(Order::Save(tell)).map_err(|_| gone())?;
        told.recv().map_err(|_| gone())?
    }
}

impl Saving {
    /// For those who can't wait for the next save.
    pub fn save_now(&self) -> SaveNow {
        SaveNow(self.orders.clone())
    }

    /// Saves a last time and closes the file. Blocks while the disk works.
    pub fn stop(self) {
        // If it has panicked there is nobody to hear it, and `join` tells.
        self.orders.send(Order::Stop).ok();
        if self.thread.join().is_err() {
            tracing::error!("the thread that saves has panicked");
        }
    }
}

/// Where everything is saved.
enum Place {
    Open(Box<Store>),
    Shut(Box<Unopened>),
}

struct Keeper {
    place: Place,
    rooms: Rooms,
    catalog: Arc<ArcSwap<Catalog>>,
    clock: SharedClock,
    /// Did the last save fail? It is logged when that changes.
    failing: bool,
    /// Until the next one.
    pause: Duration,
}

impl Keeper {
    fn new(
        place: Place,
        (rooms, catalog, clock): (Rooms, Arc<ArcSwap<Catalog>>, SharedClock),
    ) -> Self {
        // That a directory could not be opened has been told.
        let failing = matches!(place, Place::Shut(_));
        Self { place, rooms, catalog, clock, failing, pause: INTERVAL }
    }

    fn start(self, dir: PathBuf) -> Result<Saving, OpenError> {
        let (orders, ordered) = mpsc::channel();
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(move || self.run(&ordered));
        let thread = thread.map_err(|fault: io::Error| OpenError::Unusable { dir, fault })?;
        Ok(Saving { orders, thread })
    }

    fn run(mut self, ordered: &Receiver<Order>) {
        loop {
            match ordered.recv_timeout(self.pause) {
                Err(RecvTimeoutError::Timeout) => self.save_and_tell(),
                Ok(Order::Save(tell)) => {
                    // Who asked may have gone.
                    tell.send(self.save().map(|_| ())).ok();
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.save() {
            tracing::warn!("can't save a last time: {error}; what was not saved yet is lost");
        }
    }

    fn save_and_tell(&mut self) {
        let saved = self.save();
        self.pause = match &saved {
            Ok(_) => INTERVAL,
            Err(_) => (self.pause * 2).min(LONGEST_PAUSE),
        };
        match saved {
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!("can't save: {error}; serving goes on");
            }
            Ok(_) if self.failing => {
                self.failing = false;
                tracing::info!("saving works again");
            }
            _ => {}
        }
    }

    fn save(&mut self) -> Result<usize, String> {
        let (catalog, now) = (self.catalog.load_full(), self.clock.now());
        let save =
            |store: &mut Store| store.save(&self.rooms, &catalog, now).map_err(|it| it.to_string());
        match &mut self.place {
            Place::Open(store) => save(store),
            Place::Shut(unopened) => {
                let mut store = unopened.open(now).map_err(|it| it.to_string())?;
                let saved = save(&mut store);
                self.place = Place::Open(Box::new(store));
                saved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::PoisonError;

    use rusqlite::Connection;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::clock::SystemClock;
    use crate::session::Pin;
    use crate::store::tests::Process;
    use crate::usage::Spent;

    const SPENT: Spent = Spent { prompt: 1, completion: 1, estimated: false };
    const POOL: &[(&str, &[&str], &[&str])] = &[("A", &["secret"], &["m"])];

    fn keeper(dir: &Path) -> Keeper {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let Process { rooms, catalog, store, .. } = Process::start(dir, POOL, clock.now());
        let catalog = Arc::new(ArcSwap::new(catalog));
        Keeper::new(Place::Open(Box::new(store)), (rooms, catalog, clock))
    }

    fn sql(keeper: &Keeper, statement: &str) {
        let Place::Open(store) = &keeper.place else { panic!("it is shut") };
        store.records.sql.execute_batch(statement).expect("obeyed");
    }

    fn answer(keeper: &Keeper) {
        let model = keeper.catalog.load().models().next().expect("one").1.id;
        keeper.rooms.usage.record(model, SPENT);
    }

    /// Answers that the file tells of.
    fn saved(dir: &Path) -> i64 {
        let sql = Connection::open(dir.join("relayfreellm.sqlite3")).expect("opens");
        let sum = "SELECT coalesce(sum(requests), 0) FROM usage";
        sql.query_row(sum, (), |row| row.get(0)).expect("a sum")
    }

    #[test]
    fn the_thread_saves_by_itself_and_at_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let keeper = keeper(dir.path());
        answer(&keeper);
        let rooms = keeper.rooms.clone();
        let saving = keeper.start(dir.path().to_owned()).expect("a thread");
        let mut rounds = 0;
        while saved(dir.path()) < 1 {
            rounds += 1;
            assert!(rounds < 500, "nothing saved in ten seconds");
            thread::sleep(Duration::from_millis(20));
        }
        let model = rooms.usage.view()[0].0;
        rooms.usage.record(model, SPENT);
        saving.stop();
        assert_eq!(saved(dir.path()), 2);
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn lines(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn trouble_is_told_once_and_nothing_is_lost_by_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut keeper = keeper(dir.path());
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .finish();
        let subscriber = tracing::Dispatch::new(subscriber);
        let mut check = |pragma: &str, told: &[&str], in_file: i64| {
            sql(&keeper, pragma);
            for _ in 0..3 {
                answer(&keeper);
                tracing::dispatcher::with_default(&subscriber, || keeper.save_and_tell());
            }
            let place = dir.path().join("relayfreellm.sqlite3").display().to_string();
            let lines: Vec<_> = log.lines().iter().map(|it| it.replace(&place, "FILE")).collect();
            assert_eq!(lines, told, "{pragma}");
            assert_eq!(saved(dir.path()), in_file, "{pragma}");
        };
        check("", &[], 3);
        check(
            "PRAGMA query_only = ON",
            &[" WARN can't save: FILE: attempt to write a readonly database; serving goes on"],
            3,
        );
        check("PRAGMA query_only = OFF", &[" INFO saving works again"], 9);
    }

    #[test]
    fn a_full_disk_is_tried_ever_more_rarely_and_used_when_there_is_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut keeper = keeper(dir.path());
        answer(&keeper);
        keeper.save_and_tell();
        // No page more than there are now.
        sql(&keeper, "PRAGMA max_page_count = 1");
        let pin = {
            let catalog = keeper.catalog.load();
            let (provider, model) = catalog.models().next().expect("one");
            Pin { provider: provider.id, model: model.id }
        };
        let sessions: Vec<String> = (0..90).map(|it| format!("{it:0>200}")).collect();
        let now = keeper.clock.now();
        for it in &sessions {
            keeper.rooms.sessions.pin(it, pin, now);
        }
        answer(&keeper);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            keeper.save_and_tell();
            pauses.push(keeper.pause.as_millis());
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
        let error = keeper.save().expect_err("no room");
        assert!(error.ends_with("database or disk is full"), "{error}");
        assert_eq!(saved(dir.path()), 1, "what was saved before is whole");
        sql(&keeper, "PRAGMA max_page_count = 100000");
        keeper.save_and_tell();
        assert_eq!((keeper.pause, saved(dir.path())), (INTERVAL, 2));
        let count = "SELECT count(*) FROM sessions";
        let file = Connection::open(dir.path().join("relayfreellm.sqlite3")).expect("opens");
        let kept: i64 = file.query_row(count, (), |row| row.get(0)).expect("a count");
        assert_eq!(kept, 90);
    }
}
