"""A few seconds of fuzzing; GPUSTATS_FUZZ_ROUNDS makes it longer."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import CONTAINERS, DEEP, TARGETS, pillow_verdict, verdict
from tests.sources.packing import contents

ROUNDS = int(os.environ.get("GPUSTATS_FUZZ_ROUNDS", "60"))


@pytest.mark.parametrize("kind", TARGETS)
def test_mutations_are_judged_and_nothing_else_is_raised(kind: str) -> None:
    seeds = TARGETS[kind].seeds()
    for number in range(ROUNDS):
        data = mutated(random.Random(number).choice(seeds), number)
        found = TARGETS[kind].check(data)
        if found == "good":
            assert pillow_verdict(data), f"{kind} {number}: counted, although Pillow refuses it"


@pytest.mark.parametrize("kind", DEEP)
def test_mutations_of_deep_images(kind: str) -> None:
    pytest.importorskip(DEEP[kind].needs)
    seeds = DEEP[kind].seeds()
    before = sys.getrefcount(None)
    for number in range(4 * ROUNDS):
        DEEP[kind].check(mutated(random.Random(number).choice(seeds), number))
    assert before - sys.getrefcount(None) < ROUNDS, "a decoder releases None too often, see formats.py"


@pytest.mark.parametrize("kind", CONTAINERS)
def test_mutated_containers_are_read_or_refused(kind: str) -> None:
    pytest.importorskip(CONTAINERS[kind].needs)
    seeds = CONTAINERS[kind].seeds()
    for number in range(ROUNDS // 3):
        found = CONTAINERS[kind].check(mutated(random.Random(number).choice(seeds), number))
        assert found in ("good", "some failed", "refused"), f"{kind} {number}"


STREAMED = {"tar": ".tar", "TFRecord": ".tfrecord"}


@pytest.mark.parametrize("kind", STREAMED)
def test_what_comes_before_the_damage_is_exact(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(CONTAINERS[kind].needs)
    path = tmp_path / f"data{STREAMED[kind]}"
    [seed] = CONTAINERS[kind].seeds()
    path.write_bytes(seed)
    whole = contents(path)
    assert whole.failures == []
    dice = random.Random(0)
    seen = set()
    for _ in range(ROUNDS):
        start = dice.randrange(len(seed))
        damage = dice.choice((b"", b"\xff" * 40, dice.randbytes(300)))  # cut off, or overwritten
        rest = seed[start + len(damage) :] if damage else b""
        path.write_bytes(seed[:start] + damage + rest)
        found = contents(path)
        # In a record, a label and a checksum follow the image.
        before = [image for image in whole.images if seed.find(image[2]) + len(image[2]) + 60 <= start]
        assert found.images[: len(before)] == before, start
        assert len(found.images) <= len(whole.images), start
        if not damage:
            assert found.failures or found.images == whole.images, f"cut off at {start}, and nothing says so"
        seen.add(len(before))
    assert seen >= {0, 1, 2}


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
