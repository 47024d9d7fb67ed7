#!/usr/bin/env bash
# Every test there is. Needs Rust and Python 3.11 or later. What it makes is in cargo's
# target directory.
#
#   scripts/test.sh              cargo's tests, then the official OpenAI client against the program
#   scripts/test.sh --sdk-only   the latter alone; further arguments go to pytest
set -euo pipefail
cd "$(dirname "$0")/.."

need() {
    command -v "$1" >/dev/null || { echo "scripts/test.sh: $1 is missing; $2" >&2; exit 1; }
}
need cargo "see https://rustup.rs"
need python3 "install Python 3.11 or later"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "scripts/test.sh: $(python3 --version) is too old; 3.11 is needed" >&2; exit 1; }

sdk_only=false
if [ "${1:-}" = "--sdk-only" ]; then
    sdk_only=true
    shift
fi

target="${CARGO_TARGET_DIR:-$PWD/target}"

# The integration tests need the program too, so cargo test leaves it in target/debug.
if $sdk_only; then
    cargo build --locked --bin relayfreellm
else
    cargo test --locked --workspace
fi

# The environment is made once, and anew when the list of packages changes.
venv="$target/sdk-venv"
wanted="$(python3 --version) $(cat tests/sdk/requirements.txt)"
if [ "$(cat "$venv/made-for" 2>/dev/null)" != "$wanted" ]; then
    echo "making $venv with the packages of tests/sdk/requirements.txt"
    rm -rf "$venv"
    python3 -m venv "$venv" ||
        { echo "scripts/test.sh: no venv could be made; Debian has it in python3-venv" >&2; exit 1; }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --requirement tests/sdk/requirements.txt
    printf '%s\n' "$wanted" >"$venv/made-for"
fi

# Let RELAYFREELLM_BINARY name another build, such as target/release/relayfreellm.
export RELAYFREELLM_BINARY="${RELAYFREELLM_BINARY:-$target/debug/relayfreellm}"
"$venv/bin/python" -B -m pytest tests/sdk "$@"
