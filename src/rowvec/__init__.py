"""rowvec keeps vector embeddings in step with the rows of a database, and searches them.

import rowvec

with rowvec.open("rowvec.toml") as project:
    products = project.pipeline("products")
    print(products.sync().embedded)
    for hit in products.search("quiet office chair").hits:
        print(hit.score, hit.metadata["name"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowvec.api.client import Client
    from rowvec.api.functions import audit, plan, rollback, rows_to_embed, search, similar, status, sync
    from rowvec.api.project import Project
    from rowvec.api.project import Project as open
    from rowvec.api.project_pipeline import ProjectPipeline
    from rowvec.api.results import AuditResult, Plan, SyncResult
    from rowvec.api.tokens import token

__version__ = "0.1.0"
__all__ = [
    "AuditResult",
    "Client",
    "Plan",
    "Project",
    "ProjectPipeline",
    "SyncResult",
    "__version__",
    "audit",
    "open",
    "plan",
    "rollback",
    "rows_to_embed",
    "search",
    "similar",
    "status",
    "sync",
    "token",
]


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is asked for: `import rowvec` itself loads nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'rowvec' has no attribute {name!r}")
    from rowvec.api import client, functions, project, results, tokens

    if name == "open":
        return project.Project
    return next(
        getattr(module, name) for module in (client, functions, project, results, tokens) if hasattr(module, name)
    )


def __dir__() -> list[str]:
    return __all__
