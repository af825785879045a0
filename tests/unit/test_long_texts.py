"""What is said of texts that are longer than the model's window is true of how their vectors are made."""

from __future__ import annotations

from dataclasses import replace

from rowvec.documents.long_texts import long_texts
from rowvec.testing import HashEmbedder


def test_only_what_has_no_vector_is_said_to_be_left_out_of_the_search() -> None:
    made = replace(HashEmbedder().fingerprint, overflow="truncate")
    assert "outside the window is not searched" in long_texts(made)
    assert "not searched" not in long_texts(replace(made, overflow="mean"))
    assert "behind their last passage is not searched" in long_texts(replace(made, overflow="mean", passages="{}"))
