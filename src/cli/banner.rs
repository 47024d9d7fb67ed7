//! What a user reads when the gateway has started.

use std::fmt::Write as _;

use crate::app::App;

/// Where it listens, whom it asks and, in the demo, how to break them.
pub(super) fn text(app: &App) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "RelayFreeLLM listens on http://{}/v1", app.addr());
    for provider in app.catalog().providers() {
        let models = provider.models.iter().filter(|it| it.successor.is_none()).count();
        let keys = provider.keys.iter().filter(|it| it.secret.is_some()).count();
        let keys = match keys {
            0 if provider.is_local() => "and those it is found to have".to_owned(),
            0 => "no key".to_owned(),
            some => format!("{some} key{}", plural(some)),
        };
        let _ = writeln!(out, "  {:<12} {models} model{}, {keys}", provider.name, plural(models));
    }
    if let Some(sim) = app.sim_addr() {
        let key = if app.asks_for_key() { KEY_HEADER } else { "" };
        let _ = write!(
            out,
            "\nThis is a demo: its providers are simulated, on http://{sim}. groq is out of quota,\n\
             mistral is slow, cerebras fails now and then, nvidia is well. Ask something:\n\n  \
             curl http://{addr}/v1/chat/completions{key} -d '{{\"model\":\"meta-model\",\"messages\":[{{\"role\":\"user\",\"content\":\"Why is the sky blue?\"}}]}}'\n\n\
             Break a provider, and see the answers keep coming; mend it again:\n\n  \
             curl -X POST 'http://{sim}/nvidia/fault?kind=down'\n  \
             curl -X POST http://{sim}/nvidia/mend\n",
            addr = app.addr()
        );
    }
    if let Some(chaos) = app.chaos() {
        let _ = writeln!(
            out,
            "\nChaos: {}% of the requests at every provider meet a fault; to see the same ones again:\n\n  \
             --demo --chaos {},{}",
            chaos.rate * 100.0,
            chaos.rate,
            chaos.seed
        );
    }
    out
}

/// What a command has to bring where the environment sets a key for callers.
const KEY_HEADER: &str = " -H \"Authorization: Bearer $RELAY_API_KEY\"";

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
