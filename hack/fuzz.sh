#!/usr/bin/env bash
# Fuzzes one target with libFuzzer, or all of them one after the other. Needs a nightly toolchain with rust-std; no cargo-fuzz.
#
#   hack/fuzz.sh bgp_update -runs=1000000      more words go to libFuzzer as they are
#   hack/fuzz.sh all -max_total_time=60
#
# The committed corpus (proto/fuzz/corpus/TARGET) is read, new finds go to proto/fuzz/target/corpus/TARGET; what breaks a
# promise is left in proto/fuzz/target/artifacts/.
set -euo pipefail
cd "$(dirname "$0")/../proto/fuzz"

target=${1:?name a target of proto/fuzz/fuzz_targets, or all}
shift
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
RUSTFLAGS="$coverage" cargo +nightly build --quiet --release --target "$host"

targets=$target
if [ "$target" = all ]; then targets=$(basename -s .rs fuzz_targets/*.rs); fi
for one in $targets; do
    mkdir -p "corpus/$one" "target/corpus/$one" target/artifacts
    "target/$host/release/$one" "target/corpus/$one" "corpus/$one" \
        -artifact_prefix="target/artifacts/$one-" -max_len=4096 -timeout=10 "$@"
done
