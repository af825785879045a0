"""What rowvec relies on in a source, an embedder or a store, as tests that the author of one can run.

    from rowvec.testing.contract import SourceContract

    class TestFeed(SourceContract):
        @pytest.fixture
        def source(self, tmp_path):
            return FeedSource(write_feed(tmp_path, items=30))

The contract of stores is a set of modules, `store_ledger`, `store_generations`, `store_search` and so on. Their tests
take the fixtures `unprepared`, `opened` and `store`, which open stores on the tables of one test:

    from rowvec.testing.contract.store_ledger import *

rowvec's own conftest (`tests/contract/conftest.py`) shows these fixtures for four stores.

Needs pytest. Every test of a class runs against what its fixture gives; see each class for what that must hold.
"""

from __future__ import annotations

from rowvec.testing.contract.embedder import EmbedderContract
from rowvec.testing.contract.source import SourceContract

__all__ = ["EmbedderContract", "SourceContract"]
