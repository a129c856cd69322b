"""Generate proton-proton collisions with Pythia 8 and keep what a validation needs of them.

    generate.py --tune 14 --seed 1 --events 3000 --output part.json

The result is counts, not averages, so that parts of any size can be added up later.  The same seed
and number of events give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pythia8mc

ENERGY_GEV = 13000.0
ETA_EDGES = np.linspace(-4.0, 4.0, 33)
CENTRAL_ETA = 1.0
"""Charged particles with |η| below this make the multiplicity of an event and the dN/dη at mid-rapidity."""
MULTIPLICITY_MAX = 150
"""Events with more central charged particles are counted in the last bin."""
STABLE_MM = 10.0
"""Particles with a proper decay length above this are primary and do not decay."""
FAILURES_MAX = 10
"""Events in a row that the generator may give up before the job does."""


def new_generator(tune: int, seed: int) -> pythia8mc.Pythia:
    """A generator of inelastic collisions, ready to run; SystemExit if a setting is refused."""
    pythia = pythia8mc.Pythia("", False)
    settings = [
        "Print:quiet = on",
        "Beams:idA = 2212",
        "Beams:idB = 2212",
        f"Beams:eCM = {ENERGY_GEV}",
        f"Tune:pp = {tune}",
        "SoftQCD:inelastic = on",
        "ParticleDecays:limitTau0 = on",
        f"ParticleDecays:tau0Max = {STABLE_MM}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
    ]
    for setting in settings:
        if not pythia.readString(setting):
            raise SystemExit(f"generate.py: Pythia refuses the setting '{setting}'")
    if not pythia.init():
        raise SystemExit(f"generate.py: Pythia could not be initialised with tune {tune}")
    return pythia


def central_charged_etas(event: pythia8mc.Event) -> list[float]:
    """Pseudorapidities of the primary charged particles of an event within the histogram."""
    edge = float(ETA_EDGES[-1])
    return [
        eta
        for particle in event
        if particle.isFinal() and particle.isCharged() and -edge < (eta := particle.eta()) < edge
    ]


def generate(tune: int, seed: int, events: int) -> dict[str, object]:
    pythia = new_generator(tune, seed)
    eta_counts = np.zeros(len(ETA_EDGES) - 1, dtype=np.int64)
    eta_squares = np.zeros_like(eta_counts)
    multiplicity = np.zeros(MULTIPLICITY_MAX + 1, dtype=np.int64)
    central_sum = central_square_sum = done = failures = 0
    while done < events:
        if not pythia.next():
            failures += 1
            if failures > FAILURES_MAX:
                raise SystemExit(f"generate.py: Pythia failed {failures} times in a row after {done} events")
            continue
        failures = 0
        etas = np.asarray(central_charged_etas(pythia.event))
        counts, _ = np.histogram(etas, bins=ETA_EDGES)
        eta_counts += counts
        eta_squares += counts**2
        central = int(np.count_nonzero(np.abs(etas) < CENTRAL_ETA))
        central_sum += central
        central_square_sum += central**2
        multiplicity[min(central, MULTIPLICITY_MAX)] += 1
        done += 1
    return {
        "tune": tune,
        "seeds": [seed],
        "energy_gev": ENERGY_GEV,
        "events": done,
        "eta_edges": ETA_EDGES.tolist(),
        "eta_counts": eta_counts.tolist(),
        "eta_square_counts": eta_squares.tolist(),
        "central_eta": CENTRAL_ETA,
        "central_sum": central_sum,
        "central_square_sum": central_square_sum,
        "multiplicity": multiplicity.tolist(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tune", type=int, required=True, help="number of the tune (Tune:pp): 14 Monash 2013, 5 4C")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    if options.events < 1 or not 1 <= options.seed <= 900_000_000:
        parser.error("--events must be positive and --seed in 1..900000000, Pythia's range")
    result = generate(options.tune, options.seed, options.events)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result) + "\n")
    print(f"{options.output}: {result['events']} events of tune {options.tune}, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
