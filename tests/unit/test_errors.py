"""An error that a worker met is shown where the work was asked for."""

from __future__ import annotations

import pickle

import pytest

from rowvec import errors
from rowvec.errors import MissingExtraError, RowvecError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RowvecError)]
PLAIN = [kind for kind in KINDS if kind not in (MissingExtraError, errors.RateLimited)]


@pytest.mark.parametrize(
    "error",
    [
        *(kind("What is wrong.", hint="What to do.") for kind in PLAIN),
        RowvecError("Nothing can be done."),
        errors.RateLimited("Wait."),
        MissingExtraError("Background work", "celery"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_made_anew_from_its_arguments_says_the_same(error: RowvecError) -> None:
    for again in (type(error)(*error.args), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again), again.hint) == (type(error), str(error), error.hint)
