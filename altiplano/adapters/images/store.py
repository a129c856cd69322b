"""Images on this machine's disk (`altiplano.ports.images.Images`).

What is shared is decided on the event loop, without waiting in between: who brings which layer, who holds
which image, what may go.  Everything slow – network, unpacking in a process of its own, syncing, removing –
happens afterwards and beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

import msgspec

from altiplano.adapters.images import threads, unpack
from altiplano.adapters.images.local import LocalSource
from altiplano.adapters.images.registry import Hosts, Registries, RegistrySource
from altiplano.adapters.images.shelf import (
    RECORD_VERSION,
    Content,
    ImageRecord,
    LayerRecord,
    NameRecord,
    Shelf,
    name_key,
)
from altiplano.adapters.images.sources import Blob, Found, Source
from altiplano.model.images import Digest, Platform, Reference, RegistryReference, platform_of
from altiplano.ports.clock import Clock
from altiplano.ports.ids import Ids
from altiplano.ports.images import (
    Bounds,
    Collected,
    Credentials,
    Image,
    ImageError,
    ImageFailed,
    ImageRefused,
    Policy,
    Pulling,
    Stored,
    check_holder,
)

PULLS_MAX: Final = 8
"""Images brought at once; the others wait."""
DOWNLOADS_MAX: Final = 3
"""Layers of one image on their way at once."""
UNPACKS_MAX: Final = 2
"""Layers unpacked at once: each takes one processor."""
MESSAGE_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where images come from and what they may take."""

    hosts: Hosts = field(default_factory=Hosts)
    local_under: tuple[str, ...] = ()
    """Directories from which local images may be read.  None: only root's own agent should open "/"."""
    platform: Platform = field(default_factory=lambda: platform_of(os.uname().machine))
    bounds: Bounds = field(default_factory=Bounds)
    devices: bool = False
    """Device nodes out of layers; a runtime makes those that a container may have."""


@dataclass(slots=True, kw_only=True)
class _Pull:
    """One image on its way, for everybody who waits for it."""

    reference: str
    task: asyncio.Task[Digest] | None = None
    waiting: Counter[str] = field(default_factory=Counter)
    layers: int = 0
    layers_done: int = 0
    size_bytes: int = 0
    done_bytes: int = 0

    def progress(self, size: int) -> None:
        self.done_bytes += size


@dataclass(slots=True, kw_only=True)
class _Budget:
    """What the layers still to come may take."""

    stream_bytes: int
    entries: int

    def take(self, layer: LayerRecord) -> None:
        self.stream_bytes -= layer.size_bytes
        self.entries -= layer.entries


class LocalImages:
    """The store in one directory.  `open` before any other call."""

    def __init__(self, root: str, settings: Settings, *, clock: Clock, ids: Ids) -> None:
        self._shelf = Shelf(root)
        self._settings = settings
        self._clock = clock
        self._registries = Registries(settings.hosts, clock=clock, ids=ids)
        self._content = Content()
        self._layers: dict[Digest, LayerRecord] = {}
        """All layers in their place, those of images not yet whole included."""
        self._wanted: Counter[Digest] = Counter()
        """Layers that pulls under way count on."""
        self._bringing: dict[Digest, asyncio.Future[None]] = {}
        self._pulls: dict[tuple[str, Credentials | None], _Pull] = {}
        self._slots = asyncio.Semaphore(PULLS_MAX)
        self._unpacks = asyncio.Semaphore(UNPACKS_MAX)

    async def open(self) -> None:
        """Take the store; what an earlier process left unfinished is removed."""
        with _failing("open the image store"):
            self._content = await threads.finish(self._shelf.open)
        self._layers = self._content.layers()

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
        if policy is not Policy.ALWAYS:
            known = self._content.names.get(name_key(name, None if credentials is None else credentials.user))
            if known is not None:
                return self._hold(holder, known.image)
        if policy is Policy.NEVER:
            raise ImageRefused(f"the image {name} is not on this machine, and it was asked not to pull it.")
        # Credentials are part of the key: whoever is refused by the registry does not get what another one got.
        key = (name, credentials)
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = _Pull(reference=name)
            pull.task = asyncio.create_task(self._run(key, pull, reference, credentials), name=f"pull {name}")
        return await self._await(key, pull, holder)

    async def release(self, holder: str) -> None:
        check_holder(holder)
        image = self._content.holds.pop(holder, None)
        if image is not None:
            with _failing(f"give the image {image} back"):
                self._shelf.release(holder)
                self._use(image)

    async def holders(self) -> Mapping[str, str]:
        return dict(self._content.holds)

    async def stored(self) -> Sequence[Stored]:
        names: dict[Digest, set[str]] = {}
        for record in self._content.names.values():
            names.setdefault(record.image, set()).add(record.reference)
        order = sorted(self._content.images, key=lambda one: (self._content.used_wall_s[one], one))
        return [
            Stored(
                image=self._image(id_),
                names=tuple(sorted(names.get(id_, ()))),
                holders=tuple(sorted(holder for holder, held in self._content.holds.items() if held == id_)),
                used_wall_s=self._content.used_wall_s[id_],
            )
            for id_ in order
        ]

    async def collect(self, *, size_bytes_max: int, age_s_max: float) -> Collected:
        with _failing("collect images"):
            removed, aside, size_bytes = self._choose(size_bytes_max, self._clock.now().wall_s - age_s_max)
            await threads.finish(self._shelf.remove_aside, aside)
        return Collected(images=tuple(removed), size_bytes=size_bytes)

    def pulling(self) -> Sequence[Pulling]:
        return [
            Pulling(
                reference=pull.reference,
                layers=pull.layers,
                layers_done=pull.layers_done,
                size_bytes=pull.size_bytes,
                done_bytes=pull.done_bytes,
            )
            for pull in self._pulls.values()
        ]

    async def close(self) -> None:
        tasks = [pull.task for pull in self._pulls.values() if pull.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._registries.close()
        self._shelf.close()

    async def _await(self, key: tuple[str, Credentials | None], pull: _Pull, holder: str) -> Image:
        assert pull.task is not None
        pull.waiting[holder] += 1
        try:
            id_ = await asyncio.shield(pull.task)
        except asyncio.CancelledError:
            if pull.task.cancelled():
                raise ImageFailed(f"the image {pull.reference} was not brought: the store is being closed.") from None
            raise
        finally:
            pull.waiting[holder] -= 1
            if not pull.waiting.total() and not pull.task.done():
                # Nobody wants it any more; whoever comes now begins anew, and what was brought is removed.
                self._pulls.pop(key, None)
                pull.task.cancel()
                await asyncio.wait((pull.task,))
        return self._image(id_)

    async def _run(
        self, key: tuple[str, Credentials | None], pull: _Pull, reference: Reference, credentials: Credentials | None
    ) -> Digest:
        limit_s = self._settings.bounds.pull_s_max
        try:
            with _failing(f"bring the image {reference}"):
                async with self._slots, self._scratch() as scratch, asyncio.timeout(limit_s):
                    return await self._bring(key, pull, self._source(reference, credentials, scratch), scratch)
        except TimeoutError as error:
            raise ImageFailed(
                f"the image {reference} did not come within {limit_s:g} seconds; "
                f"{pull.done_bytes} of {pull.size_bytes} bytes did."
            ) from error
        finally:
            self._leave(key, pull)

    async def _bring(self, key: tuple[str, Credentials | None], pull: _Pull, source: Source, scratch: str) -> Digest:
        """Have all layers of an image in their place, and its record; hand it to all who wait."""
        try:
            found = await source.find()
            id_ = found.configuration.id
            pull.layers = len(found.configuration.diff_ids)
            with self._wanting(found.configuration.diff_ids):
                try:
                    if id_ not in self._content.images:
                        await self._bring_layers(pull, source, found, scratch)
                        await self._keep(found)
                    await self._name(*key, found)
                except BaseException:  # a cancelled pull leaves as little as a failed one
                    await self._drop(found.configuration.diff_ids)
                    raise
                # In one step, while the layers are wanted: nobody joins, nothing is collected in between.
                self._leave(key, pull)
                for holder in +pull.waiting:
                    self._hold(holder, id_)
            return id_
        finally:
            await source.close()

    def _leave(self, key: tuple[str, Credentials | None], pull: _Pull) -> None:
        """From now on a call for this image begins a pull of its own."""
        if self._pulls.get(key) is pull:
            del self._pulls[key]

    async def _bring_layers(self, pull: _Pull, source: Source, found: Found, scratch: str) -> None:
        """Every layer is brought by one pull; those that others bring are waited for at the end.

        In this order nobody who waits holds up anybody.
        """
        budget = _Budget(
            stream_bytes=self._settings.bounds.unpacked_bytes_max, entries=self._settings.bounds.entries_max
        )
        numbers = {diff_id: number for number, diff_id in enumerate(found.configuration.diff_ids)}
        mine = [diff_id for diff_id in numbers if diff_id not in self._layers and diff_id not in self._bringing]
        for diff_id in numbers:
            if diff_id in self._layers:
                budget.take(self._layers[diff_id])
        await self._bring_mine({diff_id: numbers[diff_id] for diff_id in mine}, pull, source, found, scratch, budget)
        for diff_id, number in numbers.items():
            while diff_id not in self._layers:
                other = self._bringing.get(diff_id)
                if other is not None:
                    await asyncio.wait((other,))
                else:
                    await self._bring_mine({diff_id: number}, pull, source, found, scratch, budget)
        sizes = [self._layers[diff_id] for diff_id in numbers]
        total, entries = sum(layer.size_bytes for layer in sizes), sum(layer.entries for layer in sizes)
        bounds = self._settings.bounds
        if total > bounds.unpacked_bytes_max or entries > bounds.entries_max:
            raise ImageRefused(
                f"{found.what} has {total} bytes in {entries} files when unpacked; "
                f"{bounds.unpacked_bytes_max} in {bounds.entries_max} are allowed."
            )
        pull.layers_done = len(found.configuration.diff_ids)

    async def _bring_mine(
        self,
        layers: Mapping[Digest, int],
        pull: _Pull,
        source: Source,
        found: Found,
        scratch: str,
        budget: _Budget,
    ) -> None:
        """Download some at once, unpack one after another, so that what the rest may take is known exactly."""
        done = {diff_id: asyncio.get_running_loop().create_future() for diff_id in layers}
        self._bringing.update(done)
        slots = asyncio.Semaphore(DOWNLOADS_MAX)
        pull.size_bytes += sum(found.sizes_bytes[number] for number in layers.values())

        async def download(number: int) -> Blob:
            async with slots:
                return await source.layer(number, os.path.join(scratch, f"blob-{number}"), pull.progress)

        downloads = {diff_id: asyncio.create_task(download(number)) for diff_id, number in layers.items()}
        try:
            for diff_id, number in layers.items():
                blob = await downloads[diff_id]
                what = f"layer {number + 1} of {found.what}"
                path = os.path.join(scratch, f"tree-{number}")
                unpacked = await self._unpack(blob, path, budget, what)
                if unpacked.diff_id != diff_id:
                    raise ImageRefused(
                        f"{what} should unpack to {diff_id}, and is {unpacked.diff_id}: "
                        "configuration and layer do not belong together."
                    )
                record = LayerRecord(diff_id=diff_id, size_bytes=unpacked.size_bytes, entries=unpacked.entries)
                try:
                    await threads.finish(self._shelf.keep_layer, path, diff_id)
                finally:
                    # Also when this pull was given up at that moment: it is there, and has to go one day.
                    if self._shelf.has_layer(diff_id):
                        self._layers[diff_id] = record
                budget.take(record)
                pull.layers_done += 1
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(scratch, f"blob-{number}"))
                self._bringing.pop(diff_id).set_result(None)
        finally:
            for task in downloads.values():
                task.cancel()
            for outcome in await asyncio.gather(*downloads.values(), return_exceptions=True):
                if isinstance(outcome, Blob):
                    outcome.close()
            for diff_id, future in done.items():
                if not future.done():
                    self._bringing.pop(diff_id)
                    future.set_result(None)

    async def _unpack(self, blob: Blob, path: str, budget: _Budget, what: str) -> unpack.Unpacked:
        """Unpack in a process of its own, which ends with the pull."""
        os.mkdir(path, 0o755)
        job = unpack.Job(
            offset=blob.offset,
            stored_bytes=blob.size_bytes,
            stream_bytes_max=max(budget.stream_bytes, 0),
            entries_max=max(budget.entries, 0),
            devices=self._settings.devices,
            parent=os.getpid(),
        )
        async with self._unpacks:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-s", "-P", "-m", unpack.__name__, msgspec.json.encode(job).decode()),
                stdin=blob.fd,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=path,
                # Our own modules, from where we have them, and nothing out of the directory it works in.
                env={"LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path))},
            )
            try:
                said, complaint = await process.communicate()
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        try:
            report = msgspec.json.decode(said, type=unpack.Report)
        except msgspec.DecodeError:
            words = complaint[-MESSAGE_BYTES_MAX:].decode("utf-8", "replace").strip().splitlines()
            raise ImageFailed(
                f"{what} could not be unpacked: the process ended with {process.returncode}: "
                f"{words[-1] if words else 'it said nothing'}."
            ) from None
        match report:
            case unpack.Refused(sentence=sentence):
                raise ImageRefused(f"{what} is refused: {sentence}.")
            case unpack.Failed(sentence=sentence):
                raise ImageFailed(f"{what} could not be unpacked: {sentence}.")
            case unpack.Unpacked():
                return report
            case _:
                assert_never(report)

    async def _keep(self, found: Found) -> None:
        """From the moment its record is on the disk it is an image."""
        # Of a layer that comes twice the upper one says all that the lower one did, and an overlay
        # takes no directory twice.
        above = dict.fromkeys(reversed(found.configuration.diff_ids))
        record = ImageRecord(
            version=RECORD_VERSION,
            id=found.configuration.id,
            layers=tuple(self._layers[diff_id] for diff_id in reversed(above)),
            config=found.configuration.config,
        )
        try:
            await threads.finish(self._shelf.keep_image, record)
        finally:
            if self._shelf.has_image(record.id):
                self._content.images[record.id] = record
                self._use(record.id)

    def _source(self, reference: Reference, credentials: Credentials | None, scratch: str) -> Source:
        platform, bounds = self._settings.platform, self._settings.bounds
        if isinstance(reference, RegistryReference):
            return RegistrySource(self._registries, reference, credentials, platform=platform, bounds=bounds)
        return LocalSource(
            reference, under=self._settings.local_under, scratch=scratch, platform=platform, bounds=bounds
        )

    def _choose(self, size_bytes_max: int, old_wall_s: float) -> tuple[list[Digest], list[str], int]:
        """Images that go, the trees set aside for removal, and their bytes.  Nothing waits in here."""
        content = self._content
        held = set(content.holds.values())
        removed = []
        total = sum(layer.size_bytes for layer in self._layers.values())
        aside: list[str] = []
        freed = 0
        for id_ in sorted(content.images, key=lambda one: (content.used_wall_s[one], one)):
            record = content.images[id_]
            if id_ in held or (content.used_wall_s[id_] > old_wall_s and total - freed <= size_bytes_max):
                continue
            if any(self._wanted[layer.diff_id] for layer in record.layers):
                # A pull under way may be about to hand it out.
                continue
            for key in [key for key, name in content.names.items() if name.image == id_]:
                self._shelf.forget_name(key)
                del content.names[key]
            self._shelf.forget_image(id_)
            del content.images[id_], content.used_wall_s[id_]
            removed.append(id_)
            freed += self._set_aside([layer.diff_id for layer in record.layers], aside)
        return removed, aside, freed

    def _set_aside(self, diff_ids: Sequence[Digest], aside: list[str]) -> int:
        """Take layers that nobody counts on out of their place; their bytes."""
        kept = self._content.layers()
        freed = 0
        for diff_id in diff_ids:
            if diff_id in self._layers and diff_id not in kept and not self._wanted[diff_id]:
                aside.append(self._shelf.set_layer_aside(diff_id))
                freed += self._layers.pop(diff_id).size_bytes
        return freed

    async def _drop(self, diff_ids: Sequence[Digest]) -> None:
        """After a pull that failed: its layers go, unless others want them."""
        aside: list[str] = []
        for diff_id in set(diff_ids):
            self._wanted[diff_id] -= 1
        self._set_aside(list(dict.fromkeys(diff_ids)), aside)
        for diff_id in set(diff_ids):
            self._wanted[diff_id] += 1
        await threads.finish(self._shelf.remove_aside, aside)

    @contextlib.contextmanager
    def _wanting(self, diff_ids: Sequence[Digest]) -> Iterator[None]:
        self._wanted.update(set(diff_ids))
        try:
            yield
        finally:
            self._wanted.subtract(set(diff_ids))
            self._wanted += Counter()

    @contextlib.asynccontextmanager
    async def _scratch(self) -> AsyncIterator[str]:
        path = self._shelf.make_incoming()
        try:
            yield path
        finally:
            await threads.finish(self._shelf.remove, path)

    async def _name(self, reference: str, credentials: Credentials | None, found: Found) -> None:
        user = None if credentials is None else credentials.user
        key = name_key(reference, user)
        record = NameRecord(
            version=RECORD_VERSION,
            reference=reference,
            user=user,
            image=found.configuration.id,
            manifest=found.manifest,
            pulled_wall_s=self._clock.now().wall_s,
        )
        await threads.finish(self._shelf.keep_name, key, record)
        self._content.names[key] = record

    def _hold(self, holder: str, image: Digest) -> Image:
        with _failing(f"hold the image {image}"):
            if self._content.holds.get(holder) != image:
                self._shelf.hold(holder, image)
                self._content.holds[holder] = image
            self._use(image)
        return self._image(image)

    def _use(self, image: Digest) -> None:
        now_s = self._clock.now().wall_s
        self._shelf.used(image, now_s)
        self._content.used_wall_s[image] = now_s

    def _image(self, image: Digest) -> Image:
        record = self._content.images[image]
        return Image(
            id=image,
            layers=tuple(self._shelf.layer_path(layer.diff_id) for layer in record.layers),
            config=record.config,
            size_bytes=sum(layer.size_bytes for layer in record.layers),
        )


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    """What the disk does becomes a sentence."""
    try:
        yield
    except (ImageError, TimeoutError):
        raise
    except OSError as error:
        raise ImageFailed(
            f"Cannot {what}: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}."
        ) from error
