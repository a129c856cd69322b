from __future__ import annotations

import pytest

from altiplano.kit import recordio
from altiplano.wire import codec
from altiplano.wire.codec import Codec
from altiplano.wire.messages import mesos


@pytest.mark.parametrize("chosen", [codec.JSON, codec.PROTOBUF])
def test_each_codec_is_found_by_its_media_type_and_reads_what_it_writes(chosen: Codec) -> None:
    message = mesos.Label(key="a", value="b")
    assert codec.CODECS[chosen.media_type] is chosen
    assert chosen.decode(mesos.Label, chosen.encode(message)) == message


@pytest.mark.parametrize("chosen", [codec.JSON, codec.PROTOBUF])
def test_a_record_holds_one_message(chosen: Codec) -> None:
    message = mesos.Label(key="a")
    assert recordio.Decoder().feed(chosen.record(message) * 2) == [chosen.encode(message)] * 2
