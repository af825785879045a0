"""One store made of several: the rows of a pipeline lie by a hash of their key in parts, which are searched together.

placement.py   which part a row is in, and the record of it
reach.py       asking several parts at once, or those that hold some keys
merging.py     answers of parts made the answer of one table
ledger.py, rows.py, generation.py   the handle of a generation
index.py, audit.py                  its vector indexes, and how it is audited
moving.py      rows that go to another part when their number changes
store.py       the store
"""

from rowvec.stores.partitioned.store import PartitionedStore

__all__ = ["PartitionedStore"]
