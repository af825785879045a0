"""What a table of rowvec's own cannot have a key or a metadata column be called.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_columns import *  # noqa: F403
