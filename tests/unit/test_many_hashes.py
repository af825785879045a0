"""Hashes that have come before."""

from __future__ import annotations

from random import Random

import pytest

from rowvec.support import many_hashes
from rowvec.support.many_hashes import ManyHashes


@pytest.mark.parametrize("merged", [1, 7, 10**6])
def test_it_knows_what_a_set_knows(monkeypatch: pytest.MonkeyPatch, merged: int) -> None:
    monkeypatch.setattr(many_hashes, "MERGED", merged)
    dice = Random(3)
    some = [dice.randbytes(16) for _ in range(300)] + [b"\xff" * 16, b"\0" * 16]
    known, alike = ManyHashes(), set[bytes]()
    for _ in range(200):
        part = dice.sample(some, 5)
        assert [each in known for each in part] == [each in alike for each in part]
        known.update(part)
        alike.update(part)
    assert all((each in known) == (each in alike) for each in some)
