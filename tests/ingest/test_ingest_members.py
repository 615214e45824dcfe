"""Gzip files of many members: the same bytes however they are cut, in time that is linear."""

from __future__ import annotations

import gzip
import io
import random
import time

import numpy as np
import pytest

from medvae.errors import InputError
from medvae.ingest.streams import CHUNK, GZIP, Gunzip


def unpacked(data: bytes, size: int, step: int) -> bytes:
    stream = Gunzip(io.BytesIO(data))
    parts = [stream.read(min(step, size - at)) for at in range(0, size, step)]
    stream.finish()
    return np.concatenate(parts).tobytes()


@pytest.mark.parametrize("seed", range(8))
def test_members_are_joined_however_they_are_cut_and_padded(seed: int) -> None:
    chance = random.Random(seed)
    wanted = chance.randbytes(3 * CHUNK)
    cuts = sorted(chance.sample(range(len(wanted)), 40))
    packed = b""
    for start, end in zip([0, *cuts], [*cuts, len(wanted)], strict=True):
        packed += gzip.compress(wanted[start:end], 1) + bytes(chance.choice([0, 0, 1, 511, 70_000]))
    assert unpacked(packed, len(wanted), chance.choice([1000, CHUNK, 10**6])) == wanted


@pytest.mark.parametrize("short", [1, 2])
def test_a_member_whose_magic_straddles_two_reads(short: int) -> None:
    first = gzip.compress(b"a" * 10)
    padding = CHUNK - len(first) - len(GZIP) + short
    packed = first + bytes(padding) + gzip.compress(b"b" * 10)
    assert unpacked(packed, 20, 20) == b"a" * 10 + b"b" * 10


def test_what_is_no_member_ends_the_file_for_good() -> None:
    packed = gzip.compress(b"a" * 10) + b"no member" + gzip.compress(b"b" * 10)
    assert unpacked(packed, 10, 10) == b"a" * 10
    with pytest.raises(InputError, match="truncated"):
        unpacked(packed, 11, 11)


def test_a_hundred_thousand_empty_members_take_a_moment() -> None:
    packed = gzip.compress(b"") * 100_000 + gzip.compress(b"x")
    before = time.process_time()
    assert unpacked(packed, 1, 1) == b"x"
    assert time.process_time() - before < 3  # 7.8 s when the rest was copied for each member
