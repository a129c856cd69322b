"""The operator API of a master."""

from __future__ import annotations

from typing import Annotated

from altiplano.wire.messages import maintenance, mesos, quota, scheduler
from altiplano.wire.messages.fields import Message, Numbered, always, uint32, uint64


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
    GET_AGENTS = "GET_AGENTS", 10
    GET_FRAMEWORKS = "GET_FRAMEWORKS", 11
    GET_EXECUTORS = "GET_EXECUTORS", 12
    GET_OPERATIONS = "GET_OPERATIONS", 33
    GET_TASKS = "GET_TASKS", 13
    GET_ROLES = "GET_ROLES", 14
    GET_WEIGHTS = "GET_WEIGHTS", 15
    UPDATE_WEIGHTS = "UPDATE_WEIGHTS", 16
    GET_MASTER = "GET_MASTER", 17
    SUBSCRIBE = "SUBSCRIBE", 18
    RESERVE_RESOURCES = "RESERVE_RESOURCES", 19
    UNRESERVE_RESOURCES = "UNRESERVE_RESOURCES", 20
    CREATE_VOLUMES = "CREATE_VOLUMES", 21
    DESTROY_VOLUMES = "DESTROY_VOLUMES", 22
    GROW_VOLUME = "GROW_VOLUME", 34
    SHRINK_VOLUME = "SHRINK_VOLUME", 35
    GET_MAINTENANCE_STATUS = "GET_MAINTENANCE_STATUS", 23
    GET_MAINTENANCE_SCHEDULE = "GET_MAINTENANCE_SCHEDULE", 24
    UPDATE_MAINTENANCE_SCHEDULE = "UPDATE_MAINTENANCE_SCHEDULE", 25
    START_MAINTENANCE = "START_MAINTENANCE", 26
    STOP_MAINTENANCE = "STOP_MAINTENANCE", 27
    DRAIN_AGENT = "DRAIN_AGENT", 37
    DEACTIVATE_AGENT = "DEACTIVATE_AGENT", 38
    REACTIVATE_AGENT = "REACTIVATE_AGENT", 39
    GET_QUOTA = "GET_QUOTA", 28
    UPDATE_QUOTA = "UPDATE_QUOTA", 36
    SET_QUOTA = "SET_QUOTA", 29
    REMOVE_QUOTA = "REMOVE_QUOTA", 30
    TEARDOWN = "TEARDOWN", 31
    MARK_AGENT_GONE = "MARK_AGENT_GONE", 32


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
    GET_AGENTS = "GET_AGENTS", 9
    GET_FRAMEWORKS = "GET_FRAMEWORKS", 10
    GET_EXECUTORS = "GET_EXECUTORS", 11
    GET_OPERATIONS = "GET_OPERATIONS", 19
    GET_TASKS = "GET_TASKS", 12
    GET_ROLES = "GET_ROLES", 13
    GET_WEIGHTS = "GET_WEIGHTS", 14
    GET_MASTER = "GET_MASTER", 15
    GET_MAINTENANCE_STATUS = "GET_MAINTENANCE_STATUS", 16
    GET_MAINTENANCE_SCHEDULE = "GET_MAINTENANCE_SCHEDULE", 17
    GET_QUOTA = "GET_QUOTA", 18


class EventType(Numbered):
    UNKNOWN = "UNKNOWN", 0
    SUBSCRIBED = "SUBSCRIBED", 1
    TASK_ADDED = "TASK_ADDED", 2
    TASK_UPDATED = "TASK_UPDATED", 3
    AGENT_ADDED = "AGENT_ADDED", 4
    AGENT_REMOVED = "AGENT_REMOVED", 5
    FRAMEWORK_ADDED = "FRAMEWORK_ADDED", 6
    FRAMEWORK_UPDATED = "FRAMEWORK_UPDATED", 7
    FRAMEWORK_REMOVED = "FRAMEWORK_REMOVED", 8
    HEARTBEAT = "HEARTBEAT", 9


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


class CallUpdateWeights(Message):
    weight_infos: Annotated[tuple[mesos.WeightInfo, ...], 1] = ()


class CallReserveResources(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    resources: Annotated[tuple[mesos.Resource, ...], 2] = ()
    source: Annotated[tuple[mesos.Resource, ...], 3] = ()


class CallUnreserveResources(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    resources: Annotated[tuple[mesos.Resource, ...], 2] = ()


class CallCreateVolumes(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    volumes: Annotated[tuple[mesos.Resource, ...], 2] = ()


class CallDestroyVolumes(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    volumes: Annotated[tuple[mesos.Resource, ...], 2] = ()


class CallGrowVolume(Message):
    agent_id: Annotated[mesos.AgentID | None, 1] = None
    volume: Annotated[mesos.Resource, 2]
    addition: Annotated[mesos.Resource, 3]


class CallShrinkVolume(Message):
    agent_id: Annotated[mesos.AgentID | None, 1] = None
    volume: Annotated[mesos.Resource, 2]
    subtract: Annotated[mesos.ValueScalar, 3]


class CallUpdateMaintenanceSchedule(Message):
    schedule: Annotated[maintenance.Schedule, 1]


class CallStartMaintenance(Message):
    machines: Annotated[tuple[mesos.MachineID, ...], 1] = ()


class CallStopMaintenance(Message):
    machines: Annotated[tuple[mesos.MachineID, ...], 1] = ()


class CallDrainAgent(Message):
    agent_id: Annotated[mesos.AgentID, 1]
    max_grace_period: Annotated[mesos.Duration | None, 2] = None
    mark_gone: Annotated[bool, 3] = always(default=False)


class CallDeactivateAgent(Message):
    agent_id: Annotated[mesos.AgentID, 1]


class CallReactivateAgent(Message):
    agent_id: Annotated[mesos.AgentID, 1]


class CallUpdateQuota(Message):
    force: Annotated[bool | None, 1] = None
    quota_configs: Annotated[tuple[quota.QuotaConfig, ...], 2] = ()


class CallSetQuota(Message):
    quota_request: Annotated[quota.QuotaRequest, 1]


class CallRemoveQuota(Message):
    role: Annotated[str, 1]


class CallTeardown(Message):
    framework_id: Annotated[mesos.FrameworkID, 1]


class CallMarkAgentGone(Message):
    agent_id: Annotated[mesos.AgentID, 1]


class Call(Message):
    """`type` says which of the other fields counts."""

    type: Annotated[CallType | None, 1] = None
    get_metrics: Annotated[CallGetMetrics | None, 2] = None
    set_logging_level: Annotated[CallSetLoggingLevel | None, 3] = None
    list_files: Annotated[CallListFiles | None, 4] = None
    read_file: Annotated[CallReadFile | None, 5] = None
    update_weights: Annotated[CallUpdateWeights | None, 6] = None
    reserve_resources: Annotated[CallReserveResources | None, 7] = None
    unreserve_resources: Annotated[CallUnreserveResources | None, 8] = None
    create_volumes: Annotated[CallCreateVolumes | None, 9] = None
    destroy_volumes: Annotated[CallDestroyVolumes | None, 10] = None
    update_maintenance_schedule: Annotated[CallUpdateMaintenanceSchedule | None, 11] = None
    start_maintenance: Annotated[CallStartMaintenance | None, 12] = None
    stop_maintenance: Annotated[CallStopMaintenance | None, 13] = None
    set_quota: Annotated[CallSetQuota | None, 14] = None  # deprecated
    remove_quota: Annotated[CallRemoveQuota | None, 15] = None  # deprecated
    teardown: Annotated[CallTeardown | None, 16] = None
    mark_agent_gone: Annotated[CallMarkAgentGone | None, 17] = None
    grow_volume: Annotated[CallGrowVolume | None, 18] = None
    shrink_volume: Annotated[CallShrinkVolume | None, 19] = None
    update_quota: Annotated[CallUpdateQuota | None, 20] = None
    drain_agent: Annotated[CallDrainAgent | None, 21] = None
    deactivate_agent: Annotated[CallDeactivateAgent | None, 22] = None
    reactivate_agent: Annotated[CallReactivateAgent | None, 23] = None


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


class ResponseGetAgentsAgentResourceProvider(Message):
    resource_provider_info: Annotated[mesos.ResourceProviderInfo, 1]
    total_resources: Annotated[tuple[mesos.Resource, ...], 2] = ()


class ResponseGetAgentsAgent(Message):
    agent_info: Annotated[mesos.AgentInfo, 1]
    active: Annotated[bool, 2]
    version: Annotated[str, 3]
    pid: Annotated[str | None, 4] = None
    registered_time: Annotated[mesos.TimeInfo | None, 5] = None
    reregistered_time: Annotated[mesos.TimeInfo | None, 6] = None
    total_resources: Annotated[tuple[mesos.Resource, ...], 7] = ()
    allocated_resources: Annotated[tuple[mesos.Resource, ...], 8] = ()
    offered_resources: Annotated[tuple[mesos.Resource, ...], 9] = ()
    capabilities: Annotated[tuple[mesos.AgentInfoCapability, ...], 10] = ()
    resource_providers: Annotated[tuple[ResponseGetAgentsAgentResourceProvider, ...], 11] = ()
    deactivated: Annotated[bool | None, 12] = None
    drain_info: Annotated[mesos.DrainInfo | None, 13] = None
    estimated_drain_start_time: Annotated[mesos.TimeInfo | None, 14] = None


class ResponseGetAgents(Message):
    agents: Annotated[tuple[ResponseGetAgentsAgent, ...], 1] = ()
    recovered_agents: Annotated[tuple[mesos.AgentInfo, ...], 2] = ()


class ResponseGetFrameworksFramework(Message):
    framework_info: Annotated[mesos.FrameworkInfo, 1]
    active: Annotated[bool, 2]
    connected: Annotated[bool, 3]
    registered_time: Annotated[mesos.TimeInfo | None, 4] = None
    reregistered_time: Annotated[mesos.TimeInfo | None, 5] = None
    unregistered_time: Annotated[mesos.TimeInfo | None, 6] = None
    offers: Annotated[tuple[mesos.Offer, ...], 7] = ()
    inverse_offers: Annotated[tuple[mesos.InverseOffer, ...], 8] = ()
    allocated_resources: Annotated[tuple[mesos.Resource, ...], 9] = ()
    offered_resources: Annotated[tuple[mesos.Resource, ...], 10] = ()
    recovered: Annotated[bool, 11]
    offer_constraints: Annotated[scheduler.OfferConstraints | None, 12] = None


class ResponseGetFrameworks(Message):
    frameworks: Annotated[tuple[ResponseGetFrameworksFramework, ...], 1] = ()
    completed_frameworks: Annotated[tuple[ResponseGetFrameworksFramework, ...], 2] = ()
    recovered_frameworks: Annotated[tuple[mesos.FrameworkInfo, ...], 3] = ()  # deprecated


class ResponseGetExecutorsExecutor(Message):
    executor_info: Annotated[mesos.ExecutorInfo, 1]
    agent_id: Annotated[mesos.AgentID, 2]


class ResponseGetExecutors(Message):
    executors: Annotated[tuple[ResponseGetExecutorsExecutor, ...], 1] = ()
    orphan_executors: Annotated[tuple[ResponseGetExecutorsExecutor, ...], 2] = ()  # deprecated


class ResponseGetTasks(Message):
    pending_tasks: Annotated[tuple[mesos.Task, ...], 1] = ()  # deprecated
    tasks: Annotated[tuple[mesos.Task, ...], 2] = ()
    completed_tasks: Annotated[tuple[mesos.Task, ...], 3] = ()
    orphan_tasks: Annotated[tuple[mesos.Task, ...], 4] = ()  # deprecated
    unreachable_tasks: Annotated[tuple[mesos.Task, ...], 5] = ()


class ResponseGetState(Message):
    get_tasks: Annotated[ResponseGetTasks | None, 1] = None
    get_executors: Annotated[ResponseGetExecutors | None, 2] = None
    get_frameworks: Annotated[ResponseGetFrameworks | None, 3] = None
    get_agents: Annotated[ResponseGetAgents | None, 4] = None


class ResponseGetOperations(Message):
    operations: Annotated[tuple[mesos.Operation, ...], 1] = ()


class ResponseGetRoles(Message):
    roles: Annotated[tuple[mesos.Role, ...], 1] = ()


class ResponseGetWeights(Message):
    weight_infos: Annotated[tuple[mesos.WeightInfo, ...], 1] = ()


class ResponseGetMaster(Message):
    master_info: Annotated[mesos.MasterInfo | None, 1] = None
    start_time: Annotated[float | None, 2] = None
    elected_time: Annotated[float | None, 3] = None


class ResponseGetMaintenanceStatus(Message):
    status: Annotated[maintenance.ClusterStatus, 1]


class ResponseGetMaintenanceSchedule(Message):
    schedule: Annotated[maintenance.Schedule, 1]


class ResponseGetQuota(Message):
    status: Annotated[quota.QuotaStatus, 1]


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
    get_agents: Annotated[ResponseGetAgents | None, 10] = None
    get_frameworks: Annotated[ResponseGetFrameworks | None, 11] = None
    get_executors: Annotated[ResponseGetExecutors | None, 12] = None
    get_tasks: Annotated[ResponseGetTasks | None, 13] = None
    get_roles: Annotated[ResponseGetRoles | None, 14] = None
    get_weights: Annotated[ResponseGetWeights | None, 15] = None
    get_master: Annotated[ResponseGetMaster | None, 16] = None
    get_maintenance_status: Annotated[ResponseGetMaintenanceStatus | None, 17] = None
    get_maintenance_schedule: Annotated[ResponseGetMaintenanceSchedule | None, 18] = None
    get_quota: Annotated[ResponseGetQuota | None, 19] = None
    get_operations: Annotated[ResponseGetOperations | None, 20] = None


class EventSubscribed(Message):
    get_state: Annotated[ResponseGetState | None, 1] = None
    heartbeat_interval_seconds: Annotated[float | None, 2] = None


class EventTaskAdded(Message):
    task: Annotated[mesos.Task, 1]


class EventTaskUpdated(Message):
    framework_id: Annotated[mesos.FrameworkID, 1]
    status: Annotated[mesos.TaskStatus, 2]
    state: Annotated[mesos.TaskState, 3]


class EventFrameworkAdded(Message):
    framework: Annotated[ResponseGetFrameworksFramework, 1]


class EventFrameworkUpdated(Message):
    framework: Annotated[ResponseGetFrameworksFramework, 1]


class EventFrameworkRemoved(Message):
    framework_info: Annotated[mesos.FrameworkInfo, 1]


class EventAgentAdded(Message):
    agent: Annotated[ResponseGetAgentsAgent, 1]


class EventAgentRemoved(Message):
    agent_id: Annotated[mesos.AgentID, 1]


class Event(Message):
    """`type` says which of the other fields counts."""

    type: Annotated[EventType | None, 1] = None
    subscribed: Annotated[EventSubscribed | None, 2] = None
    task_added: Annotated[EventTaskAdded | None, 3] = None
    task_updated: Annotated[EventTaskUpdated | None, 4] = None
    agent_added: Annotated[EventAgentAdded | None, 5] = None
    agent_removed: Annotated[EventAgentRemoved | None, 6] = None
    framework_added: Annotated[EventFrameworkAdded | None, 7] = None
    framework_updated: Annotated[EventFrameworkUpdated | None, 8] = None
    framework_removed: Annotated[EventFrameworkRemoved | None, 9] = None
