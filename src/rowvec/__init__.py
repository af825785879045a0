"""rowvec keeps vector embeddings in step with the rows of a database, and searches them.

from rowvec import sync

report = sync("products")       # the pipeline in ./rowvec.toml
print(report.embedded, report.failed)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowvec.api import rows_to_embed, sync, sync_async

__version__ = "0.1.0"
__all__ = ["__version__", "rows_to_embed", "sync", "sync_async"]


def __getattr__(name: str) -> Any:
    """Import what a name needs when it is asked for: `import rowvec` itself loads nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'rowvec' has no attribute {name!r}")
    from rowvec import api

    return getattr(api, name)
