//! The thread that saves.

use std::io;
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
use crate::store::SaveError;
use crate::store::Store;

/// From the end of one save to the next. A crash just before a save ends loses what came since the
/// one before began: this and two saves, which have to stay below a second on a busy machine too.
const INTERVAL: Duration = Duration::from_millis(250);

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
        let (orders, ordered) = mpsc::channel();
        let keeper = Keeper { store: self, rooms, catalog, clock, failing: false };
        let thread = thread::Builder::new().name("store".to_owned());
        let thread = thread.spawn(move || keeper.run(&ordered));
        let thread = thread.map_err(|fault: io::Error| OpenError::Unusable { dir, fault })?;
        Ok(Saving { orders, thread })
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
    Save(Sender<Result<(), SaveError>>),
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
        told.recv().map_err(|_| gone())?.map_err(|it| it.to_string())
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

struct Keeper {
    store: Store,
    rooms: Rooms,
    catalog: Arc<ArcSwap<Catalog>>,
    clock: SharedClock,
    /// Did the last save fail? It is logged when that changes.
    failing: bool,
}

impl Keeper {
    fn run(mut self, ordered: &Receiver<Order>) {
        loop {
            match ordered.recv_timeout(INTERVAL) {
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
        match self.save() {
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

    fn save(&mut self) -> Result<usize, SaveError> {
        self.store.save(&self.rooms, &self.catalog.load_full(), self.clock.now())
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
    use crate::store::tests::Process;
    use crate::usage::Spent;

    const SPENT: Spent = Spent { prompt: 1, completion: 1, estimated: false };
    const POOL: &[(&str, &[&str], &[&str])] = &[("A", &["secret"], &["m"])];

    fn keeper(dir: &Path) -> Keeper {
        let clock: SharedClock = Arc::new(SystemClock::start());
        let Process { rooms, catalog, store, .. } = Process::start(dir, POOL, clock.now());
        Keeper { store, rooms, catalog: Arc::new(ArcSwap::new(catalog)), clock, failing: false }
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
        let Keeper { store, rooms, catalog, clock, .. } = keeper;
        let saving = store.start_saving(rooms.clone(), catalog, clock).expect("a thread");
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
            keeper.store.records.sql.execute_batch(pragma).expect("obeyed");
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
}
