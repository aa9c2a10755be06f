"""How long a sound file plays, by its own header: WAV, FLAC, Ogg, and MP3 by its first frame."""

from __future__ import annotations

import re

_MP3_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBPS_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_OGG_RATE = {b"OpusHead": None, b"\x01vorbis": 11}
_OPUS_HZ = 48_000
LEAST_BYTES_A_SECOND = 750
"""Speech is hardly ever coded in less (6 kbit/s): what bounds a file of an unknown form."""


def seconds(data: bytes) -> float | None:
    """Seconds of sound; None where the header does not say. An MP3's is an estimate."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav(data)
    if data[:4] == b"fLaC":
        return _flac(data)
    if data[:4] == b"OggS":
        return _ogg(data)
    return _mp3(data)


def at_most(data: bytes) -> float:
    """Seconds that a file can play at most; 0 for an empty one."""
    found = seconds(data)
    if found is not None and data[:3] != b"ID3" and data[:1] != b"\xff":
        return found
    return len(data) / LEAST_BYTES_A_SECOND


def _wav(data: bytes) -> float | None:
    at, rate = 12, 0
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"fmt " and size >= 16:
            rate = _wav_rate(data[at + 8 : at + 24])
        elif name == b"data":
            rest = len(data) - at - 8
            return min(size or rest, rest) / rate if rate else None  # 0: it was piped
        at += 8 + size + size % 2
    return None


def _wav_rate(said: bytes) -> int:
    """Bytes a second: the lower of what the header says and what its fields come to."""
    channels, bits = int.from_bytes(said[2:4], "little"), int.from_bytes(said[14:16], "little")
    played = int.from_bytes(said[4:8], "little") * channels * bits // 8
    told = int.from_bytes(said[8:12], "little")
    return min(told, played) if played else told


def _flac(data: bytes) -> float | None:
    said = int.from_bytes(data[18:26], "big")  # 20 bits of rate, 3 + 5 of form, 36 of samples
    rate, samples = said >> 44, said & (1 << 36) - 1
    return samples / rate if rate and samples and len(data) > 26 else None


def _ogg(data: bytes) -> float | None:
    last = data.rfind(b"OggS")
    samples = int.from_bytes(data[last + 6 : last + 14], "little", signed=True)
    for mark, place in _OGG_RATE.items():
        at = data.find(mark, 0, 512)
        if at >= 0:
            rate = _OPUS_HZ
            if place is not None:
                rate = int.from_bytes(data[at + place + 1 : at + place + 5], "little")
            return samples / rate if rate and samples > 0 else None
    return None


def _mp3(data: bytes) -> float | None:
    start = 0
    if data[:3] == b"ID3" and len(data) > 10:
        size = 0
        for byte in data[6:10]:
            size = size << 7 | byte & 0x7F
        start = 10 + size
    found = re.compile(rb"\xff[\xf2-\xf3\xfa-\xfb].").search(data, start, start + 4096)
    if found is None:
        return None
    head = found.group()
    table = _MP3_KBPS if head[1] & 8 else _MP3_KBPS_LOW
    rate = table[head[2] >> 4] if head[2] >> 4 < len(table) else 0
    return (len(data) - found.start()) / (rate * 125) if rate else None
