"""The one error of this package."""

from __future__ import annotations


class WireError(ValueError):
    """The bytes of a peer are not the message that they should be."""
