"""What every store does with generations: which are there, which one is live, the way back.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_generations import *  # noqa: F403
