"""Finding, greeting and losing the master.

          offline ──► dialling ──► greeted ──► member
             ▲            │            │          │
             └────────────┴────────────┴──────────┘

Every connection has a number; what is said about an older one is ignored.  Pauses between attempts
double from `backoff_first_s` to a minute and are jittered, so that a thousand agents do not come back
to a new master in the same moment.
"""

from __future__ import annotations

import base64

import msgspec

from altiplano.agent import drain, effects, events, executors, facts, leaving, orders, updates
from altiplano.agent.draft import Draft
from altiplano.agent.state import Link, State, Task
from altiplano.executors import command
from altiplano.link import messages

BACKOFF_MAX_S = 60.0
"""The longest pause between two attempts to reach the master."""

BACKOFF_DOUBLINGS_MAX = 16
DIAL = ("dial",)
Why = command.Why


def dial(draft: Draft) -> None:
    """Try to reach the master."""
    draft.timer(DIAL, None)
    if draft.state.link is not Link.OFFLINE or draft.state.leaving is not None:
        return
    number = draft.state.connection + 1
    _step(draft, Link.DIALLING, connection=number)
    draft.do(effects.Dial(connection=number, epoch=draft.state.epoch))


def connected(draft: Draft, event: events.Connected) -> None:
    """Introduce the agent, with everything it has."""
    if event.connection != draft.state.connection or draft.state.link is not Link.DIALLING:
        draft.do(effects.HangUp(connection=event.connection))
        return
    _step(draft, Link.GREETED)
    draft.say(hello(draft))


def lost(draft: Draft, event: events.LinkLost) -> None:
    """Try again after a pause."""
    if event.connection != draft.state.connection or draft.state.link is Link.OFFLINE:
        return
    was_member = draft.state.member
    attempts = 0 if was_member else draft.state.attempts
    _step(draft, Link.OFFLINE, attempts=attempts + 1)
    top_s = min(BACKOFF_MAX_S, draft.node.backoff_first_s * 2 ** min(attempts, BACKOFF_DOUBLINGS_MAX))
    pause_s = top_s * (0.25 + 0.75 * draft.draw.fraction())
    draft.timer(DIAL, draft.now.mono_s + pause_s)
    if was_member or attempts == 0:
        draft.note(f"the link to the master is down: {event.sentence}; next attempt in {pause_s:.1f} s")


def heard(draft: Draft, event: events.Heard) -> None:
    """What the master says; orders only of one that has welcomed us."""
    message = event.message
    if event.connection != draft.state.connection:
        return
    match message:
        case messages.Welcome() if draft.state.link is Link.GREETED:
            welcome(draft, message)
        case messages.Refused():
            refused(draft, message)
        case messages.ShutdownAgent():
            removed(draft, message.sentence)
        case messages.Ping():
            draft.say(messages.Pong(cause=message.cause))
            if not message.connected:
                draft.do(effects.HangUp(connection=event.connection))
        case _ if draft.state.member and draft.state.agent_id is None:
            # It was under way when this agent said good-bye: whoever it is about has been told that it is lost.
            draft.note(f"the master sent {type(message).__name__} to an agent that has left; it is ignored")
        case _ if draft.state.member:
            _order(draft, message)
        case _:
            draft.note(f"the master sent {type(message).__name__} before it had welcomed this agent; it is ignored")


def _order(draft: Draft, message: messages.FromMaster) -> None:
    match message:
        case messages.RunTask():
            orders.run(draft, message)
        case messages.RunTaskGroup():
            orders.run_group(draft, message)
        case messages.KillTask():
            orders.kill(draft, message)
        case messages.DrainChanged():
            drain.ordered(draft, message.drain)
        case messages.Acknowledge():
            orders.acknowledge(draft, message)
        case messages.ShutdownFramework():
            orders.shutdown_framework(draft, message.framework_id)
        case messages.ShutdownExecutor():
            orders.shutdown_executor(draft, message)
        case messages.UpdateFramework():
            orders.update_framework(draft, message.framework)
        case messages.FrameworkMessage():
            executors.message(draft, message.framework_id, message.executor_id, message.data)
        case _:
            draft.note(f"the master sent an unexpected {type(message).__name__}; it is ignored")


def hello(draft: Draft) -> messages.Hello:
    """Who the agent is and what it has."""
    state = draft.state
    return messages.Hello(
        version=messages.VERSION,
        agent=draft.agent_info(),
        credential=draft.node.credential,
        epoch=state.epoch,
        altiplano_version=draft.node.altiplano_version,
        boot_id=state.boot_id or "",
        tasks=tuple(report_of(state, task) for task in state.tasks.values() if not _silent(task)),
        executors=tuple(
            messages.ExecutorReport(framework_id=executor.framework_id, executor=executor.info)
            for executor in state.executors.values()
            if not executor.silent
        ),
        frameworks=tuple(state.frameworks[framework_id] for framework_id in state.busy_frameworks()),
        cause=draft.cause,
    )


def report_of(state: State, task: Task) -> messages.TaskReport:
    stream = state.streams.get(task.key)
    return messages.TaskReport(
        framework_id=task.framework_id,
        task=msgspec.Raw(task.raw),
        state=task.state.value,
        statuses=(task.status,) if task.status is not None else (),
        status_state=updates.state_of(stream.head).value if stream is not None else None,
        status_uuid=_text(stream.head.uuid) if stream is not None else None,
        executor_id=task.executor_id if task.hosted or task.grouped else None,
    )


def welcome(draft: Draft, message: messages.Welcome) -> None:
    """The agent is a member: what was not acknowledged is said again."""
    state = draft.state
    if message.epoch < state.epoch:
        draft.note(f"a master of epoch {message.epoch} is refused: epoch {state.epoch} has been obeyed already")
        draft.do(effects.HangUp(connection=state.connection))
        return
    _step(draft, Link.MEMBER, attempts=0)
    draft.member = True
    if (message.agent_id, message.epoch) != (state.agent_id, state.epoch):
        draft.fact(facts.AgentAdmitted(agent_id=message.agent_id, epoch=message.epoch))
    draft.fact(
        facts.MasterKnown(master=message.master, silence_s=message.silence_s, registered_wall_s=draft.now.wall_s)
    )
    draft.do(effects.Silence(connection=state.connection, silence_s=message.silence_s))
    draft.note(f"the master {message.master.id} knows this agent as {message.agent_id}", message.agent_id)
    if state.agent_id is not None and message.agent_id != state.agent_id:
        draft.note(f"its former id {state.agent_id} is void, and so are the tasks it had by that id", state.agent_id)
        _end_all(draft)
        return
    gone = set(message.completed_frameworks)
    for framework_id in sorted(gone.intersection(state.busy_frameworks())):
        orders.shutdown_framework(draft, framework_id)
    if state.master_epoch == message.epoch:
        # The same master has seen the link break: it has given up the tasks of frameworks that do not checkpoint.
        unkept = {f for f in state.busy_frameworks() if not state.frameworks[f].checkpoint and f not in gone}
        for framework_id in sorted(unkept):
            executors.shutdown_all(draft, Why.UNKEPT, framework_id=framework_id)
        for task in list(state.tasks.values()):
            if task.framework_id in unkept:
                executors.kill(draft, task, Why.UNKEPT)
    drain.ordered(draft, message.drain)
    for framework_id, executor_id in state.ended_since_hello:
        # The master counts what they used, since the greeting said that they run.
        executors.tell_ended(draft, framework_id, executor_id, None)
    draft.send_heads()


def refused(draft: Draft, message: messages.Refused) -> None:
    """Stop if it is final, else try again later.  Tasks go on: the operator may mend what was wrong."""
    draft.note(f"the master refuses this agent: {message.sentence}")
    if message.final:
        draft.fact(facts.LeaveOrdered(sentence=message.sentence, failed=True, with_tasks=False))
        sentence = f"the master refuses this agent for good: {message.sentence}"
        draft.do(effects.Exit(sentence=sentence, failed=True, stop_launcher=False))
    else:
        draft.do(effects.HangUp(connection=draft.state.connection))


def removed(draft: Draft, sentence: str) -> None:
    """The master has given this agent up: its tasks end, then the process does."""
    draft.note(f"the master has removed this agent: {sentence}")
    draft.fact(
        facts.LeaveOrdered(sentence=f"the master has removed this agent: {sentence}", failed=True, with_tasks=True)
    )
    _end_all(draft)
    leaving.wake_if_idle(draft)


def _end_all(draft: Draft) -> None:
    executors.shutdown_all(draft, Why.REMOVED)
    for task in list(draft.state.tasks.values()):
        executors.kill(draft, task, Why.REMOVED)
    for key in draft.state.streams:
        if key not in draft.state.tasks:
            draft.dropped.add(key)
            draft.fact(facts.StreamDropped(framework_id=key[0], task_id=key[1]))


def _text(uuid: bytes | None) -> str | None:
    """A uuid as the JSON form of a status has it."""
    return None if uuid is None else base64.b64encode(uuid).decode()


def _silent(task: Task) -> bool:
    """Whether nobody wants to hear of a task: only its processes remain to be ended."""
    return task.killing is not None and task.killing.why is Why.REMOVED


def _step(draft: Draft, link: Link, *, connection: int | None = None, attempts: int | None = None) -> None:
    state = draft.state
    draft.fact(
        facts.LinkChanged(
            link=link.value,
            connection=state.connection if connection is None else connection,
            attempts=state.attempts if attempts is None else attempts,
        )
    )
