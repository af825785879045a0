"""The exit codes of all commands, as `rowvec --help` lists them."""

from __future__ import annotations

from rowvec.errors import ConfigError, Interrupted, RowvecError

FAILED = 1
CONFIG_WRONG = 2
SOME_FAILED = 3
DRIFT = 4
INTERRUPTED = 130
"""What shells expect after Ctrl-C."""

_OF_ERRORS = {ConfigError: CONFIG_WRONG, Interrupted: INTERRUPTED, RowvecError: FAILED}


def code_of(error: RowvecError) -> int:
    return next(code for kind, code in _OF_ERRORS.items() if isinstance(error, kind))
