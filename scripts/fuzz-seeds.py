#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets into fuzz/corpus: samples of tests/wire, and texts."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
# As in src/provider/fuzz.rs.
STATUSES = [400, 401, 402, 403, 404, 408, 410, 413, 422, 429, 498, 500, 503, 529]
PROVIDERS = ["", "groq", "mistral", "cerebras", "deepseek", "cloudflare", "nvidia", "openrouter",
             "together", "sambanova", "huggingface", "cohere", "zai", "openai", "ollama",
             "anthropic", "gemini"]
NATIVE = {"gemini", "anthropic", "ollama"}


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{name}").write_bytes(data)


def shorter(data):
    """The same JSON without its indentation."""
    return json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":")).encode()


for sample in sorted((ROOT / "tests" / "wire").glob("*/*.*")):
    folder, stem = sample.parent.name, sample.stem
    if folder == "expected":
        continue
    data, name = sample.read_bytes(), f"{folder}-{stem}"
    is_openai = folder not in NATIVE or stem.startswith("v1_")
    dialect = "openai" if is_openai else folder
    if sample.suffix in (".sse", ".ndjson"):
        write(f"{dialect}_stream", name, b"\x40" + data)
        write("ndjson" if sample.suffix == ".ndjson" else "sse", name, b"\x11" + data)
    elif "error_" in stem and sample.suffix == ".json":
        status = next((int(it) for it in stem.split("_") if it.isdigit()), 500)
        provider = PROVIDERS.index(folder) if folder in PROVIDERS else 0
        status = STATUSES.index(status) if status in STATUSES else 11
        head = bytes([provider, status]) + b"retry-after: 3\nx-ratelimit-reset-requests: 2m59.56s\n\n"
        write("classifier", name, head + shorter(data))
    elif sample.suffix == ".json" and not stem.startswith(("models", "v1_models", "show", "tags")):
        write(f"{dialect}_whole", name, shorter(data))

ANSWERS = {
    "opener": "Sure! Here it is:\n\n```rust\nfn f() {}\n",
    "list": "As an AI, I see:\n\n1. One\n\n   ```sh\n   ls\n   ```\n\n2. ~~~\n   two\n",
    "source": "According to [1], here it is: {\"a\": [1, 2]} [2]",
    "fenced": "See [1, x].\n```json\n{'a': 1, /* so */ b: [true,],}\n```\nEnjoy {it}!",
    "cut": "Well: {\"a\": [1, {\"b\": \"\\u00e9",
}
CONVERSATIONS = {
    "support": ["My order 4711 of 2026-03-02 has not come.", "I see it: it left on 5 March.",
                "{\"state\": \"lost\"}", "Send it again to 12 Mill Lane, please.",
                "Done. The new one is 4712.", "{\"ok\": true}", "When will it be here?"],
    "code": ["Write f in src/a.rs.", "```rust\nfn f(x: u32) -> u32 {\n    x + 1\n}\n```", "ok",
             "We must never use unwrap. Now add tests."],
    "languages": ["\u65e5\u672c\u8a9e\u3067\u304a\u9858\u3044\u3057\u307e\u3059\u3002" * 9,
                  "\u0e44\u0e17\u0e22" * 40, "\U0001f980 " * 30, "D\u2019accord. Et apr\u00e8s ?"],
}
for name, text in ANSWERS.items():
    write("normalizer", name, text.encode())
for name, turns in CONVERSATIONS.items():
    write("context", name, "\n\n".join(turns).encode())
