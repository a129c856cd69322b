"""The agent's flags: one field each, named as Mesos names them, with the help text people read.

`FLAGS` lists them for the command line; the fields are the only place that knows types and defaults.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, get_args, get_type_hints

import msgspec

from altiplano.model import durations
from altiplano.wire.messages import mesos


class Kind(Enum):
    """How a flag is written on the command line."""

    TEXT = "text"
    INTEGER = "integer"
    DURATION = "duration"
    BYTES = "bytes"
    FRACTION = "fraction"
    SWITCH = "switch"


def _help(kind: Kind, sentence: str) -> msgspec.Meta:
    return msgspec.Meta(description=sentence, extra={"kind": kind})


def _text(sentence: str) -> msgspec.Meta:
    return _help(Kind.TEXT, sentence)


def _seconds(sentence: str) -> msgspec.Meta:
    return _help(Kind.DURATION, sentence)


def _switch(sentence: str) -> msgspec.Meta:
    return _help(Kind.SWITCH, sentence)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's settings, as given; what was not given is None or the default."""

    master: Annotated[str, _text("The master: host:port.")]
    work_dir: Annotated[str, _text("Directory of the agent's log, its sandboxes and its supervisor.")]
    ip: Annotated[str, _text("Address to listen on.")] = "0.0.0.0"
    port: Annotated[int, _help(Kind.INTEGER, "Port to listen on; 0 takes a free one.")] = 5051
    advertise_ip: Annotated[str | None, _text("Address told to others, where it differs from --ip.")] = None
    hostname: Annotated[str | None, _text("Name told to others; without it that of the machine, or --ip if given.")] = (
        None
    )
    resources: Annotated[
        str | None, _text("What may be offered, as name(role):value;… or a JSON list; what is not named is detected.")
    ] = None
    attributes: Annotated[
        str | None, _text("Facts about the machine, as key:value;…, for frameworks to choose by.")
    ] = None
    default_role: Annotated[str, _text("Role of resources that --resources gives no role.")] = "*"
    isolation: Annotated[
        str,
        _text("How tasks are kept apart: posix (nothing is limited, usage is measured) or cgroups (cpu and memory)."),
    ] = "posix"
    cgroups_enable_cfs: Annotated[
        bool, _switch("With cgroups: a task never gets more cpu time than it asked for, even on an idle machine.")
    ] = False
    switch_user: Annotated[bool, _switch("Run tasks as the user they name (only where the agent runs as root).")] = True
    output_max: Annotated[
        int, _help(Kind.BYTES, "Disk that each of a task's stdout and stderr may hold; the oldest part goes first.")
    ] = 256 * 1024 * 1024
    executor_registration_timeout: Annotated[float, _seconds("How long a custom executor may take to subscribe.")] = (
        60.0
    )
    executor_reregistration_timeout: Annotated[
        float, _seconds("How long a custom executor may take to subscribe again after a restart of the agent.")
    ] = 2.0
    executor_shutdown_grace_period: Annotated[
        float, _seconds("Time between asking tasks or executors of a removed framework to end and making them end.")
    ] = 5.0
    executor_environment_variables: Annotated[
        str | None, _text("Variables for every task, as a JSON object; the agent's own are never inherited.")
    ] = None
    recovery_timeout: Annotated[float, _seconds("How long executors wait for a restarted agent.")] = 900.0
    registration_backoff_factor: Annotated[
        float, _seconds("First pause before the master is dialled again; it doubles up to a minute.")
    ] = 1.0
    gc_delay: Annotated[float, _seconds("How long the sandbox of an ended task is kept.")] = 7 * 86400.0
    gc_disk_headroom: Annotated[
        float, _help(Kind.FRACTION, "Share of the disk to keep free: the fuller it gets, the sooner sandboxes go.")
    ] = 0.1
    disk_watch_interval: Annotated[float, _seconds("Time between two looks at the disk.")] = 60.0
    fetcher_cache_dir: Annotated[str | None, _text("Directory of fetched files with cache: true.")] = None
    fetcher_cache_size: Annotated[int, _help(Kind.BYTES, "Disk that the fetcher's cache may hold.")] = 2 * 1024**3
    fetcher_stall_timeout: Annotated[float, _seconds("A download that brings nothing for so long has failed.")] = 60.0
    frameworks_home: Annotated[str | None, _text("Directory that relative paths of URIs are looked up in.")] = None
    http_credentials: Annotated[str | None, _text("File with the principals that may use the agent's HTTP API.")] = None
    authenticate_http_readonly: Annotated[bool, _switch("Ask for a credential on calls that only read.")] = False
    authenticate_http_readwrite: Annotated[bool, _switch("Ask for a credential on all other calls.")] = False
    credential: Annotated[str | None, _text("File with the secret that this agent shows to the master.")] = None
    token_file: Annotated[str | None, _text("File with the token that guards the agent's HTTP API.")] = None
    stop_tasks_on_exit: Annotated[
        bool, _switch("SIGTERM ends the tasks, then supervisor and keeper, then the agent.")
    ] = False
    check: Annotated[bool, _switch("Check all invariants after every event (slow; for tests).")] = False

    def text_of(self, name: str) -> str:
        """A setting as `/flags` and `/state` show it."""
        value = getattr(self, name)
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and KINDS[name] is Kind.DURATION:
            return durations.format_s(value)
        return str(value)

    @property
    def cache_dir(self) -> str:
        return self.fetcher_cache_dir or f"{self.work_dir}/fetcher-cache"


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One flag for the command line; `required` ones have no default."""

    field: str
    kind: Kind
    required: bool
    default: str | int | float | bool | None
    help: str

    @property
    def name(self) -> str:
        return self.field.replace("_", "-")


def _flags() -> tuple[Flag, ...]:
    hints = get_type_hints(Settings, include_extras=True)
    flags = []
    for field in msgspec.structs.fields(Settings):
        meta = next(note for note in get_args(hints[field.name]) if isinstance(note, msgspec.Meta))
        required = field.default is msgspec.NODEFAULT
        kind = (meta.extra or {})["kind"]
        default = None if required else field.default
        flags.append(Flag(field=field.name, kind=kind, required=required, default=default, help=meta.description or ""))
    return tuple(flags)


FLAGS = _flags()
KINDS = {flag.field: flag.kind for flag in FLAGS}


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent's core knows of its machine and its place: settings resolved once, at the start."""

    work_dir: str
    hostname: str
    ip: str
    port: int
    resources: tuple[mesos.Resource, ...] = ()
    attributes: tuple[mesos.Attribute, ...] = ()
    altiplano_version: str = ""
    credential: str | None = None
    user: str = "root"
    """The user that the agent runs as."""
    may_switch_user: bool = False
    """Tasks run as the user they name; otherwise all run as `user`."""
    cgroups: bool = False
    hard_cpu_limit: bool = False
    output_max_bytes: int | None = None
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that every task gets."""
    shutdown_grace_s: float = 5.0
    registration_timeout_s: float = 60.0
    reregistration_timeout_s: float = 2.0
    recovery_timeout_s: float = 900.0
    executor_secret: bytes | None = None
    """Signs the tokens of custom executors; None: they need none."""
    backoff_first_s: float = 1.0
    gc_delay_s: float = 7 * 86400.0
    gc_disk_headroom: float = 0.1
    disk_watch_s: float = 60.0

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def pid(self) -> str:
        """The agent's name as an actor, which old tools parse."""
        return f"slave(1)@{self.address}"
