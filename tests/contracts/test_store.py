"""What a store promises (`altiplano.ports.store.Store`), on the twin and on SQLite."""

from __future__ import annotations

import asyncio

import pytest

from altiplano.ports.store import VALUE_BYTES_MAX, Stored, StoreFailed

from .conftest import StorePlace


async def test_a_value_comes_back_with_its_version(stores: StorePlace) -> None:
    store = stores.open()
    assert await store.get("a/b") is None
    assert await store.put("a/b", b"one") == 1
    assert await store.put("a/b", b"two") == 2
    assert await store.get("a/b") == (b"two", 2)
    await store.close()


async def test_values_outlive_the_process_that_wrote_them(stores: StorePlace) -> None:
    store = stores.open()
    await store.put("framework", b"\x00\xff")
    await store.close()
    store = stores.open()
    assert await store.get("framework") == (b"\x00\xff", 1)
    await store.close()


async def test_a_conditional_write_is_refused_when_somebody_was_faster(stores: StorePlace) -> None:
    store = stores.open()
    assert await store.put("k", b"mine", version=0) == 1
    with pytest.raises(Stored, match="version 1, not 0"):
        await store.put("k", b"yours", version=0)
    assert await store.put("k", b"again", version=1) == 2
    with pytest.raises(Stored):
        await store.put("absent", b"x", version=3)
    assert await store.get("k") == (b"again", 2)
    assert await store.get("absent") is None
    await store.close()


async def test_of_many_that_write_on_one_condition_one_wins(stores: StorePlace) -> None:
    store = stores.open()
    writes = (store.put("k", b"%d" % number, version=0) for number in range(20))
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome == 1] == [1]
    assert sum(isinstance(outcome, Stored) for outcome in outcomes) == 19
    await store.close()


async def test_a_deleted_key_is_gone_and_may_be_made_anew(stores: StorePlace) -> None:
    store = stores.open()
    await store.put("k", b"x")
    await store.delete("k")
    await store.delete("k")
    assert await store.get("k") is None
    assert await store.put("k", b"y", version=0) == 1
    await store.close()


async def test_a_listing_has_the_keys_of_its_prefix_in_order(stores: StorePlace) -> None:
    store = stores.open()
    for key in ("jobs/2", "job", "jobs/10", "jobs/1", "jobsite", "z", "jobs/ü"):
        await store.put(key, key.encode())
    assert list(await store.list("jobs/")) == ["jobs/1", "jobs/10", "jobs/2", "jobs/ü"]
    assert (await store.list("jobs/"))["jobs/10"] == b"jobs/10"
    assert len(await store.list("")) == 7
    assert await store.list("none") == {}
    await store.close()


async def test_percent_and_underscore_are_ordinary_signs(stores: StorePlace) -> None:
    store = stores.open()
    for key in ("a%b", "a_b", "axb"):
        await store.put(key, b"")
    assert list(await store.list("a_")) == ["a_b"]
    assert list(await store.list("a%")) == ["a%b"]
    await store.close()


async def test_what_is_too_large_is_refused_and_changes_nothing(stores: StorePlace) -> None:
    store = stores.open()
    with pytest.raises(StoreFailed, match="more than the store's"):
        await store.put("k", bytes(VALUE_BYTES_MAX + 1))
    assert await store.get("k") is None
    await store.close()


async def test_a_full_disk_fails_the_write_and_the_store_goes_on(stores: StorePlace) -> None:
    store = stores.open_small()
    await store.put("small", b"x")
    with pytest.raises(StoreFailed, match="full"):
        await store.put("large", bytes(512 * 1024))
    assert await store.get("large") is None
    assert await store.put("small", b"y") == 2
    await store.close()
