//! Pools of free tiers, and the catalogs they make.

use std::collections::HashMap;

use relayfreellm::catalog::{
    Catalog, IdBook, ImageLimits, Key, Kind, Limit, Model, Period, Privacy, Provider, QuotaScope,
    Reset, Scale, Unit,
};
use secrecy::SecretString;

/// A provider with its keys and what it allows them.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub(crate) name: &'static str,
    pub(crate) keys: usize,
    pub(crate) models: usize,
    pub(crate) limits: Vec<Limit>,
    pub(crate) scope: QuotaScope,
    pub(crate) reset: Reset,
    pub(crate) reserves: bool,
    pub(crate) refusals_count: bool,
    /// Calls that may be under way at once with one key and model.
    pub(crate) max_concurrent: Option<u32>,
    /// Bytes of a prompt for each of its tokens; the gateway takes four for one.
    pub(crate) bytes_per_token: f64,
}

/// Some providers.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) houses: Vec<House>,
}

fn house(name: &'static str, keys: usize, models: usize, limits: &[(Unit, Period, u64)]) -> House {
    let limits =
        limits.iter().map(|(unit, period, max)| Limit { unit: *unit, period: *period, max: *max });
    House {
        name,
        keys,
        models,
        limits: limits.collect(),
        scope: QuotaScope::Model,
        reset: Reset::Rolling,
        reserves: false,
        refusals_count: false,
        max_concurrent: None,
        bytes_per_token: 4.2,
    }
}

use Period::{Day, Hour, Minute, Month, Second};
use Unit::{Requests, Tokens};

impl Pool {
    /// Nothing but minutes: requests and tokens, three keys, one account with two models.
    pub(crate) fn minutes() -> Self {
        let steady = house("steady", 3, 1, &[(Requests, Minute, 6)]);
        let wordy = house("wordy", 1, 1, &[(Requests, Minute, 200), (Tokens, Minute, 24_000)]);
        let shared = house("shared", 1, 2, &[(Requests, Minute, 10)]);
        let shared = House { scope: QuotaScope::Account, ..shared };
        Self { name: "minutes".to_owned(), houses: vec![steady, wordy, shared] }
    }

    /// Free tiers as they are: minutes, hours, days and months, rolling and by three calendars.
    pub(crate) fn mixed() -> Self {
        let rolling = [
            (Requests, Minute, 30),
            (Requests, Day, 1_000),
            (Tokens, Minute, 8_000),
            (Tokens, Day, 200_000),
        ];
        let rolling = House { reserves: true, ..house("rolling", 3, 2, &rolling) };
        let pacific = [(Requests, Minute, 10), (Requests, Day, 250), (Tokens, Minute, 250_000)];
        let pacific = house("pacific", 3, 2, &pacific);
        let pacific = House { reset: Reset::PacificDay, bytes_per_token: 3.8, ..pacific };
        let account = house("account", 1, 3, &[(Requests, Minute, 20), (Requests, Day, 200)]);
        let account = House {
            scope: QuotaScope::Account,
            reset: Reset::UtcDay,
            refusals_count: true,
            ..account
        };
        let monthly = house("monthly", 1, 1, &[(Requests, Minute, 20), (Requests, Month, 1_000)]);
        let monthly = House { reset: Reset::Month, ..monthly };
        let hourly = [(Requests, Minute, 30), (Requests, Hour, 100), (Tokens, Day, 1_000_000)];
        let hourly = House { reserves: true, ..house("hourly", 1, 1, &hourly) };
        Self { name: "mixed".to_owned(), houses: vec![rolling, pacific, account, monthly, hourly] }
    }

    /// One request a second, for each of three keys.
    pub(crate) fn seconds() -> Self {
        let second = house("second", 3, 1, &[(Requests, Second, 1), (Tokens, Minute, 500_000)]);
        Self { name: "seconds".to_owned(), houses: vec![second] }
    }

    /// The same with one key and one model of each provider.
    pub(crate) fn with_one_key(mut self) -> Self {
        for house in &mut self.houses {
            (house.keys, house.models) = (1, 1);
        }
        self.name.push_str(", one key");
        self
    }

    pub(crate) fn catalog(&self) -> Catalog {
        let mut ids = IdBook::default();
        Catalog::new(self.houses.iter().map(|it| it.provider(&mut ids)).collect())
    }
}

impl House {
    /// Buckets it keeps: one for each key, or for each key and model.
    pub(super) fn buckets(&self) -> usize {
        match self.scope {
            QuotaScope::Account => self.keys,
            QuotaScope::Model => self.keys * self.models,
        }
    }

    pub(super) fn bucket_of(&self, key: usize, model: usize) -> usize {
        match self.scope {
            QuotaScope::Account => key,
            QuotaScope::Model => key * self.models + model,
        }
    }

    fn provider(&self, ids: &mut IdBook) -> Provider {
        let keys: Vec<Key> = (0..self.keys)
            .map(|it| {
                let secret = it.to_string();
                Key {
                    id: ids.key(self.name, &secret),
                    account: ids.account(self.name, &secret),
                    group: None,
                    secret: Some(SecretString::from(secret)),
                    label: "…".into(),
                }
            })
            .collect();
        Provider {
            id: ids.provider(self.name),
            name: self.name.into(),
            kind: Kind::OpenAi,
            base_url: "http://localhost".into(),
            synonyms: &[],
            privacy: Privacy::default(),
            models: (0..self.models).map(|it| self.model(it, &keys, ids)).collect(),
            keys,
        }
    }

    fn model(&self, place: usize, keys: &[Key], ids: &mut IdBook) -> Model {
        let name = place.to_string();
        let id = ids.model(self.name, &name);
        Model {
            id,
            routable: format!("{}/{name}", self.name).into(),
            name: name.into(),
            kind: "text".into(),
            scale: Scale::Medium,
            vision: false,
            images: ImageLimits::default(),
            limits: self.limits.clone(),
            scope: self.scope,
            reset: self.reset,
            max_context: None,
            capabilities: HashMap::new(),
            weight: None,
            max_concurrent: self.max_concurrent,
            failed_requests_count: self.refusals_count,
            reserves_max_tokens: self.reserves,
            privacy: Privacy::Unknown,
            privacy_source: None,
            last_verified: None,
            found: false,
            first_token_timeout: None,
            successor: None,
            targets: keys.iter().map(|key| ids.target(key.id, id)).collect(),
        }
    }
}
