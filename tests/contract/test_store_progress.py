"""Where change events stand is kept by every store in the transaction of the rows that they changed.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_progress import *  # noqa: F403
