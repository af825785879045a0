"""rowvec as a Python library: `open` for a program that asks more than once, and one function for each single thing."""

from __future__ import annotations

from rowvec.api.functions import audit, plan, rollback, rows_to_embed, search, similar, status, sync
from rowvec.api.project import Project, ProjectPipeline
from rowvec.api.results import AuditResult, Plan, SyncResult

open = Project

__all__ = [
    "AuditResult",
    "Plan",
    "Project",
    "ProjectPipeline",
    "SyncResult",
    "audit",
    "open",
    "plan",
    "rollback",
    "rows_to_embed",
    "search",
    "similar",
    "status",
    "sync",
]
