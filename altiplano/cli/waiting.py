"""Why a command does not run yet, in a sentence with numbers."""

from __future__ import annotations

from collections.abc import Sequence

from altiplano.cli.listing import AgentRow, Amounts, FrameworkRow

HOLDERS_MAX = 3
_NAMES = (("cpus", "cpus"), ("mem", "MB of memory"), ("disk", "MB of disk"), ("gpus", "gpus"))


def explain(needs: Amounts, agents: Sequence[AgentRow], frameworks: Sequence[FrameworkRow]) -> str:
    """What stands between a task and a machine, from what the master reports."""
    working = [agent for agent in agents if agent.state == "active"]
    if not working:
        idle = f" ({len(agents)} are not active)" if agents else ""
        return f"the pool has no machine that takes tasks{idle}: start an agent, or wait for one to return"
    fitting = [agent for agent in working if not _short(needs, agent.total)]
    if not fitting:
        best = min(working, key=lambda agent: len(_short(needs, agent.total)))
        return (
            f"no machine of {_machines(len(working))} is large enough, even when idle: {best.hostname} has "
            f"{_amounts(needs, best.total)}, and the task needs {_amounts(needs, needs)}; ask for less"
        )
    free = [agent for agent in fitting if not _short(needs, _left(agent))]
    if free:
        return (
            f"{free[0].hostname} has room ({_amounts(needs, _left(free[0]))}); "
            "the next offer that is this framework's turn takes it"
        )
    best = max(fitting, key=lambda agent: _left(agent).cpus)
    holders = sorted((f for f in frameworks if f.used.cpus > 0), key=lambda f: -f.used.cpus)[:HOLDERS_MAX]
    held = ", ".join(f"{f.name} holds {f.used.cpus:.10g} cpus" for f in holders)
    return (
        f"{_machines(len(fitting))} would be large enough but busy: the task needs {_amounts(needs, needs)}, and the "
        f"most that is free is {_amounts(needs, _left(best))} on {best.hostname}" + (f"; {held}" if held else "")
    )


def _machines(count: int) -> str:
    return "1 machine" if count == 1 else f"{count} machines"


def _left(agent: AgentRow) -> Amounts:
    return Amounts(
        cpus=agent.total.cpus - agent.used.cpus,
        mem=agent.total.mem - agent.used.mem,
        disk=agent.total.disk - agent.used.disk,
        gpus=agent.total.gpus - agent.used.gpus,
    )


def _short(needs: Amounts, have: Amounts) -> list[str]:
    # Amounts are thousandths; what floating point adds to them does not count.
    return [name for name, _ in _NAMES if getattr(needs, name) > getattr(have, name) + 0.0005]


def _amounts(needs: Amounts, have: Amounts) -> str:
    """The amounts of what is needed at all."""
    parts = [f"{getattr(have, name):.10g} {words}" for name, words in _NAMES if getattr(needs, name) > 0]
    return " and ".join(parts) or "nothing"
