"""Finding controllers on v1, v2 and hybrid machines, and what is written into which file."""

from __future__ import annotations

import pathlib

import pytest

from altiplano.adapters import cgroups

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/my\\040memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
PURE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


def test_a_hybrid_machine_has_each_controller_where_it_is() -> None:
    found = cgroups.parse_mounts(HYBRID, {"/sys/fs/cgroup/unified": "pids hugetlb"})
    where = {name: (one.version, one.mount) for name, one in found.items()}
    assert where == {
        "cpu": (1, "/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": (1, "/sys/fs/cgroup/cpu,cpuacct"),
        "memory": (1, "/sys/fs/cgroup/my memory"),
        "pids": (2, "/sys/fs/cgroup/unified"),
        "unified": (2, "/sys/fs/cgroup/unified"),
    }


def test_a_pure_machine_has_all_in_one_tree() -> None:
    found = cgroups.parse_mounts(PURE, {"/sys/fs/cgroup": "cpuset cpu io memory pids"})
    assert {name: one.version for name, one in found.items()} == {"cpu": 2, "memory": 2, "pids": 2, "unified": 2}


def test_a_machine_without_cgroups_has_none() -> None:
    assert cgroups.parse_mounts("22 1 254:0 / / rw - ext4 /dev/vda rw\n", {}) == {}
    groups = cgroups.Cgroups("key", {})
    assert groups.trouble is not None
    assert "mounted" in groups.trouble


def test_homes_are_read_for_each_controller() -> None:
    homes = cgroups.parse_homes("4:memory:/a/b\n2:cpu,cpuacct:/\n0::/user.slice\n")
    assert homes == {"memory": "/a/b", "cpu": "/", "cpuacct": "/", "unified": "/user.slice"}


def make_tree(folder: pathlib.Path, version: int) -> cgroups.Cgroups:
    """Plain files in the place of the kernel's."""
    found = {}
    for name in ("cpu", "memory", "pids"):
        mount = folder if version == 2 else folder / name
        base = mount / "altiplano" / "key"
        base.mkdir(parents=True, exist_ok=True)
        for place in (mount, mount / "altiplano", base):
            (place / "cgroup.subtree_control").touch()
        found[name] = cgroups.Hierarchy(name, version, str(mount))
    return cgroups.Cgroups("key", found)


LIMITS = {
    "cpu_shares": 512,
    "cpu_quota_us": 25_000,
    "memory_hard_bytes": 64 << 20,
    "memory_soft_bytes": 32 << 20,
    "pids_max": 10,
}


def test_limits_of_version_1_go_to_one_leaf_per_controller(tmp_path: pathlib.Path) -> None:
    groups = make_tree(tmp_path, 1)
    files = {
        "cpu": ("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us"),
        "memory": ("memory.limit_in_bytes", "memory.soft_limit_in_bytes"),
        "pids": ("pids.max",),
    }
    for controller, names in files.items():
        leaf = tmp_path / controller / "altiplano/key/one"
        leaf.mkdir()
        for name in names:
            (leaf / name).touch()
    made = groups.leaf("one", LIMITS)
    made.make(LIMITS)
    assert (tmp_path / "memory/altiplano/key/one/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "memory/altiplano/key/one/memory.soft_limit_in_bytes").read_text() == str(32 << 20)
    assert (tmp_path / "pids/altiplano/key/one/pids.max").read_text() == "", "the supervisor would be counted"
    assert (tmp_path / "cpu/altiplano/key/one/cpu.shares").read_text() == "", "the supervisor would be slowed"
    made.settle(LIMITS)
    assert (tmp_path / "cpu/altiplano/key/one/cpu.shares").read_text() == "512"
    assert (tmp_path / "cpu/altiplano/key/one/cpu.cfs_quota_us").read_text() == "25000"
    assert (tmp_path / "pids/altiplano/key/one/pids.max").read_text() == "10"


def test_limits_of_version_2_go_to_one_leaf(tmp_path: pathlib.Path) -> None:
    groups = make_tree(tmp_path, 2)
    leaf = tmp_path / "altiplano/key/one"
    leaf.mkdir()
    for name in ("cpu.weight", "cpu.max", "memory.max", "memory.low", "pids.max", "cgroup.procs"):
        (leaf / name).touch()
    made = groups.leaf("one", LIMITS)
    made.make(LIMITS)
    made.settle(LIMITS)
    assert (leaf / "cpu.weight").read_text() == "20"
    assert (leaf / "cpu.max").read_text() == "25000 100000"
    assert (leaf / "memory.max").read_text() == str(64 << 20)
    assert (leaf / "memory.low").read_text() == str(32 << 20)
    assert (leaf / "pids.max").read_text() == "10"
    (leaf / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    (leaf / "cpu.stat").write_text(
        "usage_usec 30\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 1500000\n"
    )
    assert made.oom_kills() == 1
    assert made.cpu_s() == (2.0, 1.0)
    assert made.throttling() == (5, 2, 1.5)


def test_a_new_leaf_of_version_1_is_not_told_what_the_kernel_gives_anyway(tmp_path: pathlib.Path) -> None:
    groups = make_tree(tmp_path, 1)
    default = {"cpu_shares": 1024}
    made = groups.leaf("one", default)
    made.make(default)
    made.settle(default)  # the new directory has no file that could be written
    again = groups.leaf("one", default)
    again.make(default)
    with pytest.raises(cgroups.CgroupTrouble, match=r"cpu\.shares"):
        again.settle(default)


def test_a_soft_limit_that_no_memory_can_exceed_is_left_out(tmp_path: pathlib.Path) -> None:
    groups = make_tree(tmp_path, 1)
    for name, soft, written in (("one", 64 << 20, ""), ("two", 32 << 20, str(32 << 20))):
        made = groups.leaf(name, {"memory_hard_bytes": 64 << 20})
        leaf = tmp_path / "memory/altiplano/key" / name
        leaf.mkdir()
        (leaf / "memory.limit_in_bytes").touch()
        (leaf / "memory.soft_limit_in_bytes").touch()
        made.fresh = True
        made.limit({"memory_hard_bytes": 64 << 20, "memory_soft_bytes": soft})
        assert (leaf / "memory.soft_limit_in_bytes").read_text() == written


def test_a_container_gets_only_the_leaves_it_needs(tmp_path: pathlib.Path) -> None:
    groups = make_tree(tmp_path, 1)
    assert set(groups.leaf("one", {}).paths) == {"memory"}
    assert set(groups.leaf("one", {"cpu_shares": 2}).paths) == {"memory", "cpu"}


def test_leftovers_are_those_nobody_keeps(tmp_path: pathlib.Path) -> None:
    groups = make_tree(tmp_path, 1)
    for controller, name in (("cpu", "old"), ("memory", "old"), ("memory", "kept")):
        (tmp_path / controller / "altiplano/key" / name).mkdir()
    (leaf,) = groups.leftovers(["kept"])
    assert leaf.container_id == "old"
    assert set(leaf.paths) == {"cpu", "memory"}
    assert leaf.remove()
    assert not groups.leftovers(["kept"])
