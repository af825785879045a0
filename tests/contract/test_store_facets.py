"""What every store promises of facets, of browsing, and of the pages that follow each other.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_facets import *  # noqa: F403
