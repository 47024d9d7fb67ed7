//! Who may call beside the owner: virtual keys that a file declares, and limits for each user.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use secrecy::SecretString;

use super::environment::Environment;
use super::faults::Faults;
use super::files;
use super::flags::FileChoice;
use super::json::Json;
use super::reader::Document;
use super::reader::Object;
use super::rules::Rule;
use super::rules::Text;
use super::rules::Whole;

use crate::callers::Declared;
use crate::callers::Digest;
use crate::callers::Draft;
use crate::callers::PREFIX;
use crate::callers::Terms;
use crate::callers::identifiers;
use crate::catalog::Catalog;
use crate::catalog::Provider;
use crate::clock::Clock;
use crate::clock::Now;
use crate::clock::SystemClock;
use crate::select;

/// Users remembered where nothing else is said.
const BUCKETS: usize = 10_000;

/// The keys in the file that `RELAY_VIRTUAL_KEYS_PATH` names. `own`: the master key and the admin key.
pub(super) fn declared(
    environment: &Environment<'_>,
    (catalog, own): (&Catalog, [Option<&SecretString>; 2]),
    (faults, notes): (&Faults, &mut Vec<String>),
) -> Vec<Declared> {
    let Some(path) = environment.get("RELAY_VIRTUAL_KEYS_PATH") else { return Vec::new() };
    let choice = FileChoice::named(&path.value);
    let Some(json) = super::document_at(&choice, "", faults) else { return Vec::new() };
    let place = files::place(&choice);
    let document = Document { place: &place, overrides: &[], faults };
    let mut root = document.root(&json);
    let now = SystemClock::start().now().unix_ms;
    let mut ids: Vec<String> = Vec::new();
    let mut keys = Vec::new();
    for (path, json) in root.list("keys") {
        let mut entry = Object::open(&document, path, json);
        let id = entry.required("id", &KeyText);
        if let Some(id) = &id {
            if let Some(before) = ids.iter().position(|it| it == id) {
                entry.fault("id", format!("the id of keys[{before}]"), "each id once");
            }
            if own.iter().flatten().any(|it| it.expose_secret() == id) {
                entry.fault("id", "the gateway's own key", "a key of its own");
            }
        }
        // Also that of a faulty one, so that places are the file's.
        ids.push(id.clone().unwrap_or_default());
        let draft = draft(&mut entry);
        if matches!(json, Json::Object(_))
            && let (Some(terms), Some(id)) = (checked(&entry, &draft, catalog), id)
        {
            // A file outlives its keys: one whose time is over is refused when it is shown.
            if terms.expires_unix_ms.is_some_and(|it| it <= now) {
                let until = terms.expires().unwrap_or_default();
                notes.push(format!(
                    "{place}: the key \"{}\" expired at {until} and is refused",
                    terms.label
                ));
            }
            keys.push(Declared { digest: Digest::of(id.as_bytes()), terms: Arc::new(terms) });
        }
        entry.finish();
    }
    root.finish();
    keys
}

fn draft(entry: &mut Object<'_>) -> Draft {
    let cap = Whole(1..=1_000_000_000_000_000);
    let models = entry.elements("allowedModels", &ANY_TEXT);
    Draft {
        label: entry.optional("label", &ANY_TEXT).unwrap_or_default(),
        daily_requests: entry.optional("dailyRequestCap", &cap),
        daily_tokens: entry.optional("dailyTokenCap", &cap),
        models: Some(models),
        expires: entry.optional("expiresAt", &ANY_TEXT),
        privacy: entry.optional("privacy", &ANY_TEXT),
    }
}

fn checked(entry: &Object<'_>, draft: &Draft, catalog: &Catalog) -> Option<Terms> {
    // Without a catalog (a demo's comes later, a faulty one never) names are taken at their word, and so is
    // the plain name of a model that a local server may be found to have.
    let is_found_later = |name: &str| {
        let plain = !name.is_empty() && name.bytes().all(|it| it.is_ascii_graphic() && it != b'/');
        plain && catalog.providers().iter().any(Provider::is_local)
    };
    let known = |name: &str| match select::canonical(catalog, name) {
        Err(_) if catalog.providers().is_empty() || is_found_later(name) => Ok(name.to_owned()),
        found => found.map_err(|it| it.closest),
    };
    // No date is past in 1970.
    match draft.check(Now::default(), &known) {
        Ok(terms) => Some(terms),
        Err(problems) => {
            for it in problems {
                entry.fault(written(it.field), it.got, it.wanted);
            }
            None
        }
    }
}

/// How the file writes a member.
fn written(field: &'static str) -> &'static str {
    match field {
        "models" => "allowedModels",
        "expires" => "expiresAt",
        "daily_requests" => "dailyRequestCap",
        "daily_tokens" => "dailyTokenCap",
        other => other,
    }
}

/// A key, which is not shown.
struct KeyText;

impl Rule for KeyText {
    type Value = String;

    fn wanted(&self) -> String {
        format!(
            "a key of 12 to 200 letters, digits, - and _ that begins with sk-, but not with {PREFIX}: \
             those are made by `relayfreellm keys create`"
        )
    }

    fn read(&self, json: &Json) -> Option<String> {
        let Json::Text(text) = json else { return None };
        let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
        let fits = (12..=200).contains(&text.len())
            && text.starts_with("sk-")
            && !text.starts_with(PREFIX);
        (fits && text.bytes().all(plain)).then(|| text.clone())
    }

    fn shown(&self, json: &Json) -> String {
        match json {
            Json::Text(text) if text.starts_with(PREFIX) => {
                format!("the key {} of a gateway's own", Digest::of(text.as_bytes()).id())
            }
            Json::Text(_) => "something else (not shown, it may be a key)".to_owned(),
            other => other.brief(),
        }
    }
}

const ANY_TEXT: Text = Text { wanted: "a text", fits: |_| true };

/// What `RELAY_IDENTIFIER_LIMIT` and `RELAY_IDENTIFIER_MAX_BUCKETS` say.
pub(super) fn identifiers(
    environment: &Environment<'_>,
    faults: &Faults,
) -> Option<identifiers::Params> {
    let most = environment.get("RELAY_IDENTIFIER_MAX_BUCKETS");
    let most = most.and_then(|it| it.read(&Whole(1..=1_000_000), faults));
    let limit = environment.get("RELAY_IDENTIFIER_LIMIT")?;
    let (max, window) = limit.read(&Rate, faults)?;
    let max_buckets = most.and_then(|it| usize::try_from(it).ok()).unwrap_or(BUCKETS);
    Some(identifiers::Params { max, window, max_buckets })
}

/// `<max>/<windowMs>`.
struct Rate;

impl Rule for Rate {
    type Value = (u64, Duration);

    fn wanted(&self) -> String {
        "<max>/<milliseconds>, such as 60/60000: 1 to 1000000000 requests in 1 to 2678400000 ms \
         (31 days)"
            .to_owned()
    }

    fn read(&self, json: &Json) -> Option<(u64, Duration)> {
        let Json::Text(text) = json else { return None };
        let (max, window) = text.split_once('/')?;
        let number = |text: &str, most| {
            let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            text.parse().ok().filter(|it: &u64| digits && (1..=most).contains(it))
        };
        let window = number(window.trim(), 2_678_400_000)?;
        Some((number(max.trim(), 1_000_000_000)?, Duration::from_millis(window)))
    }
}
