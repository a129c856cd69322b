"""The small script around a rule's command that sends its outputs home.

POSIX sh with curl, which costs a third of the CPU time of Python; python3 where there is no curl.
A rule without outputs and without directories among its inputs needs none.  The exit status is the
command's own; the statuses below are the wrapper's, each with a sentence on stderr that begins with
`altiplano-flow:`.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

STATUS_MISSING = 94
"""The command succeeded and did not make an output."""
STATUS_EMPTY = 95
"""The command succeeded and left an output empty, which this run forbids."""
STATUS_TRANSFER = 96
"""An output could not be sent."""
STATUS_INPUT = 97
"""A directory among the inputs could not be unpacked."""

MARK = "altiplano-flow:"
TRANSFER_S_MAX = 600
"""How long an output is sent again and again while the manager does not answer."""

SMALL_BYTES = 1024 * 1024
"""Outputs below this are hashed before they are sent, larger ones meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A directory among the inputs: its tar file in the sandbox, and where it belongs."""

    archive: str
    directory: str


def wrap(
    command: str,
    *,
    url: str,
    outputs: tuple[str, ...],
    packed: tuple[Packed, ...] = (),
    directories: tuple[str, ...] = (),
    empty_fails: bool = False,
) -> str:
    """The script that runs `command` and puts `outputs`, by number, below `url`.

    `directories` are made before the command runs, because they are there in the workflow's own
    directory as well.
    """
    lines = [
        f"u={shlex.quote(url)} limit={TRANSFER_S_MAX} small={SMALL_BYTES} strict={int(empty_fails)}",
        f"say() {{ printf '{MARK} %s\\n' \"$1\" >&2; }}",
    ]
    lines += [f"mkdir -p {_path(directory)} || exit {STATUS_INPUT}" for directory in directories]
    for one in packed:
        target, archive = _path(one.directory), _path(one.archive)
        sentence = shlex.quote(f"the input directory '{one.directory}' could not be unpacked")
        unpack = f"mkdir -p {target} && tar -xf {archive} -C {target} && rm -f {archive}"
        lines.append(f"{unpack} || {{ say {sentence}; exit {STATUS_INPUT}; }}")
    lines.append(f"sh -c {shlex.quote(command)} || exit $?")
    if outputs:
        lines.append(_PUT)
        lines += [f"put {number} {_path(name)} {shlex.quote(name)}" for number, name in enumerate(outputs)]
        lines.append("exec rm -f .altiplano-flow.*")
    return "\n".join(lines) + "\n"


def _path(name: str) -> str:
    """A name that no program takes for an option or for standard input."""
    return shlex.quote(name if name.startswith("/") else "./" + name)


_PYTHON = r"""
import hashlib, http.client, os, sys, time
from urllib.parse import urlsplit
url, path, query, limit = sys.argv[1:]
u, size, begun, pause, at = urlsplit(url), os.path.getsize(path), time.monotonic(), 1, 0
def ask(method, body=None, headers={}, more=""):
    c = http.client.HTTPConnection(u.hostname, u.port, timeout=60)
    try:
        c.request(method, u.path + "?" + query + more, body, headers)
        r = c.getresponse()
        return r.status, r.read().decode("utf-8", "replace").strip()
    finally:
        c.close()
digest = hashlib.sha256()
with open(path, "rb") as f:
    for block in iter(lambda: f.read(1 << 20), b""):
        digest.update(block)
checked = "&sha256=" + digest.hexdigest()
while True:
    try:
        with open(path, "rb") as f:
            f.seek(at)
            headers = {"Content-Length": str(size - at)}
            if at:
                headers["Content-Range"] = "bytes %d-%d/%d" % (at, size - 1, size)
            status, text = ask("PUT", f, headers, checked)
    except OSError as error:
        status, text = 0, str(error)
    if status == 201:
        sys.exit(0)
    if status in (400, 403, 404, 410, 413) or time.monotonic() - begun > float(limit):
        sys.exit("%s (%s)" % (text, status))
    time.sleep(pause)
    pause = min(15, pause * 2)
    try:
        status, text = ask("GET")
        if status == 200 and text == "done":
            sys.exit(0)
        at = int(text) if status == 200 else 0
        at = at if at < size else 0
    except (OSError, ValueError):
        at = 0
"""

_PYTHON_HASH = r"""
import hashlib, sys
digest = hashlib.sha256()
for block in iter(lambda: sys.stdin.buffer.read(1 << 20), b""):
    digest.update(block)
print(digest.hexdigest())
"""

_PUT = rf"""
fail() {{ say "$2"; exit "$1"; }}
# Called in a shell of its own always, which curl takes over: a process less for each output.
ask() {{ exec curl -sSg -H Expect: --connect-timeout 10 -o .altiplano-flow.answer -w '%{{http_code}}' \
    "$@" 2>.altiplano-flow.error; }}
# The sha256sum of many systems is four times as slow as these, and would be slower than the network.
hash_large() {{
    if command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r < "$file"
    elif command -v python3 >/dev/null 2>&1; then python3 -c {shlex.quote(_PYTHON_HASH)} < "$file"
    else sha256sum < "$file"; fi
}}
hashed() {{
    [ -z "$hashing" ] || wait "$hashing"
    [ -z "$hashing" ] || read -r sum rest < .altiplano-flow.sum
    hashing='' checked="&sha256=${{sum%% *}}"
}}
commit() {{ hashed; code=$(ask -X POST "$u/$n?$q$checked"); }}
by_python() {{
    command -v python3 >/dev/null 2>&1 ||
        fail {STATUS_TRANSFER} "'$name' was not sent: neither curl with sha256sum nor python3 is here"
    why=$(python3 -c {shlex.quote(_PYTHON)} "$u/$n" "$file" "$q" "$limit" 2>&1) ||
        fail {STATUS_TRANSFER} "'$name' was not sent: $why"
}}
by_curl() {{
    hashing='' checked='' at=0 pause=1 begun=''
    if [ "$size" -lt "$small" ]; then
        sum=$(sha256sum < "$file"); hashed
    else
        hash_large > .altiplano-flow.sum & hashing=$!
    fi
    while :; do
        code=$(ask --speed-limit 1 --speed-time 60 -C "$at" -T "$file" "$u/$n?$q$checked")
        [ "$code" != 202 ] || commit
        case $code in
        201) return 0 ;;
        400|403|404|410|413) break ;;
        esac
        : "${{begun:=$(date +%s)}}"
        [ $(($(date +%s) - begun)) -lt "$limit" ] || break
        sleep "$pause"; pause=$((pause < 8 ? pause * 2 : 15))
        at=0
        [ "$(ask "$u/$n")" = 200 ] || continue
        read -r at < .altiplano-flow.answer
        [ "$at" != done ] || return 0
        if [ "$at" -ge "$size" ]; then
            commit; at=0
            [ "$code" != 201 ] || return 0
        fi
    done
    answer=$(cat .altiplano-flow.answer .altiplano-flow.error 2>/dev/null | tr '\n' ' ' | cut -c1-300)
    fail {STATUS_TRANSFER} "'$name' was not sent: $code $answer"
}}
put() {{
    n=$1 path=$2 name=$3 kind=file file=$2 mode=644
    if [ -d "$path" ]; then
        kind=tar file=./.altiplano-flow.tar
        tar -cf "$file" -C "$path" . || fail {STATUS_TRANSFER} "the output directory '$name' could not be packed"
    elif [ ! -e "$path" ]; then
        fail {STATUS_MISSING} "the command ended with status 0 and did not make '$name'"
    elif [ -x "$path" ]; then
        mode=755
    fi
    size=$(($(wc -c < "$file")))
    [ "$size$strict" != 01 ] || fail {STATUS_EMPTY} "the command ended with status 0 and left '$name' empty"
    q="size=$size&kind=$kind&mode=$mode"
    if command -v curl >/dev/null 2>&1 && command -v sha256sum >/dev/null 2>&1; then by_curl; else by_python; fi
}}"""
