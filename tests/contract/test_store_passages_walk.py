"""A store of passages holds what a dictionary would, whatever is written in whatever order.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_passages_walk import *  # noqa: F403
