#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets, from the samples in tests/wire, into fuzz/corpus."""

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
