"""What an operator can set on a master, by the names of Mesos' flags."""

from __future__ import annotations

import ipaddress
import math
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import msgspec

from altiplano.master.state import Config
from altiplano.model import durations, ids, resources
from altiplano.model.resources import ResourceError

Help = msgspec.Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field per flag; the text beside it is its help."""

    ip: Annotated[str, Help(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Help(description="Port to listen on; 0 takes a free one.", ge=0, le=65535)] = 5050
    hostname: Annotated[str | None, Help(description="Name under which others reach this master; default: the ip.")] = (
        None
    )
    work_dir: Annotated[str, Help(description="Directory of the registry.")] = "/var/lib/altiplano/master"
    cluster: Annotated[str | None, Help(description="Name of this pool, shown on its pages.")] = None
    allocation_interval: Annotated[
        str, Help(description="Shortest time before a declined offer returns; filters end on this beat.")
    ] = "1secs"
    min_allocatable_resources: Annotated[
        str, Help(description="An offer holds at least one of these sets of amounts.")
    ] = "cpus:0.01|mem:32"
    offer_timeout: Annotated[
        str, Help(description="An offer that is not used for so long is rescinded, or `never`; reservations are not.")
    ] = "30secs"
    agent_ping_timeout: Annotated[str, Help(description="Time between two pings of an agent.")] = "15secs"
    max_agent_ping_timeouts: Annotated[
        int, Help(description="Pings without an answer after which an agent is unreachable.", ge=1)
    ] = 5
    agent_reregister_timeout: Annotated[
        str, Help(description="Time that agents have to return after a restart of the master.")
    ] = "10mins"
    max_completed_frameworks: Annotated[int, Help(description="Removed frameworks that are remembered.", ge=0)] = 50
    max_completed_tasks_per_framework: Annotated[
        int, Help(description="Ended tasks that are remembered for each framework.", ge=0)
    ] = 1000
    max_unreachable_tasks_per_framework: Annotated[
        int, Help(description="Unreachable tasks that are remembered for each framework.", ge=0)
    ] = 1000
    roles: Annotated[str | None, Help(description="The only roles frameworks may have, with commas between.")] = None
    root_submissions: Annotated[bool, Help(description="Whether frameworks may run as root.")] = True
    filter_gpu_resources: Annotated[
        bool, Help(description="Offer agents with GPUs only to frameworks that have the GPU_RESOURCES capability.")
    ] = True
    fair_sharing_excluded_resource_names: Annotated[
        str | None, Help(description="Resources that do not count in fair shares, with commas between.")
    ] = None
    max_operator_event_stream_subscribers: Annotated[
        int, Help(description="Event streams of operators; one more ends the oldest.", ge=1)
    ] = 1000
    publish_per_framework_metrics: Annotated[bool, Help(description="Whether metrics name single frameworks.")] = True
    weights: Annotated[str | None, Help(description="Weights of roles, such as `web=2,batch=1`.")] = None
    token_file: Annotated[
        str | None, Help(description="File with the token that guards this master's API, pages and agent link.")
    ] = None
    hosts: Annotated[
        str | None, Help(description="Names that requests may call this master by, with commas between; default: any.")
    ] = None
    frameworks_port: Annotated[
        int | None, Help(description="Port of the host of frameworks beside this master: its pages are in the menu.")
    ] = None
    check: Annotated[
        bool, Help(description="Assert all invariants after every event: slow, for the hunt after a bug.")
    ] = False

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.ip)
        except ValueError:
            raise ValueError(f"--ip {self.ip} is not an address: write one of this machine, or 0.0.0.0") from None
        for name in ("allocation_interval", "agent_ping_timeout", "agent_reregister_timeout", "offer_timeout"):
            text = getattr(self, name)
            if text == "never" and name == "offer_timeout":
                continue
            try:
                seconds = durations.parse_s(text)
            except ValueError as error:
                raise ValueError(f"--{name.replace('_', '-')}: {error}") from None
            if seconds <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be longer than nothing")


NOT_BUILT = {
    "registry": "the registry is always durable, in --work-dir; leave --registry away",
    "zk": "several masters with ZooKeeper are not built yet: run one master, without --zk",
    "quorum": "several masters are not built yet: run one master, without --quorum",
    "credentials": "credentials of frameworks and operators are not built yet",
    "acls": "access control lists are not built yet",
    "authenticate_http_frameworks": "credentials of frameworks are not built yet",
    "authenticate_http_readonly": "credentials of operators are not built yet",
    "authenticate_http_readwrite": "credentials of operators are not built yet",
    "http_framework_authenticators": "credentials of frameworks are not built yet",
    "rate_limits": "rate limits are not built yet",
    "whitelist": "agent whitelists are not built yet: deactivate agents instead",
    "domain": "fault domains are not built yet",
    "agent_removal_rate_limit": "a rate limit of removals is not built yet",
}
"""Flags of Mesos that this master refuses, and why."""


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """A flag, as a command line needs it."""

    name: str
    type: type[str] | type[int] | type[bool]
    default: str | int | bool | None
    help: str


def options() -> list[Option]:
    """All flags, in the order of their fields."""
    hints = get_type_hints(Settings, include_extras=True)
    found = []
    for field in msgspec.structs.fields(Settings):
        held, meta = get_args(hints[field.name])
        kind = next(one for one in (bool, int, str) if one is held or one in get_args(held))
        found.append(Option(name=field.name, type=kind, default=field.default, help=meta.description))
    return found


def flags(settings: Settings) -> dict[str, str]:
    """All flags with their values as text, as `/flags` shows them."""
    shown = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if value is not None:
            shown[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return shown


def token(settings: Settings) -> str | None:
    """The secret that guards this master, if any does.  Raises ValueError when it cannot be read."""
    if settings.token_file is None:
        return None
    try:
        secret = Path(settings.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--token-file {settings.token_file} cannot be read: {error}") from error
    if not secret:
        raise ValueError(f"--token-file {settings.token_file} is empty: it must hold a token")
    return secret


def hosts(settings: Settings) -> frozenset[str] | None:
    """Under which names requests may come; None leaves that open."""
    named = _list(settings.hosts)
    return frozenset(name.lower() for name in named) if named else None


def config_of(settings: Settings, *, port: int) -> Config:
    """The settings in the numbers that the core works with; `port` is the one that was bound."""
    # Nobody can dial a wildcard; who binds one says with --hostname under which name others come.
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.ip, settings.ip)
    return Config(
        hostname=settings.hostname or reachable,
        ip=reachable,
        port=port,
        allocation_interval_s=durations.parse_s(settings.allocation_interval),
        minimums=_minimums(settings.min_allocatable_resources),
        offer_timeout_s=durations.parse_s(settings.offer_timeout) if settings.offer_timeout != "never" else None,
        ping_interval_s=durations.parse_s(settings.agent_ping_timeout),
        ping_misses_max=settings.max_agent_ping_timeouts,
        reregister_timeout_s=durations.parse_s(settings.agent_reregister_timeout),
        completed_frameworks_max=settings.max_completed_frameworks,
        completed_tasks_max=settings.max_completed_tasks_per_framework,
        unreachable_tasks_max=settings.max_unreachable_tasks_per_framework,
        roles=frozenset(_list(settings.roles)) if settings.roles is not None else None,
        root_submissions=settings.root_submissions,
        filter_gpus=settings.filter_gpu_resources,
        excluded=frozenset(_list(settings.fair_sharing_excluded_resource_names)),
        weights=_weights(settings.weights),
        operator_streams_max=settings.max_operator_event_stream_subscribers,
    )


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _minimums(text: str) -> tuple[tuple[tuple[str, int], ...], ...]:
    """The sets in `cpus:0.01|mem:32`; without any, everything is worth an offer."""
    try:
        sets = [resources.parse(part) for part in text.split("|") if part.strip()]
    except ResourceError as error:
        raise ValueError(f"--min-allocatable-resources: {error}") from error
    return tuple(tuple(one.scalars.items()) for one in sets) or ((),)


def _weights(text: str | None) -> tuple[tuple[str, float], ...]:
    """The weights in `web=2,batch=1`."""
    found = []
    for part in _list(text):
        role, _, number = part.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        problem = ids.role_problem(role)
        if problem is not None or not 0 < weight < math.inf:
            raise ValueError(f"--weights: '{part}' is not a role and a weight above 0, such as web=2")
        found.append((role, weight))
    return tuple(found)
