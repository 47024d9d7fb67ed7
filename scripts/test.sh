#!/usr/bin/env bash
# Every test there is. Needs Rust, Python 3.11 or later and Node 20 or later. What it makes is in
# cargo's target directory.
#
#   scripts/test.sh              cargo's tests, then the official clients against the program
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
need node "install Node 20 or later"
need npm "it comes with Node, or as a package of that name"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
    { echo "scripts/test.sh: Node $(node --version) is too old; 20 is needed" >&2; exit 1; }

sdk_only=false
if [ "${1:-}" = "--sdk-only" ]; then
    sdk_only=true
    shift
fi

target="${CARGO_TARGET_DIR:-$PWD/target}"

# The integration tests need the program too, so cargo test leaves it in target/debug, and the
# examples beside it.
if $sdk_only; then
    cargo build --locked --bin relayfreellm --example providers
else
    cargo test --locked --workspace
fi

# Both environments are made once, and anew when their list of packages changes.
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

packages="$target/sdk-node"
wanted="$(node --version) $(cat tests/sdk/node/package-lock.json)"
if [ "$(cat "$packages/made-for" 2>/dev/null)" != "$wanted" ]; then
    echo "making $packages with the packages of tests/sdk/node/package-lock.json"
    rm -rf "$packages"
    mkdir -p "$packages"
    cp tests/sdk/node/package.json tests/sdk/node/package-lock.json "$packages"
    npm ci --prefix "$packages" --ignore-scripts --no-audit --no-fund --loglevel=error
    printf '%s\n' "$wanted" >"$packages/made-for"
fi
export RELAYFREELLM_NODE_MODULES="$packages/node_modules"

# Let RELAYFREELLM_BINARY name another build, such as target/release/relayfreellm.
export RELAYFREELLM_BINARY="${RELAYFREELLM_BINARY:-$target/debug/relayfreellm}"
export RELAYFREELLM_PROVIDERS="${RELAYFREELLM_PROVIDERS:-$target/debug/examples/providers}"
"$venv/bin/python" -B -m pytest tests/sdk "$@"
