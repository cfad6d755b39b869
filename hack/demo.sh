#!/usr/bin/env bash
# Portolan at work on this machine, without a cluster: three nodes, a router, two clients, an API server in memory, a
# controller and three speakers, in network namespaces. Installs what is missing first. Needs root.
#
#   hack/demo.sh           stays, with a live table, until Ctrl-C; prints a KUBECONFIG for kubectl
#   hack/demo.sh --once    ends by itself; exit status 0 only if every step saw what it should
set -euo pipefail
cd "$(dirname "$0")/.."

hack/setup.sh demo
# shellcheck source=/dev/null
[ -f "${CARGO_HOME:-$HOME/.cargo}/env" ] && . "${CARGO_HOME:-$HOME/.cargo}/env"

echo "==> cargo build --workspace (a few minutes the first time)"
cargo build --workspace --quiet
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
exec "$target/debug/demo" "$@"
