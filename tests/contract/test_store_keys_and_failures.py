"""What every store promises of keys, failures and unfit metadata, and of what it says of its rows.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_keys_and_failures import *  # noqa: F403
