#!/usr/bin/env bash
# Installs what is missing, and only that; says one line before each step. For Debian 12 or Ubuntu, as root.
#
#   hack/setup.sh demo    what the demo needs
#   hack/setup.sh test    that, and what the tests need on top: BIRD, GoBGP, ExaBGP, OpenBGPD, Go
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-test}
case $purpose in
demo | test) ;;
*)
    echo "usage: hack/setup.sh demo|test" >&2
    exit 2
    ;;
esac

say() { printf '==> %s\n' "$*"; }
die() {
    printf 'hack/setup.sh: %s\n' "$*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || die "the lab makes network namespaces, so this runs as root: sudo $0 $purpose"
command -v apt-get >/dev/null || die "this is not Debian or Ubuntu: install by hand what is listed in $0"
export DEBIAN_FRONTEND=noninteractive
PATH=${CARGO_HOME:-$HOME/.cargo}/bin:/usr/local/go/bin:$PATH:/usr/sbin:/sbin

# Each line: a file that the package brings (or a command in PATH), and the package.
wanted() {
    cat <<-'LIST'
		ip iproute2
		nft nftables
		arping iputils-arping
		ping iputils-ping
		ndisc6 ndisc6
		tcpdump tcpdump
		ps procps
		setpriv util-linux
		curl curl
		git git
		cc gcc
		/usr/include/stdio.h libc6-dev
		openssl openssl
		/etc/ssl/certs/ca-certificates.crt ca-certificates
		/usr/lib/frr/bgpd frr
	LIST
    if [ "$purpose" = test ]; then
        cat <<-'LIST'
			bird bird2
			gobgpd gobgpd
			exabgp exabgp
			/usr/sbin/bgpd openbgpd
		LIST
    fi
}

is_there() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# The arping of the package `arping` has other options than that of iputils.
is_right() {
    case $1 in
    arping) arping -V 2>&1 | grep -q iputils ;;
    *) true ;;
    esac
}

missing_packages() {
    local file package
    while read -r file package; do
        if ! is_there "$file" || ! is_right "$file"; then echo "$package"; fi
    done < <(wanted)
}

# Packages of routing daemons start them at once, on the ports that the lab's own want. A policy of 101 ("no") keeps
# apt from it (invoke-rc.d(8)); the policy of the machine, if it has one, is put back. In a subshell, for its trap.
without_autostart() (
    policy=/usr/sbin/policy-rc.d
    saved=$policy.before-portolan
    mark='# written by hack/setup.sh of Portolan, for the time of one installation'
    # Ours may be a leftover of a run that was killed; that one is nobody's to keep.
    if [ -e $policy ] && ! grep -qxF "$mark" $policy; then mv $policy $saved; fi
    trap 'rm -f $policy; [ ! -e $saved ] || mv $saved $policy' EXIT
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >$policy
    chmod 755 $policy
    "$@"
)

install_packages() {
    local -a packages
    mapfile -t packages < <(missing_packages)
    [ ${#packages[@]} -gt 0 ] || return 0
    say "Debian packages: ${packages[*]}"
    apt-get -qq update || die "apt-get update failed"
    # Without -o, apt waits for whoever else is installing instead of failing.
    without_autostart apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends \
        "${packages[@]}" >/dev/null || die "apt-get could not install: ${packages[*]}"
    # On a machine that boots with systemd they would start next time.
    local service
    for service in frr bird bird6 gobgpd exabgp openbgpd; do
        case " ${packages[*]} " in
        *" $service "* | *" ${service}2 "*)
            if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
                systemctl disable --now --quiet "$service" 2>/dev/null || true
            fi
            ;;
        esac
    done
}

# That of rustup follows rust-toolchain.toml. Another one, Debian's for example, may be too old; then rustup's goes
# beside it, first in PATH.
cargo_is_right() {
    command -v cargo >/dev/null || return 1
    if command -v rustup >/dev/null; then return 0; fi
    local needed there
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    there=$(cargo --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$needed" "$there" | sort -V | head -n 1)" = "$needed" ]
}

# The toolchain itself is pinned in rust-toolchain.toml; rustup fetches it when cargo first runs here.
install_rust() {
    if ! cargo_is_right; then
        say "Rust, by rustup into ${CARGO_HOME:-$HOME/.cargo}"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            RUSTUP_INIT_SKIP_PATH_CHECK=yes sh -s -- -y -q --profile minimal --default-toolchain none --no-modify-path ||
            die "rustup could not be installed; see https://rustup.rs"
    fi
    if command -v rustup >/dev/null; then
        local channel
        channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
        if ! rustup toolchain list | grep -q "^$channel"; then
            say "Rust $channel"
            rustup -q toolchain install "$channel" --profile minimal -c rustfmt -c clippy ||
                die "rustup could not install Rust $channel"
        fi
    fi
}

# Any Go from 1.21 on fetches by itself the version that tests/kubernetes/go.mod asks for; older ones cannot.
install_go() {
    [ "$purpose" = test ] || return 0
    if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/kube-proxy" ]; then return 0; fi
    local minor
    minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge 21 ]; then return 0; fi
    minor=$(apt-cache policy golang-go | sed -n 's/.*Candidate: 2:1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -ge 21 ]; then
        say "Go, by the Debian package golang-go (the real API server is built with it, once)"
        apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends golang-go >/dev/null ||
            die "apt-get could not install golang-go"
        return 0
    fi
    local version
    version=$(sed -n 's/^go \(1\..*\)/\1/p' tests/kubernetes/go.mod)
    say "Go $version into /usr/local/go (the real API server is built with it, once)"
    [ ! -e /usr/local/go ] || die "/usr/local/go is older than 1.21: remove it, or put a newer one first in PATH"
    curl -sSfL "https://go.dev/dl/go$version.linux-$(dpkg --print-architecture).tar.gz" |
        tar -C /usr/local -xz ||
        die "Go could not be fetched; install any Go from 1.21 on, or set KUBEBUILDER_ASSETS"
    ln -sf /usr/local/go/bin/go /usr/local/bin/go
}

# The lab's routers listen in namespaces of their own; only the root namespace's port 179 could mislead a reader.
check_port() {
    if ss -Hltn 'sport = :179' 2>/dev/null | grep -q .; then
        say "note: something on this machine listens on port 179 (BGP); the lab does not mind"
    fi
}

install_packages
install_rust
install_go
check_port
