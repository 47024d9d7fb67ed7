//! Every answer in `tests/wire`, read as its provider's: what a caller gets of it, or the fault it
//! is. What is expected stands in `tests/wire/expected`; `tests/wire/README.md` says how to renew it.

mod bed;
mod form;
mod results;
mod scripted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use relayfreellm::clock::Now;
use relayfreellm::provider::classify::classify;
use serde::Deserialize;
use serde_json::{Map, Value};

use bed::Bed;
use scripted::Script;

/// 2026-08-01 16:00:00 UTC, when the samples say they were taken.
const NOW: Now = Now { monotonic: Duration::ZERO, unix_ms: 1_785_600_000_000 };

/// One row of the manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    file: String,
    /// As it is called in a limits file.
    provider: String,
    reads: Reads,
    status: u16,
    headers: BTreeMap<String, String>,
    grade: Grade,
    what: String,
    source: String,
    /// Members of a request that make the provider answer so.
    #[serde(default)]
    provoked_by: Option<Value>,
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reads {
    Answer,
    Stream,
    Error,
    /// What another endpoint says: as the answer to a chat it must not pass.
    Other,
}

/// How well it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Grade {
    /// Captured, or documented word by word.
    A,
    /// Documented form, values made up.
    B,
    /// Partly from memory.
    C,
    /// A guess.
    D,
}

impl Sample {
    fn body(&self) -> Bytes {
        std::fs::read(wire().join(&self.file)).expect("the sample").into()
    }

    fn is_sure(&self) -> bool {
        matches!(self.grade, Grade::A | Grade::B)
    }

    fn headers(&self) -> HeaderMap {
        let pair = |(name, value): (&String, &String)| {
            let name: HeaderName = name.parse().expect("a header's name");
            (name, HeaderValue::from_str(value).expect("a header's value"))
        };
        self.headers.iter().map(pair).collect()
    }

    /// Not all clients are sent the provider's name; those that share a wire share its errors.
    fn classified(&self) -> Value {
        let name = match self.provider.as_str() {
            "OllamaCloud" | "OllamaCompat" => "ollama",
            other => other,
        };
        let fault = classify(name, self.status, &self.headers(), &self.body(), NOW);
        assert_eq!(fault.status, Some(self.status), "{}", self.file);
        if self.is_sure() { results::fault(&fault) } else { results::kind(&fault) }
    }
}

fn wire() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

fn samples() -> Vec<Sample> {
    let manifest = std::fs::read(wire().join("manifest.json")).expect("the manifest");
    serde_json::from_slice(&manifest).expect("a manifest of samples")
}

/// The folder of a sample, and so the file of its expectation.
fn folder(file: &str) -> &str {
    file.split('/').next().expect("a folder")
}

fn expected(folder: &str) -> Map<String, Value> {
    let file = wire().join("expected").join(format!("{folder}.json"));
    let text = std::fs::read(file).unwrap_or_else(|_| b"{}".to_vec());
    serde_json::from_slice(&text).expect("an object")
}

/// Two tests write the same files.
static WRITING: Mutex<()> = Mutex::new(());

/// Compares, or writes anew when `UPDATE_GOLDEN` is set. `mine` says which samples are compared.
fn compare(found: &BTreeMap<String, Value>, mine: impl Fn(&Sample) -> bool) {
    let _alone = WRITING.lock();
    let all = samples();
    let files: BTreeSet<&str> =
        all.iter().filter(|it| mine(it)).map(|it| it.file.as_str()).collect();
    let folders: BTreeSet<&str> = files.iter().map(|it| folder(it)).collect();
    let mut wrong = Vec::new();
    for folder in folders {
        let mut wanted = expected(folder);
        for (file, value) in found.iter().filter(|(it, _)| it.split('/').next() == Some(folder)) {
            if wanted.get(file) != Some(value) {
                let was = wanted.get(file).unwrap_or(&Value::Null);
                wrong.push(format!("{file}\n  expected {was:#}\n  found    {value:#}"));
                wanted.insert(file.clone(), value.clone());
            }
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let known = |it: &str| all.iter().any(|sample| sample.file == it);
            let kept: BTreeMap<_, _> = wanted.into_iter().filter(|(it, _)| known(it)).collect();
            let text = serde_json::to_string_pretty(&kept).expect("JSON");
            let file = wire().join("expected").join(format!("{folder}.json"));
            std::fs::write(file, text + "\n").expect("a writable directory");
            wrong.clear();
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_file_is_in_the_manifest_and_expected() {
    let listed: BTreeSet<String> = samples().into_iter().map(|it| it.file).collect();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(wire()).expect("a directory") {
        let dir = entry.expect("an entry").path();
        if !dir.is_dir() || dir.ends_with("expected") {
            continue;
        }
        for file in std::fs::read_dir(&dir).expect("a directory") {
            let file = file.expect("an entry").path();
            let under = file.strip_prefix(wire()).expect("a file of it");
            found.insert(under.to_string_lossy().replace('\\', "/"));
        }
    }
    assert_eq!(found, listed);
    let folders: BTreeSet<&str> = listed.iter().map(|it| folder(it)).collect();
    let wanted: BTreeSet<String> =
        folders.iter().flat_map(|it| expected(it).into_iter().map(|(file, _)| file)).collect();
    assert_eq!(wanted, listed);
    assert!(samples().iter().all(|it| !it.what.is_empty() && !it.source.is_empty()));
}

#[test]
fn every_error_is_classified() {
    let errors = samples().into_iter().filter(|it| it.reads == Reads::Error);
    let found = errors.map(|it| (it.file.clone(), it.classified())).collect();
    compare(&found, |it| it.reads == Reads::Error);
}

/// What the caller of the whole gateway gets of an answer or a stream.
#[tokio::test]
async fn every_answer_and_stream_is_openais() {
    let all: Vec<Sample> = samples().into_iter().filter(|it| it.reads != Reads::Error).collect();
    let bed = Bed::start(&all, 0).await;
    let mut found = BTreeMap::new();
    for sample in &all {
        bed.script([Script::of(sample)]);
        let mut result = bed.ask(sample, &Value::Null).await;
        if sample.reads == Reads::Other {
            assert_eq!(result["outcome"], "refused", "{}: {result}", sample.file);
        }
        if !sample.is_sure() {
            result = serde_json::json!({"outcome": result["outcome"]});
        }
        found.insert(sample.file.clone(), result);
    }
    compare(&found, |it| it.reads != Reads::Error);
}

/// A member that the provider says it doesn't know is left out, and the call repeated.
#[tokio::test]
async fn what_provokes_a_refusal_is_left_out_the_second_time() {
    let provoked: Vec<Sample> =
        samples().into_iter().filter(|it| it.provoked_by.is_some()).collect();
    assert!(!provoked.is_empty());
    let bed = Bed::start(&provoked, 1).await;
    for sample in &provoked {
        let members = sample.provoked_by.clone().expect("members");
        bed.script([Script::of(sample), Script::plain()]);
        let result = bed.ask(sample, &members).await;
        assert_eq!(result["outcome"], "answered", "{}: {result}", sample.file);
        let sent = bed.sent();
        assert_eq!(sent.len(), 2, "{}: {sent:?}", sample.file);
        for (name, _) in members.as_object().expect("an object") {
            let last = sent.last().expect("a request");
            assert!(last.get(name).is_none(), "{}: {last}", sample.file);
        }
    }
}
