"""`POST /api/v1`: calls of operators.  Reads are answered from the view once all that is known is durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import altiplano
from altiplano.engine import http
from altiplano.engine.verbosity import verbosity
from altiplano.master import answers, infos, maintenance, metrics, settings, snapshot, view
from altiplano.master.api import endpoint
from altiplano.master.pieces import Tree
from altiplano.master.shell import Shell
from altiplano.master.snapshot import Snapshot
from altiplano.wire.codec import JSON, Codec
from altiplano.wire.level import with_own_version
from altiplano.wire.messages import master, mesos

Type = master.CallType
Response = master.Response

_PAYLOADS = {
    Type.GET_METRICS: "get_metrics",
    Type.SET_LOGGING_LEVEL: "set_logging_level",
    Type.LIST_FILES: "list_files",
    Type.READ_FILE: "read_file",
    Type.UPDATE_WEIGHTS: "update_weights",
    Type.RESERVE_RESOURCES: "reserve_resources",
    Type.UNRESERVE_RESOURCES: "unreserve_resources",
    Type.CREATE_VOLUMES: "create_volumes",
    Type.DESTROY_VOLUMES: "destroy_volumes",
    Type.GROW_VOLUME: "grow_volume",
    Type.SHRINK_VOLUME: "shrink_volume",
    Type.UPDATE_MAINTENANCE_SCHEDULE: "update_maintenance_schedule",
    Type.START_MAINTENANCE: "start_maintenance",
    Type.STOP_MAINTENANCE: "stop_maintenance",
    Type.DRAIN_AGENT: "drain_agent",
    Type.DEACTIVATE_AGENT: "deactivate_agent",
    Type.REACTIVATE_AGENT: "reactivate_agent",
    Type.UPDATE_QUOTA: "update_quota",
    Type.SET_QUOTA: "set_quota",
    Type.REMOVE_QUOTA: "remove_quota",
    Type.TEARDOWN: "teardown",
    Type.MARK_AGENT_GONE: "mark_agent_gone",
}


_LARGE: Mapping[master.CallType, tuple[master.ResponseType, str, Callable[[Snapshot], Tree]]] = {
    Type.GET_STATE: (master.ResponseType.GET_STATE, "get_state", answers.get_state),
    Type.GET_AGENTS: (master.ResponseType.GET_AGENTS, "get_agents", answers.get_agents),
    Type.GET_FRAMEWORKS: (master.ResponseType.GET_FRAMEWORKS, "get_frameworks", answers.get_frameworks),
    Type.GET_EXECUTORS: (master.ResponseType.GET_EXECUTORS, "get_executors", answers.get_executors),
    Type.GET_TASKS: (master.ResponseType.GET_TASKS, "get_tasks", answers.get_tasks),
}
"""Answers that grow with the pool: they are written piece by piece."""


def _require_valid(call: master.Call) -> None:
    """Refuse a call that lacks its type, or what its type asks for."""
    if call.type is None:
        raise http.Refusal(400, "Failed to validate master::Call: Expecting 'type' to be present")
    payload = _PAYLOADS.get(call.type)
    if payload is not None and getattr(call, payload) is None:
        raise http.Refusal(400, f"Failed to validate master::Call: Expecting '{payload}' to be present")


CALLS = endpoint.CallForm(message=master.Call, name="master::Call", check=_require_valid)


class OperatorApi:
    def __init__(self, shell: Shell, shown: settings.Settings) -> None:
        self._shell = shell
        self._settings = shown
        self._room = endpoint.Room()
        state = shell.core.state
        kind = master.ResponseType
        self._reads: Mapping[master.CallType, Callable[[], Response]] = {
            Type.GET_HEALTH: lambda: Response(type=kind.GET_HEALTH, get_health=master.ResponseGetHealth(healthy=True)),
            Type.GET_FLAGS: lambda: Response(type=kind.GET_FLAGS, get_flags=self._flags()),
            Type.GET_VERSION: lambda: Response(
                type=kind.GET_VERSION,
                get_version=master.ResponseGetVersion(version_info=mesos.VersionInfo(version=infos.MESOS_VERSION)),
            ),
            Type.GET_LOGGING_LEVEL: lambda: Response(
                type=kind.GET_LOGGING_LEVEL, get_logging_level=master.ResponseGetLoggingLevel(level=verbosity.level)
            ),
            Type.GET_OPERATIONS: lambda: Response(
                type=kind.GET_OPERATIONS, get_operations=master.ResponseGetOperations()
            ),
            Type.GET_ROLES: lambda: Response(type=kind.GET_ROLES, get_roles=view.get_roles(state)),
            Type.GET_WEIGHTS: lambda: Response(type=kind.GET_WEIGHTS, get_weights=view.get_weights(state)),
            Type.GET_QUOTA: lambda: Response(type=kind.GET_QUOTA, get_quota=view.get_quota(state)),
            Type.GET_MAINTENANCE_SCHEDULE: lambda: Response(
                type=kind.GET_MAINTENANCE_SCHEDULE, get_maintenance_schedule=maintenance.get_schedule(state)
            ),
            Type.GET_MAINTENANCE_STATUS: lambda: Response(
                type=kind.GET_MAINTENANCE_STATUS, get_maintenance_status=maintenance.get_status(state)
            ),
            Type.GET_MASTER: lambda: Response(type=kind.GET_MASTER, get_master=view.get_master(state)),
        }

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        endpoint.require_ready(self._shell)
        endpoint.require_post(scope)
        content = endpoint.content_codec(scope)
        call = await endpoint.read_call(scope, receive, content, CALLS, room=self._room)
        kind = call.type
        codec = endpoint.answer_codec(scope)
        if kind is Type.SUBSCRIBE:
            await endpoint.stream(self._shell, receive, send, self._shell.follow(codec))
        elif kind is Type.GET_METRICS:
            await self._shell.engine.settle()
            counted = codec.encode(Response(type=master.ResponseType.GET_METRICS, get_metrics=await self._metrics()))
            await http.respond(send, 200, counted, content_type=codec.media_type, scope=scope)
        elif kind is Type.SET_LOGGING_LEVEL and call.set_logging_level is not None:
            wanted = call.set_logging_level
            problem = verbosity.set(wanted.level, wanted.duration.nanoseconds / 1e9)
            if problem is not None:
                raise http.Refusal(400, problem)
            await http.respond(send, 200)
        elif kind is not None and kind in _LARGE:
            await self._shell.engine.settle()
            response, name, tree = _LARGE[kind]
            shown = answers.response(response, name, tree(snapshot.take(self._shell.core.state)))
            write = answers.written(codec, shown)
            await http.respond_pieces(send, write(), content_type=codec.media_type, scope=scope)
        elif kind is not None and kind in self._reads:
            await self._shell.engine.settle()
            await http.respond(send, 200, self._read(kind, codec), content_type=codec.media_type, scope=scope)
        else:
            done = endpoint.Awaited()
            self._shell.operate(call, None, done)
            status, text = await done
            await (http.respond_text(send, status, text) if text else http.respond(send, status))

    def small(self, scope: http.Scope, body: bytes, answer: http.Answer) -> bool:
        """The same for short reads whose answer is short as well, where nothing has to be waited for."""
        endpoint.require_ready(self._shell)
        call = endpoint.small_call(endpoint.content_codec(scope), CALLS, body)
        kind = call.type
        if kind is None or kind not in self._reads or not self._shell.engine.settled:
            return False
        codec = endpoint.answer_codec(scope)
        read = self._read(kind, codec)
        if len(read) >= http.GZIP_FROM_BYTES:
            return False
        answer(200, read, content_type=codec.media_type.encode())
        return True

    def _read(self, kind: Type, codec: Codec) -> bytes:
        response = self._reads[kind]()
        data = codec.encode(response)
        return with_own_version(data, altiplano.__version__) if kind is Type.GET_VERSION and codec is JSON else data

    def _flags(self) -> master.ResponseGetFlags:
        shown = settings.flags(self._settings)
        return master.ResponseGetFlags(flags=tuple(mesos.Flag(name=name, value=value) for name, value in shown.items()))

    async def _metrics(self) -> master.ResponseGetMetrics:
        snapshot = await metrics.snapshot(self._shell)
        return master.ResponseGetMetrics(
            metrics=tuple(mesos.Metric(name=name, value=value) for name, value in snapshot.items())
        )
