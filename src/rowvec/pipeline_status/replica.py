"""The replica that searches ask, and how far it is behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rowvec.errors import StoreError
from rowvec.pipeline import Pipeline
from rowvec.stores.abilities import Follows, Lag


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    where: str
    lag: Lag | None = None
    """None where it cannot be told."""
    problem: str | None = None
    """Why searches do not work there."""

    def as_dict(self) -> dict[str, Any]:
        return {"where": self.where, "lag": self.lag.as_dict() if self.lag else None, "problem": self.problem}

    @property
    def text(self) -> str:
        """For people."""
        if self.problem is not None:
            return self.problem
        if self.lag is None:
            return f"at {self.where}"
        if not self.lag.standby:
            return f"at {self.where}, which is a primary"
        if self.lag.seconds is None:
            return f"at {self.where}; it does not say how far it is behind"
        behind = f", {self.lag.bytes:,} bytes" if self.lag.bytes else ""
        return f"at {self.where}, {self.lag.seconds:.1f} s behind{behind}"


def replica_status(pipeline: Pipeline) -> ReplicaStatus | None:
    """None where searches ask the store itself."""
    replica = pipeline.replica
    if replica is None:
        return None
    try:
        return ReplicaStatus(replica.location, replica.lag(pipeline.store) if isinstance(replica, Follows) else None)
    except StoreError as error:
        return ReplicaStatus(replica.location, problem=str(error))
