"""Images on this machine: brought, unpacked once, shared by all containers that want them, and thrown away when old.

The one thing to know before changing it: an image lives as long as somebody *holds* it.  A hold has the
name of the container it is for, outlives the process that took it, and may be taken and given back again
and again – so an agent that was killed asks who holds what, compares that with what it knows, and nothing
leaks.  Layers are directories that nobody writes to; a container puts its own on top.

`altiplano.adapters.images.store` is the real one, `altiplano.testing.images` the twin in memory; both pass
`tests/contracts/test_images.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from altiplano.model.images import Reference

HOLDER_CHARS_MAX: Final = 255
"""A holder is a file name: a container id is one."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much one pull may take.  What is over ends it with `ImageRefused`, and nothing of it stays."""

    download_bytes_max: int = 64 * 1024**3
    """Sum of the layers as they travel."""
    unpacked_bytes_max: int = 128 * 1024**3
    """Sum of the layers as tar streams, and of their files: a bomb of zeros stops here."""
    layers_max: int = 127
    """What overlay file systems are stacked to elsewhere; the kernel would take 500."""
    entries_max: int = 2_000_000
    """Files, directories and links of all layers."""
    manifest_bytes_max: int = 4 * 1024**2
    """Manifest, index and configuration, each."""
    pull_s_max: float = 3600.0
    stall_s_max: float = 60.0
    """Without a byte from the registry for so long, a download is begun again where it stopped."""
    attempts_max: int = 6
    """Attempts in a row that bring nothing; any progress counts them from the start."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a registry asks for.  They are sent to it, and to the token server it names, and nowhere else."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, password=…)"


class Policy(enum.Enum):
    """When the registry is asked."""

    MISSING = "missing"
    """Only for an image that this machine does not have under that name."""
    ALWAYS = "always"
    """Each time; what is here already is not downloaded again."""
    NEVER = "never"


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the image wants to be run, where a task does not say otherwise."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    user: str = ""
    """`name`, `uid`, `name:group`, `uid:gid`, or nothing: root."""
    directory: str = ""
    stop_signal: str | None = None
    volumes: tuple[str, ...] = ()
    """Paths that want a directory of their own."""
    labels: tuple[tuple[str, str], ...] = ()


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A whole image on this disk.  It stays while it is held; a value of this type alone keeps nothing."""

    id: str
    """Digest of its configuration, which names the digest of every layer."""
    layers: tuple[str, ...]
    """Absolute directories, the lowest first, for an overlay; no two alike."""
    config: ImageConfig
    size_bytes: int
    """Of all its layers; images share some."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an image here."""

    image: Image
    names: tuple[str, ...]
    holders: tuple[str, ...]
    used_wall_s: float
    """When it was last pulled, held or given back."""


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What went: ids, and bytes of layers that no other image has."""

    images: tuple[str, ...]
    size_bytes: int


class Pulling(msgspec.Struct, frozen=True, kw_only=True):
    """How far a pull has come."""

    reference: str
    layers: int
    layers_done: int
    size_bytes: int
    """To be downloaded in all, as far as known."""
    done_bytes: int


class ImageError(Exception):
    """An image could not be had; the sentence names it, the reason and the way out."""


class ImageRefused(ImageError):
    """Asking again changes nothing: no such image, no permission, a bound, or content that is not allowed."""


class ImageFailed(ImageError):
    """The world erred – network, registry, disk; it may be asked again later."""


class Images(Protocol):
    """All calls may be made at once."""

    async def pull(
        self,
        reference: Reference,
        *,
        holder: str,
        credentials: Credentials | None = None,
        policy: Policy = Policy.MISSING,
    ) -> Image:
        """Have a whole, verified image, held for `holder`.

        Pulls of one image at the same time share one download; it goes on while one of them waits.
        Who pulls with other credentials has to be let in by the registry himself, though nothing is
        downloaded twice.  Afterwards nothing of a failed or abandoned pull is left.  A holder that
        holds another image already holds this one instead.  Who is cancelled gives his hold back, as after
        a success: it may have been taken.
        """
        ...

    async def release(self, holder: str) -> None:
        """Give an image back; it stays until collected.  No error if nothing was held."""
        ...

    async def holders(self) -> Mapping[str, str]:
        """Who holds which image id; those of an earlier process as well."""
        ...

    async def stored(self) -> Sequence[Stored]:
        """All whole images, the least recently used first."""
        ...

    async def collect(self, *, size_bytes_max: int, age_s_max: float) -> Collected:
        """Remove images that nobody holds: those unused for `age_s_max`, then the least recently used
        until the store has at most `size_bytes_max`.  Held ones stay, whatever the sum is.
        """
        ...

    def pulling(self) -> Sequence[Pulling]:
        """The pulls under way."""
        ...

    async def close(self) -> None:
        """End all pulls and leave; images and holds stay for whoever opens the store next."""
        ...


def check_holder(holder: str) -> None:
    """Holders are file names."""
    if not holder or len(holder.encode()) > HOLDER_CHARS_MAX or "/" in holder or "\0" in holder or holder[0] == ".":
        raise ImageRefused(
            f"The holder {holder!r:.300} cannot be a file name: 1 to {HOLDER_CHARS_MAX} bytes, no / and no . in front."
        )
