"""Who we are to a master, and where it is when nobody said so.

`altiplano up` leaves two files in its work directory, which only their owner may read: `token` and
`up.json` with the address.  The token is given to that address only, never to another one that
somebody typed.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from altiplano.sdk import masters

MASTER_DEFAULT = "127.0.0.1:5050"
TOKEN_BYTES_MAX = 4096
UP_FILE = "up.json"
TOKEN_FILE = "token"


class CredentialsRefused(Exception):
    """A file or variable with a secret cannot be used as it is."""


class UpRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a running `altiplano up` says about itself in `up.json`."""

    pid: int
    master: str
    agent: str = ""
    frameworks: str = ""
    start_ticks: int = 0
    """Field 22 of /proc/PID/stat: with the pid it names one process of this boot."""
    token: bool = True
    """Whether a token is asked for."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A master and what to show it.  Addresses are as people write them; they are kept as base URLs."""

    masters: tuple[str, ...]
    authorization: str | None = None
    found_in: str = ""
    frameworks: str = ""
    """The host of frameworks beside that master, as base URL; empty if none is known."""

    def __post_init__(self) -> None:
        # Without a scheme `host:port` would be read as a path, and nobody answers there.
        bases = tuple(base for text in self.masters for base in masters.parse(text))
        msgspec.structs.force_setattr(self, "masters", bases)

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.authorization is None else {"Authorization": self.authorization}


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where `altiplano up` keeps its state unless told otherwise."""
    base = environment.get("XDG_STATE_HOME") or os.path.join(environment.get("HOME") or "/root", ".local", "state")
    return Path(base) / "altiplano"


def bearer(token: str) -> str:
    return f"Bearer {token}"


def basic(principal: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{principal}:{secret}".encode()).decode()


def find(
    master: str | None = None,
    *,
    token: str | None = None,
    work_dir: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Place:
    """The master to use and our credentials for it.

    An address that is given counts first, then `ALTIPLANO_MASTER`, then a running `altiplano up`,
    then 127.0.0.1:5050.  A token that is given counts first, then `ALTIPLANO_TOKEN`,
    `ALTIPLANO_TOKEN_FILE`, `ALTIPLANO_PRINCIPAL` with `ALTIPLANO_SECRET`, then the token of
    `altiplano up`, if that is the master we talk to.  Raises AddressRefused or CredentialsRefused.
    """
    env = os.environ if environment is None else environment
    directory = Path(work_dir or env.get("ALTIPLANO_WORK_DIR") or state_directory(env))
    up = read_up(directory)
    named = master or env.get("ALTIPLANO_MASTER")
    chosen = masters.parse(named or (up.master if up is not None else MASTER_DEFAULT))
    found = "given" if master else "ALTIPLANO_MASTER" if named else str(directory / UP_FILE) if up else "default"
    beside = up.frameworks if up is not None and masters.parse(up.master) == chosen else ""
    return Place(
        masters=chosen,
        authorization=_authorization(chosen, token, env, directory, up),
        found_in=found,
        frameworks=f"http://{beside}" if beside else "",
    )


def read_up(directory: Path) -> UpRecord | None:
    """The record of `altiplano up` in a work directory, whether it still runs or not."""
    try:
        return msgspec.json.decode((directory / UP_FILE).read_bytes(), type=UpRecord)
    except (OSError, msgspec.DecodeError):
        return None


def read_token(path: Path) -> str:
    """The token in a file that nobody else may read.  Raises CredentialsRefused."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(TOKEN_BYTES_MAX + 1)
    except OSError as error:
        raise CredentialsRefused(f"the token file {path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise CredentialsRefused(
            f"the token file {path} may be read by others (mode {mode:04o}): make it 0600 with 'chmod 600 {path}'"
        )
    token = text.decode("ascii", "replace").strip()
    if not token or len(text) > TOKEN_BYTES_MAX or not token.isprintable() or " " in token:
        raise CredentialsRefused(f"the file {path} does not hold a token: one word of at most {TOKEN_BYTES_MAX} bytes")
    return token


def _authorization(
    chosen: tuple[str, ...], token: str | None, env: Mapping[str, str], directory: Path, up: UpRecord | None
) -> str | None:
    if token or env.get("ALTIPLANO_TOKEN"):
        return bearer(token or env["ALTIPLANO_TOKEN"])
    if path := env.get("ALTIPLANO_TOKEN_FILE"):
        return bearer(read_token(Path(path)))
    principal, secret = env.get("ALTIPLANO_PRINCIPAL"), env.get("ALTIPLANO_SECRET")
    if principal and secret:
        return basic(principal, secret)
    if up is not None and masters.parse(up.master) == chosen and (directory / TOKEN_FILE).exists():
        return bearer(read_token(directory / TOKEN_FILE))
    return None
