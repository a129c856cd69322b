"""What images promise (`altiplano.ports.images.Images`), on the twin and on a store that pulls from a registry."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from altiplano.adapters.images.store import LocalImages, Settings
from altiplano.adapters.system import SystemIds
from altiplano.model.images import Digest, RegistryReference
from altiplano.ports.images import Bounds, Credentials, Image, ImageConfig, ImageFailed, ImageRefused, Policy
from altiplano.testing.clock import ManualClock
from altiplano.testing.image_files import BuiltImage, files
from altiplano.testing.images import MemoryImage, MemoryImageDisk, MemoryImages, MemoryImageSource, MemoryLayer
from altiplano.testing.registry import TestRegistry

Store = LocalImages | MemoryImages
LAYER_BYTES = 8 * 1024
BOUND_BYTES = 100 * 1024
ALL = {"size_bytes_max": 0, "age_s_max": 0.0}
ALICE = Credentials(user="alice", password="right")


@dataclass
class Place:
    """A registry, and a machine whose store can be opened again."""

    open: Callable[[], Store]
    publish: Callable[[str, str, Sequence[str]], str]
    """Repository, tag and names of layers, each of LAYER_BYTES; the digest to pin."""
    users: Callable[[dict[str, str]], None]
    gate: Callable[[asyncio.Event | None], None]
    downloads: Callable[[], int]
    reachable: Callable[[bool], None]
    left: Callable[[], list[str]]
    """Files and directories in the store that belong to no whole image."""
    host: str
    clock: ManualClock

    def reference(self, name: str, tag: str | None = "1", pinned: str | None = None) -> RegistryReference:
        digest = None if pinned is None else Digest(pinned)
        return RegistryReference(host=self.host, repository=name, tag=tag, digest=digest)


@pytest.fixture(params=["memory", "registry"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    clock = ManualClock()
    bounds = Bounds(unpacked_bytes_max=BOUND_BYTES, attempts_max=2)
    if request.param == "memory":
        yield _memory(clock, bounds)
        return
    async with TestRegistry() as registry:
        root = tmp_path / "images"

        def publish(name: str, tag: str, layers: Sequence[str]) -> str:
            image = BuiltImage([files({layer: bytes(LAYER_BYTES)}) for layer in layers], run={"Cmd": [f"/{name}"]})
            registry.publish(name, tag, image)
            return image.digest

        def users(known: dict[str, str]) -> None:
            registry.users = known

        def gate(event: asyncio.Event | None) -> None:
            registry.gate = event

        def reachable(yes: bool) -> None:
            registry.faults.refuse_next = 0 if yes else 1000

        def left() -> list[str]:
            images = [path.stem for path in (root / "images").iterdir()]
            layers = list((root / "layers").iterdir()) if not images else []
            return [str(path) for path in (*(root / "incoming").iterdir(), *layers)]

        yield Place(
            open=lambda: LocalImages(str(root), Settings(bounds=bounds), clock=clock, ids=SystemIds()),
            publish=publish,
            users=users,
            gate=gate,
            downloads=registry.layer_requests,
            reachable=reachable,
            left=left,
            host=registry.host,
            clock=clock,
        )


def _memory(clock: ManualClock, bounds: Bounds) -> Place:
    source, disk = MemoryImageSource(), MemoryImageDisk()

    def reference(name: str, tag: str) -> RegistryReference:
        return RegistryReference(host="here", repository=name, tag=tag)

    def publish(name: str, tag: str, layers: Sequence[str]) -> str:
        image = MemoryImage(
            layers=tuple(MemoryLayer(name=layer, size_bytes=LAYER_BYTES) for layer in layers),
            config=ImageConfig(command=(f"/{name}",)),
        )
        source.publish(reference(name, tag), image)
        return image.id

    def users(known: dict[str, str]) -> None:
        source.users = known

    def gate(event: asyncio.Event | None) -> None:
        source.gate = event

    def reachable(yes: bool) -> None:
        source.reachable = yes

    return Place(
        open=lambda: MemoryImages(disk, source, clock=clock, bounds=bounds),
        publish=publish,
        users=users,
        gate=gate,
        downloads=lambda: source.layer_downloads,
        reachable=reachable,
        left=list,
        host="here",
        clock=clock,
    )


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    store = place.open()
    await store.open()
    yield store
    await store.close()


async def _until_downloading(place: Place, store: Store, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(store.pulling()) < count:
            await asyncio.sleep(0)
        # The registry answers from its own tasks on this loop.
        for _ in range(200):
            await asyncio.sleep(0.0005)


async def test_an_image_is_pulled_with_its_layers_from_the_lowest_and_its_command(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base", "top"))
    image = await store.pull(place.reference("tool"), holder="c1")
    assert image.config.command == ("/tool",)
    assert len(image.layers) == 2
    if isinstance(store, LocalImages):
        assert [os.listdir(layer) for layer in image.layers] == [["base"], ["top"]]
    assert image.size_bytes >= 2 * LAYER_BYTES
    assert await store.holders() == {"c1": image.id}
    assert place.left() == [] or await store.stored()


async def test_tag_and_digest_lead_to_one_image_that_is_downloaded_once(place: Place, store: Store) -> None:
    pinned = place.publish("tool", "1", ("base", "top"))
    by_tag = await store.pull(place.reference("tool"), holder="c1")
    by_digest = await store.pull(place.reference("tool", None, pinned), holder="c2")
    assert by_digest == by_tag
    assert place.downloads() == 2


async def test_pulls_of_one_image_at_the_same_time_share_one_download(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base", "top"))
    pulls = [store.pull(place.reference("tool"), holder=f"c{number}") for number in range(20)]
    images = await asyncio.gather(*pulls)
    assert len({image.id for image in images}) == 1
    assert place.downloads() == 2
    assert set(await store.holders()) == {f"c{number}" for number in range(20)}


async def test_images_that_share_layers_download_them_once(place: Place, store: Store) -> None:
    place.publish("one", "1", ("base", "a"))
    place.publish("two", "1", ("base", "b"))
    await asyncio.gather(
        store.pull(place.reference("one"), holder="c1"), store.pull(place.reference("two"), holder="c2")
    )
    assert place.downloads() == 3


async def test_a_layer_that_comes_twice_lies_there_once_where_it_is_uppermost(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base", "other", "base"))
    image = await store.pull(place.reference("tool"), holder="c1")
    assert len(image.layers) == len(set(image.layers)) == 2
    place.publish("plain", "1", ("other", "base"))
    assert (await store.pull(place.reference("plain"), holder="c2")).layers == image.layers


async def test_what_is_here_already_is_not_asked_for_again(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base",))
    first = await store.pull(place.reference("tool"), holder="c1")
    place.reachable(False)
    assert await store.pull(place.reference("tool"), holder="c2") == first
    assert await store.pull(place.reference("tool"), holder="c3", policy=Policy.NEVER) == first


async def test_always_asks_and_gets_what_the_tag_leads_to_now(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base", "old"))
    old = await store.pull(place.reference("tool"), holder="c1")
    place.publish("tool", "1", ("base", "new"))
    assert await store.pull(place.reference("tool"), holder="c2") == old
    new = await store.pull(place.reference("tool"), holder="c3", policy=Policy.ALWAYS)
    assert new.id != old.id
    assert new.layers[0] == old.layers[0]
    assert await store.holders() == {"c1": old.id, "c2": old.id, "c3": new.id}


async def test_never_refuses_what_is_not_here(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base",))
    with pytest.raises(ImageRefused, match="not on this machine"):
        await store.pull(place.reference("tool"), holder="c1", policy=Policy.NEVER)


async def test_an_image_that_nobody_has_is_refused_by_name(place: Place, store: Store) -> None:
    with pytest.raises(ImageRefused, match="missing:1"):
        await store.pull(place.reference("missing"), holder="c1")
    assert await store.holders() == {}
    assert place.left() == []


async def test_a_registry_out_of_reach_is_a_failure_and_later_it_works(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base",))
    place.reachable(False)
    with pytest.raises(ImageFailed, match="in 2 attempts"):
        await store.pull(place.reference("tool"), holder="c1")
    assert place.left() == []
    place.reachable(True)
    await store.pull(place.reference("tool"), holder="c1")


async def test_who_is_not_let_in_gets_nothing_even_if_it_is_here(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base",))
    place.users({"alice": "right", "bob": "also right"})
    with pytest.raises(ImageRefused):
        await store.pull(place.reference("tool"), holder="c1")
    image = await store.pull(place.reference("tool"), holder="c1", credentials=ALICE)
    for credentials in (None, Credentials(user="mallory", password="guess"), Credentials(user="bob", password="wrong")):
        with pytest.raises(ImageRefused):
            await store.pull(place.reference("tool"), holder="c2", credentials=credentials)
    bob = Credentials(user="bob", password="also right")
    assert await store.pull(place.reference("tool"), holder="c2", credentials=bob) == image
    assert place.downloads() == 1


async def test_what_is_larger_than_allowed_is_refused_and_leaves_nothing(place: Place, store: Store) -> None:
    place.publish("huge", "1", [f"part-{number}" for number in range(20)])
    with pytest.raises(ImageRefused, match="more than the"):
        await store.pull(place.reference("huge"), holder="c1")
    assert await store.stored() == []
    assert await store.holders() == {}
    assert place.left() == []


async def test_a_pull_that_all_have_left_ends_and_leaves_nothing(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base", "top"))
    place.gate(asyncio.Event())
    pulls = [asyncio.create_task(store.pull(place.reference("tool"), holder=f"c{number}")) for number in range(2)]
    await _until_downloading(place, store)
    for pull in pulls:
        pull.cancel()
    await asyncio.gather(*pulls, return_exceptions=True)
    assert store.pulling() == []
    assert await store.stored() == []
    assert await store.holders() == {}
    assert place.left() == []


async def test_a_pull_goes_on_for_those_who_still_wait(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base", "top"))
    gate = asyncio.Event()
    place.gate(gate)
    left, stays = (asyncio.create_task(store.pull(place.reference("tool"), holder=name)) for name in ("c1", "c2"))
    await _until_downloading(place, store)
    left.cancel()
    await asyncio.wait((left,))
    gate.set()
    image = await stays
    assert await store.holders() == {"c2": image.id}


async def test_closing_ends_pulls_with_a_sentence(place: Place) -> None:
    store = place.open()
    await store.open()
    place.publish("tool", "1", ("base",))
    place.gate(asyncio.Event())
    pull = asyncio.create_task(store.pull(place.reference("tool"), holder="c1"))
    await _until_downloading(place, store)
    await store.close()
    with pytest.raises(ImageFailed, match="being closed"):
        await pull
    assert place.left() == []


async def test_images_and_holds_outlive_the_store(place: Place) -> None:
    place.publish("tool", "1", ("base",))
    first = place.open()
    await first.open()
    image = await first.pull(place.reference("tool"), holder="c1")
    await first.close()
    second = place.open()
    await second.open()
    place.reachable(False)
    assert await second.holders() == {"c1": image.id}
    assert await second.pull(place.reference("tool"), holder="c2") == image
    await second.close()


async def test_a_store_has_one_owner(place: Place, store: Store) -> None:
    with pytest.raises(ImageFailed, match="used by another process"):
        await place.open().open()


async def test_held_images_stay_and_released_ones_go(place: Place, store: Store) -> None:
    place.publish("one", "1", ("base", "a"))
    place.publish("two", "1", ("base", "b"))
    one = await store.pull(place.reference("one"), holder="c1")
    two = await store.pull(place.reference("two"), holder="c2")
    assert (await store.collect(**ALL)).images == ()
    await store.release("c1")
    await store.release("c1")
    collected = await store.collect(**ALL)
    assert collected.images == (one.id,)
    # The base belongs to the other as well.
    assert LAYER_BYTES <= collected.size_bytes < 2 * LAYER_BYTES
    assert [stored.image for stored in await store.stored()] == [two]
    await store.release("c2")
    assert (await store.collect(**ALL)).images == (two.id,)
    assert await store.stored() == []
    assert place.left() == []


async def test_a_holder_that_takes_another_image_gives_the_first_back(place: Place, store: Store) -> None:
    place.publish("one", "1", ("a",))
    place.publish("two", "1", ("b",))
    one = await store.pull(place.reference("one"), holder="c1")
    two = await store.pull(place.reference("two"), holder="c1")
    assert await store.holders() == {"c1": two.id}
    assert (await store.collect(**ALL)).images == (one.id,)


async def test_the_old_go_first_and_then_the_least_recently_used(place: Place, store: Store) -> None:
    ids = {}
    for name in ("one", "two", "three"):
        place.publish(name, "1", (name,))
        ids[name] = (await store.pull(place.reference(name), holder=name)).id
        await store.release(name)
        place.clock.advance(100)
    await store.pull(place.reference("one"), holder="again")
    await store.release("again")
    assert [stored.image.id for stored in await store.stored()] == [ids["two"], ids["three"], ids["one"]]
    assert (await store.collect(size_bytes_max=2**40, age_s_max=150)).images == (ids["two"],)
    assert (await store.collect(size_bytes_max=LAYER_BYTES * 3 // 2, age_s_max=1000)).images == (ids["three"],)
    assert (await store.collect(size_bytes_max=LAYER_BYTES * 3 // 2, age_s_max=1000)).images == ()


async def test_a_collected_image_is_pulled_again(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base",))
    first = await store.pull(place.reference("tool"), holder="c1")
    await store.release("c1")
    await store.collect(**ALL)
    assert await store.pull(place.reference("tool"), holder="c1") == first
    assert place.downloads() == 2


async def test_a_holder_has_the_name_of_a_file(place: Place, store: Store) -> None:
    for name in ("", "a/b", "..", "x" * 300):
        with pytest.raises(ImageRefused, match="file name"):
            await store.pull(place.reference("tool"), holder=name)


async def test_what_is_known_of_an_image_is_told(place: Place, store: Store) -> None:
    place.publish("tool", "1", ("base",))
    image = await store.pull(place.reference("tool"), holder="c2")
    await store.pull(place.reference("tool"), holder="c1")
    (stored,) = await store.stored()
    assert stored.image == image
    assert stored.names == (f"{place.host}/tool:1",)
    assert stored.holders == ("c1", "c2")
    assert stored.used_wall_s == place.clock.now().wall_s


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_at_the_same_time_what_is_held_is_whole_and_the_rest_can_go(
    place: Place, store: Store, seed: int
) -> None:
    chance = random.Random(seed)
    names = {"one": ("base", "a"), "two": ("base", "b"), "three": ("base", "a", "c"), "four": ("d",)}
    for name, layers in names.items():
        place.publish(name, "1", layers)
    handed: dict[str, str] = {}

    async def use(number: int) -> None:
        holder, name = f"c{number}", chance.choice(list(names))
        await asyncio.sleep(chance.random() * 0.3)
        policy = chance.choice([Policy.MISSING, Policy.ALWAYS])
        pull = asyncio.create_task(store.pull(place.reference(name), holder=holder, policy=policy))
        if chance.random() < 0.4:
            await asyncio.sleep(chance.random() * 0.2)
            pull.cancel()
        await asyncio.wait((pull,))
        if not pull.cancelled():
            _check_whole(store, pull.result(), names[name])
            handed[holder] = pull.result().id
            await asyncio.sleep(chance.random() * 0.2)
            _check_whole(store, pull.result(), names[name])
        if pull.cancelled() or chance.random() < 0.7:
            handed.pop(holder, None)
            await store.release(holder)

    async def collect() -> None:
        await asyncio.sleep(chance.random() * 0.5)
        await store.collect(**ALL)

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(use(number))
            group.create_task(collect())
    assert store.pulling() == []
    assert await store.holders() == handed
    await store.collect(**ALL)
    assert {one.image.id for one in await store.stored()} == set(handed.values())
    for holder in handed:
        await store.release(holder)
    await store.collect(**ALL)
    assert await store.stored() == []
    assert place.left() == []


def _check_whole(store: Store, image: Image, layers: Sequence[str]) -> None:
    assert len(image.layers) == len(layers)
    if isinstance(store, LocalImages):
        assert [os.listdir(path) for path in image.layers] == [[layer] for layer in layers]
