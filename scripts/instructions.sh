#!/usr/bin/env bash
# Counts the user-space instructions the gateway spends on a request, short and long, and on a stream.
# A count, unlike a time, hardly depends on what else the machine is doing. Fails when one is more than
# 3 % above what benches/instructions.json says; with --write that file is written anew.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install -y -qq valgrind >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -y -qq valgrind; } >/dev/null 2>&1 || true
    fi
fi
if ! command -v valgrind >/dev/null; then
    echo "instructions per request: not counted, valgrind is missing"
    exit 0
fi

# The program as it is shipped; the upstream's speed does not enter the count.
cargo build --release --locked --bin relayfreellm
cargo build --locked --example upstream
built="${CARGO_TARGET_DIR:-target}"
exec python3 scripts/instructions.py "$built/release/relayfreellm" "$built/debug/examples/upstream" "$@"
