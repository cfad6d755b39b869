#!/usr/bin/env bash
# Portolan at work on this machine, without a cluster: three nodes, a router, two clients, an API server in memory, a
# controller and three speakers, in network namespaces. Installs what is missing first. Needs root.
#
#   hack/demo.sh           stays, with a live table, until Ctrl-C; prints a KUBECONFIG for kubectl
#   hack/demo.sh --once    ends by itself; exit status 0 only if every step saw what it should
set -euo pipefail
cd "$(dirname "$0")/.."

hack/setup.sh demo
PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH

echo "==> cargo build --workspace (a few minutes the first time)"
cargo build --workspace
exec "${CARGO_TARGET_DIR:-target}/debug/demo" "$@"
