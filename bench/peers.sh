#!/bin/sh
# Installs the peers once, in environments of their own, then measures them (peers.py). JSON lines on stdout.
#   sh bench/peers.sh [--only NAME] [--measures A,B] [--jobs N] [--seconds S] [--samples N] [--database-url URL]
#   sh bench/peers.sh --lock     resolves both lock files again (needs uv and npm)
set -eu
cd "$(dirname "$0")"

say() { echo "peers: $*" >&2; }

lock() {
  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links peers-requirements.in -o peers-requirements.lock
  rm -rf node/package-lock.json node/node_modules # what is installed carries no hashes, and npm would lock from it
  (cd node && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund)
}

install_python_peers() {
  if cmp -s peers-requirements.lock .venv-peers/installed.lock; then return; fi
  say "installing pgqueuer, procrastinate and a Node to run the others (once)"
  rm -rf .venv-peers
  "${PYTHON:-python3}" -m venv .venv-peers
  .venv-peers/bin/pip install -qq --disable-pip-version-check --no-input --require-hashes -r peers-requirements.lock >&2
  cp peers-requirements.lock .venv-peers/installed.lock
}

# Anything that goes wrong here is said, and the Python peers are measured alone.
install_node_peers() {
  if cmp -s node/package-lock.json node/node_modules/installed.lock; then return; fi
  rm -rf node/node_modules
  if ! command -v npm >/dev/null; then
    say "npm is not installed: pg-boss and graphile-worker are skipped. Install Node.js with npm to measure them."
    return
  fi
  say "installing pg-boss and graphile-worker (once)"
  if (cd node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2; then
    cp node/package-lock.json node/node_modules/installed.lock
  else
    rm -rf node/node_modules
    say "npm ci failed (its message is above): pg-boss and graphile-worker are skipped."
  fi
}

case "${1:-}" in
--lock) lock && exit ;;
--install-node) install_node_peers && exit ;; # what `make bench` wants of them: a stock socket.io server
esac
if [ ! -x ../.venv/bin/python ]; then
  say "Trunkline's own environment is missing. Run it through make: make bench-peers ARGS=\"$*\""
  exit 2
fi
install_python_peers
install_node_peers
exec ../.venv/bin/python peers.py "$@"
