"""What the hash of a text covers beside the text: the model, so that no vector of another one passes for current."""

from __future__ import annotations

from hashlib import blake2b

from rowvec.types import Fingerprint

HASH_BYTES = 16
EMPTY_HASH = blake2b(digest_size=HASH_BYTES)
"""Copied for each hash: to set one up costs more than to hash a short text."""


def digest(data: bytes, mask: int = 0) -> bytes:
    """16 bytes of the data, which cover what the mask is of."""
    found = EMPTY_HASH.copy()
    found.update(data)
    # In one step: a sync in which nothing has changed spends its time here.
    return (int.from_bytes(found.digest(), "big") ^ mask).to_bytes(16, "big") if mask else found.digest()


def incomplete(text_hash: bytes) -> bytes:
    """The hash that a row has while some of its passages have no vector: that of no text, so that the row is compared
    as changed, and tried again."""
    return masked(text_hash, (1 << 128) - 1)


def covered(text_hash: bytes, fingerprint: Fingerprint) -> bytes:
    """The hash of a text that `fingerprint` embeds: exclusive or of both, 16 bytes. Twice, it is what it was before:
    so the hashes in a store can follow another form of the fingerprint without their texts."""
    return masked(text_hash, mask_of(fingerprint))


def mask_of(fingerprint: Fingerprint) -> int:
    return int.from_bytes(fingerprint.digest(), "big")


def masked(text_hash: bytes, mask: int) -> bytes:
    return (int.from_bytes(text_hash, "big") ^ mask).to_bytes(16, "big")
