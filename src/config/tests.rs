use std::fs;

use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prop_assert;
use proptest::prop_oneof;
use proptest::proptest;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::catalog::Privacy;

/// Files in a directory of their own, variables and flags.
struct Case {
    dir: TempDir,
    variables: Vec<(&'static str, &'static str)>,
    flags: Flags,
}

impl Case {
    /// Nothing is set but a key.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let usual = |name| FileChoice::usual(dir.path().join(name));
        let flags = Flags {
            settings: usual("settings.json"),
            limits: usual("limits.json"),
            env_file: usual(".env"),
            ..Flags::default()
        };
        Self { dir, variables: vec![("GROQ_APIKEY", "gsk_0123456789")], flags }
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.dir.path().join(name), content).unwrap();
        self
    }

    fn set(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(0, (name, value));
        self
    }

    fn flags(mut self, change: impl FnOnce(&mut Flags)) -> Self {
        change(&mut self.flags);
        self
    }

    fn load(&self) -> Result<Config, Refusal> {
        let process = |name: &str| {
            let found = self.variables.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        load(&self.flags, &process, &mut IdBook::default())
    }

    fn loaded(&self) -> Config {
        self.load().unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// The fault lines, with the directory taken off the files' paths.
    fn faults(&self) -> Vec<String> {
        let dir = format!("{}/", self.dir.path().display());
        match self.load() {
            Err(Refusal::Faults(list)) => {
                list.iter().map(|it| it.to_string().replace(&dir, "")).collect()
            }
            other => panic!("no faults but {other:?}"),
        }
    }
}

/// The limits file of one provider "Own" with `fields` and one sound model.
fn own(fields: &str) -> String {
    format!(
        r#"{{"providers": [{{"name": "Own", "url": "http://own/v1"{fields},
            "models": [{{"name": "m", "type": "text", "scale": "small"}}]}}]}}"#
    )
}

/// The limits file of one provider "Own" with one sound model that has `fields`.
fn own_model(fields: &str) -> String {
    format!(
        r#"{{"providers": [{{"name": "Own", "url": "http://own/v1", "api_key_env": "",
            "models": [{{"name": "m", "type": "text", "scale": "small"{fields}}}]}}]}}"#
    )
}

fn check_limits(file: &str, wanted: &[&str]) {
    let wanted: Vec<_> = wanted.iter().map(|it| format!("limits.json: {it}")).collect();
    assert_eq!(Case::new().file("limits.json", file).faults(), wanted, "{file}");
}

#[test]
fn nothing_but_a_key_is_enough() {
    let config = Case::new().loaded();
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 8_000));
    assert_eq!(config.data_dir, Some(PathBuf::from("./data")));
    assert!(config.master_key.is_none());
    let names: Vec<_> = config.catalog.providers().iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["Groq"]);
    // Every other provider of the built-in file is left out, all in one line.
    let file: serde_json::Value = serde_json::from_str(BUILT_IN_LIMITS).unwrap();
    let others = file["providers"].as_array().unwrap().len() - 1;
    let start = "left out, without key or address: ";
    let left_out = config.notes.iter().find_map(|it| it.strip_prefix(start)).unwrap();
    assert_eq!(left_out.split(", ").count(), others, "{left_out}");
    for it in ["Mistral (MISTRAL_APIKEY)", "Gemini (GEMINI_APIKEY)", "Ollama (OLLAMA_BASE_URL)"] {
        assert!(left_out.contains(it), "{left_out}");
    }
}

#[test]
fn without_any_key_it_is_said_what_to_do() {
    let limits = r#"{"providers": [{"name": "Groq", "models": []},
        {"name": "Ollama", "models": []}, {"name": "mine", "url": "http://a", "models": []}]}"#;
    let case = Case { variables: Vec::new(), ..Case::new() }.file("limits.json", limits);
    let refusal = case.load().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "No provider can be used.\n\
         Set the key of at least one provider, in .env or in the environment:\n  \
         Groq (GROQ_APIKEY), Ollama (OLLAMA_BASE_URL), mine (MINE_APIKEY)\n\
         .env.example says where to get them; most are free.\n\
         To try the program without any key: relayfreellm --demo"
    );
}

#[test]
fn a_limits_file_without_providers_is_not_usable() {
    let refusal = Case::new().file("limits.json", r#"{"providers": []}"#).load().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "No provider can be used.\n\
         The limits file lists no provider.\n\
         To try the program without any key: relayfreellm --demo"
    );
}

#[test]
fn every_fault_of_every_source_is_named_at_once() {
    let case = Case::new()
        .file(".env", "PORT=abc\nnonsense\n")
        .file("settings.json", r#"{"routing": {"max_retry": 1}, "http": {"timeout_seconds": 0}}"#)
        .file("limits.json", own(r#", "api_key_env": "gsk_pasted", "privacy": "yes""#))
        .set("SESSION_AFFINITY_ENABLED", "maybe")
        .set("OWN_APIKEY", "sk-se cret")
        .flags(|it| it.host = Some("0.0.0.0".to_owned()));
    assert_eq!(
        case.faults(),
        [
            ".env: line 2: got something that cannot be read (not shown, it may hold a key); \
             wanted NAME=value, in quotation marks if it has blanks or $ in it",
            "command line: --host: got 0.0.0.0, where others could use your keys; wanted \
             127.0.0.1, or RELAY_API_KEY set to a key that callers must show, or --insecure",
            ".env: PORT: got \"abc\"; wanted a whole number from 0 to 65535",
            "environment: SESSION_AFFINITY_ENABLED: got \"maybe\"; wanted true or false",
            "settings.json: routing.max_retry: got an unknown key; wanted a known key (did you \
             mean \"max_retries\"?)",
            "settings.json: http.timeout_seconds: got 0; wanted a number from 0.01 to 86400",
            "limits.json: providers[0].api_key_env: got something else (not shown, it may be a \
             key); wanted the name of an environment variable, such as \"MY_SERVER_APIKEY\", or \
             \"\"",
            "limits.json: providers[0].privacy: got \"yes\"; wanted \"no-training\", \"trains\", \
             \"configurable\", \"local\" or \"unknown\"",
            "environment: OWN_APIKEY: got a blank in key 1 of 1; wanted one key, or several with \
             commas between, of printable ASCII without blanks",
        ]
    );
    let text = case.load().unwrap_err().to_string();
    assert!(text.starts_with("There are 9 faults in the configuration:\n  "), "{text}");
    assert!(!text.contains("pasted") && !text.contains("cret"), "{text}");
}

#[test]
fn broken_files_are_named() {
    for (file, wanted) in [
        (
            "{",
            "line 1, column 1: got malformed JSON (EOF while parsing an object); wanted valid JSON",
        ),
        (
            "{\"a\"\n:tru}",
            "line 2, column 5: got malformed JSON (expected ident); wanted valid JSON",
        ),
        ("null", "got null; wanted an object"),
    ] {
        check_limits(file, &[wanted]);
        let settings = Case::new().file("settings.json", file).faults();
        assert_eq!(settings, [format!("settings.json: {wanted}")]);
    }
    let case = Case::new().file("settings.json", b"{\"\xff\": 1}");
    let utf8 = "settings.json: line 1, column 3: got invalid UTF-8; wanted valid JSON";
    assert_eq!(case.faults(), [utf8]);
    let case = Case::new().flags(|it| {
        it.settings = FileChoice::named(it.settings.path.with_file_name("mine.json"));
        it.limits = FileChoice::named(it.limits.path.with_file_name("mine2.json"));
        it.env_file = FileChoice::named(it.env_file.path.with_file_name(""));
    });
    assert_eq!(
        case.faults(),
        [
            ": got a directory; wanted a file that can be read",
            "mine.json: got no such file; wanted a file that can be read",
            "mine2.json: got no such file; wanted a file that can be read",
        ]
    );
}

#[test]
fn faulty_providers_are_named() {
    check_limits("{}", &["providers: got nothing; wanted a list of providers"]);
    check_limits(r#"{"providers": {}}"#, &["providers: got an object; wanted a list"]);
    check_limits(r#"{"providers": [7]}"#, &["providers[0]: got 7; wanted an object"]);
    let name = "a provider's name: 1 to 64 printable ASCII characters with a letter among them, \
                no slash, no blanks at the ends";
    check_limits(
        r#"{"providers": [{}, {"name": "a/b"}, {"name": "Groq"}, {"name": "groq"}, {"name": "Nvidia"}, {"name": "nim"}]}"#,
        &[
            &format!("providers[0].name: got nothing; wanted {name}"),
            &format!("providers[1].name: got \"a/b\"; wanted {name}"),
            "providers[3].name: got \"groq\" a second time; wanted each provider once",
            "providers[5].name: got \"nim\" a second time; wanted each provider once",
        ],
    );
    let url = "an http:// or https:// URL with a host, and no user, password, query or \
               /chat/completions in it";
    check_limits(
        r#"{"providers": [{"name": "A", "url": "http://me:pw@a/v1"}, {"name": "B"}, {"name": "Gemini", "kind": "openai"}]}"#,
        &[
            &format!("providers[0].url: got \"http://***@a/v1\"; wanted {url}, or \"\""),
            &format!(
                "providers[1].url: got nothing for B, which has no built-in URL for this kind; wanted {url}"
            ),
            &format!(
                "providers[2].url: got nothing for Gemini, which has no built-in URL for this kind; wanted {url}"
            ),
        ],
    );
    for (fields, wanted) in [
        (
            r#", "kind": "grpc""#,
            "kind: got \"grpc\"; wanted one of openai, gemini, ollama, cloudflare, anthropic",
        ),
        (
            r#", "api_key": "sk""#,
            "api_key: got an unknown key; wanted a known key (did you mean \"api_key_env\"?)",
        ),
        (r#", "quota_scope": "key""#, "quota_scope: got \"key\"; wanted \"model\" or \"account\""),
        (
            r#", "reset": "daily""#,
            "reset: got \"daily\"; wanted \"rolling\", \"utc_day\", \"pacific_day\" or \"month\"",
        ),
        (
            r#", "last_verified": "2026-02-30""#,
            "last_verified: got \"2026-02-30\"; wanted a date such as \"2026-09-02\"",
        ),
        (
            r#", "max_concurrent": 0"#,
            "max_concurrent: got 0; wanted a whole number from 1 to 1000000000000000, or -1 for unlimited",
        ),
        (r#", "failed_requests_count": 1"#, "failed_requests_count: got 1; wanted true or false"),
        (
            r#", "reserves_max_tokens": "no""#,
            "reserves_max_tokens: got \"no\"; wanted true or false",
        ),
        (
            r#", "first_token_timeout_seconds": 0"#,
            "first_token_timeout_seconds: got 0; wanted a number from 0.01 to 86400",
        ),
        (r#", "url": "http://twice""#, "url: got the same key a second time; wanted each key once"),
    ] {
        check_limits(&own(fields), &[&format!("providers[0].{wanted}")]);
    }
}

#[test]
fn faulty_models_are_named() {
    let bound = "wanted a whole number from 1 to 1000000000000000, or -1 for unlimited";
    for (fields, wanted) in [
        (
            r#", "limits": {"requests_per_minute": -2}"#,
            format!("limits.requests_per_minute: got -2; {bound}"),
        ),
        (
            r#", "limits": {"requests_per_minute": 0}"#,
            format!("limits.requests_per_minute: got 0; {bound}"),
        ),
        (
            r#", "limits": {"tokens_per_day": "many"}"#,
            format!("limits.tokens_per_day: got \"many\"; {bound}"),
        ),
        (
            r#", "limits": {"tokens_per_day": 1.5}"#,
            format!("limits.tokens_per_day: got 1.5; {bound}"),
        ),
        (
            r#", "limits": {"request_per_day": 1}"#,
            "limits.request_per_day: got an unknown key; wanted a known key (did you mean \
             \"requests_per_day\"?)"
                .to_owned(),
        ),
        (r#", "limits": [1]"#, "limits: got a list; wanted an object".to_owned()),
        (
            r#", "modality": "audio""#,
            "modality: got \"audio\"; wanted \"text\" or \"vision\"".to_owned(),
        ),
        (r#", "max_context_length": null"#, format!("max_context_length: got null; {bound}")),
        (
            r#", "max_context_length": 1, "Max_Context_Length": 1"#,
            "Max_Context_Length: got a synonym of max_context_length beside it; wanted one of them"
                .to_owned(),
        ),
        (
            r#", "capabilities": {"tools": "no"}"#,
            "capabilities.tools: got \"no\"; wanted true or false".to_owned(),
        ),
        (r#", "weight": 0"#, "weight: got 0; wanted a number from 0.000001 to 1000000".to_owned()),
        (
            r#", "successor": "gone""#,
            "successor: got \"gone\", which is no sound model here; wanted the name of a model of \
             the same provider that has no successor"
                .to_owned(),
        ),
        (
            r#", "successor": "m""#,
            "successor: got \"m\", which has a successor itself; wanted the name of a model of \
             the same provider that has no successor"
                .to_owned(),
        ),
    ] {
        check_limits(&own_model(fields), &[&format!("providers[0].models[0].{wanted}")]);
    }
    check_limits(
        r#"{"providers": [{"name": "Groq", "models": [{"scale": "huge"}, {"name": "a", "type": "text", "scale": "small"}, {"name": "a", "type": "t x", "scale": "small"}]}]}"#,
        &[
            "providers[0].models[0].name: got nothing; wanted a model's name: 1 to 256 printable \
             ASCII characters without blanks at the ends",
            "providers[0].models[0].type: got nothing; wanted what the model is for, in one word, \
             such as \"text\", \"coding\" or \"ocr\"",
            "providers[0].models[0].scale: got \"huge\"; wanted \"large\", \"medium\" or \"small\"",
            "providers[0].models[2].name: got \"a\" a second time; wanted each model once",
            "providers[0].models[2].type: got \"t x\"; wanted what the model is for, in one word, \
             such as \"text\", \"coding\" or \"ocr\"",
        ],
    );
}

#[test]
fn a_flag_beats_a_variable_beats_env_file_beats_settings() {
    let ports = |case: &Case| case.loaded().port;
    let case = Case::new().file(".env", "PORT=1\nHOST=127.0.0.2\nSESSION_TTL_HOURS=1");
    assert_eq!(ports(&case), 1);
    let case = case.set("PORT", "2");
    assert_eq!(ports(&case), 2);
    let case = case.flags(|it| it.port = Some(3));
    assert_eq!(ports(&case), 3);
    assert_eq!(case.loaded().host, "127.0.0.2");

    let case = case.file("settings.json", r#"{"session": {"ttl_hours": 3}}"#);
    let hours = |case: &Case| case.loaded().settings.session.ttl.as_secs() / 3_600;
    assert_eq!(hours(&case), 1);
    assert_eq!(hours(&case.set("SESSION_TTL_HOURS", "2")), 2);
    assert_eq!(hours(&Case::new().file("settings.json", r#"{"session": {"ttl_hours": 3}}"#)), 3);
}

#[test]
fn others_are_let_in_with_a_key_or_insecurely() {
    let open = |it: &mut Flags| it.host = Some("::".to_owned());
    assert_eq!(Case::new().flags(open).faults().len(), 1);
    let config = Case::new().flags(open).set("RELAY_API_KEY", "master-key").loaded();
    assert_eq!(config.master_key.unwrap().expose_secret(), "master-key");
    let case = Case::new().flags(open).flags(|it| it.insecure = true);
    assert!(case.loaded().insecure);
    let faults = Case::new().set("RELAY_API_KEY", "two words").faults();
    let wanted = "environment: RELAY_API_KEY: got a blank; wanted a key of printable ASCII";
    assert_eq!(faults, [wanted]);
    let config = Case::new().set("HOST", "localhost").set("RELAY_API_KEY", "").loaded();
    assert!(config.master_key.is_none());
}

#[test]
fn keys_and_addresses_are_found_under_all_their_names() {
    let limits = r#"{"providers": [
        {"name": "Z.ai", "models": [{"name": "a", "type": "text", "scale": "small"}]},
        {"name": "my-own", "url": "http://own/", "api_key_env": "SECRET_ONE",
         "models": [{"name": "b", "type": "text", "scale": "small"}]},
        {"name": "Open", "url": "http://open", "api_key_env": "",
         "models": [{"name": "c", "type": "text", "scale": "small"}]},
        {"name": "Gemini", "models": []},
        {"name": "Cloudflare", "models": [{"name": "d", "type": "text", "scale": "small"}]},
        {"name": "Odd", "kind": "ollama", "url": "http://odd", "models": []}]}"#;
    let config = Case::new()
        .file("limits.json", limits)
        .file(".env", "ZAI_API_KEY=abcdefgh.1234\nGROK_APIKEY=x\nMY_OWN_API_KEY=later")
        .set("SECRET_ONE", "team:first-key-0001,team:first-key-0002")
        .set("ZAI_BASE_URL", "http://127.0.0.1:9/v4/")
        .set("CLOUDFLARE_APIKEY", "cf-key-long-0003")
        .set("CLOUDFLARE_ACCOUNT_ID", "acc_7")
        .loaded();
    let seen: Vec<_> = config
        .catalog
        .targets()
        .map(|it| format!("{} {} {}", it.model.routable, it.provider.base_url, it.key.label))
        .collect();
    assert_eq!(
        seen,
        [
            "Z.ai/a http://127.0.0.1:9/v4 …1234",
            "my-own/b http://own …0001",
            "my-own/b http://own …0002",
            "Open/c http://open no key",
            "Cloudflare/d https://api.cloudflare.com/client/v4/accounts/acc_7/ai/v1 …0003",
        ]
    );
    let accounts: Vec<_> = config.catalog.targets().map(|it| it.key.account).collect();
    assert_eq!(accounts[1], accounts[2]);
    assert_ne!(accounts[0], accounts[1]);
    assert!(config.catalog.targets().nth(3).unwrap().key.secret.is_none());
    let notes: Vec<_> = config.notes.iter().map(|it| it.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        notes,
        [
            "MY_OWN_API_KEY is not used, for SECRET_ONE is set too",
            ".env: GROK_APIKEY is set, but nothing reads it",
            "left out, without key or address: Gemini (GEMINI_APIKEY), Odd (ODD_APIKEY)",
        ]
    );
}

#[test]
fn a_misspelt_variable_is_told() {
    let notes = |line: &str| {
        let config = Case::new().file(".env", line).loaded();
        let notes =
            config.notes.into_iter().filter_map(|it| Some(it.split_once(".env: ")?.1.to_owned()));
        notes.collect::<Vec<_>>()
    };
    let check = |line, wanted: &str| assert_eq!(notes(line), [wanted], "{line}");
    check("GROK_APIKEY=x", "GROK_APIKEY is set, but nothing reads it (did you mean GROQ_APIKEY?)");
    check("PROT=1", "PROT is set, but nothing reads it (did you mean PORT?)");
    check(
        "RELAY_API_KEYS=abc",
        "RELAY_API_KEYS is set, but nothing reads it (did you mean RELAY_API_KEY?)",
    );
    check("RUST_LOG=debug", "RUST_LOG is set, but nothing reads it");
}

#[test]
fn all_that_the_example_names_is_read() {
    let json = Json::parse(BUILT_IN_LIMITS.as_bytes()).unwrap();
    let faults = Faults::default();
    let entries = limits::read(&Document { place: "", overrides: &[], faults: &faults }, &json);
    let read = pool::variables(&entries);
    let example = include_str!("../../.env.example");
    let names = example.lines().filter_map(|it| it.trim_start_matches('#').split_once('='));
    let names: Vec<&str> = names.map(|(it, _)| it).filter(|it| !it.contains(' ')).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(read.iter().any(|it| it == name), "{name}");
    }
}

#[test]
fn a_bad_base_url_in_a_variable_is_named() {
    let faults = Case::new().set("GROQ_BASE_URL", "https://host/v1?key=secret").faults();
    assert_eq!(
        faults,
        ["environment: GROQ_BASE_URL: got \"https://host/v1?***\"; wanted an http:// or https:// \
          URL with a host, and no user, password, query or /chat/completions in it"]
    );
}

#[test]
fn a_models_own_terms_beat_its_providers() {
    let limits = r#"{"providers": [{"name": "Own", "url": "http://own", "api_key_env": "",
        "quota_scope": "account", "reset": "utc_day", "max_concurrent": 2,
        "failed_requests_count": true, "privacy": "local", "first_token_timeout_seconds": 1.5,
        "models": [
            {"name": "a", "type": "text", "scale": "small", "modality": "vision",
             "limits": {"requests_per_minute": 30, "tokens_per_day": -1, "tokens_per_month": 1e6},
             "Max_Context_Length": 8000, "capabilities": {"tools": false, "__why": "old"}},
            {"name": "b", "type": "ocr", "scale": "large", "quota_scope": "model",
             "reset": "pacific_day", "max_concurrent": -1, "failed_requests_count": false,
             "privacy": "trains", "first_token_timeout_seconds": 9,
             "reserves_max_tokens": true, "weight": 2, "max_context_length": -1,
             "successor": "a"}]}]}"#;
    let config = Case::new().file("limits.json", limits).loaded();
    let provider = &config.catalog.providers()[0];
    let [a, b] = provider.models.as_slice() else { panic!("{provider:?}") };
    assert_eq!((a.privacy, b.privacy), (Privacy::Local, Privacy::Trains));
    let timeouts = [a, b].map(|it| it.first_token_timeout.unwrap().as_millis());
    assert_eq!(timeouts, [1_500, 9_000]);
    let limits: Vec<_> = a
        .limits
        .iter()
        .map(|it| format!("{} {} {}", it.max, it.unit.name(), it.period.name()))
        .collect();
    assert_eq!(limits, ["30 requests minute", "1000000 tokens month"]);
    assert_eq!(
        (a.vision, a.max_context, a.allows("tools"), a.allows("n")),
        (true, Some(8_000), false, true)
    );
    assert_eq!(
        (a.max_concurrent, a.failed_requests_count, a.reserves_max_tokens),
        (Some(2), true, false)
    );
    assert_eq!(
        (b.max_concurrent, b.failed_requests_count, b.reserves_max_tokens),
        (None, false, true)
    );
    assert_eq!((b.weight, b.max_context, b.successor.as_deref()), (Some(2.0), None, Some("a")));
    let terms = |it: &crate::catalog::Model| format!("{:?} {:?}", it.scope, it.reset);
    assert_eq!([terms(a), terms(b)], ["Account UtcDay", "Model PacificDay"]);
}

#[test]
fn what_is_said_of_privacy_holds_for_the_address_it_stands_beside() {
    let limits = |url: &str| {
        format!(
            r#"{{"providers": [{{"name": "Groq", "url": "{url}", "privacy": "no-training",
            "privacy_source": "its terms", "last_verified": "2999-01-01", "models": [
            {{"name": "m", "type": "text", "scale": "small"}},
            {{"name": "n", "type": "text", "scale": "small", "privacy": "local"}}]}}]}}"#
        )
    };
    let check = |url: &str, variable: &'static str, expected: [Privacy; 2]| {
        let case = Case::new().file("limits.json", limits(url));
        let case = if variable.is_empty() { case } else { case.set("GROQ_BASE_URL", variable) };
        let config = case.loaded();
        let models = &config.catalog.providers()[0].models;
        let found: Vec<_> = models.iter().map(|it| it.privacy).collect();
        assert_eq!(found, expected, "{url} {variable}");
        let known = expected[0] != Privacy::Unknown;
        assert_eq!(models[0].privacy_source.is_some(), known);
        assert_eq!(models[0].last_verified.is_some(), known);
        assert_eq!(config.notes.iter().any(|it| it.contains("another address")), !known);
    };
    let said = [Privacy::NoTraining, Privacy::Local];
    let unknown = [Privacy::Unknown; 2];
    check("", "", said);
    check("", "https://api.groq.com/other/v1", said);
    check("", "https://API.groq.com:443/v1", said);
    check("", "http://127.0.0.1:9/v1", unknown);
    check("", "https://api.groq.com.example.org/v1", unknown);
    check("http://10.0.0.7:9/v1", "", said);
    check("http://10.0.0.7:9/v1", "http://10.0.0.7:8/v1", said);
    check("http://10.0.0.7:9/v1", "http://10.0.0.8:9/v1", unknown);
}

#[test]
fn a_local_server_is_local_as_long_as_it_is_near() {
    let check = |url: &'static str, expected: Privacy| {
        let config = Case::new().set("OLLAMA_BASE_URL", url).loaded();
        let mut providers = config.catalog.providers().iter();
        let ollama = providers.find(|it| it.is_called("ollama")).unwrap();
        assert_eq!(ollama.privacy, expected, "{url}");
        assert!(!ollama.base_url.ends_with("/v1"), "{url}");
    };
    check("http://localhost:11434/v1", Privacy::Local);
    check("http://localhost:11434", Privacy::Local);
    check("http://192.168.7.7:11434", Privacy::Local);
    check("http://ollama:11434", Privacy::Local);
    check("https://gpu.example.org", Privacy::Unknown);
    check("http://203.0.113.9:11434", Privacy::Unknown);
}

#[test]
fn the_demo_looks_at_no_keys_and_no_limits() {
    let case = Case::new()
        .file("limits.json", "broken")
        .file(".env", "broken\nRELAY_API_KEY=ignored")
        .set("GROQ_APIKEY", "bro ken")
        .set("PORT", "9")
        .file("settings.json", r#"{"routing": {"max_retries": 1, "global_provider_lock": true}}"#)
        .flags(|it| it.demo = true);
    let config = case.loaded();
    assert!(config.demo && config.catalog.providers().is_empty() && config.master_key.is_none());
    assert_eq!((config.port, config.settings.routing.max_retries, config.data_dir), (9, 1, None));
    assert_eq!(config.notes.len(), 1, "{:?}", config.notes);
    let case = case.flags(|it| {
        it.data_dir = Some("here".into());
        it.limits.named = true;
    });
    let config = case.loaded();
    assert_eq!(config.data_dir, Some("here".into()));
    assert_eq!(config.notes[1], "--limits has no effect with --demo");
    assert_eq!(Case::new().flags(|it| it.data_dir = Some("none".into())).loaded().data_dir, None);
}

#[test]
fn the_way_out_is_read_from_both_environments() {
    let network = Case::new()
        .file(".env", "HTTPS_PROXY=http://a:1\nNO_PROXY=host\nSSL_CERT_FILE=/c.pem")
        .set("HTTPS_PROXY", "http://b:2")
        .loaded()
        .network;
    assert_eq!(network.proxy.as_deref(), Some("http://b:2"));
    assert_eq!(network.no_proxy.as_deref(), Some("host"));
    assert_eq!(network.cert_file, Some(PathBuf::from("/c.pem")));
}

#[test]
fn the_files_at_the_root_are_sound() {
    let example = include_str!("../../.env.example");
    let case = Case::new()
        .file("settings.json", BUILT_IN_SETTINGS)
        .file("limits.json", BUILT_IN_LIMITS)
        .file(".env", example)
        .set("CLOUDFLARE_ACCOUNT_ID", "account")
        .set("OLLAMA_BASE_URL", "http://localhost:11434");
    let file: serde_json::Value = serde_json::from_str(BUILT_IN_LIMITS).unwrap();
    let names = file["providers"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    let variable = |it: &str| match it {
        "OllamaCloud" => "OLLAMA_API_KEY".to_owned(),
        it => format!("{}_APIKEY", it.to_uppercase()),
    };
    let others: Vec<String> =
        names.filter(|it| !["Groq", "Ollama"].contains(it)).map(variable).collect();
    let case = others.leak().iter().fold(case, |case, it| case.set(it, "key"));
    let config = case.loaded();
    let aged = |it: &&String| it.starts_with("not verified for ");
    assert_eq!(config.notes.iter().find(|it| !aged(it)), None);
    // Every provider is in the example, and every variable of the example is read by something.
    let mut listed: Vec<_> = example
        .lines()
        .filter_map(|it| it.trim_start_matches('#').split_once('=').map(|(name, _)| name))
        .filter(|it| {
            let key =
                it.ends_with("_APIKEY") || it.ends_with("_API_KEY") || *it == "OLLAMA_BASE_URL";
            key && it.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')
        })
        .collect();
    listed.dedup();
    let mut wanted = config.catalog.providers().iter().map(|it| match &*it.name {
        "Ollama" => "OLLAMA_BASE_URL".to_owned(),
        it => variable(it),
    });
    assert!(wanted.all(|it| listed.contains(&it.as_str())), "{listed:?}");
}

#[test]
fn every_limit_of_the_built_in_file_has_its_evidence() {
    let file: serde_json::Value = serde_json::from_str(BUILT_IN_LIMITS).unwrap();
    for provider in file["providers"].as_array().unwrap() {
        assert!(provider["last_verified"].is_string(), "{}", provider["name"]);
        for model in provider["models"].as_array().unwrap() {
            for evidence in ["__source", "last_verified"] {
                let text = model[evidence].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{} has no {evidence}", model["name"]);
            }
        }
    }
}

/// Texts near to what the files hold, so that the readers are reached.
fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("providers"),
        Just("models"),
        Just("name"),
        Just("limits"),
        Just("session"),
        Just("ttl_hours"),
        Just("requests_per_day"),
        Just("Groq"),
        Just("url"),
        Just("kind"),
        Just("successor"),
        Just("__x"),
        Just("type"),
        Just("scale"),
        Just("http://a"),
        Just(""),
        Just("\u{1F600}é\u{0}"),
    ];
    let leaf = prop_oneof![
        any::<i64>().prop_map(|it| it.to_string()),
        any::<f64>()
            .prop_filter("JSON has no NaN", |it| it.is_finite())
            .prop_map(|it| it.to_string()),
        word.clone().prop_map(|it| serde_json::Value::from(it).to_string()),
        Just("null".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let entry = (word.clone(), inner.clone())
            .prop_map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key)));
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|it| format!("[{}]", it.join(","))),
            proptest::collection::vec(entry, 0..6).prop_map(|it| format!("{{{}}}", it.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, env in "[\\PC\n\"'$={}# ]{0,80}", text in texts()) {
        for content in [bytes.as_slice(), text.as_bytes()] {
            let case = Case::new()
                .file("settings.json", content)
                .file("limits.json", content)
                .file(".env", if content == bytes { &bytes } else { env.as_bytes() });
            if let Err(refusal) = case.load() {
                prop_assert!(!refusal.to_string().contains("gsk_0123456789"));
            }
        }
    }
}
