"""What the hash of a text covers beside the text: the model, so that no vector of another one passes for current."""

from __future__ import annotations

from collections.abc import Callable

from rowvec.types import Document, Fingerprint, Row


def covered(text_hash: bytes, fingerprint: Fingerprint) -> bytes:
    """The hash of a text that `fingerprint` embeds: exclusive or of both, 16 bytes. Twice, it is what it was before:
    so the hashes in a store can follow another form of the fingerprint without their texts."""
    return _xor(text_hash, int.from_bytes(fingerprint.digest(), "big"))


def covering(to_document: Callable[[Row], Document], fingerprint: Fingerprint | None) -> Callable[[Row], Document]:
    """The same, its text hashes covering the fingerprint."""
    if fingerprint is None:
        return to_document
    mask = int.from_bytes(fingerprint.digest(), "big")

    def make(row: Row) -> Document:
        key, text, metadata, text_hash, row_hash, unfit = to_document(row)
        # tuple.__new__ is what Document() calls, without its step of Python for each row.
        return tuple.__new__(Document, (key, text, metadata, _xor(text_hash, mask), row_hash, unfit))

    return make


def _xor(text_hash: bytes, mask: int) -> bytes:
    return (int.from_bytes(text_hash, "big") ^ mask).to_bytes(16, "big")
