#!/usr/bin/env bash
# Finds a Python that is new enough and lets it make or refresh .venv: scripts/setup.sh train|test|slow
# Only bash builtins before a Python is found, so that this works on any machine.
set -eu
cd "${BASH_SOURCE[0]%/*}/.."

usable='import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)'
complete='import ensurepip, venv'
incomplete=""
found=""
for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    # a name may be found and still not run (version managers leave such stubs), hence the try
    [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 || continue
    if "$name" -c "$usable" >/dev/null 2>&1; then
        if "$name" -c "$complete" >/dev/null 2>&1; then
            exec "$name" scripts/install.py "$@"
        fi
        incomplete="$name"
    else
        version="$("$name" -V 2>&1)" && found="$found${found:+, }$name ($version)"
    fi
done

if [ -n "$incomplete" ]; then
    echo "error: $incomplete is new enough but cannot make virtual environments (no venv or ensurepip)." >&2
    echo "  fix: install that part of it, on Debian or Ubuntu: sudo apt install python3-venv" >&2
else
    echo "error: segtune needs Python 3.11 or newer; found: ${found:-none}." >&2
    echo "  fix: install one (python.org, 'uv python install 3.12', conda), then: make train PYTHON=/path/to/python3.12" >&2
fi
exit 2
