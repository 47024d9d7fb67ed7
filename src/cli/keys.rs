//! `keys`: makes, lists and takes back virtual keys, at a running gateway or in its data directory.

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use http::Method;
use serde_json::json;

use crate::app::OpenError;
use crate::app::StoredKeys;
use crate::callers::Draft;
use crate::catalog::Catalog;
use crate::catalog::IdBook;
use crate::cli::EXIT_FAILED;
use crate::cli::EXIT_REFUSED;
use crate::cli::args::KeysCommand;
use crate::cli::args::NewKeyFlags;
use crate::cli::complain;
use crate::cli::gateway;
use crate::cli::gateway::Answer;
use crate::cli::gateway::Unanswered;
use crate::cli::say;
use crate::cli::table::table;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::config;
use crate::config::Flags;
use crate::config::Reach;
use crate::select;
use crate::status::keys::KeyList;
use crate::status::keys::KeyStatus;
use crate::status::keys::NewKey;

/// What went wrong, and the exit code it gives.
type Failure = (String, u8);

/// Asks the gateway that runs, or, when none does, opens its data directory.
pub(super) fn keys(command: &KeysCommand, flags: &Flags) -> ExitCode {
    let reach = match config::reach(flags, &config::process_environment) {
        Ok(reach) => reach,
        Err(refusal) => return complain(&refusal.to_string(), EXIT_REFUSED),
    };
    let (method, path, body) = command.request();
    let done = match gateway::ask_once(&reach, (method, &path), body) {
        Ok(answer) => told(command, &answer),
        Err(Unanswered::NotRunning(why)) => stored(command, flags, (&reach, &why)),
        Err(Unanswered::Failed(why)) => Err((why, EXIT_FAILED)),
    };
    match done {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err((why, code)) => complain(&why, code),
    }
}

impl KeysCommand {
    /// The request that has a gateway do it.
    fn request(&self) -> (Method, String, Bytes) {
        match self {
            Self::Create(flags) => {
                let draft = flags.draft();
                let body = json!({
                    "label": draft.label,
                    "daily_requests": draft.daily_requests,
                    "daily_tokens": draft.daily_tokens,
                    "models": draft.models,
                    "expires": draft.expires,
                    "privacy": draft.privacy,
                });
                (Method::POST, "/v1/keys".to_owned(), body.to_string().into())
            }
            Self::List => (Method::GET, "/v1/keys".to_owned(), Bytes::new()),
            Self::Revoke { key } => {
                (Method::DELETE, format!("/v1/keys/{}", encoded(key)), Bytes::new())
            }
        }
    }
}

impl NewKeyFlags {
    fn draft(&self) -> Draft {
        Draft {
            label: self.label.clone(),
            daily_requests: self.daily_requests,
            daily_tokens: self.daily_tokens,
            models: Some(self.models.clone()),
            expires: self.expires.clone(),
            privacy: self.privacy.clone(),
        }
    }
}

/// A label as a part of a path.
fn encoded(text: &str) -> String {
    let byte = |it: u8| match it {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(it).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What the gateway has answered, for people.
fn told(command: &KeysCommand, answer: &Answer) -> Result<String, Failure> {
    let failed = |it: String| (it, EXIT_FAILED);
    match command {
        KeysCommand::Create(_) => {
            let new: NewKey = answer.read().map_err(failed)?;
            Ok(made(&new))
        }
        KeysCommand::List => {
            let list: KeyList = answer.read().map_err(failed)?;
            Ok(listed(&list.data))
        }
        KeysCommand::Revoke { key } => {
            answer.read::<serde_json::Value>().map_err(failed)?;
            Ok(format!("{key} is taken back."))
        }
    }
}

/// Does it in the data directory.
fn stored(
    command: &KeysCommand,
    flags: &Flags,
    (reach, why): (&Reach, &str),
) -> Result<String, Failure> {
    let failed = |it: String| (it, EXIT_FAILED);
    let Some(dir) = &reach.data_dir else {
        return Err(failed(format!("{why}, and without a data directory there are no keys")));
    };
    if !matches!(command, KeysCommand::Create(_)) && !dir.exists() {
        let dir = dir.display();
        return Err(failed(format!("{why}, and there is no data directory {dir}")));
    }
    // Before the directory is touched: a draft that can't be leaves nothing behind.
    let clock = SystemClock::start();
    let terms = match command {
        KeysCommand::Create(new) => Some(checked(&new.draft(), flags, &clock)?),
        _ => None,
    };
    let mut keys = StoredKeys::open(dir, clock.now()).map_err(|it| failed(not_opened(why, &it)))?;
    let now = clock.now();
    let done = match (command, terms) {
        (KeysCommand::Create(_), Some(terms)) => {
            let mut random = [0; 20];
            let filled =
                ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
            filled.map_err(|_| failed("the system gives no random numbers".to_owned()))?;
            let issued = keys.callers().issue(terms, random, now);
            let (key, made_now) = issued
                .map_err(|_| failed("there are 100000 keys; revoke some first".to_owned()))?;
            let mut warnings = vec![place(dir, why)];
            if reach.master_key.is_none() {
                warnings.push(NO_MASTER_KEY.to_owned());
            }
            made(&NewKey { key, warnings, status: KeyStatus::of(&made_now, now) })
        }
        (KeysCommand::Revoke { key: name }, _) => {
            let found = keys.callers().named(name, now).map_err(|it| {
                failed(format!("several keys are called {name}: {}", it.ids.join(", ")))
            })?;
            let key = found.ok_or_else(|| failed(format!("there is no key {name}")))?;
            // None of the keys file is known here.
            keys.callers().revoke(&key, now).ok();
            format!("{name} is taken back.")
        }
        _ => {
            let all: Vec<_> =
                keys.callers().list().iter().map(|it| KeyStatus::of(it, now)).collect();
            listed(&all)
        }
    };
    keys.save(now).map_err(|it| failed(it.to_string()))?;
    Ok(done)
}

const NO_MASTER_KEY: &str =
    "RELAY_API_KEY is not set: without it every chat request to that gateway needs a virtual key.";

fn not_opened(why: &str, fault: &OpenError) -> String {
    match fault {
        OpenError::InUse { dir, .. } => format!(
            "{why}, but the data directory {} is in use by one that listens elsewhere: name its address \
             with --host and --port",
            dir.display()
        ),
        other => format!("{why}; {other}"),
    }
}

/// `why`: whom it has asked, and that nobody answered.
fn place(dir: &Path, why: &str) -> String {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    format!(
        "{why}, so the key stands in {} for the one that starts there. If yours runs elsewhere, name its \
         --host and --port and make the key again.",
        dir.display()
    )
}

/// The terms of a draft, with the models that the gateway would have.
fn checked(
    draft: &Draft,
    flags: &Flags,
    clock: &SystemClock,
) -> Result<crate::callers::Terms, Failure> {
    let catalog = if draft.models.as_ref().is_none_or(Vec::is_empty) {
        Catalog::default()
    } else {
        let config = config::load(flags, &config::process_environment, &mut IdBook::default());
        config.map_err(|it| (it.to_string(), EXIT_REFUSED))?.catalog
    };
    // A demo's catalog is made when it starts.
    let known = |name: &str| match select::canonical(&catalog, name) {
        Err(_) if flags.demo => Ok(name.to_owned()),
        found => found.map_err(|it| it.closest),
    };
    draft.check(clock.now(), &known).map_err(|problems| {
        let told =
            problems.iter().map(|it| format!("{}: got {}; wanted {}", it.field, it.got, it.wanted));
        (told.collect::<Vec<_>>().join("\n"), EXIT_FAILED)
    })
}

/// The key on a line of its own, for scripts, then what it is.
fn made(new: &NewKey) -> String {
    let it = &new.status;
    let lines = [
        new.key.clone(),
        String::new(),
        format!("{} ({}): {}", it.label, it.id, terms(it)),
        "It is shown this once: only its hash is kept.".to_owned(),
    ];
    lines.iter().chain(&new.warnings).map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn terms(it: &KeyStatus) -> String {
    let cap = |cap: Option<u64>, unit: &str| cap.map(|it| format!("{it} {unit} a day"));
    let all = [
        cap(it.daily_requests, "requests"),
        cap(it.daily_tokens, "tokens"),
        it.models.as_ref().map(|it| format!("only {}", it.join(", "))),
        it.expires_at.as_ref().map(|it| format!("until {it}")),
        it.privacy.clone(),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() { "without bounds".to_owned() } else { all.join(", ") }
}

fn listed(keys: &[KeyStatus]) -> String {
    let used = |used: u64, cap: Option<u64>| match cap {
        Some(cap) => format!("{used} of {cap}"),
        None => used.to_string(),
    };
    let rows = keys.iter().map(|it| {
        let models = it.models.as_ref().map_or_else(|| "any".to_owned(), |it| it.join(", "));
        vec![
            it.id.clone(),
            it.label.clone(),
            it.status.clone(),
            used(it.today.requests, it.daily_requests),
            used(it.today.tokens, it.daily_tokens),
            it.expires_at.clone().unwrap_or_else(|| "never".to_owned()),
            it.privacy.clone().unwrap_or_else(|| "any".to_owned()),
            models,
        ]
    });
    let headings =
        ["id", "label", "status", "requests today", "tokens today", "expires", "privacy", "models"];
    table(&headings, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_becomes_a_part_of_a_path() {
        let check = |text: &str, expected: &str| assert_eq!(encoded(text), expected);
        check("key_0a", "key_0a");
        check("a b/c?d#é%", "a%20b%2Fc%3Fd%23%C3%A9%25");
    }
}
