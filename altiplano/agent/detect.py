"""What this machine has: resources to offer, and what the kernel lets an agent do, in sentences."""

from __future__ import annotations

import os
import pwd
import shutil
import socket

import msgspec
import psutil

from altiplano.adapters import cgroups
from altiplano.model import attributes as attribute_texts
from altiplano.model import resources as algebra
from altiplano.wire import json, translate
from altiplano.wire.errors import WireError
from altiplano.wire.messages import mesos

MIB = 1024 * 1024
GIB = 1024 * MIB
MEMORY_KEPT_BYTES = GIB
"""Memory that is left to the system where there are two gigabytes or more; else half of it."""

DISK_KEPT_BYTES = 5 * GIB
"""Disk that is left to the system where there are ten gigabytes or more; else half of it."""

PORTS_DEFAULT = "[31000-32000]"


class BadSetting(Exception):
    """A setting cannot be used; the text says why and how to write it."""


def resources(text: str | None, default_role: str, work_dir: str) -> tuple[mesos.Resource, ...]:
    """The resources to offer: those given, and each of cpus, mem, disk and ports that is not given as detected."""
    try:
        given = _given(text or "", default_role)
        names = given.names
        missing = ";".join(part for part in detected(work_dir) if part.split(":", 1)[0] not in names)
        whole = given + algebra.parse(missing, default_role=default_role)
    except (algebra.ResourceError, WireError, ValueError) as error:
        raise BadSetting(f"--resources cannot be used: {error}") from error
    return translate.resources_to(whole, refined=True, allocation=False)


def detected(work_dir: str) -> tuple[str, ...]:
    """What this machine has, each as `name:amount`."""
    memory, disk = psutil.virtual_memory().total, shutil.disk_usage(work_dir).total
    return (
        f"cpus:{cpus()}",
        f"mem:{_without(memory, MEMORY_KEPT_BYTES) // MIB}",
        f"disk:{_without(disk, DISK_KEPT_BYTES) // MIB}",
        f"ports:{PORTS_DEFAULT}",
    )


def cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def attributes(text: str | None) -> tuple[mesos.Attribute, ...]:
    try:
        return translate.attributes_to(attribute_texts.parse(text or ""))
    except ValueError as error:
        raise BadSetting(f"--attributes cannot be used: {error}") from error


def boot_id() -> str:
    """Names this boot of this machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def user() -> str:
    """The user that this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def hostname() -> str:
    return socket.getfqdn() or socket.gethostname()


def machine(work_dir: str, isolation: str, *, switch_user: bool) -> tuple[str, ...]:
    """What an agent finds on this machine, in sentences; those that begin with "No" or "Not" are what it lacks."""
    memory, disk = psutil.virtual_memory().total, shutil.disk_usage(work_dir)
    sentences = [
        f"{cpus()} processors, {memory / GIB:.1f} GB of memory, Linux {os.uname().release}.",
        f"The work directory has {disk.free / GIB:.1f} of {disk.total / GIB:.1f} GB free.",
        _rights_sentence(switch_user),
        *_cgroup_sentences(isolation),
    ]
    return tuple(sentences)


def _rights_sentence(switch_user: bool) -> str:
    if os.geteuid() != 0:
        return f"Not root: all tasks run as {user()}, and cgroups can be used only where they were delegated."
    if switch_user:
        return "Running as root: every task runs as the user that it or its framework names."
    return f"Running as root without switching users: all tasks run as {user()}."


def _cgroup_sentences(isolation: str) -> list[str]:
    found = cgroups.find()
    names = ", ".join(
        f"{hierarchy.controller} (v{hierarchy.version})"
        for hierarchy in found.values()
        if hierarchy.controller in cgroups.USED
    )
    sentences = [f"Control groups: {names}." if names else "No control groups that limit memory, cpu or processes."]
    if isolation == "cgroups":
        sentences.append("Isolation cgroups: cpu time is shared by weight, and memory beyond the limit ends a task.")
    else:
        sentences.append("Isolation posix: nothing limits what a task uses; usage is measured.")
    return sentences


def _given(text: str, default_role: str) -> algebra.Resources:
    if not text.strip().startswith("["):
        return algebra.parse(text, default_role=default_role)
    try:
        parts = msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.DecodeError as error:
        raise ValueError(f"it looks like JSON and is none: {error}") from error
    return translate.resources_from(json.decode(mesos.Resource, bytes(part)) for part in parts)


def _without(total: int, kept: int) -> int:
    return total - kept if total >= 2 * kept else total // 2
