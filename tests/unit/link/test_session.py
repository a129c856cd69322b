"""The link's protocol: order, acknowledgement, window, epochs, broken peers."""

from __future__ import annotations

import pytest

from altiplano.link import messages, session


def pair(epoch: int = 1) -> tuple[session.Session, session.Session]:
    return session.Session(session.Side.MASTER, epoch=epoch), session.Session(session.Side.AGENT, epoch=0)


def carry(source: session.Session, target: session.Session) -> list[session.Arrival]:
    return [arrival for frame in source.outgoing() for arrival in target.receive(frame)]


def test_messages_arrive_in_the_order_in_which_they_were_sent() -> None:
    master, agent = pair()
    sent = [messages.Ping(cause=str(n)) for n in range(5)]
    for message in sent:
        master.send(message)
    assert carry(master, agent) == sent
    assert master.idle


def test_messages_waiting_together_travel_in_one_frame() -> None:
    master, _ = pair()
    for n in range(100):
        master.send(messages.Ping(cause=str(n)))
    assert len(master.outgoing()) == 1


def test_a_frame_that_is_missing_breaks_the_connection() -> None:
    master, agent = pair()
    master.send(messages.Ping())
    master.outgoing()
    master.send(messages.Ping())
    with pytest.raises(session.LinkError, match="frame 2 came where frame 1 was due"):
        carry(master, agent)


def test_a_frame_that_comes_twice_breaks_the_connection() -> None:
    master, agent = pair()
    master.send(messages.Ping())
    (frame,) = master.outgoing()
    agent.receive(frame)
    with pytest.raises(session.LinkError, match="frame 1 came where frame 2 was due"):
        agent.receive(frame)


def test_an_agent_refuses_a_master_of_an_older_epoch() -> None:
    master = session.Session(session.Side.MASTER, epoch=4)
    agent = session.Session(session.Side.AGENT, epoch=5)
    master.send(messages.Ping())
    with pytest.raises(session.StaleEpoch):
        carry(master, agent)


def test_an_agent_learns_a_newer_epoch_from_any_frame() -> None:
    master = session.Session(session.Side.MASTER, epoch=9)
    agent = session.Session(session.Side.AGENT, epoch=5)
    master.send(messages.Ping())
    carry(master, agent)
    assert agent.epoch == 9


def test_a_full_window_holds_frames_back_until_they_are_acknowledged() -> None:
    master, agent = pair()
    chunk = bytes(session.STREAM_CHUNK_BYTES)
    count = session.WINDOW_BYTES // len(chunk) + 10
    for _ in range(count):
        master.send_bytes(1, chunk)
    first = master.outgoing()
    assert len(first) == session.WINDOW_BYTES // len(chunk)
    assert master.outgoing() == []
    for frame in first:
        agent.receive(frame)
    carry(agent, master)
    assert len(master.outgoing()) == 10


def test_a_peer_that_does_not_read_is_given_up() -> None:
    master, _ = pair()
    master.outgoing()
    chunk = bytes(1024 * 1024)
    with pytest.raises(session.LinkOverflow):
        for _ in range(session.QUEUE_BYTES_MAX // len(chunk) + 1):
            master.send_bytes(1, chunk)


def test_orders_overtake_the_bytes_of_streams_but_the_end_of_a_stream_does_not() -> None:
    master, agent = pair()
    master.send_bytes(1, b"body")
    master.send(messages.StreamEnd(stream=1))
    master.send(messages.Ping(cause="order"))
    kinds = [type(arrival) for arrival in carry(master, agent)]
    assert kinds == [messages.Ping, session.StreamBytes, messages.StreamEnd]


@pytest.mark.parametrize(
    "frame", ["", "{}", "[]", "nonsense", '{"seq":1,"ack":0,"messages":[{"m":"NoSuch"}]}', b"short"]
)
def test_a_frame_that_cannot_be_read_breaks_the_connection(frame: str | bytes) -> None:
    _, agent = pair()
    with pytest.raises(session.LinkError):
        agent.receive(frame)


def test_an_acknowledgement_of_what_was_never_sent_breaks_the_connection() -> None:
    _, agent = pair()
    with pytest.raises(session.LinkError, match="acknowledges frame 3"):
        agent.receive('{"seq":0,"ack":3,"epoch":1}')


def test_bare_acknowledgements_have_no_number_and_are_not_acknowledged() -> None:
    master, agent = pair()
    for _ in range(session.ACK_EVERY_FRAMES):
        master.send(messages.Ping())
        carry(master, agent)
    (acknowledgement,) = agent.outgoing()
    assert master.receive(acknowledgement) == ()
    assert master.outgoing() == []
