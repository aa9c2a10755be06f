"""No bytes break what reads them: each target of fuzz_targets.py on seeds bent at random."""

from __future__ import annotations

import random

import pytest
from fuzz_targets import SEEDS, TARGETS

TRIES = 1_500


def bent(seed: bytes, chance: random.Random) -> bytes:
    """The seed with one to six of its places cut, doubled, overwritten or swapped."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        upto = min(len(data), at + chance.randint(1, 12))
        match chance.randrange(5):
            case 0:
                del data[at:upto]
            case 1:
                data[at:at] = data[at:upto] * chance.randint(1, 4)
            case 2:
                data[at:upto] = chance.randbytes(upto - at)
            case 3:
                data[at:at] = chance.choice(ODD)
            case _:
                other = chance.randint(0, len(data))
                data[at:upto] = data[other : other + (upto - at)]
    return bytes(data)


ODD = (
    b"null", b"-1", b"1e400", b"NaN", b'"\\ud800"', b"{}", b"[[[[", b"\xff\xfe", b"\x00", b"\r",
    b"\r\n\r\n", b"data: ", b"99999999999999999999", b"0.1", b'"usage":', b"\xef\xbb\xbf", b"  ",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_bytes_break_a_reader(name: str) -> None:
    """Whatever the bytes, the target's promise holds; the seed of the run is fixed."""
    chance = random.Random(20_261_122)
    for seed in SEEDS[name]:
        TARGETS[name](seed)
    for _ in range(TRIES):
        data = bent(chance.choice(SEEDS[name]), chance)
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{name} on {data!r}") from error
