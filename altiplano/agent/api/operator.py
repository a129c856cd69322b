"""The operator API, v1: one POST with a call, one answer, in the form that the client chose."""

from __future__ import annotations

from altiplano.agent import runners, view
from altiplano.agent.api import usage
from altiplano.agent.api.legacy import Legacy
from altiplano.agent.api.paths import SandboxFiles
from altiplano.agent.shell import Agent
from altiplano.engine import http
from altiplano.engine.verbosity import verbosity
from altiplano.ports.files import READ_BYTES_MAX, FileInfo
from altiplano.wire.codec import CODECS, JSON, PROTOBUF, Codec
from altiplano.wire.errors import WireError
from altiplano.wire.level import MESOS_VERSION, with_own_version
from altiplano.wire.messages import agent as api
from altiplano.wire.messages import mesos

Type = api.CallType
Answer = api.ResponseType
NS_PER_S = 10**9


def request_codec(scope: http.Scope) -> Codec:
    """The form of a request's body; Refusal 400 without a content type, 415 for one that is not known."""
    given = http.header(scope, b"content-type")
    if given is None:
        raise http.Refusal(400, "Expecting 'Content-Type' to be present")
    codec = CODECS.get(given.split(";", 1)[0].strip().lower())
    if codec is None:
        raise http.Refusal(415, f"Expecting 'Content-Type' of {JSON.media_type} or {PROTOBUF.media_type}")
    return codec


def answer_codec(scope: http.Scope) -> Codec:
    """The form in which the client wants its answer; Refusal 406 if it takes neither."""
    accept = http.header(scope, b"accept")
    for codec in (JSON, PROTOBUF):
        if http.accepts(accept, codec.media_type):
            return codec
    raise http.Refusal(406, f"Expecting 'Accept' to allow {JSON.media_type} or {PROTOBUF.media_type}")


class Operator:
    """Answers calls."""

    def __init__(self, agent: Agent, legacy: Legacy) -> None:
        self._agent = agent
        self._legacy = legacy
        self._files = SandboxFiles(agent)

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        if scope["method"] != "POST":
            raise http.Refusal(405, "this endpoint takes POST only", headers=((b"allow", b"POST"),))
        codec = request_codec(scope)
        body = await http.read_body(scope, receive)
        try:
            call = codec.decode(api.Call, body)
        except WireError as error:
            raise http.Refusal(400, f"Failed to parse body into Call: {error}") from error
        wanted = answer_codec(scope)
        await self._agent.engine.settle()
        response = await self._answer(call)
        if response is None:
            await http.respond(send, 200 if call.type is Type.SET_LOGGING_LEVEL else 202)
            return
        answer = wanted.encode(response)
        if response.get_version is not None and wanted is JSON:
            answer = with_own_version(answer, self._agent.node.altiplano_version)
        await http.respond(send, 200, answer, content_type=wanted.media_type, scope=scope)

    async def _answer(self, call: api.Call) -> api.Response | None:
        state = self._agent.core.state
        match call.type:
            case Type.GET_HEALTH:
                return api.Response(type=Answer.GET_HEALTH, get_health=api.ResponseGetHealth(healthy=True))
            case Type.GET_VERSION:
                info = mesos.VersionInfo(version=MESOS_VERSION)
                return api.Response(type=Answer.GET_VERSION, get_version=api.ResponseGetVersion(version_info=info))
            case Type.GET_FLAGS:
                flags = tuple(mesos.Flag(name=name, value=text) for name, text in self._legacy.flags().items())
                return api.Response(type=Answer.GET_FLAGS, get_flags=api.ResponseGetFlags(flags=flags))
            case Type.GET_METRICS:
                metrics = tuple(mesos.Metric(name=name, value=v) for name, v in self._legacy.metrics().items())
                return api.Response(type=Answer.GET_METRICS, get_metrics=api.ResponseGetMetrics(metrics=metrics))
            case Type.GET_STATE:
                return api.Response(
                    type=Answer.GET_STATE,
                    get_state=api.ResponseGetState(
                        get_tasks=view.tasks_answer(state),
                        get_executors=view.executors_answer(state),
                        get_frameworks=view.frameworks_answer(state),
                    ),
                )
            case Type.GET_TASKS:
                return api.Response(type=Answer.GET_TASKS, get_tasks=view.tasks_answer(state))
            case Type.GET_EXECUTORS:
                return api.Response(type=Answer.GET_EXECUTORS, get_executors=view.executors_answer(state))
            case Type.GET_FRAMEWORKS:
                return api.Response(type=Answer.GET_FRAMEWORKS, get_frameworks=view.frameworks_answer(state))
            case Type.GET_AGENT:
                info_ = view.agent_message(state, self._agent.node)
                return api.Response(type=Answer.GET_AGENT, get_agent=view.drained(state, info_))
            case Type.GET_CONTAINERS:
                return await self._containers()
            case Type.GET_LOGGING_LEVEL:
                level = api.ResponseGetLoggingLevel(level=verbosity.level)
                return api.Response(type=Answer.GET_LOGGING_LEVEL, get_logging_level=level)
            case Type.SET_LOGGING_LEVEL:
                _set_logging_level(call)
                return None
            case Type.GET_OPERATIONS:
                return api.Response(type=Answer.GET_OPERATIONS, get_operations=api.ResponseGetOperations())
            case Type.GET_RESOURCE_PROVIDERS:
                none = api.ResponseGetResourceProviders()
                return api.Response(type=Answer.GET_RESOURCE_PROVIDERS, get_resource_providers=none)
            case Type.LIST_FILES:
                return await self._list_files(call)
            case Type.READ_FILE:
                return await self._read_file(call)
            case Type.KILL_CONTAINER:
                await self._kill_container(call)
                return None
            case None:
                raise http.Refusal(400, "Failed to validate agent::Call: Expecting 'type' to be present")
            case _:
                raise http.Refusal(501, f"this agent does not answer {call.type.value}")

    async def _containers(self) -> api.Response:
        now_wall_s = self._agent.outside.clock.now().wall_s
        containers = tuple(
            api.ResponseGetContainersContainer(
                framework_id=mesos.FrameworkID(value=runner.framework_id),
                executor_id=runner.info.executor_id,
                executor_name=runner.name,
                container_id=mesos.ContainerID(value=runner.container_id),
                container_status=view.container_status(runner, self._agent.node),
                resource_statistics=view.statistics(runner, used, now_wall_s),
            )
            for runner, used in await usage.measure_all(self._agent)
        )
        return api.Response(type=Answer.GET_CONTAINERS, get_containers=api.ResponseGetContainers(containers=containers))

    async def _list_files(self, call: api.Call) -> api.Response:
        if call.list_files is None:
            raise http.Refusal(400, "Failed to validate agent::Call: Expecting 'list_files' to be present")
        infos = tuple(_file_info(entry) for entry in await self._files.browse(call.list_files.path))
        return api.Response(type=Answer.LIST_FILES, list_files=api.ResponseListFiles(file_infos=infos))

    async def _read_file(self, call: api.Call) -> api.Response:
        order = call.read_file
        if order is None:
            raise http.Refusal(400, "Failed to validate agent::Call: Expecting 'read_file' to be present")
        length = READ_BYTES_MAX if order.length is None else order.length
        data = await self._files.read(order.path, order.offset, length)
        size = await self._files.size(order.path)
        return api.Response(type=Answer.READ_FILE, read_file=api.ResponseReadFile(size=size, data=data))

    async def _kill_container(self, call: api.Call) -> None:
        """End a task or executor as its scheduler could: by SIGTERM or SHUTDOWN, and SIGKILL after its grace."""
        order = call.kill_container
        if order is None:
            raise http.Refusal(400, "Failed to validate agent::Call: Expecting 'kill_container' to be present")
        container_id = order.container_id.value
        if runners.at(self._agent.core.state, container_id) is None:
            raise http.Refusal(404, f"Container {container_id} cannot be found")
        self._agent.kill(container_id)
        await self._agent.engine.settle()


def _set_logging_level(call: api.Call) -> None:
    order = call.set_logging_level
    if order is None:
        raise http.Refusal(400, "Failed to validate agent::Call: Expecting 'set_logging_level' to be present")
    problem = verbosity.set(order.level, order.duration.nanoseconds / NS_PER_S)
    if problem is not None:
        raise http.Refusal(400, problem)


_KINDS = {"d": 0o040000, "l": 0o120000, "-": 0o100000, "p": 0o010000, "s": 0o140000, "c": 0o020000, "b": 0o060000}


def _file_info(entry: FileInfo) -> mesos.FileInfo:
    return mesos.FileInfo(
        path=entry.path,
        nlink=entry.nlink,
        size=entry.size,
        mtime=mesos.TimeInfo(nanoseconds=round(entry.mtime_s * NS_PER_S)),
        mode=mode_number(entry.mode),
        uid=entry.uid,
        gid=entry.gid,
    )


def mode_number(text: str) -> int:
    """The bits of a mode as `ls` writes it.

    >>> oct(mode_number("-rw-r--r--")), oct(mode_number("drwxr-x---"))
    ('0o100644', '0o40750')
    """
    bits = 0
    for sign in text[1:10]:
        bits = bits << 1 | (sign not in "-ST")
    return _KINDS.get(text[:1], 0) | bits
