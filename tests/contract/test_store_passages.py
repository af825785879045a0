"""What every store promises of passages and kept texts.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_passages import *  # noqa: F403
