//! Variables: those of the process, then those of the `.env` file. One that is set to nothing
//! counts as not set.

use std::collections::BTreeMap;

use super::faults::Faults;
use super::rules::Rule;

/// Variables that beat a key of the settings file, with that key's path.
const SETTINGS_VARIABLES: &[(&str, &str)] = &[
    ("PROVIDER_STRATEGY", "routing.provider_strategy"),
    ("MODEL_STRATEGY", "routing.model_strategy"),
    ("SESSION_AFFINITY_ENABLED", "session.affinity_enabled"),
    ("SESSION_TTL_HOURS", "session.ttl_hours"),
    ("REQUEST_TIMEOUT_SECONDS", "http.timeout_seconds"),
    ("CONTEXT_MANAGEMENT_MODE", "context.management_mode"),
    ("CONTEXT_RESERVOIR_RECENT_KEEP", "context.reservoir_recent_keep"),
    ("CONTEXT_RESERVOIR_SUMMARY_BUDGET", "context.reservoir_summary_budget"),
];

/// The other variables of the program itself.
const OWN_VARIABLES: &[&str] = &[
    "HOST",
    "PORT",
    "RELAY_API_KEY",
    "RELAY_ADMIN_KEY",
    "RELAY_VIRTUAL_KEYS_PATH",
    "RELAY_IDENTIFIER_LIMIT",
    "RELAY_IDENTIFIER_MAX_BUCKETS",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
];

/// All names that are no provider's.
pub(super) fn own_names() -> impl Iterator<Item = &'static str> {
    OWN_VARIABLES.iter().copied().chain(SETTINGS_VARIABLES.iter().map(|(name, _)| *name))
}

/// Where faults in the process's own variables are placed.
const PROCESS: &str = "environment";

/// The variables of this process. One that is no UTF-8 has its bad bytes replaced, so that the
/// check of its value names it.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|it| it.to_string_lossy().into_owned())
}

/// One variable that is set.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    /// Without white space at its ends; may be a secret.
    pub(super) value: String,
    /// The `.env` file's path, or `environment`.
    pub(super) place: String,
}

impl Variable {
    /// The value as `rule` understands it; `None` after a fault.
    pub(super) fn read<R: Rule>(&self, rule: &R, faults: &Faults) -> Option<R::Value> {
        let json = rule.understood(&self.value);
        let read = rule.read(&json);
        if read.is_none() {
            faults.add(&self.place, &self.name, rule.shown(&json), rule.wanted());
        }
        read
    }
}

/// All variables that can be asked for.
pub(super) struct Environment<'a> {
    process: &'a dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
    file_place: String,
}

impl<'a> Environment<'a> {
    /// The process's variables alone.
    pub(super) fn of_process(process: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { process, file: BTreeMap::new(), file_place: String::new() }
    }

    /// Adds those of a `.env` file. A syntax error is a fault that names its line and not what
    /// stands there, for that may be a key.
    pub(super) fn add_file(
        &mut self,
        place: String,
        bytes: &[u8],
        faults: &Faults,
        notes: &mut Vec<String>,
    ) {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        self.file_place = place;
        let Ok(text) = std::str::from_utf8(bytes) else {
            faults.add(&self.file_place, "", "invalid UTF-8", "a text file");
            return;
        };
        for line in dotenvy::Iter::new(bytes) {
            match line {
                Ok((name, value)) => {
                    if self.file.insert(name.clone(), value).is_some() {
                        let place = &self.file_place;
                        notes.push(format!("{place}: {name} is set twice, the last one counts"));
                    }
                }
                Err(error) => faults.add(
                    &self.file_place,
                    &line_of(&error, text),
                    "something that cannot be read (not shown, it may hold a key)",
                    "NAME=value, in quotation marks if it has blanks or $ in it",
                ),
            }
        }
    }

    /// The variable `name`, if it is set to something.
    pub(super) fn get(&self, name: &str) -> Option<Variable> {
        let found = |value: &str, place: &str| {
            let value = value.trim().to_owned();
            let (name, place) = (name.to_owned(), place.to_owned());
            (!value.is_empty()).then_some(Variable { name, value, place })
        };
        (self.process)(name)
            .and_then(|it| found(&it, PROCESS))
            .or_else(|| self.file.get(name).and_then(|it| found(it, &self.file_place)))
    }

    /// The first of `names` that is set.
    pub(super) fn first(&self, names: &[String]) -> Option<Variable> {
        names.iter().find_map(|it| self.get(it))
    }

    /// What overrides the settings file, by path in it.
    pub(super) fn settings_overrides(&self) -> Vec<(&'static str, Variable)> {
        SETTINGS_VARIABLES
            .iter()
            .filter_map(|(name, path)| Some((*path, self.get(name)?)))
            .collect()
    }

    /// The path of the `.env` file and the names of what it sets to something.
    pub(super) fn file_names(&self) -> (&str, impl Iterator<Item = &str>) {
        let set = self.file.iter().filter(|(_, value)| !value.trim().is_empty());
        (&self.file_place, set.map(|(name, _)| name.as_str()))
    }
}

fn line_of(error: &dotenvy::Error, text: &str) -> String {
    let at = match error {
        dotenvy::Error::LineParse(line, _) => text.find(line.as_str()),
        _ => None,
    };
    let before = at.and_then(|at| text.get(..at));
    before.map_or_else(String::new, |it| format!("line {}", it.matches('\n').count() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, process: &[(&str, &str)], wanted: &[(&str, Option<&str>)]) {
        let process = |name: &str| {
            process.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned())
        };
        let faults = Faults::default();
        let mut environment = Environment::of_process(&process);
        environment.add_file(".env".to_owned(), file.as_bytes(), &faults, &mut Vec::new());
        assert_eq!(faults.into_list(), []);
        for (name, value) in wanted {
            let got = environment.get(name).map(|it| it.value);
            assert_eq!(got.as_deref(), *value, "{name}");
        }
    }

    #[test]
    fn the_process_beats_the_file_and_empty_is_not_set() {
        check(
            "\u{feff}A=file\nB=file # why\nC=\nD=' '\nexport E=\"two words\"\nF=1\nF=2\n",
            &[("A", "process"), ("B", " "), ("G", " trimmed\n")],
            &[
                ("A", Some("process")),
                ("B", Some("file")),
                ("C", None),
                ("D", None),
                ("E", Some("two words")),
                ("F", Some("2")),
                ("G", Some("trimmed")),
                ("H", None),
            ],
        );
    }

    #[test]
    fn a_syntax_error_names_its_line_and_shows_nothing_of_it() {
        for (file, line) in [
            ("A=1\n\nGROQ_APIKEY=sk-hidden, sk-more\nB=2\n", ".env: line 3: "),
            ("A=1\nsk-hidden\n", ".env: line 2: "),
            ("A=1\nB='sk-hidden\n", ".env: line 2: "),
        ] {
            let faults = Faults::default();
            let mut environment = Environment::of_process(&|_| None);
            environment.add_file(".env".to_owned(), file.as_bytes(), &faults, &mut Vec::new());
            let list = faults.into_list();
            let [fault] = list.as_slice() else { panic!("{list:?}") };
            assert!(fault.to_string().starts_with(line), "{fault}");
            assert!(!fault.to_string().contains("hidden"), "{fault}");
            assert_eq!(environment.get("A").unwrap().value, "1");
        }
    }
}
