//! The command line.

use std::path::PathBuf;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use crate::config::FileChoice;
use crate::config::Flags;

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "relayfreellm", version, about, long_about = ABOUT, after_help = PRECEDENCE)]
pub struct CommandLine {
    /// What to do; serve when absent.
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: CommonFlags,
}

/// What the program can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the gateway (the default)
    #[default]
    Serve,
    /// Ask every configured key and model for one token and print who answered
    Check,
    /// Ask a running gateway how its providers are
    Status,
    /// Make, list and take back keys that open a part of what the gateway has
    Keys {
        /// What to do with them.
        #[command(subcommand)]
        command: KeysCommand,
    },
}

/// What can be done with virtual keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum KeysCommand {
    /// Make a key and show it, this once
    Create(NewKeyFlags),
    /// List all keys with what they allow and have used today
    List,
    /// Take a key back, at once
    Revoke {
        /// Its id (key_...) or its label
        key: String,
    },
}

/// What a new key allows.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct NewKeyFlags {
    /// What people call it
    #[arg(long)]
    pub label: String,
    /// Answers a day; the day begins at midnight UTC
    #[arg(long, value_name = "N")]
    pub daily_requests: Option<u64>,
    /// Tokens a day, of prompts and answers together
    #[arg(long, value_name = "N")]
    pub daily_tokens: Option<u64>,
    /// The models its requests may name, meta-models too [default: any]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub models: Vec<String>,
    /// When it ends: 2030-12-31 (its beginning, UTC) or 2030-12-31T12:00:00Z
    #[arg(long, value_name = "DATE")]
    pub expires: Option<String>,
    /// no-training: only providers that are known not to train on prompts
    #[arg(long, value_name = "WHAT")]
    pub privacy: Option<String>,
}

/// How the log's lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLines {
    Human,
    Json,
}

/// Flags every command takes, before or after its name.
#[derive(Debug, Args)]
struct CommonFlags {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, global = true, value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on, 0 for any free one [default: 8000]
    #[arg(long, global = true)]
    port: Option<u16>,
    /// Settings [default: ./settings.json, else the built-in ones]
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "Providers, models and limits [default: ./provider_model_limits.json, else the \
                built-in ones]"
    )]
    limits: Option<PathBuf>,
    /// Keys and variables [default: ./.env]
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Where quota and usage are kept, or none [default: ./data; with --demo none]
    #[arg(long, global = true, value_name = "DIR|none")]
    data_dir: Option<PathBuf>,
    /// Route to simulated providers: no key and no network needed
    #[arg(long, global = true)]
    demo: bool,
    /// With --demo: this share of requests (0 to 1) meets a fault; the same ones with the same seed
    #[arg(long, global = true, value_name = "RATE[,SEED]")]
    chaos: Option<String>,
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "human|json",
        hide_possible_values = true,
        help = "How the log's lines look; RELAY_LOG_FORMAT says it too [default: human]"
    )]
    log_format: Option<LogLines>,
    #[arg(long, global = true, help = "Serve callers from any address without RELAY_API_KEY")]
    insecure: bool,
}

const ABOUT: &str = "\
One OpenAI-compatible endpoint in front of every free LLM tier you can get.

Put at least one provider's key into .env (see .env.example) and start the program, or try it with
--demo, which needs no key. Then point any OpenAI client at http://127.0.0.1:8000/v1.";

const PRECEDENCE: &str =
    "A flag beats an environment variable, that beats .env, and that beats settings.json.";

impl CommandLine {
    /// The command, and what the flags say.
    pub fn into_parts(self) -> (Command, Flags) {
        let CommonFlags { host, port, settings, limits, env_file, data_dir, demo, chaos, .. } =
            self.flags;
        let (insecure, log_format) = (self.flags.insecure, self.flags.log_format);
        let usual = Flags::default();
        let choose = |named: Option<PathBuf>, usual| named.map_or(usual, FileChoice::named);
        let flags = Flags {
            host,
            port,
            settings: choose(settings, usual.settings),
            limits: choose(limits, usual.limits),
            env_file: choose(env_file, usual.env_file),
            data_dir,
            demo,
            chaos,
            insecure,
            log_json: log_format.map(|it| it == LogLines::Json),
        };
        (self.command.unwrap_or_default(), flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Command, Flags), clap::Error> {
        CommandLine::try_parse_from(line.split(' ')).map(CommandLine::into_parts)
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        for line in [
            "relayfreellm --host ::1 --port 0 --settings s --data-dir none --demo --insecure",
            "relayfreellm serve --host ::1 --port 0 --settings s --data-dir none --demo --insecure",
            "relayfreellm --host ::1 --port 0 --settings s serve --data-dir none --demo --insecure",
        ] {
            let (command, flags) = parse(line).unwrap();
            assert_eq!(command, Command::Serve);
            assert_eq!(flags.host.as_deref(), Some("::1"));
            assert_eq!(flags.port, Some(0));
            assert_eq!(flags.settings, FileChoice::named("s"));
            assert_eq!(flags.limits, FileChoice::usual("./provider_model_limits.json"));
            assert_eq!(flags.data_dir, Some(PathBuf::from("none")));
            assert!(flags.demo && flags.insecure);
        }
    }

    #[test]
    fn what_is_no_flag_is_refused_with_exit_code_2() {
        for line in ["relayfreellm --prot 1", "relayfreellm --port 70000", "relayfreellm dance"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_help_names_every_flag() {
        let help = parse("relayfreellm --help").unwrap_err().to_string();
        for flag in [
            "--host",
            "--port",
            "--settings",
            "--limits",
            "--env-file",
            "--data-dir",
            "--demo",
            "--chaos",
            "--insecure",
            "--log-format",
            "--help",
            "--version",
            "serve",
            "keys",
        ] {
            assert!(help.contains(flag), "{flag} is not in\n{help}");
        }
        assert!(!help.contains('`'), "{help}");
    }
}
