"""Images in memory: a registry, the disk they come to, and the store between."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from altiplano.model.images import LocalReference, Reference, RegistryReference
from altiplano.ports.clock import Clock
from altiplano.ports.images import (
    Bounds,
    Collected,
    Credentials,
    Image,
    ImageConfig,
    ImageFailed,
    ImageRefused,
    Policy,
    Pulling,
    Stored,
    check_holder,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLayer:
    """A layer by its name and size."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryImage:
    """What a registry in memory has."""

    layers: tuple[MemoryLayer, ...]
    config: ImageConfig = field(default_factory=ImageConfig)

    @property
    def id(self) -> str:
        text = repr((self.layers, self.config))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(slots=True)
class MemoryImageSource:
    """All registries and local files that there are."""

    images: dict[str, MemoryImage] = field(default_factory=dict)
    """By reference, without digests; by `repository@digest` as well."""
    users: dict[str, str] = field(default_factory=dict)
    """Who may read, with passwords; none: everybody."""
    reachable: bool = True
    gate: asyncio.Event | None = None
    """Layers wait for it."""
    layer_downloads: int = 0

    def publish(self, reference: Reference, image: MemoryImage) -> None:
        self.images[str(reference)] = image
        self.images[f"{_place(reference)}@{image.id}"] = image


@dataclass(slots=True)
class MemoryImageDisk:
    """What outlives a store."""

    images: dict[str, MemoryImage] = field(default_factory=dict)
    used_wall_s: dict[str, float] = field(default_factory=dict)
    names: dict[tuple[str, str | None], str] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    open: bool = False


class MemoryImages:
    """The store; `open` before any other call."""

    def __init__(
        self, disk: MemoryImageDisk, source: MemoryImageSource, *, clock: Clock, bounds: Bounds | None = None
    ) -> None:
        self._disk = disk
        self._source = source
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._pulls: dict[tuple[str, Credentials | None], asyncio.Task[str]] = {}
        self._waiting: dict[tuple[str, Credentials | None], Counter[str]] = {}

    async def open(self) -> None:
        if self._disk.open:
            raise ImageFailed("The image store is used by another process; give each agent its own.")
        self._disk.open = True

    async def pull(
        self,
        reference: Reference,
        *,
        holder: str,
        credentials: Credentials | None = None,
        policy: Policy = Policy.MISSING,
    ) -> Image:
        check_holder(holder)
        name = str(reference)
        user = None if credentials is None else credentials.user
        if policy is not Policy.ALWAYS and (name, user) in self._disk.names:
            return self._hold(holder, self._disk.names[name, user])
        if policy is Policy.NEVER:
            raise ImageRefused(f"the image {name} is not on this machine, and it was asked not to pull it.")
        key = (name, credentials)
        if key not in self._pulls:
            self._waiting[key] = Counter()
            self._pulls[key] = asyncio.create_task(self._bring(key, reference), name=f"pull {name}")
        return await self._await(key, self._pulls[key], self._waiting[key], holder)

    async def release(self, holder: str) -> None:
        check_holder(holder)
        image = self._disk.holds.pop(holder, None)
        if image is not None:
            self._disk.used_wall_s[image] = self._clock.now().wall_s

    async def holders(self) -> Mapping[str, str]:
        return dict(self._disk.holds)

    async def stored(self) -> Sequence[Stored]:
        return [
            Stored(
                image=self._image(id_),
                names=tuple(sorted({name for (name, _), image in self._disk.names.items() if image == id_})),
                holders=tuple(sorted(holder for holder, image in self._disk.holds.items() if image == id_)),
                used_wall_s=self._disk.used_wall_s[id_],
            )
            for id_ in self._by_use()
        ]

    async def collect(self, *, size_bytes_max: int, age_s_max: float) -> Collected:
        old_wall_s = self._clock.now().wall_s - age_s_max
        before = self._size_bytes()
        removed = []
        for id_ in self._by_use():
            needed = self._disk.used_wall_s[id_] > old_wall_s and self._size_bytes() <= size_bytes_max
            if id_ in self._disk.holds.values() or needed:
                continue
            del self._disk.images[id_], self._disk.used_wall_s[id_]
            self._disk.names = {name: image for name, image in self._disk.names.items() if image != id_}
            removed.append(id_)
        return Collected(images=tuple(removed), size_bytes=before - self._size_bytes())

    def pulling(self) -> Sequence[Pulling]:
        return [Pulling(reference=name, layers=0, layers_done=0, size_bytes=0, done_bytes=0) for name, _ in self._pulls]

    async def close(self) -> None:
        tasks = list(self._pulls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._disk.open = False

    async def _await(
        self, key: tuple[str, Credentials | None], task: asyncio.Task[str], waiting: Counter[str], holder: str
    ) -> Image:
        waiting[holder] += 1
        try:
            return self._image(await asyncio.shield(task))
        except asyncio.CancelledError:
            if task.cancelled():
                raise ImageFailed(f"the image {key[0]} was not brought: the store is being closed.") from None
            raise
        finally:
            waiting[holder] -= 1
            if not waiting.total() and not task.done():
                if self._pulls.get(key) is task:
                    del self._pulls[key]
                task.cancel()
                await asyncio.wait((task,))

    async def _bring(self, key: tuple[str, Credentials | None], reference: Reference) -> str:
        name, credentials = key
        waiting = self._waiting[key]
        try:
            image = self._find(reference, credentials)
            have = {layer for one in self._disk.images.values() for layer in one.layers}
            missing = [layer for layer in dict.fromkeys(image.layers) if layer not in have]
            if missing and self._source.gate is not None:
                await self._source.gate.wait()
            self._source.layer_downloads += len(missing)
            size = sum(layer.size_bytes for layer in set(image.layers))
            if size > self._bounds.unpacked_bytes_max:
                raise ImageRefused(
                    f"the image {name} unpacks to {size} bytes, "
                    f"more than the {self._bounds.unpacked_bytes_max} allowed."
                )
            self._disk.images[image.id] = image
            self._disk.names[name, None if credentials is None else credentials.user] = image.id
            for holder in +waiting:
                self._hold(holder, image.id)
            return image.id
        finally:
            if self._pulls.get(key) is asyncio.current_task():
                del self._pulls[key]

    def _find(self, reference: Reference, credentials: Credentials | None) -> MemoryImage:
        if not self._source.reachable:
            raise ImageFailed(f"the image {reference} could not be had in {self._bounds.attempts_max} attempts.")
        users = self._source.users
        if users and (credentials is None or users.get(credentials.user) != credentials.password):
            who = "anybody" if credentials is None else repr(credentials.user)
            raise ImageRefused(f"the registry does not let {who} have the image {reference}.")
        pinned = reference.digest
        wanted = str(reference) if pinned is None else f"{_place(reference)}@{pinned}"
        if wanted not in self._source.images:
            raise ImageRefused(f"nobody has the image {reference}.")
        return self._source.images[wanted]

    def _hold(self, holder: str, image: str) -> Image:
        self._disk.holds[holder] = image
        self._disk.used_wall_s[image] = self._clock.now().wall_s
        return self._image(image)

    def _image(self, id_: str) -> Image:
        image = self._disk.images[id_]
        return Image(
            id=id_,
            layers=tuple(f"/images/{layer.name}" for layer in dict.fromkeys(reversed(image.layers)))[::-1],
            config=image.config,
            size_bytes=sum(layer.size_bytes for layer in set(image.layers)),
        )

    def _by_use(self) -> list[str]:
        return sorted(self._disk.images, key=lambda one: (self._disk.used_wall_s[one], one))

    def _size_bytes(self) -> int:
        return sum(layer.size_bytes for layer in {layer for one in self._disk.images.values() for layer in one.layers})


def _place(reference: Reference) -> str:
    """The reference without tag, name and digest."""
    match reference:
        case RegistryReference():
            return f"{reference.host}/{reference.repository}"
        case LocalReference():
            return reference.path
