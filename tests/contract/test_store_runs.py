"""What every store promises of the lock, of the records of runs and evaluations, and of what they cost.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_runs import *  # noqa: F403
