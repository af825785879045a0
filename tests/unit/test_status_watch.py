"""`rowvec status --watch` in a pipe, while the database is away."""

from __future__ import annotations

import pytest

from rowvec.cli import status
from rowvec.errors import RowvecError, StoreError, StoreUnavailable
from rowvec.stores.ledger import Ledger
from rowvec.syncing.run import sync
from rowvec.testing import MemoryStore
from tests.support import simple_pipeline


class Away(MemoryStore):
    """Raises these one after the other, then answers once, then is stopped."""

    errors: list[BaseException]

    def ledger(self) -> Ledger:
        if self.errors:
            raise self.errors.pop(0)
        self.errors = [KeyboardInterrupt()]
        return super().ledger()


def watched(*errors: RowvecError) -> None:
    store = MemoryStore()
    sync(simple_pipeline(store=store, rows={1: "one"}))
    away = Away(share=store)
    away.errors = list(errors)
    status._watch(simple_pipeline(store=away, rows={1: "one"}), 0.01)


def test_it_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        watched(StoreUnavailable("The database is away."))
    said = capsys.readouterr().out
    assert said.index("The database is away.") < said.index("1 of 1 rows")


def test_what_does_not_pass_ends_it() -> None:
    with pytest.raises(StoreError, match="denied"):
        watched(*[StoreError("Permission denied.")] * 2)
