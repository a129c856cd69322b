"""Flows of any shape, in worlds where anything may happen at any moment.

The world asserts on every step that no agent is given more than it has, that no rule starts
without its inputs and no task id is used twice; the core asserts its invariants.  The rules below
add what must hold over time.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from altiplano.engine.core import Wake
from altiplano.frameworks.flows import events
from altiplano.frameworks.flows.core import Options
from altiplano.frameworks.flows.graph import RuleKey
from altiplano.frameworks.flows.placement import Amount
from altiplano.frameworks.flows.progress import RuleState
from altiplano.model.tasks import State
from altiplano.testing.flows import FlowWorld

RULES_MAX = 8
PREFIXES = st.sampled_from(["", "", "", "LOCAL ", "MAKEFLOW "])


@st.composite
def workflows(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A workflow whose rules need only rules above them, and the workflows nested in it."""
    lines, nested = [], {}
    for number in range(draw(st.integers(0, RULES_MAX))):
        above = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        inputs = " ".join(["s", *(f"f{other}" for other in sorted(above))])
        prefix = draw(PREFIXES)
        cores = draw(st.sampled_from(["0.5", "1", "2"]))
        outputs = f"f{number}" if draw(st.booleans()) or prefix else f"f{number} g{number}"
        command = prefix + "make"
        if prefix == "MAKEFLOW ":
            command = f"MAKEFLOW n{number}"
            nested[f"n{number}"] = f"i{number}: s\n\tx\n:\n\tx\nf{number}: i{number}\n\tx\n"
            cores = "1"
        elif prefix:
            cores = "1"
        lines.append(f"{outputs}: {inputs}\n@CORES={cores}\n\t{command}\n")
    return "".join(lines), nested


class FlowMachine(RuleBasedStateMachine):
    @initialize(workflow=workflows(), retries=st.integers(0, 3), agents=st.integers(1, 3))
    def begin(self, workflow: tuple[str, dict[str, str]], retries: int, agents: int) -> None:
        text, nested = workflow
        pool = {f"a{number}": Amount(cpus_milli=2000, mem_mb=2048, disk_mb=100) for number in range(agents)}
        self.word = "x"
        self.world = FlowWorld(
            text=text,
            nested=nested,
            sources=("s",),
            agents=pool,
            options=Options(retries=retries),
            outcome=lambda key, command: self.word,
        )
        self.failed: set[RuleKey] = set()

    @property
    def running(self) -> bool:
        state = self.world.core.state
        return not state.opened or state.exit_code is None

    @precondition(lambda self: self.world.waiting)
    @rule(count=st.integers(1, 5))
    def decide(self, count: int) -> None:
        for _ in range(min(count, len(self.world.waiting))):
            self.world.step()

    @precondition(lambda self: len(self.world.waiting) > 1)
    @rule(data=st.data())
    def decide_out_of_order(self, data: st.DataObject) -> None:
        """Answers of the shell may overtake each other; what the master says may not."""
        places = [
            place
            for place, event in enumerate(self.world.waiting)
            if isinstance(event, events.Prepared | events.OutputsChecked | events.StderrRead | events.NestedOpened)
        ]
        if places:
            self.world.step(data.draw(st.sampled_from(places)))

    @precondition(lambda self: self.world.core.state.opened)
    @rule()
    def offer(self) -> None:
        self.world.offer()

    @rule()
    def rescind(self) -> None:
        self.world.rescind()

    @precondition(lambda self: self.world.tasks)
    @rule(data=st.data(), word=st.sampled_from(["x", "x", "x", "fail", "lose", "forget"]))
    def end_task(self, data: st.DataObject, word: str) -> None:
        self.word = word
        self.world.end_task(data.draw(st.sampled_from(sorted(self.world.tasks))))
        self.word = "x"

    @precondition(lambda self: self.world.tasks)
    @rule(data=st.data())
    def an_agent_is_unreachable_and_returns(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.world.tasks)))
        self.world.tell(task_id, State.UNREACHABLE)
        self.world.tell(task_id, State.RUNNING)

    @precondition(lambda self: self.world.tasks)
    @rule(data=st.data())
    def a_task_vanishes(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.world.tasks)))
        self.world.held_by(self.world.tasks.pop(task_id).agent_id)
        self.world.tell(task_id, State.GONE)

    @rule()
    def crash(self) -> None:
        self.world.kill()

    @precondition(lambda self: any(name[0] in "fg" for name in self.world.files) and not self.running)
    @rule(data=st.data(), change=st.booleans())
    def somebody_touches_a_file_and_runs_again(self, data: st.DataObject, change: bool) -> None:
        name = data.draw(st.sampled_from(sorted(name for name in self.world.files if name[0] in "fg")))
        if change:
            self.world.write(name)
        else:
            del self.world.files[name]
        self.world.kill()

    @rule(seconds=st.sampled_from([0.1, 5.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.mono_s += seconds
        wake_at = self.world.core.wake_at()
        if wake_at is not None and wake_at <= self.world.mono_s:
            self.world.waiting.append(Wake(cause="wake"))

    @invariant()
    def a_finished_rule_has_its_outputs(self) -> None:
        if not hasattr(self, "world") or not self.world.core.state.opened:
            return
        for key, node in self.world.core.state.nodes.items():
            if self.world.core.state.progress[key].state is RuleState.DONE:
                assert all(use.local in self.world.files for use in node.rule.outputs)

    def teardown(self) -> None:
        """Without further mishaps the flow ends; and run again, it ends well and has all files."""
        if not hasattr(self, "world"):
            return
        self.word = "x"
        self.world.run()
        self.world.kill()
        assert self.world.run() == 0, f"the second run did not end well: {self.world.states()}"
        for node in self.world.core.state.nodes.values():
            assert all(use.local in self.world.files for use in node.rule.outputs)


FlowMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFlows = FlowMachine.TestCase
