#!/usr/bin/env bash
# Builds the program as a release should ship it: compiled and laid out by what it does when it is used, which
# makes it faster and smaller than `cargo build --release` does. Leaves target/dist/relayfreellm.
# Builds everything twice and uses the first for a minute and a half: ten minutes on two cores. Wants Linux,
# Python 3.9 and the component llvm-tools of Rust.
set -euo pipefail
built=$(realpath -m "${CARGO_TARGET_DIR:-$(dirname "$0")/../target}")/dist
cd "$(dirname "$0")/.."

[ "$(uname)" = Linux ] || { echo "scripts/dist.sh: only for Linux so far" >&2; exit 1; }
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$profdata" ]; then
    command -v rustup >/dev/null ||
        { echo "scripts/dist.sh: $profdata is missing, and rustup, which could fetch it" >&2; exit 1; }
    rustup component add llvm-tools
fi
# cargo does not see that a profile has changed.
rm -rf "$built/counts" "$built/trained"
mkdir -p "$built/counts"

# build FOLDER FLAG...
build() {
    local folder=$1
    shift
    # Between the flags, for paths may have spaces in them. With --target they are for the program
    # alone, not for what runs while it is built.
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "$*") cargo build --release --locked --bin relayfreellm \
        --target "$host" --target-dir "$built/$folder"
}

# Can the linker lay out functions in a given order? LLVM's can, which Rust brings along for some systems.
can_order() {
    echo main >"$built/probe.txt"
    echo 'fn main() {}' | rustc --crate-name probe -o "$built/probe" \
        -Clink-arg=-Wl,--symbol-ordering-file="$built/probe.txt" - 2>/dev/null
}

build counting "-Cprofile-generate=$built/counts"
python3 benches/load/train.py "$built/counting/$host/release/relayfreellm" "$built/counts"
for part in start use; do
    "$profdata" merge -o "$built/$part.profdata" "$built/counts/$part"
done
scripts/order.py "$profdata" "$built/start.profdata" "$built/use.profdata" >"$built/order.txt"
flags=("-Cprofile-use=$built/use.profdata")
if can_order; then
    flags+=("-Clink-arg=-Wl,--symbol-ordering-file=$built/order.txt" -Clink-arg=-Wl,--no-warn-symbol-ordering)
else
    echo "the linker can't order functions: they stay as they come" >&2
fi
build trained "${flags[@]}"
mv "$built/trained/$host/release/relayfreellm" "$built/relayfreellm"
echo "$built/relayfreellm"
