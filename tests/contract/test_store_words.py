"""Which words keyword search finds, in every store.

The list is in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_words import *  # noqa: F403
