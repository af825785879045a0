"""What every store promises of searches.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_search import *  # noqa: F403
