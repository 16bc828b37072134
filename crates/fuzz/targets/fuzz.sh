#!/bin/sh
# Lets libFuzzer look at a target: fuzz.sh TARGET [SECONDS [FLAGS OF LIBFUZZER]]
# FUZZ_SANITIZER=address looks at memory too, at half the speed.
# Needs a nightly compiler (`rustup toolchain install nightly`) and a C++ one.
set -eu
target=$1
seconds=${2:-600}
shift; [ $# -eq 0 ] || shift
here=$(cd "$(dirname "$0")" && pwd)
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
work=${FUZZ_WORK:-"$here/target/work"}
mkdir -p "$work/$target" "$work/found"
RUSTFLAGS="${FUZZ_SANITIZER:+-Zsanitizer=$FUZZ_SANITIZER} -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=4 --cfg fuzzing" \
    cargo +nightly build --quiet --release --target "$host" --manifest-path "$here/Cargo.toml"
cd "$work"
FUZZ_TARGET=$target exec nice -n 10 \
    "${CARGO_TARGET_DIR:-$here/target}/$host/release/target" \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 \
    -close_fd_mask=1 -artifact_prefix="$work/found/$target-" -print_final_stats=1 -entropic=0 "$@" \
    "$work/$target" "$here/../corpus/$target"
