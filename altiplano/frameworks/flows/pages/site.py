"""The pages of flows: the list, and one flow with its graph and its rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.types import ASGIApp

from altiplano.frameworks.flows.pages import layout
from altiplano.frameworks.flows.pages.picture import GROUP_ORDER, GROUP_WORDS, FlowHead, FlowPicture, RulePicture
from altiplano.pagekit import app, live, tables
from altiplano.pagekit import format as formats
from altiplano.pagekit.api import quoted
from altiplano.pagekit.tables import Column
from altiplano.ports.clock import Clock

TEMPLATES = Path(__file__).resolve().parent / "templates"
NAV = (("/", "Flows"),)

URGENT = ("failed", "running", "ready", "lost", "killed", "idle", "finished")
"""The order of groups in the table: what somebody may have to look after comes first."""

COLUMNS: Sequence[Column[RulePicture]] = (
    Column(key="rule", title="Rule", value=lambda r: r.title),
    Column(key="state", title="State", value=lambda r: float(URGENT.index(r.group))),
    Column(key="category", title="Category", value=lambda r: r.category, priority=2),
    Column(key="where", title="Where", value=lambda r: r.where or None, priority=3),
    Column(key="tries", title="Tries", value=lambda r: r.tries, numeric=True, priority=3, descending_first=True),
    Column(
        key="started", title="Started", value=lambda r: r.started_s, numeric=True, priority=2, descending_first=True
    ),
    Column(key="took", title="Took", value=lambda r: _took(r), numeric=True, descending_first=True),
)


def _took(rule: RulePicture) -> float | None:
    """What rules are ordered by: those that run are compared by when they began."""
    if rule.started_s is None:
        return None
    return 1e12 - rule.started_s if rule.ended_s is None else rule.ended_s - rule.started_s


def build(
    *,
    flows: Callable[[], Sequence[FlowPicture]] = tuple,
    heads: Callable[[], Sequence[FlowHead]] | None = None,
    find: Callable[[str], Awaitable[FlowPicture | None]] | None = None,
    version: Callable[[], int],
    clock: Clock,
    pool_url: str = "",
    title: str = "altiplano flows",
) -> ASGIApp:
    """The application.  `pool_url` is where the master's pages are (whole, or `:PORT`): rules then link to their tasks.

    Whoever has many flows gives `heads` and `find` instead of `flows`, so that a list does not need all rules.
    """

    async def find_among(flow_id: str) -> FlowPicture | None:
        return next((one for one in flows() if one.id == flow_id), None)

    pages = _Pages(heads or flows, find or find_among, clock, pool_url.rstrip("/"))
    return app.build(
        app.Site(
            title=title,
            clock=clock,
            pulse=live.Pulse(version),
            templates=(TEMPLATES,),
            nav=NAV + (((pool_url.rstrip("/") + "/", "Pool"),) if pool_url else ()),
            pages=(
                app.Page(path="/", template="flows.html", build=pages.flows),
                app.Page(path="/ui/flows/{flow_id}", template="flow.html", build=pages.flow),
            ),
        )
    )


class _Pages:
    def __init__(
        self,
        heads: Callable[[], Sequence[FlowHead]],
        find: Callable[[str], Awaitable[FlowPicture | None]],
        clock: Clock,
        pool_url: str,
    ) -> None:
        self._heads = heads
        self._find = find
        self._clock = clock
        self._pool_url = pool_url

    async def flows(self, request: Request) -> app.Context:
        shown = sorted(self._heads(), key=lambda f: (not f.goes_on, -(f.started_s or 0.0)))
        return {"flows": shown, "words": GROUP_WORDS}

    async def flow(self, request: Request) -> app.Context:
        flow_id = request.path_params["flow_id"]
        flow = await self._find(flow_id)
        if flow is None:
            raise app.NotThere(f"no flow has the id {flow_id}: the list of flows shows those there are")
        now = self._clock.now().wall_s
        asked = tables.query(request.query_params)
        by_urgency = sorted(flow.rules, key=lambda r: URGENT.index(r.group))
        params = request.query_params
        category = params.get("category", "")
        if category:
            by_urgency = [rule for rule in by_urgency if _in_category(rule, category)]
        table = tables.arrange(by_urgency, COLUMNS, asked, text=lambda r: r.text, choice=lambda r: r.group)
        chosen = next((rule for rule in flow.rules if rule.key == params.get("rule")), None)
        return {
            "flow": flow,
            "table": table,
            "category": category,
            "drawing": layout.draw(flow.rules, under=lambda rule: _under(rule, now)),
            "box_w": layout.BOX_W,
            "box_h": layout.BOX_H,
            "chosen": chosen,
            "before": [] if chosen is None else [rule for rule in flow.rules if rule.key in chosen.needs],
            "after": [] if chosen is None else [rule for rule in flow.rules if chosen.key in rule.needs],
            "failed": [rule for rule in flow.rules if rule.group == "failed"][:3],
            "words": GROUP_WORDS,
            "groups": GROUP_ORDER,
            "reasons": _reasons(flow),
            "task_url": self._task_url(request, flow, chosen),
            "rule_href": lambda key: "?" + urlencode({"rule": key}),
            "category_href": lambda name: "?" + urlencode({"category": name}),
        }

    def _task_url(self, request: Request, flow: FlowPicture, rule: RulePicture | None) -> str:
        if rule is None or not rule.task_id or not flow.framework_id or not self._pool_url:
            return ""
        path = f"/ui/tasks/{quoted(flow.framework_id)}/{quoted(rule.task_id)}"
        return app.address(request, self._pool_url + path)


def _in_category(rule: RulePicture, name: str) -> bool:
    # A box of a category's step shows the whole category: its rules are told apart in the table.
    return name == rule.category or name.startswith(f"{rule.category}, step ")


def _under(rule: RulePicture, now: float) -> str:
    """The second line of a rule's box."""
    seconds = rule.seconds(now)
    if rule.group in ("running", "finished") and seconds is not None:
        return f"{rule.state.value} · {formats.duration(seconds)}" + (f" · {_short(rule.where)}" if rule.where else "")
    return rule.state.value + (f" · try {rule.tries}" if rule.tries > 1 else "")


def _short(host: str) -> str:
    """A machine's name without its domain; an address as it is."""
    first = host.split(".")[0]
    return host if first.isdigit() else first


def _reasons(flow: FlowPicture) -> list[tuple[str, int]]:
    """Why rules that are ready wait, each sentence with the number of rules it holds for, most first."""
    found: dict[str, int] = {}
    for rule in flow.rules:
        if rule.group == "ready" and rule.why:
            found[rule.why] = found.get(rule.why, 0) + 1
    return sorted(found.items(), key=lambda pair: -pair[1])[:4]
