"""What the hash of a text covers beside the text: the model, so that no vector of another one passes for current."""

from __future__ import annotations

from rowvec.types import Fingerprint


def covered(text_hash: bytes, fingerprint: Fingerprint) -> bytes:
    """The hash of a text that `fingerprint` embeds: exclusive or of both, 16 bytes. Twice, it is what it was before:
    so the hashes in a store can follow another form of the fingerprint without their texts."""
    return masked(text_hash, mask_of(fingerprint))


def mask_of(fingerprint: Fingerprint) -> int:
    return int.from_bytes(fingerprint.digest(), "big")


def masked(text_hash: bytes, mask: int) -> bytes:
    return (int.from_bytes(text_hash, "big") ^ mask).to_bytes(16, "big")
