"""What an operator can set on a master, by the names of Mesos' flags."""

from __future__ import annotations

from typing import Annotated

import msgspec

from altiplano.model import durations

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
        str | None, Help(description="An offer that is not used for so long is rescinded; default: never.")
    ] = None
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
    check: Annotated[
        bool, Help(description="Assert all invariants after every event: slow, for the hunt after a bug.")
    ] = False

    def __post_init__(self) -> None:
        for name in ("allocation_interval", "agent_ping_timeout", "agent_reregister_timeout", "offer_timeout"):
            text = getattr(self, name)
            if text is None:
                continue
            try:
                seconds = durations.parse_s(text)
            except ValueError as error:
                raise ValueError(f"--{name.replace('_', '-')}: {error}") from None
            if seconds <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be longer than nothing")

    @property
    def name(self) -> str:
        """Under which name others reach this master."""
        return self.hostname or self.ip


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


def flags(settings: Settings) -> dict[str, str]:
    """All flags with their values as text, as `/flags` shows them."""
    shown = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if value is not None:
            shown[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return shown
