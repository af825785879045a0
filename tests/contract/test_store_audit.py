"""What every store tells an audit.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_audit import *  # noqa: F403
