//! The rooms of `src/` import only the rooms listed for them here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each room with the rooms it names, lowest first. A room absent from a list is out of reach.
const IMPORTS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("openai", &[]),
    ("telemetry", &[]),
    ("window", &["clock"]),
    ("catalog", &[]),
    ("quota", &["clock", "window", "catalog"]),
    ("breaker", &["clock", "catalog"]),
    ("session", &["clock", "catalog"]),
    ("refusals", &["clock", "catalog"]),
    ("usage", &["catalog"]),
    ("trace", &["clock", "quota"]),
    ("callers", &["clock", "window", "quota", "usage"]),
    ("context", &["openai"]),
    ("normalize", &["openai"]),
    ("structured", &["openai"]),
    ("select", &["clock", "openai", "catalog", "quota", "breaker"]),
    ("provider", &["clock", "openai", "catalog", "window"]),
    ("store", &["clock", "catalog", "quota", "breaker", "session", "usage", "callers"]),
    ("sim", &["clock"]),
    (
        "dispatch",
        &[
            "clock",
            "openai",
            "catalog",
            "quota",
            "breaker",
            "session",
            "refusals",
            "usage",
            "callers",
            "context",
            "normalize",
            "structured",
            "select",
            "provider",
            "trace",
            "telemetry",
        ],
    ),
    (
        "status",
        &[
            "clock",
            "telemetry",
            "catalog",
            "quota",
            "breaker",
            "usage",
            "trace",
            "callers",
            "select",
        ],
    ),
    ("server", &["clock", "openai", "telemetry", "callers", "select", "dispatch", "status"]),
    ("config", &["clock", "catalog", "callers", "select", "provider"]),
    (
        "app",
        &[
            "clock",
            "telemetry",
            "catalog",
            "quota",
            "breaker",
            "session",
            "usage",
            "callers",
            "context",
            "normalize",
            "select",
            "provider",
            "store",
            "sim",
            "dispatch",
            "status",
            "server",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "clock",
            "openai",
            "telemetry",
            "catalog",
            "callers",
            "select",
            "provider",
            "status",
            "config",
            "app",
        ],
    ),
];

/// Rooms that decide and never act.
const PURE: &[&str] = &[
    "openai",
    "window",
    "catalog",
    "quota",
    "breaker",
    "session",
    "refusals",
    "usage",
    "trace",
    "callers",
    "context",
    "normalize",
    "structured",
    "select",
];

/// Words that only code which acts may say.
const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "axum::",
    "hyper::",
    "hyper_util::",
    "rusqlite::",
    "std::fs",
    "std::env",
    "std::net",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "async fn",
    "async move",
    ".await",
];

/// One file of `src/`.
struct Source {
    /// Its path under `src/`.
    path: PathBuf,
    room: String,
    code: String,
}

impl Source {
    fn read(src: &Path, file: &Path) -> Self {
        let path = file.strip_prefix(src).expect("a file under src").to_owned();
        let first = path.iter().next().expect("a name").to_string_lossy().into_owned();
        let room = first.trim_end_matches(".rs").to_owned();
        Self { path, room, code: std::fs::read_to_string(file).expect("UTF-8") }
    }

    /// The code without comments.
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.code.lines().map(|line| line.split("//").next().unwrap_or_default())
    }

    /// Is all of it tests?
    fn is_tests(&self) -> bool {
        self.path.iter().any(|it| it == "tests" || it == "tests.rs")
    }

    /// Every `crate::room` it names.
    fn rooms(&self) -> BTreeSet<String> {
        self.lines()
            .flat_map(|line| line.split("crate::").skip(1))
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
            .filter(|room: &String| !room.is_empty() && *room != self.room)
            .collect()
    }

    /// What is wrong with it by itself.
    fn faults(&self) -> Vec<String> {
        let place = self.path.display();
        let evasions = ["crate::{", "crate::*", "super::super"];
        let evasions = evasions.iter().filter(|it| self.lines().any(|line| line.contains(**it)));
        let mut faults: Vec<String> = evasions
            .map(|it| format!("{place}: write one `use crate::room::…` per line, not `{it}`"))
            .collect();
        if PURE.contains(&self.room.as_str()) && !self.is_tests() {
            let shipped = self.code.split("#[cfg(test)]").next().unwrap_or_default();
            let words = IMPURE_WORDS.iter().filter(|it| shipped.contains(**it));
            faults.extend(words.map(|it| format!("{place}: pure room says `{it}`")));
        }
        faults
    }
}

fn sources() -> Vec<Source> {
    fn gather(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("a readable directory") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                gather(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    gather(&src, &mut files);
    let sources = files.iter().map(|it| Source::read(&src, it));
    // main.rs only calls cli, lib.rs only lists the rooms.
    sources.filter(|it| !["main", "lib"].contains(&it.room.as_str())).collect()
}

#[test]
fn rooms_import_only_what_they_may() {
    let mut faults = Vec::new();
    for source in sources() {
        faults.extend(source.faults());
        let place = source.path.display();
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == source.room) else {
            faults.push(format!("{place}: room `{}` has no row in IMPORTS", source.room));
            continue;
        };
        for named in source.rooms().iter().filter(|it| !allowed.contains(&it.as_str())) {
            faults.push(format!("{place}: `{}` must not import `{named}`", source.room));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A permission nobody uses is a door left open.
#[test]
fn the_table_allows_no_more_than_is_used() {
    let sources = sources();
    let mut unused = Vec::new();
    for (room, allowed) in IMPORTS {
        let mine = sources.iter().filter(|it| it.room == *room);
        let named: BTreeSet<String> = mine.flat_map(Source::rooms).collect();
        let idle = allowed.iter().filter(|it| !named.contains(**it));
        unused.extend(idle.map(|it| format!("`{room}` does not import `{it}`")));
    }
    assert!(unused.is_empty(), "\n{}", unused.join("\n"));
}

/// Every row names only rooms that stand above it, so there is no cycle.
#[test]
fn imports_go_one_way() {
    let mut above: Vec<&str> = Vec::new();
    for (room, allowed) in IMPORTS {
        for needed in *allowed {
            assert!(above.contains(needed), "`{room}` imports `{needed}`, which comes later");
        }
        above.push(room);
    }
}
