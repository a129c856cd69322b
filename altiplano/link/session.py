"""The protocol of the agent link, without any I/O.

Frames are WebSocket messages.  A text frame is a JSON object with messages, a binary frame carries
bytes of one stream.  Every frame but a bare acknowledgement has a sequence number; the other side
acknowledges cumulatively.  A connection is in order by itself, so a gap or a repeated number means
that frames were lost or doubled below us: the connection is given up and the agent dials again.

    text    {"seq": 7, "ack": 12, "epoch": 3, "messages": [...]}     seq 0: a bare acknowledgement
    binary  seq, ack, epoch (8 bytes each), stream (4 bytes), all big endian, then the bytes

Flow control: at most `WINDOW_BYTES` are under way unacknowledged, the rest waits here up to
`QUEUE_BYTES_MAX`.  Streams have a credit of their own, so one slow reader holds up only itself.

Each frame of a master carries its epoch.  An agent refuses frames of an older leadership than it
has obeyed: a master that was paused and has lost its office can order nothing.
"""

from __future__ import annotations

import struct
from collections import deque
from enum import Enum

import msgspec

from altiplano.link import messages

WINDOW_BYTES = 8 * 1024 * 1024
"""Sent but unacknowledged bytes of a connection."""

QUEUE_BYTES_MAX = 256 * 1024 * 1024
"""Bytes that may wait for the window; beyond it the other side is not reading and the link is given up."""

FRAME_BYTES = 1024 * 1024
"""Messages are collected into one frame up to this size."""

ACK_EVERY_FRAMES = 32
ACK_EVERY_BYTES = WINDOW_BYTES // 8

STREAM_CREDIT_BYTES = 256 * 1024
"""Bytes of a stream that may be under way before the reader has asked for more."""

STREAM_CHUNK_BYTES = 64 * 1024

_BINARY = struct.Struct(">QQQI")


class LinkError(Exception):
    """The other side broke the protocol of the link, or frames were lost: the connection is given up."""


class StaleEpoch(LinkError):
    """The master at the other end is not in office any more."""


class LinkOverflow(LinkError):
    """The other side does not read; more is waiting for it than may."""


class Side(Enum):
    MASTER = "master"
    AGENT = "agent"


class StreamBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a stream that arrived."""

    stream: int
    data: bytes


Arrival = messages.AnyMessage | StreamBytes


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    ack: int
    epoch: int = 0
    messages: tuple[messages.FromAgent | messages.FromMaster | messages.Stream, ...] = ()


_decoder = msgspec.json.Decoder(_Envelope)
_encoder = msgspec.json.Encoder()


class Session:
    """One side of one connection."""

    def __init__(self, side: Side, *, epoch: int) -> None:
        """`epoch`: on a master that of its leadership, on an agent the newest it has obeyed."""
        self.side = side
        self.epoch = epoch
        self._sent = 0
        self._acknowledged = 0
        self._received = 0
        self._told = 0
        self._frames_untold = 0
        self._bytes_untold = 0
        self._in_flight: deque[tuple[int, int]] = deque()
        self._in_flight_bytes = 0
        self._messages: deque[bytes] = deque()
        self._queued_bytes = 0
        self._streams: deque[bytes | tuple[int, bytes]] = deque()

    # -- saying

    def send(self, message: messages.AnyMessage) -> None:
        """Queue a message.  Raises LinkOverflow when the other side has stopped reading.

        What is said about streams keeps its order with their bytes; everything else goes first.
        """
        self._queue(len(data := _encoder.encode(message)))
        if isinstance(message, messages.StreamOpen | messages.StreamHead | messages.StreamEnd):
            self._streams.append(data)
        else:
            self._messages.append(data)

    def send_bytes(self, stream: int, data: bytes) -> None:
        """Queue bytes of a stream; the caller keeps to the stream's credit."""
        self._queue(len(data))
        self._streams.append((stream, data))

    def _queue(self, size: int) -> None:
        self._queued_bytes += size
        if self._queued_bytes > QUEUE_BYTES_MAX:
            raise LinkOverflow(
                f"more than {QUEUE_BYTES_MAX} bytes wait for the other end of the link, which does not read"
            )

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._messages and not self._streams

    def outgoing(self) -> list[str | bytes]:
        """The frames that may leave now."""
        frames: list[str | bytes] = []
        while self._messages and self._in_flight_bytes < WINDOW_BYTES:
            batch = [self._messages.popleft()]
            size = len(batch[0])
            while self._messages and size + len(self._messages[0]) <= FRAME_BYTES:
                batch.append(self._messages.popleft())
                size += len(batch[-1])
            frames.append(self._text(batch, size))
        while self._streams and not self._messages and self._in_flight_bytes < WINDOW_BYTES:
            item = self._streams.popleft()
            if isinstance(item, bytes):
                frames.append(self._text([item], len(item)))
            else:
                stream, data = item
                frames.append(_BINARY.pack(self._stamp(len(data)), self._tell(), self.epoch, stream) + data)
        if not frames and (self._frames_untold >= ACK_EVERY_FRAMES or self._bytes_untold >= ACK_EVERY_BYTES):
            frames.append(f'{{"seq":0,"ack":{self._tell()},"epoch":{self.epoch}}}')
        return frames

    def _text(self, batch: list[bytes], size: int) -> str:
        head = f'{{"seq":{self._stamp(size)},"ack":{self._tell()},"epoch":{self.epoch},"messages":['
        return head + b",".join(batch).decode() + "]}"

    def _stamp(self, size: int) -> int:
        self._sent += 1
        self._queued_bytes -= size
        self._in_flight.append((self._sent, size))
        self._in_flight_bytes += size
        return self._sent

    def _tell(self) -> int:
        self._told = self._received
        self._frames_untold = self._bytes_untold = 0
        return self._received

    # -- hearing

    def receive(self, frame: str | bytes) -> tuple[Arrival, ...]:
        """What arrived with a frame, in order.  Raises LinkError: then the connection is to be closed."""
        if isinstance(frame, bytes):
            if len(frame) < _BINARY.size:
                raise LinkError("a frame of the link is too short")
            seq, ack, epoch, stream = _BINARY.unpack_from(frame)
            self._accept(seq, ack, epoch, len(frame))
            return (StreamBytes(stream=stream, data=frame[_BINARY.size :]),)
        try:
            envelope = _decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LinkError(f"a frame of the link cannot be read: {error}") from error
        self._accept(envelope.seq, envelope.ack, envelope.epoch, len(frame))
        return envelope.messages

    def _accept(self, seq: int, ack: int, epoch: int, size: int) -> None:
        if self.side is Side.AGENT:
            if epoch < self.epoch:
                raise StaleEpoch(f"the master speaks for epoch {epoch}, and epoch {self.epoch} has been seen")
            self.epoch = epoch
        if ack > self._sent or ack < self._acknowledged:
            raise LinkError(
                f"the other end acknowledges frame {ack}, and frames {self._acknowledged} to {self._sent} are open"
            )
        self._acknowledged = ack
        while self._in_flight and self._in_flight[0][0] <= ack:
            self._in_flight_bytes -= self._in_flight.popleft()[1]
        if seq == 0:
            return
        if seq != self._received + 1:
            raise LinkError(f"frame {seq} came where frame {self._received + 1} was due")
        self._received = seq
        self._frames_untold += 1
        self._bytes_untold += size
