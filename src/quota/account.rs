//! One account: all that its one lock protects.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use parking_lot::MutexGuard;

use crate::catalog::AccountId;
use crate::catalog::ModelId;
use crate::catalog::QuotaScope;
use crate::catalog::TargetId;
use crate::clock::Now;
use crate::quota::Demand;
use crate::quota::book::Book;
use crate::quota::book::Mark;
use crate::quota::book::Marks;
use crate::quota::denial::Bound;
use crate::quota::denial::Denial;
use crate::quota::denial::FreeAt;
use crate::quota::target::Target;

/// What a provider counts as one customer.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    state: Mutex<State>,
}

impl Account {
    pub(crate) fn new(id: AccountId) -> Arc<Self> {
        Arc::new(Self { id, state: Mutex::new(State::default()) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The account's books, and a seat for each target. Both only grow: their places are remembered
/// outside.
#[derive(Debug, Default)]
pub(crate) struct State {
    books: Vec<Book>,
    /// The place of the book of all models, when there is one.
    shared: Option<usize>,
    seats: Vec<Seat>,
}

/// A target's open reservations.
#[derive(Debug)]
struct Seat {
    target: TargetId,
    open: u32,
    crowd: Option<Crowd>,
}

/// The provider found that too many calls were under way.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    /// How many it took then.
    taken: u32,
    /// When, in monotonic time.
    at: Duration,
}

/// One call more is tried each time so long has passed since a provider said "too many".
const ROOM_GROWS: Duration = Duration::from_secs(10);
/// After this a provider's "too many" is forgotten.
const CROWD_FORGOTTEN: Duration = Duration::from_secs(600);

impl Crowd {
    /// How many calls may be under way now; `None` = it is long ago.
    fn room(self, now: Now) -> Option<u32> {
        let age = now.monotonic.saturating_sub(self.at);
        let more = u32::try_from(age.as_secs() / ROOM_GROWS.as_secs()).unwrap_or(u32::MAX);
        (age < CROWD_FORGOTTEN).then(|| self.taken.saturating_add(more))
    }
}

/// How a reservation ends.
#[derive(Debug)]
pub(crate) struct Closing<'a> {
    /// Where it was charged.
    pub(crate) marks: &'a [Mark],
    /// What it was charged.
    pub(crate) reserved: Demand,
    /// What it turned out to be.
    pub(crate) real: Demand,
    /// Has the provider let it in?
    pub(crate) answered: bool,
}

impl State {
    /// The place of the book of `model`, or of the whole account, opened when there is none.
    pub(crate) fn book_of(&mut self, model: Option<ModelId>) -> usize {
        self.books.iter().position(|it| it.model == model).unwrap_or_else(|| {
            self.books.push(Book::new(model));
            let place = self.books.len() - 1;
            if model.is_none() {
                self.shared = Some(place);
            }
            place
        })
    }

    /// The book of all models, where `target` draws on one of its own.
    pub(crate) fn shared_beside(&mut self, target: &Target) -> Option<&mut Book> {
        let place = self.shared.filter(|it| *it != target.book)?;
        self.books.get_mut(place)
    }

    /// The place of a target's seat, made when there is none.
    pub(crate) fn seat_of(&mut self, target: TargetId) -> usize {
        self.seats.iter().position(|it| it.target == target).unwrap_or_else(|| {
            self.seats.push(Seat { target, open: 0, crowd: None });
            self.seats.len() - 1
        })
    }

    pub(crate) fn book(&mut self, place: usize) -> Option<&mut Book> {
        self.books.get_mut(place)
    }

    pub(crate) fn books(&mut self) -> &mut [Book] {
        &mut self.books
    }

    /// Does `demand` fit into every window of `target`, and is there a place for one more?
    pub(crate) fn check(
        &mut self,
        target: &Target,
        demand: Demand,
        now: Now,
    ) -> Result<(), Denial> {
        if let Some(book) = self.book(target.book) {
            book.check(target, demand, now)?;
        }
        // Its counts are of targets that share them, but what is spent for all is spent.
        if let Some(shared) = self.shared_beside(target) {
            shared.check_spent(QuotaScope::Account, now)?;
        }
        let (open, crowd) = self.seats.get(target.seat).map_or((0, None), |it| (it.open, it.crowd));
        let room = crowd.and_then(|it| it.room(now));
        if target.max_concurrent.into_iter().chain(room).any(|max| open >= max) {
            return Err(Denial {
                bound: Bound::Concurrency,
                free: FreeAt::Unknown,
                scope: QuotaScope::Model,
            });
        }
        Ok(())
    }

    /// The most requests of `target` that may be let in within a time, if each call under way gives its
    /// own back; `None` = no bound is known.
    pub(crate) fn most_within(
        &mut self,
        target: &Target,
        within: Duration,
        now: Now,
    ) -> Option<u64> {
        let open = self.seats.iter().map(|it| u64::from(it.open)).fold(0, u64::saturating_add);
        let most = self.book(target.book)?.most_within(target, within, now)?;
        Some(most.saturating_add(open))
    }

    /// A call was one too many beside those that are under way. `false`: there are none.
    pub(crate) fn crowded(&mut self, target: &Target, now: Now) -> bool {
        let seat = self.seats.get_mut(target.seat).filter(|it| it.open > 0);
        seat.map(|it| it.crowd = Some(Crowd { taken: it.open, at: now.monotonic })).is_some()
    }

    /// What was found of calls one too many is forgotten.
    pub(crate) fn uncrowd(&mut self, target: &Target) {
        if let Some(seat) = self.seats.get_mut(target.seat) {
            seat.crowd = None;
        }
    }

    /// Charges `demand`, unconditionally. Says where, in the order of the book's counters.
    pub(crate) fn open(&mut self, target: &Target, demand: Demand, now: Now) -> Marks {
        if let Some(seat) = self.seats.get_mut(target.seat) {
            seat.open = seat.open.saturating_add(1);
        }
        self.book(target.book).map(|it| it.open(demand, target.owner, now)).unwrap_or_default()
    }

    /// Puts the real figures in the place of the reserved ones and leaves the seat.
    pub(crate) fn close(&mut self, target: &Target, closing: &Closing<'_>) {
        if let Some(seat) = self.seats.get_mut(target.seat) {
            seat.open = seat.open.saturating_sub(1);
        }
        if let Some(book) = self.book(target.book) {
            book.close(closing);
        }
    }
}
