"""Flows that never were, for the pages of flows: a small comparison, a release validation, a large production."""

from __future__ import annotations

from altiplano.frameworks.flows.pages.picture import FlowPicture, RulePicture
from altiplano.frameworks.flows.progress import RuleState

STDERR = """Traceback (most recent call last):
  File "compare.py", line 88, in <module>
    main()
  File "compare.py", line 61, in main
    reference = read(options.reference)
FileNotFoundError: [Errno 2] No such file or directory: 'reference/ttbar.json'
"""


class Maker:
    """Makes rules with times that fit their states."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.rules: list[RulePicture] = []

    def rule(
        self,
        title: str,
        state: RuleState,
        category: str,
        needs: tuple[str, ...] = (),
        *,
        why: str = "",
        stderr: str = "",
        took_s: float = 95.0,
    ) -> str:
        started = None
        ended = None
        if state in (RuleState.DONE, RuleState.FAILED):
            started, ended = self.now - 900, self.now - 900 + took_s + len(self.rules) % 7 * 4
        elif state is RuleState.RUNNING:
            started = self.now - 40 - len(self.rules) % 5 * 11
        self.rules.append(
            RulePicture(
                key=title,
                title=title,
                state=state,
                needs=needs,
                category=category,
                command=f"python3 {category}.py --output {title} " + " ".join(needs),
                line=10 + 3 * len(self.rules),
                tries=3 if state is RuleState.FAILED else 1 if started else 0,
                where=f"node{len(self.rules) % 12 + 1:03}.pool.example" if started else "",
                why=why,
                stderr_tail=stderr,
                task_id=f"flows.{len(self.rules):05}" if started else "",
                started_s=started,
                ended_s=ended,
                inputs=needs,
                outputs=(title,),
            )
        )
        return title


def comparison(now: float) -> FlowPicture:
    """Two samples are generated, merged and compared: half done."""
    make = Maker(now)
    merged = []
    for tune in ("monash", "4c"):
        parts = []
        for i in range(1, 5):
            state = RuleState.DONE if tune == "monash" or i < 3 else RuleState.RUNNING
            parts.append(make.rule(f"out/demo/{tune}-{i}.json", state, "generate"))
        state = RuleState.RUNNING if tune == "monash" else RuleState.WAITING
        merged.append(make.rule(f"out/demo/{tune}.json", state, "merge", tuple(parts)))
    make.rule("out/demo/comparison.png", RuleState.WAITING, "compare", tuple(merged))
    return FlowPicture(
        id="comparison-7", title="examples/montecarlo/Makeflow", rules=tuple(make.rules), started_s=now - 900
    )


def validation(now: float) -> FlowPicture:
    """A release is validated with several samples: one comparison has failed, one sample waits for room."""
    make = Maker(now)
    reports = []
    geometry = make.rule("geometry.root", RuleState.DONE, "prepare")
    for n, sample in enumerate(("minbias", "ttbar", "higgs", "cosmics", "pbpb", "single-mu")):
        late = n >= 4
        made = RuleState.READY if n == 4 else RuleState.RUNNING if n == 5 else RuleState.DONE
        why = "wants 16 cores, the best agent has 12 free" if n == 4 else ""
        generated = make.rule(f"{sample}/events.hepmc", made, "generate", why=why, took_s=240)
        simulated = make.rule(
            f"{sample}/hits.root", RuleState.WAITING if late else RuleState.DONE, "simulate", (generated, geometry)
        )
        digits = make.rule(
            f"{sample}/digits.root", RuleState.WAITING if late else RuleState.DONE, "digitise", (simulated,)
        )
        state = RuleState.WAITING if late else RuleState.RUNNING if n == 3 else RuleState.DONE
        tracks = make.rule(f"{sample}/tracks.root", state, "reconstruct", (digits, geometry))
        state = RuleState.FAILED if n == 1 else RuleState.DONE if n in (0, 2) else RuleState.WAITING
        reports.append(
            make.rule(
                f"{sample}/report.json",
                state,
                "compare",
                (tracks, generated),
                why="exited with status 1, three times" if n == 1 else "",
                stderr=STDERR if n == 1 else "",
            )
        )
    make.rule(
        "validation.html", RuleState.BLOCKED, "publish", tuple(reports), why="needs 'ttbar/report.json', which failed"
    )
    return FlowPicture(id="validation-12", title="release-validation.mf", rules=tuple(make.rules), started_s=now - 1500)


def production(now: float, samples: int = 120) -> FlowPicture:
    """Hundreds of rules, two thirds done."""
    make = Maker(now)
    files = []
    for i in range(samples):
        far = i / samples
        state = RuleState.DONE if far < 0.7 else RuleState.RUNNING if far < 0.8 else RuleState.READY
        generated = make.rule(
            f"gen/{i:04}.hepmc", state, "generate", why="the next offer takes it" if far >= 0.8 else ""
        )
        state = RuleState.DONE if far < 0.6 else RuleState.RUNNING if far < 0.7 else RuleState.WAITING
        simulated = make.rule(f"sim/{i:04}.root", state, "simulate", (generated,))
        state = RuleState.DONE if far < 0.55 else RuleState.RUNNING if far < 0.6 else RuleState.WAITING
        files.append(make.rule(f"rec/{i:04}.root", state, "reconstruct", (simulated,)))
    merged = [
        make.rule(
            f"merge/{i // 20:02}.root",
            RuleState.DONE if i < 40 else RuleState.WAITING,
            "merge",
            tuple(files[i : i + 20]),
        )
        for i in range(0, samples, 20)
    ]
    make.rule("spectra.pdf", RuleState.WAITING, "plot", tuple(merged))
    return FlowPicture(id="production-3", title="production-2026.mf", rules=tuple(make.rules), started_s=now - 7200)
