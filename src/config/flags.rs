//! What the command line says, free of how it was parsed.

use std::path::PathBuf;

/// A file to read: named by the user, or the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChoice {
    /// Where it is.
    pub path: PathBuf,
    /// Named by the user, so that it must be there. The usual one may be missing.
    pub named: bool,
}

impl FileChoice {
    /// The file at the usual place, which may be missing.
    pub fn usual(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), named: false }
    }

    /// A file the user named.
    pub fn named(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), named: true }
    }
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Address to listen on.
    pub host: Option<String>,
    /// Port to listen on; 0 takes any free one.
    pub port: Option<u16>,
    /// The settings.
    pub settings: FileChoice,
    /// The providers, their models and limits.
    pub limits: FileChoice,
    /// Keys and variables.
    pub env_file: FileChoice,
    /// Where quota and usage are kept. The word `none` keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// Simulated providers in place of real ones.
    pub demo: bool,
    /// How often they fail: `RATE` or `RATE,SEED`. Only with `demo`.
    pub chaos: Option<String>,
    /// Any caller from anywhere.
    pub insecure: bool,
    /// Is the log written as JSON? `None`: as the environment says.
    pub log_json: Option<bool>,
}

impl Default for Flags {
    /// As with an empty command line.
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            settings: FileChoice::usual("./settings.json"),
            limits: FileChoice::usual("./provider_model_limits.json"),
            env_file: FileChoice::usual("./.env"),
            data_dir: None,
            demo: false,
            chaos: None,
            insecure: false,
            log_json: None,
        }
    }
}
