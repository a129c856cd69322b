"""A whole framework: run a few tasks, say what became of them, leave.

python hello.py [--master HOST:PORT] [COUNT]
"""

import argparse

from altiplano import sdk


class Hello(sdk.Framework):
    name = "hello"

    def __init__(self, count: int) -> None:
        self.waiting = [
            sdk.Task(id=f"hello-{n}", command=f"echo hello number {n}", cpus=0.1, mem=32) for n in range(count)
        ]
        self.unfinished = {task.id for task in self.waiting}

    def offers(self, offers: list[sdk.Offer]) -> None:
        for offer in offers:
            while self.waiting and offer.fits(self.waiting[0]):
                offer.launch(self.waiting.pop(0))
        if not self.waiting:
            self.suppress()

    def update(self, status: sdk.Status) -> None:
        print(f"{status.task_id} is {status.state.value} {status.sentence}")
        if status.ended:
            self.unfinished.discard(status.task_id)
        if not self.unfinished:
            self.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--master", help="host:port; a running 'altiplano up' is found by itself")
    parser.add_argument("count", nargs="?", type=int, default=3)
    arguments = parser.parse_args()
    sdk.run(Hello(arguments.count), master=arguments.master)
