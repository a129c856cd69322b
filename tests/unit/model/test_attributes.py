from __future__ import annotations

import pytest

from altiplano.model import attributes
from altiplano.model.attributes import Attribute


def test_attributes_are_texts_numbers_or_ranges() -> None:
    assert attributes.parse("rack:r1; slots:4\nx:[1-3]; url:http://a:1") == (
        Attribute(name="rack", value="r1"),
        Attribute(name="slots", value=4000),
        Attribute(name="x", value=((1, 3),)),
        Attribute(name="url", value="http://a:1"),
    )


def test_no_text_is_no_attributes() -> None:
    assert attributes.parse("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rack", "name:value"),
        (":r1", "name:value"),
        ("rack:", "name:value"),
        ("x:[1", "attribute x"),
        ("x:{a}", "sets"),
    ],
)
def test_a_malformed_attribute_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        attributes.parse(text)
