//! What can be changed while the gateway runs, and how: whole pools are swapped, and the books they
//! are entered in stay.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use arc_swap::ArcSwap;

use crate::app::fixed;
use crate::app::fixed::Fixed;
use crate::app::kept::KeptOrder;
use crate::app::key_mark::KeyMark;
use crate::app::keys::with_names_of;
use crate::app::params;
use crate::callers::Callers;
use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::Model;
use crate::catalog::Provider;
use crate::catalog::ProviderId;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::Refusal;
use crate::dispatch;
use crate::dispatch::Dispatcher;
use crate::dispatch::Pool;
use crate::provider::ChatProvider;
use crate::provider::transport::Transport;
use crate::quota::TargetBooks;
use crate::select;
use crate::select::Selector;
use crate::server::Control;
use crate::server::Order;
use crate::server::Reloaded;
use crate::server::Reset;

/// Reads the configuration from where it was read at the start, with the ids it has had since.
pub type Reread = Arc<dyn Fn(&mut IdBook) -> Result<Config, Refusal> + Send + Sync>;

/// The gateway's changeable side.
pub(super) struct Live {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) books: dispatch::Books,
    pub(super) callers: Arc<Callers>,
    pub(super) catalog: Arc<ArcSwap<Catalog>>,
    /// The order in force.
    pub(super) strategies: Arc<ArcSwap<select::Params>>,
    pub(super) transport: Transport,
    pub(super) clock: SharedClock,
    pub(super) reread: Reread,
    /// Where an order is kept; `None` when nothing outlives the process.
    pub(super) kept: Option<KeptOrder>,
    /// What it was started with.
    pub(super) fixed: Fixed,
    /// Where it stands that there have been keys.
    pub(super) key_mark: Option<Arc<KeyMark>>,
    pub(super) state: Mutex<State>,
}

/// What only one change at a time may touch.
pub(super) struct State {
    pub(super) ids: IdBook,
    pub(super) clients: HashMap<ProviderId, Arc<dyn ChatProvider>>,
    /// The configuration that was read last, without its catalog.
    pub(super) config: Config,
}

impl Live {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds models that were found.
    pub(super) fn add(
        &self,
        provider: ProviderId,
        models: impl FnOnce(&Provider, &mut IdBook) -> Vec<Model>,
    ) {
        let mut state = self.lock();
        let mut providers = self.catalog.load().providers().to_vec();
        let Some(it) = providers.iter_mut().find(|it| it.id == provider) else { return };
        let new = models(it, &mut state.ids);
        if new.is_empty() {
            return;
        }
        let names: Vec<&str> = new.iter().map(|it| &*it.name).collect();
        tracing::info!("{}: found {}", it.name, names.join(", "));
        it.models.extend(new);
        self.use_catalog(Catalog::new(providers), &state);
    }

    fn use_catalog(&self, catalog: Catalog, state: &State) {
        let catalog = Arc::new(catalog);
        self.books.ledger.configure(catalog.targets().map(TargetBooks::from), self.clock.now());
        self.catalog.store(catalog);
        self.use_pool(state);
    }

    fn use_pool(&self, state: &State) {
        let selector = Selector::new(self.catalog.load_full(), **self.strategies.load());
        self.dispatcher.replace(Pool { selector, clients: state.clients.clone() });
    }

    /// The clients of `catalog`: those there are where nothing has changed, so that their open
    /// connections stay.
    fn clients(
        &self,
        catalog: &Catalog,
        state: &State,
    ) -> Result<HashMap<ProviderId, Arc<dyn ChatProvider>>, Vec<String>> {
        let old = self.catalog.load();
        let mut clients = HashMap::new();
        let mut faults = Vec::new();
        for provider in catalog.providers() {
            let same = old
                .providers()
                .iter()
                .find(|it| it.id == provider.id)
                .is_some_and(|it| it.kind == provider.kind && it.base_url == provider.base_url);
            if let Some(known) = state.clients.get(&provider.id).filter(|_| same) {
                clients.insert(provider.id, Arc::clone(known));
                continue;
            }
            match super::client(provider, self.transport.clone(), Arc::clone(&self.clock)) {
                Ok(client) => drop(clients.insert(provider.id, client)),
                Err(fault) => faults.push(format!("{}: {fault}", provider.name)),
            }
        }
        if faults.is_empty() { Ok(clients) } else { Err(faults) }
    }
}

impl Control for Live {
    fn reset(&self, provider: &str) -> Option<Reset> {
        let catalog = self.catalog.load();
        let found = catalog.providers().iter().find(|it| it.is_called(provider))?;
        let now = self.clock.now();
        let targets = found.models.iter().flat_map(|it| it.targets.iter().copied());
        self.books.ledger.forget_learned(targets, now);
        let closed = self.books.breakers.reset(found.id, now);
        Some(Reset { provider: found.name.to_string(), closed })
    }

    fn route(&self, order: Order) -> Result<Order, String> {
        let state = self.lock();
        let before = **self.strategies.load();
        let new = select::Params {
            provider_strategy: order.providers.unwrap_or(before.provider_strategy),
            model_strategy: order.models.unwrap_or(before.model_strategy),
        };
        if order.persist {
            let Some(kept) = &self.kept else {
                return Err("Nothing is kept here: the gateway has no data directory.".to_owned());
            };
            kept.keep(new).map_err(|it| format!("It could not be written: {it}."))?;
        }
        self.strategies.store(Arc::new(new));
        self.use_pool(&state);
        Ok(Order {
            providers: Some(new.provider_strategy),
            models: Some(new.model_strategy),
            persist: order.persist,
        })
    }

    fn reload(&self) -> Result<Reloaded, Vec<String>> {
        let mut state = self.lock();
        let mut config = (self.reread)(&mut state.ids).map_err(|it| match it {
            Refusal::Faults(faults) => faults.iter().map(ToString::to_string).collect(),
            Refusal::NothingUsable(why) => vec![why],
        })?;
        let old = self.catalog.load_full();
        let read = std::mem::take(&mut config.catalog);
        // A demo's providers are made by the program.
        let read = if config.demo { (*old).clone() } else { with_found(&read, &old) };
        let clients = self.clients(&read, &state)?;
        let mut done = compare(&old, &read);
        done.after_restart = self.fixed.changed(&config);
        done.settings = fixed::changed_settings(&state.config.settings, &config.settings);
        done.notes = std::mem::take(&mut config.notes);
        let configured = params::select_params(&config.settings);
        if configured != params::select_params(&state.config.settings) && !self.is_order_kept() {
            self.strategies.store(Arc::new(configured));
        }
        self.callers.declare(with_names_of(&read, std::mem::take(&mut config.virtual_keys)));
        if let Some(mark) = &self.key_mark {
            mark.compare(&self.callers);
        }
        self.dispatcher
            .configure(params::dispatch_params(&config.settings, &self.fixed.own_keys()));
        (state.clients, state.config) = (clients, config);
        self.use_catalog(read, &state);
        Ok(done)
    }
}

impl Live {
    /// Is there an order that was to outlive a restart? It outlives a reload, too.
    fn is_order_kept(&self) -> bool {
        self.kept.as_ref().is_some_and(|it| it.read().is_some())
    }
}

/// `read` with the models that local servers were found to have: a file does not name them.
fn with_found(read: &Catalog, old: &Catalog) -> Catalog {
    let mut providers = read.providers().to_vec();
    for it in providers.iter_mut().filter(|it| it.is_local()) {
        let before = old.providers().iter().find(|old| old.id == it.id);
        let Some(before) = before.filter(|old| old.base_url == it.base_url) else { continue };
        let named = |model: &Model| it.models.iter().any(|it| it.id == model.id);
        let found: Vec<Model> =
            before.models.iter().filter(|it| it.found && !named(it)).cloned().collect();
        it.models.extend(found);
    }
    Catalog::new(providers)
}

fn compare(old: &Catalog, new: &Catalog) -> Reloaded {
    let find = |all: &Catalog, id| all.providers().iter().any(|it| it.id == id);
    let names = |all: &Catalog, is: &dyn Fn(&Provider) -> bool| {
        let mine = all.providers().iter().filter(|it| is(it));
        mine.map(|it| it.name.to_string()).collect::<Vec<_>>()
    };
    let differs = |it: &Provider| {
        let before = old.providers().iter().find(|old| old.id == it.id);
        // Secrets are not written out, and a key's id tells whose it is.
        before.is_some_and(|before| format!("{before:?}") != format!("{it:?}"))
    };
    Reloaded {
        added: names(new, &|it| !find(old, it.id)),
        removed: names(old, &|it| !find(new, it.id)),
        changed: names(new, &differs),
        ..Reloaded::default()
    }
}
