#!/bin/sh
# Make an environment with an unmodified pymesos in it, once: setup_pymesos.sh DIRECTORY [PYTHON]
#
# pymesos needs http-parser, whose published C file is older than Python 3.11.  It is made anew from its
# Cython source, which comes in the same archive; nothing of either package is changed by hand.
set -eu

directory=$1
python=${2:-python3}
pymesos=pymesos==0.3.15
parser=http-parser==0.9.0

test -f "$directory/ready" && exit 0
rm -rf "$directory"
mkdir -p "$directory"
if command -v uv > /dev/null; then
    uv venv -q --allow-existing --python "$python" "$directory"
    install() { uv pip install -q --python "$directory/bin/python" "$@"; }
else
    "$python" -m venv "$directory"
    install() { "$directory/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
fi
install pip "cython>=3,<4" "setuptools<81" wheel
bin=$directory/bin
"$bin/python" -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
    -d "$directory/source" "$parser"
mkdir "$directory/build"
tar -xzf "$directory"/source/http*parser-*.tar.gz -C "$directory/build" --strip-components 1
rm -f "$directory/build/http_parser/parser.c"
"$bin/cython" "$directory/build/http_parser/parser.pyx"
install --no-build-isolation --no-deps "$directory/build"
install "$pymesos"
"$bin/python" -c "import pymesos"
touch "$directory/ready"
