"""Compare two tunes: a picture, a table, a verdict.

    compare.py --events 12000 --png c.png --table c.txt --json c.json a.json b.json

The verdict is about the run, not about the physics of the tunes: all events are there, and the
charged-particle density at mid-rapidity of each tune is where measurements put it, known to better
than 3 %.  Exit status 1 when the verdict is no.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

DENSITY_RANGE = (5.0, 7.0)
"""Where dN/dη of inelastic events at mid-rapidity must lie at 13 TeV (measured: 5.3 ± 0.2; tunes run higher)."""
RELATIVE_ERROR_MAX = 0.03
ENTRIES_MIN = 10
"""Bins with fewer entries in either tune do not count in χ²: their errors are not Gaussian."""
TUNE_NAMES = {5: "4C", 14: "Monash 2013", 18: "CUETP8M1", 21: "A14 NNPDF2.3LO"}
COLOURS = ("#1f5fa8", "#d1495b")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A histogram with errors, as densities."""

    edges: Floats
    values: Floats
    errors: Floats
    entries: Floats

    @property
    def centres(self) -> Floats:
        return 0.5 * (self.edges[1:] + self.edges[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    name: str
    events: int
    density: float
    density_error: float
    eta: Curve
    multiplicity: Curve


def load(path: Path) -> Sample:
    raw: dict[str, Any] = json.loads(path.read_text())
    events, width = raw["events"], 2.0 * raw["central_eta"]
    mean = raw["central_sum"] / events
    spread = math.sqrt(max(0.0, raw["central_square_sum"] / events - mean**2))
    return Sample(
        name=TUNE_NAMES.get(raw["tune"], f"tune {raw['tune']}"),
        events=events,
        density=mean / width,
        density_error=spread / math.sqrt(events) / width,
        eta=eta_curve(raw),
        multiplicity=multiplicity_curve(raw),
    )


def eta_curve(raw: dict[str, Any]) -> Curve:
    """dN/dη.  Particles of one event belong together, so errors come from the spread between events."""
    edges, events = np.asarray(raw["eta_edges"]), raw["events"]
    widths = np.diff(edges)
    counts = np.asarray(raw["eta_counts"], dtype=float)
    means = counts / events
    variances = np.maximum(0.0, np.asarray(raw["eta_square_counts"]) / events - means**2)
    return Curve(edges=edges, values=means / widths, errors=np.sqrt(variances / events) / widths, entries=counts)


def multiplicity_curve(raw: dict[str, Any]) -> Curve:
    """Probability of a multiplicity.  Bins grow with the multiplicity, because events become rare."""
    counts = np.asarray(raw["multiplicity"], dtype=float)
    edges = np.unique(np.concatenate([np.arange(0, 20, 2), np.arange(20, 60, 5), np.arange(60, len(counts) + 1, 15)]))
    edges[-1] = len(counts)
    sums = np.add.reduceat(counts, edges[:-1])
    widths = np.diff(edges)
    scale = raw["events"] * widths
    return Curve(edges=edges - 0.5, values=sums / scale, errors=np.sqrt(sums) / scale, entries=sums)


def chi_square(a: Curve, b: Curve, *, fixed: int = 0) -> tuple[float, int]:
    """χ² between two curves and its degrees of freedom: bins that count, less those `fixed` by a common norm.

    Neighbouring bins of dN/dη are filled by the same events and so move together, which χ² does
    not know; it is a measure of distance here and no probability is derived from it.
    """
    counted = (a.entries >= ENTRIES_MIN) & (b.entries >= ENTRIES_MIN)
    variances = a.errors[counted] ** 2 + b.errors[counted] ** 2
    return float(np.sum((a.values[counted] - b.values[counted]) ** 2 / variances)), int(
        np.count_nonzero(counted)
    ) - fixed


def reasons_against(samples: list[Sample], events: int) -> list[str]:
    """Sentences that say why the run is not right; none if it is."""
    low, high = DENSITY_RANGE
    reasons = []
    for sample in samples:
        if sample.events != events:
            reasons.append(f"{sample.name} has {sample.events} events, and {events} were asked for")
        if not low <= sample.density <= high:
            reasons.append(f"{sample.name} has dN/dη = {sample.density:.2f} at mid-rapidity, outside {low:g}-{high:g}")
        if sample.density_error > RELATIVE_ERROR_MAX * sample.density:
            share = sample.density_error / sample.density
            reasons.append(f"{sample.name} knows its dN/dη to {share:.1%} only, and {RELATIVE_ERROR_MAX:.0%} is asked")
    return reasons


def draw(samples: list[Sample], path: Path) -> None:
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(
        2, 2, figsize=(11, 6.2), sharex="col", gridspec_kw={"height_ratios": [3, 1.2], "hspace": 0.07, "wspace": 0.24}
    )
    panels = (
        ("eta", 0, r"pseudorapidity $\eta$", r"$\mathrm{d}N_{\mathrm{ch}}/\mathrm{d}\eta$ per event"),
        ("multiplicity", 1, r"charged particles in $|\eta|<1$", "probability"),
    )
    for column, (attribute, fixed, x_title, y_title) in enumerate(panels):
        curves = [getattr(sample, attribute) for sample in samples]
        upper, lower = axes[0][column], axes[1][column]
        for sample, curve, colour in zip(samples, curves, COLOURS, strict=True):
            seen = curve.entries > 0
            upper.stairs(
                np.where(seen, curve.values, np.nan),
                curve.edges,
                baseline=None,
                color=colour,
                lw=1.6,
                label=sample.name,
            )
            upper.errorbar(
                curve.centres[seen], curve.values[seen], yerr=curve.errors[seen], fmt="none", ecolor=colour, lw=1
            )
        first, second = curves
        shown = (first.entries >= ENTRIES_MIN) & (second.entries >= ENTRIES_MIN)
        ratio = second.values[shown] / first.values[shown]
        relative = np.hypot(second.errors[shown] / second.values[shown], first.errors[shown] / first.values[shown])
        lower.axhline(1.0, color=COLOURS[0], linewidth=1)
        lower.errorbar(
            first.centres[shown], ratio, yerr=ratio * relative, fmt="o", ms=3, color=COLOURS[1], elinewidth=1
        )
        chi2, freedom = chi_square(first, second, fixed=fixed)
        upper.set_title(
            rf"$\chi^2$ per degree of freedom: {chi2:.1f} / {freedom} = {chi2 / freedom:.2f}", fontsize=10, loc="right"
        )
        upper.set_ylabel(y_title)
        lower.set_ylabel(f"{samples[1].name} / {samples[0].name}", fontsize=8)
        lower.set_xlabel(x_title)
        lower.grid(axis="y", alpha=0.3)
        deviation = float(np.max(np.abs(ratio - 1), initial=0.05))
        lower.set_ylim(1 - min(1.0, 1.25 * deviation), 1 + min(1.5, 1.25 * deviation))
        upper.legend(frameon=False, loc="upper right", ncols=2 if attribute == "eta" else 1)
    peak, floor = (choose(choose(sample.eta.values) for sample in samples) for choose in (max, min))
    axes[0][0].set_ylim(floor - 0.8, peak + 0.8)
    axes[0][1].set_yscale("log")
    axes[1][1].set_xlim(-2, max(float(s.multiplicity.edges[1:][s.multiplicity.entries > 0].max()) for s in samples) + 2)
    figure.suptitle(
        f"pp at 13 TeV, inelastic, Pythia 8: {samples[0].name} and {samples[1].name}, "
        f"{samples[0].events:,} events each",
        x=0.06,
        ha="left",
        fontsize=12,
        fontweight="bold",
    )
    figure.align_ylabels()
    # No date and version inside: the same numbers give the same bytes.
    figure.savefig(path, dpi=130, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def table(samples: list[Sample], chi: dict[str, tuple[float, int]], reasons: list[str]) -> str:
    lines = [
        "pp at 13 TeV, inelastic, primary charged particles",
        "",
        f"{'tune':<16}{'events':>10}{'dN/dη, |η|<1':>16}{'error':>10}{'relative':>10}",
    ]
    lines += [
        f"{sample.name:<16}{sample.events:>10,}{sample.density:>16.3f}{sample.density_error:>10.3f}"
        f"{sample.density_error / sample.density:>10.2%}"
        for sample in samples
    ]
    lines += ["", f"{'compared':<16}{'χ²':>10}{'ndf':>16}{'χ²/ndf':>10}"]
    lines += [f"{name:<16}{chi2:>10.1f}{freedom:>16}{chi2 / freedom:>10.2f}" for name, (chi2, freedom) in chi.items()]
    lines += ["", "verdict: right" if not reasons else "verdict: NOT right"]
    lines += [f"  because {reason}" for reason in reasons]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, required=True, help="events that each tune must have")
    parser.add_argument("--png", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("tunes", type=Path, nargs=2)
    options = parser.parse_args()
    samples = [load(path) for path in options.tunes]
    chi = {
        "dN/dη": chi_square(samples[0].eta, samples[1].eta),
        "multiplicity": chi_square(samples[0].multiplicity, samples[1].multiplicity, fixed=1),
    }
    reasons = reasons_against(samples, options.events)
    text = table(samples, chi, reasons)
    for path in (options.png, options.table, options.json):
        path.parent.mkdir(parents=True, exist_ok=True)
    draw(samples, options.png)
    options.table.write_text(text)
    result = {
        "right": not reasons,
        "reasons": reasons,
        "tunes": [
            {"name": s.name, "events": s.events, "dn_deta": s.density, "dn_deta_error": s.density_error}
            for s in samples
        ],
        "chi_square": {name: {"value": chi2, "degrees_of_freedom": freedom} for name, (chi2, freedom) in chi.items()},
    }
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(text, end="")
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
