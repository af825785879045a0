"""What is kept for typos, in every store.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_typos import *  # noqa: F403
