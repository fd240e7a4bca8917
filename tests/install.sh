#!/usr/bin/env bash
# Installs what the tests need beyond Rust and a C compiler, and only what is missing.
set -eu

CARGO_DENY_VERSION=0.20.2

packages=()
has() { command -v "$1" >/dev/null; }
# Debian keeps the server's programs out of PATH, and the tests look where Debian keeps them, or in PGBIN.
[ -n "${PGBIN:-}" ] || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
has curl || packages+=(curl)
has h2load || packages+=(nghttp2-client)
has chromium || packages+=(chromium)
[ -x /usr/sbin/unbound ] || packages+=(unbound)
[ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
has pebble || packages+=(pebble)
[ -x /usr/sbin/nsd ] || packages+=(nsd)
has slowhttptest || packages+=(slowhttptest)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)

if [ "${#packages[@]}" -gt 0 ]; then
  echo "== installing ${packages[*]}"
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  if ! has apt-get || { [ "$(id -u)" -ne 0 ] && ! has sudo; }; then
    echo "the tests need: ${packages[*]}; install them by hand, then run make test again" >&2
    exit 1
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}"
fi

if ! cargo deny --version >/dev/null 2>&1; then
  echo "== installing cargo-deny (about a minute, once; unoptimised and without lines, since it runs for a second or two)"
  CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug cargo-deny@"$CARGO_DENY_VERSION"
fi

# Foreign clients that are Python libraries, in an environment of their own that goes with `make clean`.
environment=target/conformance
wanted=tests/conformance/programs/requirements.txt
if ! cmp -s "$wanted" "$environment/installed.txt"; then
  echo "== installing the libraries in $wanted"
  python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --requirement "$wanted"
  cp "$wanted" "$environment/installed.txt"
fi

# The app in deploy/fastapi has an environment of its own.
deploy/fastapi/environment >/dev/null
