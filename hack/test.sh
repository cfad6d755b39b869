#!/usr/bin/env bash
# Runs everything that must hold: format, lints, every test (unit, property, lab with real routers, both API servers), and
# the demo. Installs what is missing first. Needs root, because the lab makes network namespaces.
#
#   hack/test.sh              everything; the last line is "N passed, N failed"
#   hack/test.sh suite md5    only tests of the suite whose name contains "md5"
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0

say() { printf '\n==> %s\n' "$*"; }

# A check that is not a test harness counts as one test.
check() {
    local name=$1
    shift
    say "$name: $*"
    local begin=$SECONDS
    if "$@"; then
        passed=$((passed + 1))
        echo "    ok ($((SECONDS - begin)) s)"
    else
        failed=$((failed + 1))
        echo "    FAILED: $name"
    fi
}

# Test harnesses say how many passed and failed; a harness that dies without saying so counts as one failure.
tests() {
    local name=$1
    shift
    say "$name: $*"
    local begin=$SECONDS
    "$@" 2>&1 | tee "$log"
    local status=${PIPESTATUS[0]}
    local p f
    p=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
    f=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    if [ $((p + f)) -eq 0 ]; then
        echo "    FAILED: $name ran no test"
        f=1
    fi
    passed=$((passed + p))
    failed=$((failed + f))
    echo "    $p passed, $f failed ($((SECONDS - begin)) s)"
}

finish() {
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ]
    exit
}

hack/setup.sh test || exit 1
# shellcheck source=/dev/null
[ -f "${CARGO_HOME:-$HOME/.cargo}/env" ] && . "${CARGO_HOME:-$HOME/.cargo}/env"

if [ "${1:-}" = suite ]; then
    shift
    cargo build --workspace || exit 1
    cargo build -p portolan-speaker --examples || exit 1
    tests "suite" cargo test -p portolan-tests --test suite -- "$@"
    finish
fi

check "format" cargo fmt --all -- --check
check "lints" cargo clippy --workspace --all-targets -- -D warnings
# The suite starts the binaries: it must never run yesterday's.
check "build" cargo build --workspace
# Scenarios run side by side, each in namespaces of its own; they mostly wait.
tests "tests" cargo test --workspace --no-fail-fast -- --test-threads "${TEST_THREADS:-3}"
check "demo" hack/demo.sh --once
finish
