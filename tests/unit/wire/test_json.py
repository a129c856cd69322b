from __future__ import annotations

import json as plain_json
import math

import msgspec
import pytest

from altiplano.wire import json
from altiplano.wire.errors import WireError
from altiplano.wire.messages import mesos, scheduler
from altiplano.wire.messages.fields import Message


def refusal(message: type[Message], text: str | bytes) -> str:
    with pytest.raises(WireError) as caught:
        json.decode(message, text.encode() if isinstance(text, str) else text)
    return str(caught.value)


def test_names_and_enums_are_written_as_mesos_names_them() -> None:
    status = mesos.TaskStatus(
        task_id=mesos.TaskID(value="t"), state=mesos.TaskState.TASK_RUNNING, uuid=b"\x00\xff", healthy=True
    )
    assert json.encode(status) == (b'{"task_id":{"value":"t"},"state":"TASK_RUNNING","healthy":true,"uuid":"AP8="}')


def test_what_is_absent_is_left_out_but_declared_defaults_are_written() -> None:
    info = plain_json.loads(json.encode(mesos.FrameworkInfo(user="u", name="n")))
    assert info == {"user": "u", "name": "n", "failover_timeout": 0.0, "checkpoint": False}
    assert plain_json.loads(json.encode(mesos.AgentInfo(hostname="h"))) == {"hostname": "h", "port": 5051}


def test_an_empty_message_that_is_set_is_written() -> None:
    resource = mesos.Resource(name="cpus", type=mesos.ValueType.SCALAR, revocable=mesos.ResourceRevocableInfo())
    assert b'"revocable":{}' in json.encode(resource)


@pytest.mark.parametrize(("number", "token"), [(math.inf, b"Infinity"), (-math.inf, b"-Infinity"), (math.nan, b"NaN")])
def test_numbers_that_are_not_finite_are_bare_tokens(number: float, token: bytes) -> None:
    filters = mesos.Filters(refuse_seconds=number)
    data = json.encode(filters)
    assert data == b'{"refuse_seconds":' + token + b"}"
    again = json.decode(mesos.Filters, data)
    assert again.refuse_seconds == number or math.isnan(number)


def test_a_text_that_looks_like_an_unset_number_stays_as_it_is() -> None:
    label = mesos.Label(key='":null', value="ä:null\n")
    assert json.decode(mesos.Label, json.encode(label)) == label


def test_numbers_and_truth_values_may_be_strings() -> None:
    info = json.decode(mesos.FrameworkInfo, b'{"user":"u","name":"n","failover_timeout":"1.5","checkpoint":"true"}')
    assert (info.failover_timeout, info.checkpoint) == (1.5, True)
    assert json.decode(mesos.AgentInfo, b'{"hostname":"h","port":"5052"}').port == 5052
    assert json.decode(mesos.Filters, b'{"refuse_seconds":"-Infinity"}').refuse_seconds == -math.inf


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert json.decode(mesos.AgentInfo, b'{"hostname":"h","port":5052.0}').port == 5052


def test_one_element_may_stand_for_a_list_of_one() -> None:
    assert json.decode(mesos.Labels, b'{"labels":{"key":"a"}}') == mesos.Labels(labels=(mesos.Label(key="a"),))
    assert json.decode(mesos.ValueSet, b'{"item":"a"}') == mesos.ValueSet(item=("a",))


def test_null_is_absent_everywhere() -> None:
    assert json.decode(mesos.Label, b'{"key":"a","value":null}') == mesos.Label(key="a")
    assert json.decode(mesos.Labels, b'{"labels":null}') == mesos.Labels()
    assert json.decode(mesos.Filters, b'{"refuse_seconds":null}') == mesos.Filters()
    assert json.decode(mesos.ValueSet, b'{"item":["a",null]}') == mesos.ValueSet(item=("a",))
    assert "Label.key" in refusal(mesos.Label, '{"key":null}')


def test_unknown_names_of_fields_are_ignored() -> None:
    assert json.decode(mesos.Label, b'{"key":"a","colour":[{}]}') == mesos.Label(key="a")


def test_an_unknown_name_of_an_enum_leaves_an_optional_field_unset() -> None:
    assert json.decode(scheduler.Call, b'{"type":"SING"}') == scheduler.Call()
    assert "missing required field: Value.type" in refusal(mesos.Value, '{"type":"SING"}')


def test_of_duplicate_keys_the_last_counts_in_both_readers() -> None:
    assert json.decode(mesos.Label, b'{"key":"a","key":"b"}').key == "b"
    assert json.decode(mesos.AgentInfo, b'{"hostname":"h","port":"1","port":"2"}').port == 2


def test_maps_are_objects() -> None:
    data = b'{"quantities":{"cpus":{"value":"1.5"},"mem":{"value":2}}}'
    quantities = json.decode(mesos.OfferFiltersResourceQuantities, data).quantities
    assert quantities == {"cpus": mesos.ValueScalar(value=1.5), "mem": mesos.ValueScalar(value=2.0)}


def test_everything_that_is_missing_is_named_with_its_path() -> None:
    said = refusal(scheduler.Call, '{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"n"}}}')
    assert said == (
        "Failed to convert JSON into Call protobuf: missing required field: Call.subscribe.framework_info.user"
    )
    said = refusal(scheduler.Call, '{"accept":{"offer_ids":[{"value":"a"},{}],"filters":{}},"kill":{}}')
    assert said.endswith("missing required fields: Call.accept.offer_ids[1].value, Call.kill.task_id")


@pytest.mark.parametrize(
    ("message", "text", "said"),
    [
        (mesos.Label, "[]", "Label: expected an object, not an array"),
        (mesos.Label, '{"key":{}}', "Label.key: expected a string, not an object"),
        (mesos.Label, '{"key":5}', "Label.key: expected a string, not the number 5"),
        (mesos.Label, r'{"key":"\ud800"}', "Label.key: half a surrogate pair"),
        (mesos.Filters, '{"refuse_seconds":true}', "expected a number, not true"),
        (mesos.Filters, '{"refuse_seconds":"1x"}', 'expected a number, not the string "1x"'),
        (mesos.AgentInfo, '{"hostname":"h","port":1.5}', "expected a whole number, not the number 1.5"),
        (mesos.AgentInfo, '{"hostname":"h","port":true}', "expected a whole number, not true"),
        (mesos.AgentInfo, '{"hostname":"h","port":2147483648}', "AgentInfo.port: 2147483648 is not between"),
        (mesos.ValueRange, '{"begin":-1,"end":"18446744073709551616"}', "ValueRange.begin: -1 is not between 0"),
        (mesos.FrameworkInfo, '{"user":"u","name":"n","checkpoint":1}', "expected true or false, not the number 1"),
        (mesos.UUID, '{"value":"a"}', "UUID.value: expected bytes in base64"),
        (mesos.UUID, '{"value":[]}', "UUID.value: expected bytes in base64, not an array"),
        (scheduler.Call, '{"type":3}', "Call.type: expected the name of a value, not the number 3"),
        (mesos.OfferFiltersResourceQuantities, '{"quantities":[]}', "quantities: expected an object, not an array"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_path_and_rule(message: type[Message], text: str, said: str) -> None:
    assert said in refusal(message, text)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "Expecting value"),
        (b'{"key":"a"', "Expecting"),
        (b'{"key":"\xff"}', "not UTF-8"),
        (b'{"key":"a"} x', "Extra data"),
        (b'{"key":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_is_refused(data: bytes, said: str) -> None:
    text = refusal(mesos.Label, data)
    assert text.startswith("Failed to parse the body as JSON: ")
    assert said in text


def test_containers_nest_only_so_deep() -> None:
    text = '{"value":"a","parent":' * 40 + '{"value":"b"}' + "}" * 40
    assert "a container may be nested at most 32 deep" in refusal(mesos.ContainerID, text)


def test_a_body_has_a_largest_number_of_elements() -> None:
    body = b'{"item":[' + b'"",' * json.ELEMENTS_MAX + b'""]}'
    assert "more than 1000000 elements" in refusal(mesos.ValueSet, body)
    commas_in_a_text = b'{"key":"' + b"," * (json.ELEMENTS_MAX + 1) + b'"}'
    assert len(json.decode(mesos.Label, commas_in_a_text).key) == json.ELEMENTS_MAX + 1


def test_the_portable_form_is_json_for_everybody_and_reads_the_same() -> None:
    endless = {"mem": mesos.ValueScalar(value=math.inf), "cpus": mesos.ValueScalar(value=-math.inf)}
    task = mesos.TaskInfo(
        name='NaN, "Infinity"',
        task_id=mesos.TaskID(value="-Infinity"),
        agent_id=mesos.AgentID(value="a"),
        limits=endless,
    )
    portable = json.portable(json.encode(task))
    assert msgspec.json.decode(portable)["limits"] == {"mem": {"value": "Infinity"}, "cpus": {"value": "-Infinity"}}
    assert json.decode(mesos.TaskInfo, portable) == task
    assert not json.finite(task)
    assert json.finite(msgspec.structs.replace(task, limits={}))
