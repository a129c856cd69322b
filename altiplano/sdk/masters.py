"""Where the master is: one address or several, as people write them."""

from __future__ import annotations

from urllib.parse import urlsplit

PORT_DEFAULT = 5050
MASTERS_MAX = 16
PORT_MAX = 65535


class AddressRefused(ValueError):
    """A text does not say where a master is."""


def parse(text: str) -> tuple[str, ...]:
    """Addresses of masters as base URLs.  Raises AddressRefused with a sentence.

    >>> parse("alps1,alps2:5055")
    ('http://alps1:5050', 'http://alps2:5055')
    """
    if text.startswith("zk://"):
        raise AddressRefused(
            f"'{text}' names a ZooKeeper, and this program cannot ask one yet: name the masters themselves, "
            "as in 'host1:5050,host2:5050'; any of them leads to the leader"
        )
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise AddressRefused("no master is named: write host:port, or several of them separated by commas")
    if len(parts) > MASTERS_MAX:
        raise AddressRefused(f"{len(parts)} masters are named, and at most {MASTERS_MAX} may be")
    return tuple(_base(part) for part in parts)


def redirected(location: str, base: str) -> str | None:
    """The base URL that a `Location` header points to, or None where it points nowhere.

    Mesos leaves the scheme out (`//host:port/path`); that of `base` is kept then.
    """
    found = urlsplit(location, scheme=urlsplit(base).scheme)
    if found.scheme not in ("http", "https") or not found.hostname:
        return None
    try:
        return _base(f"{found.scheme}://{found.netloc}")
    except AddressRefused:
        return None


def authority(base: str) -> str:
    """`host:port` of a base URL, as people write it."""
    return urlsplit(base).netloc


def _base(text: str) -> str:
    url = urlsplit(text if "://" in text else f"http://{text}")
    rule = "write host:port, as in 127.0.0.1:5050"
    if url.scheme not in ("http", "https"):
        raise AddressRefused(f"'{text}' is not the address of a master: it begins with {url.scheme}://; {rule}")
    if not url.hostname or url.path not in ("", "/") or url.query or url.fragment or url.username:
        raise AddressRefused(f"'{text}' is not the address of a master: {rule}")
    try:
        port = url.port
    except ValueError:
        port = 0
    if port is not None and not 0 < port <= PORT_MAX:
        raise AddressRefused(f"'{text}' has no port between 1 and {PORT_MAX}: {rule}")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}:{PORT_DEFAULT if port is None else port}"
