"""Flags, detection and the small values."""

from __future__ import annotations

import pytest

from altiplano.agent import detect, sandbox, settings, updates
from altiplano.agent.draws import Draws
from altiplano.agent.timers import Timers
from altiplano.wire import translate
from tests.unit.agent.harness import AGENT, FRAMEWORK, Agent


def test_every_flag_has_a_sentence_and_a_name_with_dashes():
    for flag in settings.FLAGS:
        assert flag.help.endswith(".")
        assert "_" not in flag.name
    assert {flag.field for flag in settings.FLAGS if flag.required} == {"master", "work_dir"}


def test_settings_show_as_text():
    given = settings.Settings(master="m:5050", work_dir="/w", gc_delay=60.0, switch_user=False)
    assert (given.text_of("gc_delay"), given.text_of("switch_user"), given.text_of("credential")) == (
        "1mins",
        "false",
        "",
    )


def test_what_is_not_given_is_detected(tmp_path):
    held = translate.resources_from(detect.resources("cpus(dev):3;mem:100", "*", str(tmp_path)))
    assert held.reserved("dev").scalar("cpus") == 3000
    assert held.scalar("mem") == 100_000
    assert held.scalar("disk") > 0
    assert held.ranges("ports") == ((31000, 32000),)


def test_resources_may_be_given_as_json(tmp_path):
    text = '[{"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}}]'
    assert translate.resources_from(detect.resources(text, "*", str(tmp_path))).scalar("cpus") == 2000


@pytest.mark.parametrize("text", ["cpus", "cpus:x", "[{]", "gpus:0.5"])
def test_bad_resources_are_refused_with_the_name_of_the_flag(tmp_path, text):
    with pytest.raises(detect.BadSetting, match="--resources"):
        detect.resources(text, "*", str(tmp_path))


def test_the_machine_is_described_in_sentences(tmp_path):
    sentences = detect.machine(str(tmp_path), "cgroups", switch_user=True)
    assert len(sentences) >= 4
    assert all(sentence.endswith(".") for sentence in sentences)


def test_draws_repeat_with_their_seed_and_never_among_themselves():
    a, b = Draws(b"s" * 16), Draws(b"s" * 16)
    drawn = [a.uuid() for _ in range(100)]
    assert drawn == [b.uuid() for _ in range(100)]
    assert len(set(drawn)) == 100
    assert all(text[14] == "4" and text[19] in "89ab" for text in drawn)
    assert all(0 <= a.fraction() < 1 for _ in range(100))


def test_timers_tell_the_earliest_and_forget_what_was_moved():
    timers = Timers()
    timers.set(("a",), 5.0)
    timers.set(("b",), 3.0)
    timers.set(("b",), 9.0)
    assert timers.first() == 5.0
    assert timers.due(9.0) == [("a",), ("b",)]
    timers.clear(("a",))
    assert timers.first() == 9.0
    for moment in range(10_000):
        timers.set(("b",), float(moment))
    assert timers.first() == 9999.0


def test_pauses_double_up_to_their_top():
    pauses = [10.0]
    while pauses[-1] < updates.RESEND_MAX_S:
        pauses.append(updates.next_interval_s(pauses[-1]))
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0]


def test_paths_lead_into_sandboxes_only():
    agent = Agent()
    agent.up_to_running()
    task = agent.core.state.tasks[FRAMEWORK, "t1"]
    known, root = agent.core.state, task.directory
    runs = root.rsplit("/", 1)[0]

    def resolve(path: str) -> tuple[str, str] | None:
        return sandbox.resolve(known, "/work", path)

    assert resolve(root) == (root, "")
    assert resolve(f"{root}/a/b") == (root, "a/b")
    assert resolve(f"{runs}/latest/stdout") == (root, "stdout")
    assert resolve(f"/frameworks/{FRAMEWORK}/executors/t1/runs/latest/stdout") == (root, "stdout")
    assert resolve(root.replace(AGENT, "latest", 1)) == (root, "")
    for path in (
        "/etc/passwd",
        f"{root}/../../x",
        f"{root}/" + "../" * 12 + "etc/passwd",
        "stdout",
        "/work/log/log.db",
        runs,
    ):
        assert resolve(path) is None
    agent.exited()
    agent.ack()
    assert resolve(f"{root}/stdout") == (root, "stdout")
