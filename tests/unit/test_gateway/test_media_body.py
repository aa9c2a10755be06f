"""Bodies of pictures and sound: read for their bill, and left as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.media_body import read, renamed

KIND = "multipart/form-data; boundary=abc"


def form(*parts: tuple[str, bytes]) -> bytes:
    """A form of these parts: what follows `form-data`, and the content."""
    said = (
        b"--abc\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (head.encode(), data)
        for head, data in parts
    )
    return b"".join(said) + b"--abc--\r\n"


@given(st.binary(max_size=400), st.text("abc-1.", min_size=1, max_size=20))
def test_only_the_models_name_changes(data: bytes, model: str) -> None:
    """A file of any bytes but the boundary goes through, before and behind the name."""
    if b"--abc" in data:
        return
    file = ('name="file"; filename="a.wav"', data)
    raw = form(file, ('name="model"', b"mine"), file)
    asked = read(raw, KIND)
    assert asked.model == "mine"
    assert list(asked.files.values()) == [data, data]
    assert renamed(raw, asked, "mine") is raw
    assert renamed(raw, asked, model) == form(file, ('name="model"', model.encode()), file)


def test_a_json_bodys_name_is_replaced_where_it_stands() -> None:
    """Numbers keep their spelling, and a deeper field of that name is none of ours."""
    raw = b'{"a": {"model": "x"}, "model" : "mine", "n": 1.50}'
    assert renamed(raw, read(raw, "application/json"), "theirs") == raw.replace(b"mine", b"theirs")


@given(st.binary(max_size=300))
def test_any_form_is_read_or_refused(data: bytes) -> None:
    """What is no form is a 400, never a failure of ours."""
    for raw in (data, b"--abc\r\n" + data, form(("name=model", data)), form(("name=n", data))):
        try:
            assert read(raw, KIND).model
        except InvalidRequest:
            continue


@pytest.mark.parametrize("value", ["-1", "x", "101", "1.5"])
def test_a_number_out_of_range_is_refused(value: str) -> None:
    """How many pictures is multiplied by their price."""
    raw = form(("name=model", b"m"), ("name=n", value.encode()))
    with pytest.raises(InvalidRequest):
        read(raw, KIND).count("n", 1, 100)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; xboundary=AAA; boundary=BBB",
        "multipart/form-data; xboundary=AAA",
        "multipart/form-data; boundary=AAA; boundary=BBB",
        "multipart/form-data; boundary*=utf-8''BBB; boundary=AAA",
    ],
)
def test_a_form_with_two_readings_of_its_boundary_is_refused(kind: str) -> None:
    """What we would bill and what the provider would serve must be one form."""
    raw = b'--AAA\r\ncontent-disposition: form-data; name="model"\r\n\r\ncheap\r\n--AAA--\r\n'
    with pytest.raises(InvalidRequest, match="boundary"):
        read(raw, kind)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (b'form-data; name="n"\r\n\r\n10', "twice"),
        (b'form-data; name="model"; filename="m"\r\n\r\ndear', "is no file"),
        (b'form-data; name="model"\r\n\r\ndear', "twice"),
    ],
)
def test_a_field_that_two_readers_could_read_apart_is_refused(second: bytes, said: str) -> None:
    """Twice the same field, or a field dressed as a file, is told."""
    raw = (
        b'--AAA\r\ncontent-disposition: form-data; name="model"\r\n\r\ncheap\r\n'
        b'--AAA\r\ncontent-disposition: form-data; name="n"\r\n\r\n1\r\n'
        b"--AAA\r\ncontent-disposition: " + second + b"\r\n--AAA--\r\n"
    )
    with pytest.raises(InvalidRequest, match=said):
        read(raw, "multipart/form-data; boundary=AAA")
