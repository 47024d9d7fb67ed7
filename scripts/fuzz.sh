#!/usr/bin/env bash
# Runs every fuzz target, one after the other: scripts/fuzz.sh [seconds for each] [target...]
# Wants a nightly compiler and cargo-fuzz 0.13. An input that makes a target panic is left in
# fuzz/artifacts, and the script fails.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${1:-60}
shift || true
[ $# -gt 0 ] && targets=("$@") || mapfile -t targets < <(cargo +nightly fuzz list)

findings=0
for target in "${targets[@]}"; do
    # What is found goes into the first folder; the kept corpus is only read.
    mkdir -p "target/grown/$target" "corpus/$target"
    echo "--- $target"
    # No sanitizer: there is no unsafe code here to be watched.
    status=0
    cargo +nightly fuzz run --sanitizer none "$target" "target/grown/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 \
        -dict=answers.dict -print_final_stats=1 >"target/grown/$target.log" 2>&1 || status=$?
    grep -E "^(stat::(number|peak)|ERROR|SUMMARY|assertion|#[0-9]+\s+DONE)|panicked" \
        "target/grown/$target.log" || true
    [ "$status" -eq 0 ] || { echo "=== $target: a finding"; findings=$((findings + 1)); }
done
[ "$findings" -eq 0 ] || { echo "$findings targets with findings: see fuzz/artifacts"; exit 1; }
