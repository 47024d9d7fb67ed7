//! Everything a user can set, read and checked before anything starts: flags, environment, `.env`,
//! `settings.json`, `provider_model_limits.json`. A flag beats the process's environment, that
//! beats `.env`, that beats the files, and these beat the defaults. All faults are found at once.

mod address;
mod callers;
mod chaos;
mod demo;
mod environment;
mod faults;
mod files;
mod flags;
mod json;
mod keys;
mod limits;
mod pool;
mod reader;
mod rules;
mod settings;
mod verified;

use std::path::Path;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::callers::Declared;
use crate::callers::identifiers;

use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::catalog::Provider;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::provider::transport::Network;

use address::Host;
use environment::Environment;
use environment::Variable;
use faults::Faults;
use json::Json;
use limits::ProviderEntry;
use pool::Workshop;
use reader::Document;
use rules::Whole;

pub use chaos::Chaos;
pub use demo::DemoEntry;
pub use demo::DemoModel;
pub use demo::demo_catalog;
pub use environment::process_environment;
pub use faults::Fault;
pub use faults::Refusal;
pub use flags::FileChoice;
pub use flags::Flags;
pub use settings::Context;
pub use settings::ContextApply;
pub use settings::ContextMode;
pub use settings::Http;
pub use settings::Normalizer;
pub use settings::Routing;
pub use settings::Session;
pub use settings::Settings;
pub use settings::Strategy;
pub use settings::Summarization;

/// The whole configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// Address or host name to listen on. Default 127.0.0.1.
    pub host: String,
    /// Port to listen on; 0 takes any free one. Default 8000.
    pub port: u16,
    /// Any caller from anywhere is served.
    pub insecure: bool,
    /// Simulated providers are asked in place of real ones.
    pub demo: bool,
    /// How often the simulated providers fail, beside what they do anyway.
    pub chaos: Option<Chaos>,
    /// Where quota and usage are kept; `None` keeps nothing. Default `./data`, none with `demo`.
    pub data_dir: Option<PathBuf>,
    /// The key callers must show, if any.
    pub master_key: Option<SecretString>,
    /// The key that changes of state want; `None` = they are taken from this machine alone.
    pub admin_key: Option<SecretString>,
    /// `settings.json` with its overrides.
    pub settings: Settings,
    /// How providers are reached.
    pub network: Network,
    /// The providers that can be used; empty with `demo`, for the caller to fill.
    pub catalog: Catalog,
    /// The virtual keys that a file declares.
    pub virtual_keys: Vec<Declared>,
    /// How much each user of an app may ask; `None` = as much as they like.
    pub identifiers: Option<identifiers::Params>,
    /// What the user should know, a line each: providers left out, keys not used.
    pub notes: Vec<String>,
}

const BUILT_IN_SETTINGS: &str = include_str!("../../settings.json");
const BUILT_IN_LIMITS: &str = include_str!("../../provider_model_limits.json");

/// Reads and checks everything. `process` gives the process's environment variables
/// ([`process_environment`]).
///
/// With [`Flags::demo`] the `.env` file, provider keys and the limits file are not looked at.
///
/// # Errors
/// A [`Refusal`] with every fault there is, or because no provider can be used.
pub fn load(
    flags: &Flags,
    process: &dyn Fn(&str) -> Option<String>,
    ids: &mut IdBook,
) -> Result<Config, Refusal> {
    let faults = Faults::default();
    let mut notes = Vec::new();
    let environment = environment(flags, process, &faults, &mut notes);
    let (master_key, admin_key) = own_keys(&environment, &faults);
    let host = host(flags, &environment, &faults);
    let port = port(flags, &environment, &faults);
    let settings = settings(flags, &environment, &faults, &mut notes);
    let chaos = chaos::chaos(flags, &faults);
    let (entries, providers, unset) = if flags.demo {
        note_ignored_flags(flags, &mut notes);
        (Vec::new(), Vec::new(), Vec::new())
    } else {
        providers(flags, &environment, &faults, &mut notes, ids)
    };
    let identifiers = callers::identifiers(&environment, &faults);
    let catalog = Catalog::new(providers);
    let own = [master_key.as_ref(), admin_key.as_ref()];
    let virtual_keys = callers::declared(&environment, (&catalog, own), (&faults, &mut notes));
    let faults = faults.into_list();
    if !faults.is_empty() {
        return Err(Refusal::Faults(faults));
    }
    if catalog.providers().is_empty() && !flags.demo {
        return Err(Refusal::NothingUsable(what_to_do(&entries, &notes)));
    }
    if !unset.is_empty() {
        notes.push(format!("left out, without key or address: {}", unset.join(", ")));
    }
    notes.extend(verified::note(&catalog, today()));
    Ok(Config {
        host,
        port,
        insecure: flags.insecure,
        demo: flags.demo,
        chaos,
        data_dir: data_dir(flags),
        master_key,
        admin_key,
        settings,
        network: network(&environment),
        catalog,
        virtual_keys,
        identifiers,
        notes,
    })
}

fn today() -> Date {
    let seconds = SystemClock::start().now().unix_ms / 1000;
    let now = i64::try_from(seconds).ok().and_then(|it| Timestamp::from_second(it).ok());
    now.unwrap_or_default().to_zoned(TimeZone::UTC).date()
}

/// The variables every program reads, in upper or lower case.
fn network(environment: &Environment<'_>) -> Network {
    let first = |names: &[&str]| names.iter().find_map(|it| environment.get(it)).map(|it| it.value);
    Network {
        proxy: first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
        no_proxy: first(&["NO_PROXY", "no_proxy"]),
        cert_file: first(&["SSL_CERT_FILE"]).map(PathBuf::from),
    }
}

/// Where a running gateway is found, and the key it wants.
#[derive(Debug)]
pub struct Reach {
    /// Address or host name it listens on.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The key callers must show, if any.
    pub master_key: Option<SecretString>,
    /// The key it wants for changes of its state, if any.
    pub admin_key: Option<SecretString>,
    /// Where it keeps what outlives it; `None` = nowhere.
    pub data_dir: Option<PathBuf>,
}

impl Reach {
    /// The key to show: the one that opens most.
    pub fn key(&self) -> Option<&SecretString> {
        self.admin_key.as_ref().or(self.master_key.as_ref())
    }
}

/// Reads only what it takes to find a gateway that is running already.
///
/// # Errors
/// A [`Refusal`] with every fault in the host, the port and the master key.
pub fn reach(flags: &Flags, process: &dyn Fn(&str) -> Option<String>) -> Result<Reach, Refusal> {
    let faults = Faults::default();
    let environment = environment(flags, process, &faults, &mut Vec::new());
    let (master_key, admin_key) = own_keys(&environment, &faults);
    // Whether it may be listened on is the gateway's own concern.
    let flags = Flags { insecure: true, ..flags.clone() };
    let reach = Reach {
        host: host(&flags, &environment, &faults),
        port: port(&flags, &environment, &faults),
        master_key,
        admin_key,
        data_dir: data_dir(&flags),
    };
    let faults = faults.into_list();
    if faults.is_empty() { Ok(reach) } else { Err(Refusal::Faults(faults)) }
}

/// The master key and the admin key.
fn own_keys(
    environment: &Environment<'_>,
    faults: &Faults,
) -> (Option<SecretString>, Option<SecretString>) {
    let key = |name| environment.get(name).and_then(|it| keys::own_key(&it, faults));
    (key(keys::MASTER), key(keys::ADMIN))
}

fn environment<'p>(
    flags: &Flags,
    process: &'p dyn Fn(&str) -> Option<String>,
    faults: &Faults,
    notes: &mut Vec<String>,
) -> Environment<'p> {
    let mut environment = Environment::of_process(process);
    if !flags.demo
        && let Some(bytes) = files::content(&flags.env_file, "", faults)
    {
        environment.add_file(files::place(&flags.env_file), &bytes, faults, notes);
    }
    environment
}

/// The address to listen on. One that others can reach wants a master key or `--insecure`.
fn host(flags: &Flags, environment: &Environment<'_>, faults: &Faults) -> String {
    let variable = flags.host.as_ref().map_or_else(
        || environment.get("HOST"),
        |value| {
            let (name, value) = ("--host".to_owned(), value.trim().to_owned());
            Some(Variable { name, value, place: "command line".to_owned() })
        },
    );
    let usual = "127.0.0.1".to_owned();
    let Some(variable) = variable else { return usual };
    let Some(host) = variable.read(&Host, faults) else { return usual };
    let guarded = flags.insecure || environment.get("RELAY_API_KEY").is_some();
    if !guarded && !address::is_loopback(&host) {
        let got = format!("{host}, where others could use your keys");
        let wanted = "127.0.0.1, or RELAY_API_KEY set to a key that callers must show, \
                      or --insecure";
        faults.add(&variable.place, &variable.name, got, wanted);
    }
    host
}

fn port(flags: &Flags, environment: &Environment<'_>, faults: &Faults) -> u16 {
    let rule = Whole(0..=u64::from(u16::MAX));
    let variable = || environment.get("PORT").and_then(|it| it.read(&rule, faults));
    flags.port.or_else(|| variable().and_then(|it| u16::try_from(it).ok())).unwrap_or(8_000)
}

fn settings(
    flags: &Flags,
    environment: &Environment<'_>,
    faults: &Faults,
    notes: &mut Vec<String>,
) -> Settings {
    let overrides = environment.settings_overrides();
    let place = files::place(&flags.settings);
    let document = Document { place: &place, overrides: &overrides, faults };
    let json = document_at(&flags.settings, BUILT_IN_SETTINGS, faults);
    // Overrides are checked even when the file cannot be read.
    settings::read(&document, &json.unwrap_or(Json::Object(Vec::new())), notes)
}

fn providers(
    flags: &Flags,
    environment: &Environment<'_>,
    faults: &Faults,
    notes: &mut Vec<String>,
    ids: &mut IdBook,
) -> (Vec<ProviderEntry>, Vec<Provider>, Vec<String>) {
    let place = files::place(&flags.limits);
    let Some(json) = document_at(&flags.limits, BUILT_IN_LIMITS, faults) else {
        return (Vec::new(), Vec::new(), Vec::new());
    };
    let document = Document { place: &place, overrides: &[], faults };
    let entries = limits::read(&document, &json);
    let mut workshop =
        Workshop { environment, place: &place, faults, notes, unset: Vec::new(), ids };
    let providers = pool::providers(&entries, &mut workshop);
    let unset = workshop.unset;
    (entries, providers, unset)
}

/// The JSON in a file; `None` after a fault.
fn document_at(choice: &FileChoice, built_in: &'static str, faults: &Faults) -> Option<Json> {
    let bytes = files::content(choice, built_in, faults)?;
    match Json::parse(&bytes) {
        Ok(json) => Some(json),
        Err(bad) => {
            faults.add(&files::place(choice), &bad.position, bad.problem, "valid JSON");
            None
        }
    }
}

fn data_dir(flags: &Flags) -> Option<PathBuf> {
    match &flags.data_dir {
        Some(named) => (named.as_path() != Path::new("none")).then(|| named.clone()),
        None => (!flags.demo).then(|| PathBuf::from("./data")),
    }
}

fn note_ignored_flags(flags: &Flags, notes: &mut Vec<String>) {
    for (flag, choice) in [("--limits", &flags.limits), ("--env-file", &flags.env_file)] {
        if choice.named {
            notes.push(format!("{flag} has no effect with --demo"));
        }
    }
}

/// The text for a user whose configuration is sound and has no provider to ask.
fn what_to_do(entries: &[ProviderEntry], notes: &[String]) -> String {
    let why = notes.iter().map(|it| format!("  {it}"));
    let variables: Vec<_> = entries.iter().map(pool::with_variable).collect();
    let remedy = if variables.is_empty() {
        "The limits file lists no provider.".to_owned()
    } else {
        format!(
            "Set the key of at least one provider, in .env or in the environment:\n  {}\n\
             .env.example says where to get them; most are free.",
            variables.join(", ")
        )
    };
    let lines = std::iter::once("No provider can be used.".to_owned())
        .chain(why)
        .chain([remedy, "To try the program without any key: relayfreellm --demo".to_owned()]);
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
