"""Where the rules of a flow are drawn.

A layered drawing, from left to right: a rule stands one layer after the last of what it needs; within layers
the order follows the mean place of neighbours, which removes most crossings; an edge that passes layers gets a
lane of its own in each (Sugiyama, Tagawa and Toda, 1981).  Beyond `RULES_DRAWN_MAX` rules their categories are
drawn instead, for nobody reads two hundred boxes.

Everything here is pure, and the same flow always gives the same drawing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from altiplano.frameworks.flows.pages.picture import GROUP_ORDER, RulePicture

RULES_DRAWN_MAX = 120
"""A flow with more rules is drawn by categories."""

BOXES_MAX = 160
"""Boxes that are drawn at all; what is beyond is in the table of rules only."""

SWEEPS = 6
BOX_W, BOX_H = 190, 46
GAP_X, GAP_Y = 64, 16
LANE_H = 12
MARGIN = 8
TITLE_CHARS_MAX = 25
UNDER_CHARS_MAX = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rule, or all rules of a category."""

    key: str
    title: str
    under: str
    group: str
    counts: tuple[tuple[str, int], ...]
    size: int
    """Rules in it; 1 for a rule that is drawn by itself."""
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """From one box to another: the path of its line."""

    begin: str
    end: str
    path: str
    ready: bool
    """What it begins at is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """All that is drawn, and the size of the sheet."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float
    collapsed: bool
    left_out: int
    """Boxes beyond `BOXES_MAX`."""


def draw(rules: Sequence[RulePicture], *, under: Callable[[RulePicture], str]) -> Drawing:
    """The drawing of a flow; `under` is the second line of a rule's box."""
    collapsed = len(rules) > RULES_DRAWN_MAX
    boxes, needs = _categories(rules) if collapsed else _single(rules, under)
    left_out = max(0, len(boxes) - BOXES_MAX)
    kept = {box.key: box for box in boxes[:BOXES_MAX]}
    inside = {key: [need for need in needs[key] if need in kept] for key in kept}
    placed, lanes, size = _place(list(kept), inside)
    done = {key: replace(box, x=placed[key][0], y=placed[key][1]) for key, box in kept.items()}
    edges = tuple(
        Edge(begin=need, end=key, path=_path(placed, lanes, need, key), ready=kept[need].group == "finished")
        for key in kept
        for need in inside[key]
    )
    return Drawing(
        boxes=tuple(done.values()),
        edges=edges,
        width=size[0],
        height=size[1],
        collapsed=collapsed,
        left_out=left_out,
    )


def shortened(text: str, keep: int = TITLE_CHARS_MAX) -> str:
    """A name in few signs; files are told apart by their ends.

    >>> shortened("out/production/2026/sample-17.json", 20)
    '…026/sample-17.json'
    """
    return text if len(text) <= keep else "…" + text[-(keep - 2) :]


def stages(keys: Iterable[str], needs: Mapping[str, Sequence[str]]) -> dict[str, int] | None:
    """How many come before each on the longest way; None if there is a circle."""
    waiting = {key: len(needs[key]) for key in keys}
    after: dict[str, list[str]] = {key: [] for key in waiting}
    for key in waiting:
        for need in needs[key]:
            after[need].append(key)
    found = {key: 0 for key, count in waiting.items() if count == 0}
    open_keys = list(found)
    while open_keys:
        key = open_keys.pop()
        for later in after[key]:
            found[later] = max(found.get(later, 0), found[key] + 1)
            waiting[later] -= 1
            if waiting[later] == 0:
                open_keys.append(later)
    return found if all(count == 0 for count in waiting.values()) else None


def _single(
    rules: Sequence[RulePicture], under: Callable[[RulePicture], str]
) -> tuple[list[Box], dict[str, list[str]]]:
    known = {rule.key for rule in rules}
    boxes = [
        Box(
            key=rule.key,
            title=shortened(rule.title),
            under=under(rule)[:UNDER_CHARS_MAX],
            group=rule.group,
            counts=(),
            size=1,
        )
        for rule in rules
    ]
    return boxes, {rule.key: [need for need in rule.needs if need in known] for rule in rules}


def _categories(rules: Sequence[RulePicture]) -> tuple[list[Box], dict[str, list[str]]]:
    """One box for each category; where categories need each other in a circle, one for each of their stages."""
    known = {rule.key: rule for rule in rules}
    needs = {rule.key: [need for need in rule.needs if need in known] for rule in rules}
    name = {rule.key: rule.category for rule in rules}
    between = _between(name, needs)
    if stages(between, between) is None:
        stage = stages(known, needs) or dict.fromkeys(known, 0)
        name = {key: f"{rule.category}, step {stage[key] + 1}" for key, rule in known.items()}
        between = _between(name, needs)
    members: dict[str, list[RulePicture]] = {}
    for key, rule in known.items():
        members.setdefault(name[key], []).append(rule)
    return [_category_box(title, mine) for title, mine in members.items()], between


def _between(name: Mapping[str, str], needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Which groups need which others."""
    found: dict[str, dict[str, None]] = {group: {} for group in name.values()}
    for key, before in needs.items():
        for need in before:
            if name[need] != name[key]:
                found[name[key]][name[need]] = None
    return {group: list(before) for group, before in found.items()}


def _category_box(title: str, rules: Sequence[RulePicture]) -> Box:
    counts = Counter(rule.group for rule in rules)
    for group in ("failed", "running", "ready", "lost", "killed", "idle", "finished"):
        if counts[group]:
            break
    return Box(
        key=title,
        title=shortened(title),
        under=f"{counts['finished']} of {len(rules)} done",
        group=group,
        counts=tuple((one, counts[one]) for one in GROUP_ORDER),
        size=len(rules),
    )


_Places = dict[str, tuple[float, float]]


def _place(
    keys: list[str], needs: Mapping[str, Sequence[str]]
) -> tuple[_Places, dict[tuple[str, str], list[tuple[float, float]]], tuple[float, float]]:
    """The left upper corner of each box, the points that long edges pass, the size of the sheet."""
    found = stages(keys, needs)
    assert found is not None, "a flow without circles has stages"
    layers: list[list[str]] = [[] for _ in range(max(found.values(), default=-1) + 1)]
    for key in keys:
        layers[found[key]].append(key)
    links: dict[str, list[str]] = {key: [] for key in keys}
    back: dict[str, list[str]] = {key: [] for key in keys}
    chains: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        for need in needs[key]:
            # Lanes have names that no rule can have, as rules' names have no zero byte.
            chain = [f"{need}\0{key}\0{depth}" for depth in range(found[need] + 1, found[key])]
            chains[need, key] = chain
            for depth, lane in enumerate(chain, found[need] + 1):
                layers[depth].append(lane)
                links[lane], back[lane] = [], []
            for one, other in zip([need, *chain], [*chain, key], strict=True):
                links[one].append(other)
                back[other].append(one)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for i in range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1):
            neighbours = back if forward else links
            place = {key: n for n, key in enumerate(layers[i - 1 if forward else i + 1])}
            _sort_by_neighbours(layers[i], neighbours, place)
    middles = _middles(layers, links, back)
    top = min((middles[key] - _height(key) / 2 for layer in layers for key in layer), default=0.0)
    places: _Places = {}
    bottom = 0.0
    for i, layer in enumerate(layers):
        for key in layer:
            x, y = MARGIN + i * (BOX_W + GAP_X), middles[key] - _height(key) / 2 - top + MARGIN
            places[key] = (x, round(y, 1))
            bottom = max(bottom, y + _height(key))
    lanes = {
        edge: [(places[lane][0], places[lane][1] + LANE_H / 2) for lane in chain] for edge, chain in chains.items()
    }
    width = 2 * MARGIN + len(layers) * (BOX_W + GAP_X) - GAP_X if layers else 0.0
    return {key: places[key] for key in keys}, lanes, (width, round(bottom + MARGIN, 1))


def _height(key: str) -> float:
    return LANE_H if "\0" in key else BOX_H


def _sort_by_neighbours(layer: list[str], neighbours: Mapping[str, Sequence[str]], place: Mapping[str, int]) -> None:
    """Order a layer by the mean place of neighbours; who has none stays where it is."""
    now = {key: float(n) for n, key in enumerate(layer)}

    def mean(key: str) -> float:
        near = neighbours[key]
        return sum(place[other] for other in near) / len(near) if near else now[key]

    layer.sort(key=lambda key: (mean(key), now[key]))


def _middles(
    layers: Sequence[Sequence[str]], links: Mapping[str, Sequence[str]], back: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """The height at which each box has its middle: as near to its neighbours as the order in its layer allows."""
    middles: dict[str, float] = {}
    for boxes in layers:
        y = 0.0
        for key in boxes:
            middles[key] = y + _height(key) / 2
            y += _height(key) + GAP_Y
    for sweep in range(2 * SWEEPS):
        order = layers if sweep % 2 == 0 else layers[::-1]
        near = back if sweep % 2 == 0 else links
        for layer in order:
            wanted = [
                sum(middles[other] for other in near[key]) / len(near[key]) if near[key] else middles[key]
                for key in layer
            ]
            for key, middle in zip(layer, _apart(layer, wanted), strict=True):
                middles[key] = middle
    return middles


def _apart(layer: Sequence[str], wanted: Sequence[float]) -> list[float]:
    """The heights nearest to `wanted` (in the mean) at which the boxes of a layer do not touch.

    Boxes that would touch become one block, which settles at its mean wish.
    """
    blocks: list[tuple[list[int], float, float]] = []  # members, wish of the first, room needed
    for n, key in enumerate(layer):
        members, wish, room = [n], wanted[n] - _height(key) / 2, _height(key) + GAP_Y
        while blocks and blocks[-1][1] + blocks[-1][2] > wish:
            before, earlier, space = blocks.pop()
            count, more = len(before), len(members)
            wish = (earlier * count + (wish - space) * more) / (count + more)
            members, room = before + members, space + room
        blocks.append((members, wish, room))
    found = [0.0] * len(layer)
    for members, wish, _ in blocks:
        y = wish
        for n in members:
            found[n] = y + _height(layer[n]) / 2
            y += _height(layer[n]) + GAP_Y
    return found


def _path(
    places: Mapping[str, tuple[float, float]],
    lanes: Mapping[tuple[str, str], Sequence[tuple[float, float]]],
    begin: str,
    end: str,
) -> str:
    """A line that leaves and reaches boxes level, and runs level through the layers it passes."""
    x, y = places[begin][0] + BOX_W, places[begin][1] + BOX_H / 2
    path = f"M{x:g} {y:g}"
    for lane_x, lane_y in lanes[begin, end]:
        path += _bend(x, y, lane_x, lane_y) + f"H{lane_x + BOX_W:g}"
        x, y = lane_x + BOX_W, lane_y
    return path + _bend(x, y, places[end][0], places[end][1] + BOX_H / 2)


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    return f"C{half:g} {y:g} {half:g} {to_y:g} {to_x:g} {to_y:g}"
