"""The operator API of an agent, nested containers included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import field

from altiplano.wire.messages import mesos
from altiplano.wire.messages.fields import Message, Numbered, int32, uint32, uint64


class CallType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    GET_HEALTH = "GET_HEALTH", 1
    GET_FLAGS = "GET_FLAGS", 2
    GET_VERSION = "GET_VERSION", 3
    GET_METRICS = "GET_METRICS", 4
    GET_LOGGING_LEVEL = "GET_LOGGING_LEVEL", 5
    SET_LOGGING_LEVEL = "SET_LOGGING_LEVEL", 6
    LIST_FILES = "LIST_FILES", 7
    READ_FILE = "READ_FILE", 8
    GET_STATE = "GET_STATE", 9
    GET_CONTAINERS = "GET_CONTAINERS", 10
    GET_FRAMEWORKS = "GET_FRAMEWORKS", 11
    GET_EXECUTORS = "GET_EXECUTORS", 12
    GET_OPERATIONS = "GET_OPERATIONS", 31
    GET_TASKS = "GET_TASKS", 13
    GET_AGENT = "GET_AGENT", 20
    GET_RESOURCE_PROVIDERS = "GET_RESOURCE_PROVIDERS", 26
    LAUNCH_NESTED_CONTAINER = "LAUNCH_NESTED_CONTAINER", 14
    WAIT_NESTED_CONTAINER = "WAIT_NESTED_CONTAINER", 15
    KILL_NESTED_CONTAINER = "KILL_NESTED_CONTAINER", 16
    REMOVE_NESTED_CONTAINER = "REMOVE_NESTED_CONTAINER", 21
    LAUNCH_NESTED_CONTAINER_SESSION = "LAUNCH_NESTED_CONTAINER_SESSION", 17
    ATTACH_CONTAINER_INPUT = "ATTACH_CONTAINER_INPUT", 18
    ATTACH_CONTAINER_OUTPUT = "ATTACH_CONTAINER_OUTPUT", 19
    LAUNCH_CONTAINER = "LAUNCH_CONTAINER", 22
    WAIT_CONTAINER = "WAIT_CONTAINER", 23
    KILL_CONTAINER = "KILL_CONTAINER", 24
    REMOVE_CONTAINER = "REMOVE_CONTAINER", 25
    ADD_RESOURCE_PROVIDER_CONFIG = "ADD_RESOURCE_PROVIDER_CONFIG", 27
    UPDATE_RESOURCE_PROVIDER_CONFIG = "UPDATE_RESOURCE_PROVIDER_CONFIG", 28
    REMOVE_RESOURCE_PROVIDER_CONFIG = "REMOVE_RESOURCE_PROVIDER_CONFIG", 29
    MARK_RESOURCE_PROVIDER_GONE = "MARK_RESOURCE_PROVIDER_GONE", 32
    PRUNE_IMAGES = "PRUNE_IMAGES", 30


class CallAttachContainerInputType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    CONTAINER_ID = "CONTAINER_ID", 1
    PROCESS_IO = "PROCESS_IO", 2


class ResponseType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    GET_HEALTH = "GET_HEALTH", 1
    GET_FLAGS = "GET_FLAGS", 2
    GET_VERSION = "GET_VERSION", 3
    GET_METRICS = "GET_METRICS", 4
    GET_LOGGING_LEVEL = "GET_LOGGING_LEVEL", 5
    LIST_FILES = "LIST_FILES", 6
    READ_FILE = "READ_FILE", 7
    GET_STATE = "GET_STATE", 8
    GET_CONTAINERS = "GET_CONTAINERS", 9
    GET_FRAMEWORKS = "GET_FRAMEWORKS", 10
    GET_EXECUTORS = "GET_EXECUTORS", 11
    GET_OPERATIONS = "GET_OPERATIONS", 17
    GET_TASKS = "GET_TASKS", 12
    GET_AGENT = "GET_AGENT", 14
    GET_RESOURCE_PROVIDERS = "GET_RESOURCE_PROVIDERS", 16
    WAIT_NESTED_CONTAINER = "WAIT_NESTED_CONTAINER", 13
    WAIT_CONTAINER = "WAIT_CONTAINER", 15


class ProcessIOType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    DATA = "DATA", 1
    CONTROL = "CONTROL", 2


class ProcessIODataType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    STDIN = "STDIN", 1
    STDOUT = "STDOUT", 2
    STDERR = "STDERR", 3


class ProcessIOControlType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    TTY_INFO = "TTY_INFO", 1
    HEARTBEAT = "HEARTBEAT", 2


class CallGetMetrics(Message):
    timeout: Annotated[mesos.DurationInfo | None, 1] = None


class CallSetLoggingLevel(Message):
    level: Annotated[uint32, 1]
    duration: Annotated[mesos.DurationInfo, 2]


class CallListFiles(Message):
    path: Annotated[str, 1]


class CallReadFile(Message):
    path: Annotated[str, 1]
    offset: Annotated[uint64, 2]
    length: Annotated[uint64 | None, 3] = None


class CallGetContainers(Message):
    show_nested: Annotated[bool | None, 1] = None
    show_standalone: Annotated[bool | None, 2] = None


class CallLaunchNestedContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]
    command: Annotated[mesos.CommandInfo | None, 2] = None
    container: Annotated[mesos.ContainerInfo | None, 3] = None


class CallWaitNestedContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]


class CallKillNestedContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]
    signal: Annotated[int32 | None, 2] = None


class CallRemoveNestedContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]


class CallLaunchNestedContainerSession(Message):
    container_id: Annotated[mesos.ContainerID, 1]
    command: Annotated[mesos.CommandInfo | None, 2] = None
    container: Annotated[mesos.ContainerInfo | None, 3] = None


class ProcessIOData(Message):
    type: Annotated[ProcessIODataType | None, 1] = None
    data: Annotated[bytes | None, 2] = None


class ProcessIOControlHeartbeat(Message):
    interval: Annotated[mesos.DurationInfo | None, 1] = None


class ProcessIOControl(Message):
    type: Annotated[ProcessIOControlType | None, 1] = None
    tty_info: Annotated[mesos.TTYInfo | None, 2] = None
    heartbeat: Annotated[ProcessIOControlHeartbeat | None, 3] = None


class ProcessIO(Message):
    type: Annotated[ProcessIOType | None, 1] = None
    data: Annotated[ProcessIOData | None, 2] = None
    control: Annotated[ProcessIOControl | None, 3] = None


class CallAttachContainerInput(Message):
    type: Annotated[CallAttachContainerInputType | None, 1] = None
    container_id: Annotated[mesos.ContainerID | None, 2] = None
    process_io: Annotated[ProcessIO | None, 3] = None


class CallAttachContainerOutput(Message):
    container_id: Annotated[mesos.ContainerID, 1]


class CallLaunchContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]
    command: Annotated[mesos.CommandInfo | None, 2] = None
    resources: Annotated[tuple[mesos.Resource, ...], 3] = ()
    container: Annotated[mesos.ContainerInfo | None, 4] = None
    limits: Annotated[Mapping[str, mesos.ValueScalar], 5] = field(default_factory=dict)


class CallWaitContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]


class CallKillContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]
    signal: Annotated[int32 | None, 2] = None


class CallRemoveContainer(Message):
    container_id: Annotated[mesos.ContainerID, 1]


class CallAddResourceProviderConfig(Message):
    info: Annotated[mesos.ResourceProviderInfo, 1]


class CallUpdateResourceProviderConfig(Message):
    info: Annotated[mesos.ResourceProviderInfo, 1]


class CallRemoveResourceProviderConfig(Message):
    type: Annotated[str, 1]
    name: Annotated[str, 2]


class CallMarkResourceProviderGone(Message):
    resource_provider_id: Annotated[mesos.ResourceProviderID, 1]


class CallPruneImages(Message):
    excluded_images: Annotated[tuple[mesos.Image, ...], 1] = ()


class Call(Message):
    """`type` says which of the other fields counts."""

    type: Annotated[CallType | None, 1] = None
    get_metrics: Annotated[CallGetMetrics | None, 2] = None
    set_logging_level: Annotated[CallSetLoggingLevel | None, 3] = None
    list_files: Annotated[CallListFiles | None, 4] = None
    read_file: Annotated[CallReadFile | None, 5] = None
    launch_nested_container: Annotated[CallLaunchNestedContainer | None, 6] = None  # deprecated
    wait_nested_container: Annotated[CallWaitNestedContainer | None, 7] = None  # deprecated
    kill_nested_container: Annotated[CallKillNestedContainer | None, 8] = None  # deprecated
    launch_nested_container_session: Annotated[CallLaunchNestedContainerSession | None, 9] = None
    attach_container_input: Annotated[CallAttachContainerInput | None, 10] = None
    attach_container_output: Annotated[CallAttachContainerOutput | None, 11] = None
    remove_nested_container: Annotated[CallRemoveNestedContainer | None, 12] = None  # deprecated
    launch_container: Annotated[CallLaunchContainer | None, 13] = None
    wait_container: Annotated[CallWaitContainer | None, 14] = None
    kill_container: Annotated[CallKillContainer | None, 15] = None
    remove_container: Annotated[CallRemoveContainer | None, 16] = None
    add_resource_provider_config: Annotated[CallAddResourceProviderConfig | None, 17] = None
    update_resource_provider_config: Annotated[CallUpdateResourceProviderConfig | None, 18] = None
    remove_resource_provider_config: Annotated[CallRemoveResourceProviderConfig | None, 19] = None
    get_containers: Annotated[CallGetContainers | None, 20] = None
    prune_images: Annotated[CallPruneImages | None, 21] = None
    mark_resource_provider_gone: Annotated[CallMarkResourceProviderGone | None, 22] = None


class ResponseGetHealth(Message):
    healthy: Annotated[bool, 1]


class ResponseGetFlags(Message):
    flags: Annotated[tuple[mesos.Flag, ...], 1] = ()


class ResponseGetVersion(Message):
    version_info: Annotated[mesos.VersionInfo, 1]


class ResponseGetMetrics(Message):
    metrics: Annotated[tuple[mesos.Metric, ...], 1] = ()


class ResponseGetLoggingLevel(Message):
    level: Annotated[uint32, 1]


class ResponseListFiles(Message):
    file_infos: Annotated[tuple[mesos.FileInfo, ...], 1] = ()


class ResponseReadFile(Message):
    size: Annotated[uint64, 1]
    data: Annotated[bytes, 2]


class ResponseGetFrameworksFramework(Message):
    framework_info: Annotated[mesos.FrameworkInfo, 1]


class ResponseGetFrameworks(Message):
    frameworks: Annotated[tuple[ResponseGetFrameworksFramework, ...], 1] = ()
    completed_frameworks: Annotated[tuple[ResponseGetFrameworksFramework, ...], 2] = ()


class ResponseGetExecutorsExecutor(Message):
    executor_info: Annotated[mesos.ExecutorInfo, 1]


class ResponseGetExecutors(Message):
    executors: Annotated[tuple[ResponseGetExecutorsExecutor, ...], 1] = ()
    completed_executors: Annotated[tuple[ResponseGetExecutorsExecutor, ...], 2] = ()


class ResponseGetTasks(Message):
    pending_tasks: Annotated[tuple[mesos.Task, ...], 1] = ()
    queued_tasks: Annotated[tuple[mesos.Task, ...], 2] = ()
    launched_tasks: Annotated[tuple[mesos.Task, ...], 3] = ()
    terminated_tasks: Annotated[tuple[mesos.Task, ...], 4] = ()
    completed_tasks: Annotated[tuple[mesos.Task, ...], 5] = ()


class ResponseGetState(Message):
    get_tasks: Annotated[ResponseGetTasks | None, 1] = None
    get_executors: Annotated[ResponseGetExecutors | None, 2] = None
    get_frameworks: Annotated[ResponseGetFrameworks | None, 3] = None


class ResponseGetContainersContainer(Message):
    framework_id: Annotated[mesos.FrameworkID | None, 1] = None
    executor_id: Annotated[mesos.ExecutorID | None, 2] = None
    executor_name: Annotated[str | None, 3] = None
    container_id: Annotated[mesos.ContainerID, 4]
    container_status: Annotated[mesos.ContainerStatus | None, 5] = None
    resource_statistics: Annotated[mesos.ResourceStatistics | None, 6] = None


class ResponseGetContainers(Message):
    containers: Annotated[tuple[ResponseGetContainersContainer, ...], 1] = ()


class ResponseGetOperations(Message):
    operations: Annotated[tuple[mesos.Operation, ...], 1] = ()


class ResponseGetAgent(Message):
    agent_info: Annotated[mesos.AgentInfo | None, 1] = None
    drain_config: Annotated[mesos.DrainConfig | None, 2] = None
    estimated_drain_start_time: Annotated[mesos.TimeInfo | None, 3] = None


class ResponseGetResourceProvidersResourceProvider(Message):
    resource_provider_info: Annotated[mesos.ResourceProviderInfo, 1]
    total_resources: Annotated[tuple[mesos.Resource, ...], 2] = ()


class ResponseGetResourceProviders(Message):
    resource_providers: Annotated[tuple[ResponseGetResourceProvidersResourceProvider, ...], 1] = ()


class ResponseWaitNestedContainer(Message):
    exit_status: Annotated[int32 | None, 1] = None
    state: Annotated[mesos.TaskState | None, 2] = None
    reason: Annotated[mesos.TaskStatusReason | None, 3] = None
    limitation: Annotated[mesos.TaskResourceLimitation | None, 4] = None
    message: Annotated[str | None, 5] = None


class ResponseWaitContainer(Message):
    exit_status: Annotated[int32 | None, 1] = None
    state: Annotated[mesos.TaskState | None, 2] = None
    reason: Annotated[mesos.TaskStatusReason | None, 3] = None
    limitation: Annotated[mesos.TaskResourceLimitation | None, 4] = None
    message: Annotated[str | None, 5] = None


class Response(Message):
    """`type` says which of the other fields counts."""

    type: Annotated[ResponseType | None, 1] = None
    get_health: Annotated[ResponseGetHealth | None, 2] = None
    get_flags: Annotated[ResponseGetFlags | None, 3] = None
    get_version: Annotated[ResponseGetVersion | None, 4] = None
    get_metrics: Annotated[ResponseGetMetrics | None, 5] = None
    get_logging_level: Annotated[ResponseGetLoggingLevel | None, 6] = None
    list_files: Annotated[ResponseListFiles | None, 7] = None
    read_file: Annotated[ResponseReadFile | None, 8] = None
    get_state: Annotated[ResponseGetState | None, 9] = None
    get_containers: Annotated[ResponseGetContainers | None, 10] = None
    get_frameworks: Annotated[ResponseGetFrameworks | None, 11] = None
    get_executors: Annotated[ResponseGetExecutors | None, 12] = None
    get_tasks: Annotated[ResponseGetTasks | None, 13] = None
    wait_nested_container: Annotated[ResponseWaitNestedContainer | None, 14] = None
    get_agent: Annotated[ResponseGetAgent | None, 15] = None
    wait_container: Annotated[ResponseWaitContainer | None, 16] = None
    get_resource_providers: Annotated[ResponseGetResourceProviders | None, 17] = None
    get_operations: Annotated[ResponseGetOperations | None, 18] = None
