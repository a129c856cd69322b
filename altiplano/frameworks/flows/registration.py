"""What a run tells the host of the pool's frameworks, so that its page outlives it.

A run says once which rules it has and where its transaction log is; the host reads the log from then on, as
`altiplano flow status` does, and a run that is killed costs no line of its page.  At the end the run asks the
host to look once more, since the directory may be removed right after.

    PUT  /flows/api/v1/flows/RUN         the form below; again when a nested workflow has brought more rules
    POST /flows/api/v1/flows/RUN/look    answered when all that the log holds by now is kept

The form is lines of JSON: a `Head`, then one rule a line.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator

import msgspec

from altiplano.frameworks.flows.graph import Graph, Node, RuleKey
from altiplano.kit.backoff import BackOff
from altiplano.sdk import http
from altiplano.sdk.credentials import Place

FORM = 1
"""Of what is said here."""

PATH = "/flows/api/v1/flows/"
REGISTRATION_BYTES_MAX = 64 * 1024 * 1024
"""A flow with more to say of its rules has no page at the host; some 80,000 rules fit."""

NODES_PER_SLICE = 200
"""Rules written before the event loop gets a turn: about a millisecond."""

AGAIN = BackOff(base_s=0.2, cap_s=15.0)
LAST_LOOK_S_MAX = 3.0
"""How long the end of a run waits for the host to have read all of its log."""

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_REFUSED = frozenset({400, 404, 405, 413, 422})
"""Answers that the same words will get again."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a registration."""

    form: int = FORM
    run_id: str
    file: str
    """The workflow file as it was named."""
    directory: str
    """Where its file names start."""
    log: str
    """Absolute path of its transaction log."""
    url: str
    """Of the run's own page."""


class NotRegistered(Exception):
    """These bytes are no registration; the text says why."""


def pieces(head: Head, nodes: Iterable[Node]) -> Iterator[bytes]:
    """A registration, in lines."""
    encoder = msgspec.json.Encoder()
    yield encoder.encode(head) + b"\n"
    for node in nodes:
        yield encoder.encode(node) + b"\n"


def read(content: bytes) -> tuple[Head, Graph]:
    """What `pieces` wrote.  Raises NotRegistered."""
    first, _, rest = content.partition(b"\n")
    try:
        head = msgspec.json.decode(first, type=Head)
        decoder = msgspec.json.Decoder(Node)
        nodes: dict[RuleKey, Node] = {node.key: node for node in map(decoder.decode, rest.splitlines())}
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise NotRegistered(f"these lines do not describe a flow: {error}") from error
    if head.form != FORM:
        raise NotRegistered(f"flows are described in form {FORM} here, and this is {head.form}")
    if not RUN_ID.fullmatch(head.run_id):
        raise NotRegistered(f"'{head.run_id}' is no id of a run: letters, digits, '_' and '-' only")
    for node in nodes.values():
        strange = [need for need in node.needs if need not in nodes]
        if strange:
            raise NotRegistered(f"rule '{node.key}' needs '{strange[0]}', which is not described")
    return head, Graph(file=head.file, nodes=nodes)


class Registrar:
    """Tells the host until it has heard.

    Nothing of the run waits for it but its end, and that for `LAST_LOOK_S_MAX` at most: a host that is
    away costs the page, not the flow.
    """

    def __init__(self, place: Place, told: Callable[[], tuple[Head, list[Node]]]) -> None:
        """`told` gives what there is to say now."""
        self._place = place
        self._told = told
        self._changed = asyncio.Event()
        self._heard = asyncio.Event()
        self._given_up = False
        self._run_id = ""

    def changed(self) -> None:
        """There is more to say than was said."""
        self._heard.clear()
        self._changed.set()

    async def run(self, say: Callable[[str], None]) -> None:
        """Register whenever something has changed, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            refusal = await self._until_answered()
            if refusal:
                say(f"the pool keeps no page of this flow: {refusal}")
                self._given_up = True
            self._heard.set()

    async def last_look(self) -> None:
        """Return when the host has read the log to its end, or does not answer in time."""
        try:
            async with asyncio.timeout(LAST_LOOK_S_MAX):
                await self._heard.wait()
                if not self._given_up:
                    await self._ask("POST", f"{PATH}{self._run_id}/look", b"")
        except (TimeoutError, http.ConnectionFailed):
            return

    async def _until_answered(self) -> str:
        """The host's reason for not taking it; empty when it has."""
        back_off = AGAIN
        while True:
            head, nodes = self._told()
            self._run_id = head.run_id
            try:
                body = await _gathered(pieces(head, nodes))
            except UnicodeEncodeError:
                return "a name in it is not UTF-8"
            if len(body) > REGISTRATION_BYTES_MAX:
                return f"its description has {len(body)} bytes, and the limit is {REGISTRATION_BYTES_MAX}"
            try:
                answer = await self._ask("PUT", PATH + head.run_id, body)
                if answer.status < 300:
                    return ""
                if answer.status in _REFUSED:
                    return answer.text.strip()
            except http.ConnectionFailed:
                # The host may be on its way up, or there may be none: neither is the flow's business.
                pass
            delay_s, back_off = back_off.next(random.random())
            await asyncio.sleep(delay_s)

    async def _ask(self, method: str, path: str, body: bytes) -> http.Answer:
        connection = http.Connection(self._place.frameworks, headers=self._place.headers)
        try:
            return await connection.request(method, path, body, {"Content-Type": "application/json"})
        finally:
            connection.close()


async def _gathered(lines: Iterator[bytes], pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)) -> bytes:
    found = bytearray()
    for number, line in enumerate(lines):
        found += line
        if number % NODES_PER_SLICE == NODES_PER_SLICE - 1:
            await pause()
    return bytes(found)
