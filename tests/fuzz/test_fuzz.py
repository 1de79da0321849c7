"""A few seconds of fuzzing; GPUSTATS_FUZZ_ROUNDS makes it longer."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import CONTAINERS, TARGETS, pillow_verdict, verdict

ROUNDS = int(os.environ.get("GPUSTATS_FUZZ_ROUNDS", "60"))


@pytest.mark.parametrize("kind", TARGETS)
def test_mutations_are_judged_and_nothing_else_is_raised(kind: str) -> None:
    seeds = TARGETS[kind].seeds()
    for number in range(ROUNDS):
        data = mutated(random.Random(number).choice(seeds), number)
        found = TARGETS[kind].check(data)
        if found == "good":
            assert pillow_verdict(data), f"{kind} {number}: counted, although Pillow refuses it"


@pytest.mark.parametrize("kind", CONTAINERS)
def test_mutated_containers_are_read_or_refused(kind: str) -> None:
    pytest.importorskip(CONTAINERS[kind].needs)
    seeds = CONTAINERS[kind].seeds()
    for number in range(ROUNDS // 3):
        CONTAINERS[kind].check(mutated(random.Random(number).choice(seeds), number))


@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_containers_that_are_mutated_are_whole(kind: str) -> None:
    pytest.importorskip(CONTAINERS[kind].needs)
    assert {CONTAINERS[kind].check(seed) for seed in CONTAINERS[kind].seeds()} == {"good"}


@settings(max_examples=ROUNDS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\0\0\0\0WEBPVP8 ",
            b"BM",
            b"GIF89a",
            b"II*\0",
            b"MM\0*",
            b"P6 ",
            b"P2\n",
        ]
    ),
    rest=st.binary(max_size=400),
)
def test_bytes_that_only_begin_like_an_image(start: bytes, rest: bytes) -> None:
    if verdict(start + rest) == "good":
        assert pillow_verdict(start + rest)
