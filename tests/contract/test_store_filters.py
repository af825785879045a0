"""What every store promises of metadata and of filters.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_filters import *  # noqa: F403
