"""The configuration of a container, from what its image and its task say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from altiplano.adapters import oci, seccomp
from altiplano.adapters.accounts import Account, UnknownAccount, account
from altiplano.adapters.oci import (
    Accounts,
    Asked,
    BundleRefused,
    Device,
    Host,
    Mount,
    Namespace,
    Network,
    Propagation,
    Seccomp,
    Tmpfs,
    UserMap,
)
from altiplano.ports.images import ImageConfig
from altiplano.ports.launcher import CgroupLimits, Rlimit

PASSWD = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:100::/home/ana:/bin/sh\nbroken line\n"
GROUP = "root:x:0:\nusers:x:100:\nphysics:x:2000:bob,ana\nothers:x:2001:bob\n"
IMAGE = ImageConfig(
    entrypoint=("/entry", "-v"),
    command=("serve",),
    environment=(("PATH", "/opt/bin"), ("A", "1")),
    user="ana",
    directory="/srv",
)


def configured(image: ImageConfig = IMAGE, host: Host | None = None, **asked: Any) -> dict[str, Any]:
    config = oci.bundle(image, Asked(rootfs="/c/root", **asked), Accounts(passwd=PASSWD, group=GROUP), host or Host())
    decoded: dict[str, Any] = msgspec.json.decode(oci.text(config))
    return decoded


def mounts(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in config["mounts"]}


def test_without_wishes_the_image_decides() -> None:
    process = configured()["process"]
    assert process["args"] == ["/entry", "-v", "serve"]
    assert process["env"] == ["PATH=/opt/bin", "HOME=/home/ana", "A=1"]
    assert process["cwd"] == "/srv"
    assert process["user"] == {"uid": 1000, "gid": 100, "umask": 0o022, "additionalGids": [100, 2000]}
    assert process["terminal"] is False


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "words"),
    [
        (None, ("once",), ["/entry", "-v", "once"]),
        (("/bin/sh",), None, ["/bin/sh"]),
        (("/bin/sh",), ("-c", "x"), ["/bin/sh", "-c", "x"]),
        ((), ("/bin/true",), ["/bin/true"]),
        (None, (), ["/entry", "-v"]),
    ],
)
def test_a_task_may_replace_entry_point_and_arguments(
    entrypoint: tuple[str, ...] | None, arguments: tuple[str, ...] | None, words: list[str]
) -> None:
    assert configured(entrypoint=entrypoint, arguments=arguments)["process"]["args"] == words


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(BundleRefused, match="say what to run"):
        configured(ImageConfig())


def test_the_environment_of_a_task_lies_over_that_of_the_image() -> None:
    env = configured(environment=(("A", "2"), ("B", "x=y"), ("HOME", "/sandbox")), terminal=True)["process"]["env"]
    assert env == ["PATH=/opt/bin", "HOME=/sandbox", "TERM=xterm", "A=2", "B=x=y"]
    with pytest.raises(BundleRefused, match="equals sign"):
        configured(environment=(("A=", "x"),))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Account(uid=0, gid=0, home="/root")),
        ("ana", Account(uid=1000, gid=100, groups=(2000,), home="/home/ana")),
        ("1000", Account(uid=1000, gid=100, groups=(2000,), home="/home/ana")),
        ("4242", Account(uid=4242, gid=0)),
        ("ana:physics", Account(uid=1000, gid=2000, home="/home/ana")),
        ("ana:7", Account(uid=1000, gid=7, home="/home/ana")),
        ("4242:4242", Account(uid=4242, gid=4242)),
    ],
)
def test_users_are_those_of_the_image(text: str, found: Account) -> None:
    assert account(text, PASSWD, GROUP) == found


@pytest.mark.parametrize("text", ["eve", "ana:nobody", "ana:", "99999999999", "-1", "١"])
def test_unknown_users_are_refused(text: str) -> None:
    with pytest.raises(UnknownAccount):
        account(text, PASSWD, GROUP)
    with pytest.raises(BundleRefused):
        configured(user=text)


def test_root_has_the_usual_capabilities_and_others_begin_with_none() -> None:
    root = configured(user="0")["process"]["capabilities"]
    assert root["effective"] == root["bounding"] == sorted(oci.CAPABILITIES_DEFAULT)
    assert "CAP_SYS_ADMIN" not in root["bounding"]
    ana = configured()["process"]["capabilities"]
    assert ana["effective"] == ana["ambient"] == []
    assert ana["bounding"] == root["bounding"]


def test_another_user_may_begin_with_some() -> None:
    found = configured(capabilities=("CAP_NET_RAW", "CAP_KILL"), effective=("CAP_NET_RAW",))["process"]["capabilities"]
    assert found["effective"] == found["ambient"] == found["inheritable"] == ["CAP_NET_RAW"]
    with pytest.raises(BundleRefused, match="CAP_SYS_TIME, which it is not allowed"):
        configured(effective=("SYS_TIME",))


def test_capabilities_are_added_and_dropped_by_their_short_names() -> None:
    assert oci.with_capabilities(drop=("all",)) == ()
    assert oci.with_capabilities(add=("net_admin",), drop=("ALL",)) == ("CAP_NET_ADMIN",)
    assert "CAP_NET_RAW" not in oci.with_capabilities(drop=("CAP_NET_RAW",))
    assert set(oci.with_capabilities(add=("ALL",))) == set(oci.CAPABILITIES)
    with pytest.raises(BundleRefused, match="no capability 'nonsense'"):
        oci.with_capabilities(add=("nonsense",))


def test_volumes_are_mounted_outer_before_inner_with_their_propagation() -> None:
    config = configured(
        mounts=(
            Mount(source="/data/in", target="/v/inner/x", read_only=True),
            Mount(source="/data", target="/v/"),
            Mount(source="/cvmfs", target="/cvmfs", read_only=True, propagation=Propagation.SLAVE),
        ),
        tmpfs=(Tmpfs(target="/v/inner", size_bytes=1024),),
    )
    order = [mount["destination"] for mount in config["mounts"]]
    assert order.index("/v") < order.index("/v/inner") < order.index("/v/inner/x")
    assert mounts(config)["/v/inner/x"]["options"] == ["rbind", "rprivate", "ro"]
    assert mounts(config)["/cvmfs"] == {
        "destination": "/cvmfs",
        "type": "bind",
        "source": "/cvmfs",
        "options": ["rbind", "rslave", "ro"],
    }
    assert config["linux"]["rootfsPropagation"] == "rslave"
    assert configured()["linux"]["rootfsPropagation"] == "private"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/", "inside rests"),
        ("/proc", "inside rests"),
        ("/proc/self", "inside rests"),
        ("/dev/", "inside rests"),
        ("relative", "absolute"),
        ("/a/../proc", "without"),
        ("/a\nb", "line end"),
        ("", "empty"),
    ],
)
def test_volumes_do_not_replace_what_keeps_a_container_inside(target: str, why: str) -> None:
    with pytest.raises(BundleRefused, match=why):
        configured(mounts=(Mount(source="/data", target=target),))


def test_two_volumes_at_one_place_are_refused() -> None:
    with pytest.raises(BundleRefused, match="Two volumes"):
        configured(mounts=(Mount(source="/a", target="/x"), Mount(source="/b", target="/x/")))


def test_a_volume_may_take_the_place_of_shared_memory() -> None:
    config = configured(mounts=(Mount(source="/dev/shm", target="/dev/shm"),))
    assert mounts(config)["/dev/shm"]["type"] == "bind"


def test_the_network_of_the_host_comes_with_its_name() -> None:
    host = [one["type"] for one in configured()["linux"]["namespaces"]]
    assert "network" not in host
    assert "uts" not in host
    none = [one["type"] for one in configured(network=Network.NONE)["linux"]["namespaces"]]
    assert {"network", "uts", "pid", "ipc", "mount", "cgroup"} == set(none)
    named = configured(hostname="worker")
    assert named["hostname"] == "worker"
    assert {"type": "uts"} in named["linux"]["namespaces"]


def test_containers_of_a_group_share_namespaces() -> None:
    config = configured(joined={Namespace.NETWORK: "/proc/7/ns/net", Namespace.PID: "/proc/7/ns/pid"})
    assert {"type": "network", "path": "/proc/7/ns/net"} in config["linux"]["namespaces"]
    assert {"type": "pid", "path": "/proc/7/ns/pid"} in config["linux"]["namespaces"]
    with pytest.raises(BundleRefused, match="cannot have its own"):
        configured(joined={Namespace.UTS: "/proc/7/ns/uts"}, hostname="x")


def test_limits_become_those_of_a_cgroup() -> None:
    limits = CgroupLimits(
        cpu_shares=512, cpu_quota_us=25_000, memory_hard_bytes=64 << 20, memory_soft_bytes=32 << 20, pids_max=10
    )
    linux = configured(limits=limits, swap_bytes=0, cgroup="/altiplano/c1")["linux"]
    assert linux["cgroupsPath"] == "/altiplano/c1"
    assert linux["resources"]["memory"] == {"limit": 64 << 20, "reservation": 32 << 20, "swap": 64 << 20}
    assert linux["resources"]["cpu"] == {"shares": 512, "quota": 25_000, "period": 100_000}
    assert linux["resources"]["pids"] == {"limit": 10}
    with pytest.raises(BundleRefused, match="needs one of memory"):
        configured(swap_bytes=0)


def test_a_cgroup_is_absolute() -> None:
    with pytest.raises(BundleRefused, match="cgroup 'nested'"):
        configured(cgroup="nested")


def test_devices_are_made_and_allowed_and_no_others() -> None:
    linux = configured(devices=(Device(path="/dev/nvidia0", kind="c", major=195, minor=0, access="rw"),))["linux"]
    assert linux["devices"][0]["path"] == "/dev/nvidia0"
    assert linux["resources"]["devices"] == [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 195, "minor": 0, "access": "rw"},
    ]
    for device in (
        Device(path="dev/x", kind="c", major=1, minor=1),
        Device(path="/dev/x", kind="u", major=1, minor=1),
        Device(path="/dev/x", kind="c", major=1, minor=1, access="all"),
    ):
        with pytest.raises(BundleRefused):
            configured(devices=(device,))


def test_resource_limits_stay_below_those_of_the_machine() -> None:
    host = Host(rlimits_hard={"RLIMIT_NOFILE": 20_000, "RLIMIT_CORE": None})
    wanted = (Rlimit(name="RLIMIT_NOFILE", soft=1, hard=20_000), Rlimit(name="RLIMIT_CORE", soft=0, hard=None))
    assert configured(host=host, rlimits=wanted)["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 20_000},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
    ]
    for hard in (20_001, None):
        with pytest.raises(BundleRefused, match="hard limit of 20000"):
            configured(host=host, rlimits=(Rlimit(name="RLIMIT_NOFILE", soft=1, hard=hard),))


def test_a_container_of_mapped_users_gets_the_host_s_sys_only_to_look_at() -> None:
    config = configured(user_map=UserMap(host_uid=100_000, host_gid=200_000))
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    assert config["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 200_000, "size": 65_536}]
    assert mounts(config)["/sys"]["type"] == "bind"
    assert "ro" in mounts(config)["/sys"]["options"]
    with pytest.raises(BundleRefused, match="not among the 10 mapped"):
        configured(user_map=UserMap(host_uid=100_000, host_gid=100_000, size=10))


def test_a_read_only_root_and_no_new_privileges_are_said() -> None:
    config = configured(read_only_root=True, no_new_privileges=True)
    assert config["root"] == {"path": "/c/root", "readonly": True}
    assert config["process"]["noNewPrivileges"] is True
    assert "seccomp" not in configured(seccomp=Seccomp.UNCONFINED)["linux"]


def test_the_profile_names_each_call_once_and_gives_back_what_a_capability_guards() -> None:
    assert not set(seccomp.ALLOWED) & set(seccomp.REFUSED)
    for calls in seccomp.WITH_CAPABILITY.values():
        assert set(calls) <= set(seccomp.REFUSED)
    plain = seccomp.profile("amd64", ())
    rules: Any = plain["syscalls"]
    assert "mount" in rules[1]["names"]
    rules = seccomp.profile("amd64", ("CAP_SYS_ADMIN",))["syscalls"]
    assert "mount" in rules[0]["names"]
    assert "mount" not in rules[1]["names"]
    assert {"names": ["clone", "clone3"], "action": "SCMP_ACT_ALLOW"} in rules
    assert "architectures" not in seccomp.profile("strange", ())
