"""Everything rowvec raises on purpose.

    RowvecError
    ├── ConfigError                 the file, an option or an argument is wrong
    │   └── MissingExtraError       an optional dependency is not installed
    ├── SourceError                 reading rows
    │   ├── SourceUnavailable       (transient)
    │   └── RowsDiffer              a worker of a fleet reads other rows than whoever started it
    ├── EmbedderError               turning text into vectors
    │   ├── EmbedderUnavailable     (transient)
    │   │   └── RateLimited         (transient) wait `retry_after` seconds, then go on
    │   ├── TextRefused             the batch was refused because of a text in it: halve it
    │   └── BudgetExceeded          the next request would pass --max-cost
    ├── StoreError                  keeping or searching vectors
    │   ├── StoreUnavailable        (transient)
    │   │   ├── PartUnavailable     (transient) one of several parts of the rows
    │   │   ├── ReadersBusy         (transient) every connection for reading was in use
    │   │   └── StatementCancelled  (transient) it took longer than the server or rowvec allows
    │   ├── DataRefused             the batch was refused because of a value in it: halve it
    │   ├── Interrupted             the process was asked to stop while the store waited for others
    │   ├── Locked                  another sync of this pipeline is at work
    │   ├── DeletionGuard           the sync would delete more than half of the vectors
    │   ├── GenerationChanged       another process changed the model whose vectors this one writes
    │   └── GenerationHeld          a new generation is finished but did not replace the live one
    ├── BrokerUnavailable           (transient) tasks can neither be sent nor fetched
    ├── SearchError                 a query, filter or limit that cannot be answered
    ├── TokenRefused                a search token that is wrong, expired, or not this server's; a wrong API key
    └── ServerError                 a `rowvec serve` that rowvec.Client asks failed, or is not one
        ├── ServerSlow              it gave no answer in time: asked again, it would have the work twice
        └── ServerUnavailable       (transient) it cannot be reached, or has too much to do

An error marked transient may pass when tried again; every other one will not. A message says what
is wrong, where, and what to do about it, in that order; it never holds a password or a key.
"""

from __future__ import annotations


class RowvecError(Exception):
    """Root of the tree. `hint` is the one thing to do about it, shown on a line of its own."""

    transient = False
    page: str | None = None
    """The topic of `rowvec help` that says why rowvec will not go on."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        # Celery rebuilds the error of a worker from its arguments.
        super().__init__(*filter(None, (message, hint)))
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigError(RowvecError):
    pass


class MissingExtraError(ConfigError):
    """`rowvec[extra]` is needed and not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the {extra!r} extra, which is not installed.",
            hint=f"pip install 'rowvec[{extra}]'",
        )
        self.args = (what, extra)


class SourceError(RowvecError):
    pass


class SourceUnavailable(SourceError):
    transient = True


class RowsDiffer(SourceError):
    page = "scale#what-a-fleet-promises"


class EmbedderError(RowvecError):
    pass


class EmbedderUnavailable(EmbedderError):
    transient = True


class RateLimited(EmbedderUnavailable):
    """The service asks to wait. `retry_after` is in seconds, None when it did not say."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TextRefused(EmbedderError):
    pass


class BudgetExceeded(EmbedderError):
    pass


class StoreError(RowvecError):
    pass


class StoreUnavailable(StoreError):
    transient = True


class PartUnavailable(StoreUnavailable):
    """`part` is its number, from 0 on."""

    def __init__(self, message: str, hint: str | None = None, *, part: int = 0) -> None:
        super().__init__(message, hint)
        self.part = part


class ReadersBusy(StoreUnavailable):
    pass


class StatementCancelled(StoreUnavailable):
    pass


class NoVectors(StoreError):
    """No sync has written any yet."""


class DataRefused(StoreError):
    pass


class Interrupted(StoreError):
    pass


class GenerationChanged(StoreError):
    """What was to be written belongs to a generation that is not there any more, or not in its place."""

    @classmethod
    def at(cls, location: str) -> GenerationChanged:
        return cls(
            f"{location}: another process changed the model or the generation meanwhile. This one has stopped,"
            " and wrote nothing after that change.",
            hint="Run it again: it begins with what is there now.",
        )


class Locked(StoreError):
    page = "design#the-ledger-is-the-vector-table"


class DeletionGuard(StoreError):
    page = "design#deleting"


class GenerationHeld(StoreError):
    page = "generations#when-it-goes-live"


class BrokerUnavailable(RowvecError):
    transient = True


class SearchError(RowvecError):
    pass


class TokenRefused(RowvecError):
    pass


class ServerError(RowvecError):
    pass


class ServerSlow(ServerError):
    pass


class ServerUnavailable(ServerError):
    """`retry_after` is in seconds, None where the server did not say."""

    transient = True

    def __init__(self, message: str, hint: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
