#!/bin/sh
# Makes the environment in .venv.  Arguments: the lock files to install, e.g. `run` or `run test`.
# Each lock file names versions and hashes; where packages come from is the machine's own setting.
set -eu
cd "$(dirname "$0")/.."

find_python() {
    for name in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        [ -n "$name" ] || continue
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

if [ ! -e .venv/.made ]; then
    if ! python=$(find_python); then
        echo "altiplano needs Python 3.11, 3.12 or 3.13: install one (on Debian and Ubuntu: apt install python3 python3-venv)." >&2
        exit 1
    fi
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "$python cannot make environments: install its venv module (on Debian and Ubuntu: apt install python$version-venv)." >&2
        exit 1
    fi
    echo "making the environment in .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv
    # A set-up that was broken off must not look like a finished one.
    touch .venv/.made
fi

python=.venv/bin/python
if ! "$python" -c 'import uv' 2>/dev/null; then
    "$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
fi
for lock in "$@"; do
    stamp=.venv/.installed-$lock
    sum=$(sha256sum "requirements/$lock.lock" | cut -d' ' -f1)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$sum" ]; then
        echo "installing requirements/$lock.lock"
        "$python" -m uv pip install --quiet --python "$python" --no-build --require-hashes -r "requirements/$lock.lock"
        echo "$sum" > "$stamp"
    fi
done
if [ ! -x .venv/bin/altiplano ] || [ pyproject.toml -nt .venv/bin/altiplano ]; then
    "$python" -m uv pip install --quiet --python "$python" --no-build-isolation --no-deps --editable .
    touch .venv/bin/altiplano
fi
"$python" tools/vendor.py
