"""The protobuf codec, case by case; that it agrees with Google's in general is tested in tests/stateful."""

from __future__ import annotations

import struct
import sys
from typing import Annotated

import pytest

from altiplano.wire import protobuf, protobuf_careful
from altiplano.wire.errors import WireError
from altiplano.wire.messages import mesos, scheduler
from altiplano.wire.messages.fields import INT32_MIN, INT64_MIN, Message, int32, int64, uint64


class Numbers(Message):
    small: Annotated[int32 | None, 1] = None
    large: Annotated[int64 | None, 2] = None
    doubles: Annotated[tuple[float, ...], 3] = ()
    integers: Annotated[tuple[uint64, ...], 4] = ()


def field(number: int, data: bytes) -> bytes:
    return protobuf.varint(number << 3 | 2) + protobuf.varint(len(data)) + data


def refusal(message: type[Message], data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        protobuf.decode(message, data)
    return str(caught.value)


def test_an_agent_id_is_written_as_tag_length_and_text() -> None:
    assert protobuf.encode(mesos.AgentID(value="S1")) == b"\n\x02S1"


def test_ordinary_messages_do_not_need_the_careful_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    message = scheduler.Call(
        type=scheduler.CallType.SUBSCRIBE,
        subscribe=scheduler.CallSubscribe(
            framework_info=mesos.FrameworkInfo(user="u", name="n", failover_timeout=7.5, roles=("a", "b"))
        ),
    )
    data = protobuf.encode(message)
    monkeypatch.setattr(protobuf_careful, "decode", None)
    assert protobuf.decode(scheduler.Call, data) == message


def test_negative_numbers_take_ten_bytes_and_come_back() -> None:
    message = Numbers(small=INT32_MIN, large=-1)
    data = protobuf.encode(message)
    assert data == b"\x08\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01" + b"\x10" + b"\xff" * 9 + b"\x01"
    assert protobuf.decode(Numbers, data) == message
    assert protobuf.decode(Numbers, protobuf.encode(Numbers(large=INT64_MIN))).large == INT64_MIN


def test_a_32_bit_number_is_what_the_low_32_bits_say() -> None:
    data = b"\x08" + protobuf.varint(2**32 + 5)
    assert protobuf.decode(Numbers, data).small == protobuf_careful.decode(Numbers, data).small == 5


def test_packed_numbers_are_read_mixed_with_single_ones() -> None:
    data = field(4, b"\x01\xac\x02") + b"\x20\x07" + field(3, struct.pack("<2d", 0.5, -1.0))
    assert protobuf.decode(Numbers, data) == Numbers(integers=(1, 300, 7), doubles=(0.5, -1.0))


def test_packed_numbers_of_eight_bytes_come_in_whole_numbers() -> None:
    assert "12 bytes are no packed numbers" in refusal(Numbers, field(3, b"x" * 12))


def test_packed_enums_are_read() -> None:
    assert protobuf.decode(mesos.CSIPluginContainerInfo, field(1, b"\x01\x02")).services == (
        mesos.CSIPluginContainerInfoService.CONTROLLER_SERVICE,
        mesos.CSIPluginContainerInfoService.NODE_SERVICE,
    )


def test_pieces_of_a_message_are_merged_even_if_only_together_they_are_complete() -> None:
    address = field(1, b"host"), b"\x18\xbb\x27"
    data = field(1, b"http") + b"".join(field(2, piece) for piece in address)
    assert protobuf.decode(mesos.URL, data) == mesos.URL(
        scheme="http", address=mesos.Address(hostname="host", port=5051)
    )


def test_of_two_occurrences_of_a_number_the_last_counts() -> None:
    assert protobuf.decode(Numbers, b"\x08\x01\x08\x02").small == 2


def test_of_a_group_of_fields_the_last_one_read_counts() -> None:
    predicate = scheduler.AttributeConstraintPredicate
    data = field(1, b"") + field(3, field(1, b"x"))
    assert protobuf.decode(predicate, data) == predicate(
        text_equals=scheduler.AttributeConstraintPredicateTextEquals(value="x")
    )
    assert protobuf.decode(predicate, data) == protobuf_careful.decode(predicate, data)
    back = data + field(1, b"")
    assert protobuf.decode(predicate, back) == predicate(exists=scheduler.AttributeConstraintPredicateExists())
    assert protobuf.decode(predicate, back) == protobuf_careful.decode(predicate, back)


def test_maps_are_read_in_any_order_of_keys_and_the_last_entry_of_a_key_counts() -> None:
    def entry(key: str, value: float) -> bytes:
        return field(1, field(2, field_double(value)) + field(1, key.encode()))

    def field_double(value: float) -> bytes:
        return b"\x09" + struct.pack("<d", value)

    data = entry("mem", 1.0) + entry("cpus", 2.0) + entry("mem", 3.0)
    expected = mesos.OfferFiltersResourceQuantities(
        quantities={"cpus": mesos.ValueScalar(value=2.0), "mem": mesos.ValueScalar(value=3.0)}
    )
    assert protobuf.decode(mesos.OfferFiltersResourceQuantities, data) == expected


def test_a_map_entry_without_its_value_misses_what_the_value_requires() -> None:
    said = refusal(mesos.OfferFiltersResourceQuantities, field(1, field(1, b"cpus")))
    assert "missing required field: OfferFiltersResourceQuantities.quantities[cpus].value" in said


def test_unknown_fields_of_every_kind_are_skipped() -> None:
    unknown = b"\x98\x06" + b"\xff" * 9 + b"\x01", b"\x99\x06" + b"x" * 8, field(99, b"abc"), b"\x9d\x06" + b"x" * 4
    data = b"".join(unknown) + protobuf.encode(mesos.AgentID(value="S1")) + b"".join(unknown)
    assert protobuf.decode(mesos.AgentID, data) == mesos.AgentID(value="S1")


def test_a_known_field_in_another_wire_type_counts_as_unknown() -> None:
    data = b"\x08\x05" + field(1, b"S1")
    assert protobuf.decode(mesos.AgentID, data) == protobuf_careful.decode(mesos.AgentID, data)


def test_an_unknown_value_of_an_optional_enum_leaves_it_unset() -> None:
    assert protobuf.decode(scheduler.Call, b"\x10\x7f") == scheduler.Call()
    assert protobuf.decode(scheduler.Call, b"\x10" + b"\xff" * 9 + b"\x01") == scheduler.Call()


def test_an_unknown_value_of_a_required_enum_is_missing() -> None:
    assert "missing required field: Value.type" in refusal(mesos.Value, b"\x08\x63")


def test_everything_that_is_missing_is_named_with_its_path() -> None:
    data = field(3, field(1, field(2, b"n") + field(3, b""))) + b"\x10\x01"
    said = refusal(scheduler.Call, data)
    assert said == (
        "Failed to parse the body as Call protobuf: missing required fields: "
        "Call.subscribe.framework_info.user, Call.subscribe.framework_info.id.value"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x0a\x05ab", "ends after the message"),
        (b"\x0a", "ends within a number"),
        (b"\x0a\xff", "ends within a number"),
        (b"\x0b\x0c", "the start of a group"),
        (b"\x0c", "the end of a group"),
        (b"\x0e\x01", "the wire type 6"),
        (b"\x98\x06" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
        (b"\x98\x06" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        (b"\x02\x01x", "not the number of a field"),
        (b"\xff\xff\xff\xff\xff\x01", "not the number of a field"),
        (b"\x0a\x02\xc3\x28", "AgentID.value: a string is not UTF-8"),
        (b"\x99\x06xxx", "ends after the message"),
    ],
)
def test_what_the_format_forbids_is_refused_with_the_rule(data: bytes, said: str) -> None:
    assert said in refusal(mesos.AgentID, data)


def test_a_field_does_not_reach_beyond_the_message_that_holds_it() -> None:
    inner = b"\x0a\x09abc"
    assert "Address.hostname" not in refusal(mesos.URL, field(1, b"http") + field(2, inner) + field(3, b"/abcdefgh"))


def test_nested_containers_have_a_limit_in_both_readers() -> None:
    data = b""
    for _ in range(50):
        data = field(1, b"x") + (field(2, data) if data else b"")
    assert "nested at most 32 deep" in refusal(mesos.ContainerID, data)
    for _ in range(3000):
        data = field(1, b"x") + field(2, data)
    assert "nested more than 100 deep" in refusal(mesos.ContainerID, data)
    assert sys.getrecursionlimit() < 3000


def test_numbers_that_do_not_fit_are_not_written() -> None:
    for message in (Numbers(small=2**31), Numbers(integers=(2**64,)), Numbers(integers=(-1,)), Numbers(large=2**63)):
        with pytest.raises(WireError, match="cannot be written as protobuf"):
            protobuf.encode(message)


def test_texts_that_are_no_unicode_are_not_written() -> None:
    with pytest.raises(WireError, match="cannot be written"):
        protobuf.encode(mesos.AgentID(value="\ud800"))


def test_large_numbers_of_an_enum_are_written() -> None:
    message = mesos.CapabilityInfo(capabilities=tuple(mesos.CapabilityInfoCapability))
    assert protobuf.decode(mesos.CapabilityInfo, protobuf.encode(message)) == message


def test_defaults_that_mesos_declares_are_there_when_absent() -> None:
    assert protobuf.decode(mesos.Filters, b"") == mesos.Filters(refuse_seconds=5.0)


def test_the_source_of_a_codec_can_be_looked_at() -> None:
    text = protobuf.source(mesos.OfferID)
    assert "found['value']" in text
    assert "m.value" in text
