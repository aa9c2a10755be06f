"""How long a file plays, by its own header."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator_media import wav
from gateway.sound import at_most, seconds


def flac(rate: int, samples: int) -> bytes:
    """The head of a FLAC file."""
    said = rate << 44 | 1 << 41 | 15 << 36 | samples
    return b"fLaC\x00\x00\x00\x22" + bytes(10) + said.to_bytes(8, "big") + bytes(64)


def ogg(samples: int) -> bytes:
    """First and last page of an Opus file."""
    page = b"OggS\x00\x02"
    return page + bytes(8) + bytes(14) + b"OpusHead" + bytes(99) + page + struct.pack("<q", samples)


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (wav(2.5), 2.5),
        (wav(0), 0.0),
        (flac(44_100, 88_200), 2.0),
        (ogg(96_000), 2.0),
        (b"\xff\xfb\x90\x00" + bytes(15_996), 1.0),
        (b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + b"\xff\xfb\x90\x00" + bytes(15_996), 1.0),
    ],
)
def test_a_header_tells_the_length(data: bytes, length: float) -> None:
    """WAV, FLAC, Opus and MP3 at 128 kbit/s."""
    assert seconds(data) == pytest.approx(length)
    assert at_most(data) >= length


def test_what_is_not_known_is_bounded_by_its_size() -> None:
    """Speech is not coded in less than 6 kbit/s."""
    assert seconds(b"\x1aE\xdf\xa3" + bytes(7_496)) is None
    assert at_most(b"\x1aE\xdf\xa3" + bytes(7_496)) == 10.0


@given(st.sampled_from([b"", b"RIFF....WAVE", b"fLaC", b"OggS", b"ID3", b"\xff\xfb"]), st.binary())
def test_any_bytes_have_a_length_or_none(head: bytes, rest: bytes) -> None:
    """A file is a stranger's: nothing in it raises or takes long, no length is negative."""
    found = seconds(head + rest)
    assert found is None or found >= 0
    assert at_most(head + rest) >= 0


def test_a_wav_is_as_long_as_its_fields_say_and_a_piped_one_as_its_bytes() -> None:
    """A byte rate that is too high shortens nothing; a length of 0 means up to the end."""
    body = b"\0" * 32_000
    plain = b"fmt " + (16).to_bytes(4, "little") + bytes.fromhex("01000100")
    rate = (16_000).to_bytes(4, "little")
    for told, size in ((32_000, len(body)), (32_000_000, len(body)), (32_000, 0)):
        head = plain + rate + told.to_bytes(4, "little") + bytes.fromhex("02001000")
        data = b"RIFF\0\0\0\0WAVE" + head + b"data" + size.to_bytes(4, "little") + body
        assert seconds(data) == pytest.approx(1.0)
