"""A recording of a master plays again to the same decisions."""

from __future__ import annotations

import msgspec

from altiplano.engine.recorder import Recorder, play
from altiplano.master import events
from tests.unit.master.pool import INTERVAL_S, Pool


class RecordedPool(Pool):
    def post(self, event):
        if not hasattr(self, "recorder"):
            self.recorder, self.decisions = Recorder(), []
        self.recorder.record(self.core, event, self.clock.now())
        decision = super().post(event)
        self.decisions.append(decision)
        return decision


def test_a_recording_plays_again_to_the_same_facts_and_effects():
    pool = RecordedPool()
    agent = pool.agent()
    framework = pool.framework()
    pool.run()
    task_id = framework.start("cpus:2;mem:256;ports:[31000-31001]")
    agent.obey()
    framework.acknowledge(agent.update(framework.id, task_id, "TASK_RUNNING"))
    pool.run(INTERVAL_S * 3)
    framework.decline(*framework.offers(), seconds=0)
    pool.run(INTERVAL_S * 3)
    agent.cut()
    agent.hello()
    pool.run(1.0)
    reader = msgspec.json.Decoder(events.AnyEvent)
    played = [decision for _, _, decision in play(pool.recorder.dump(), reader.decode)]
    assert len(played) == len(pool.decisions)
    for again, before in zip(played, pool.decisions, strict=True):
        assert again.facts == before.facts
        assert again.effects == before.effects
