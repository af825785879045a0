"""What every store promises of its tables and its rows, run over each backend in conftest.py.

The tests are in rowvec.testing.contract, for stores of others too.
"""

from rowvec.testing.contract.store_ledger import *  # noqa: F403
