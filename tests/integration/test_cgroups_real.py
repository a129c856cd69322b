"""Membership on real trees: a child is born inside, found, killed, and the leaf goes."""

from __future__ import annotations

import os
import time

import pytest

from altiplano.adapters import cgroups

FOUND = cgroups.find()


@pytest.mark.parametrize("name", ["memory", "pids", "freezer", "unified"])
def test_a_child_is_born_in_its_leaf_and_killed_there(name: str) -> None:
    if name not in FOUND:
        pytest.skip(f"this machine has no {name} hierarchy")
    groups = cgroups.Cgroups(f"test-{os.getpid()}", {name: FOUND[name]})
    if groups.trouble is not None:
        pytest.skip(groups.trouble)
    leaf = groups.leaf("born", {})
    leaf.make({})
    leaf.enter()
    script = "sleep 60 & setsid sleep 60 & wait"
    pid = os.posix_spawn("/bin/sh", ("sh", "-c", script), {"PATH": "/usr/bin:/bin"}, setsid=True)
    leaf.leave()
    until = time.monotonic() + 10
    while len(leaf.processes()) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert pid in leaf.processes()
    assert len(leaf.processes()) == 3
    assert os.getpid() not in leaf.processes()
    while leaf.processes() and time.monotonic() < until:
        leaf.signal(9)
        time.sleep(0.01)
    os.waitpid(pid, 0)
    while not leaf.remove() and time.monotonic() < until:
        time.sleep(0.01)
    groups.remove_base()
    assert not os.path.exists(groups.base(name))


def test_the_probe_speaks_in_sentences() -> None:
    key = f"probe-{os.getpid()}"
    sentences = cgroups.probe(key)
    assert sentences
    assert all(sentence.endswith((".", ").")) for sentence in sentences)
    cgroups.Cgroups(key).remove_base()
