"""The level of Mesos' API that we speak, as clients are told.

They split it at the dots and want three numbers.  Our own version stands beside it under a key of its own.
"""

from __future__ import annotations

from typing import Final

MESOS_VERSION: Final = "1.11.0"

_MARKER: Final = b'"version_info":{'


def with_own_version(answer: bytes, version: str) -> bytes:
    """The JSON of GET_VERSION with our own version beside that of Mesos; readers skip keys they do not know."""
    return answer.replace(_MARKER, _MARKER + b'"altiplano_version":"%b",' % version.encode(), 1)
