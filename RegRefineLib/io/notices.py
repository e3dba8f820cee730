"""What a file makes doubtful, said in one sentence: a warning, not an error.

The command line prints these, `collected` keeps them for a result; elsewhere they are Python
warnings of the class RegRefineWarning.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import RegRefineWarning


def notice(sentence: str) -> None:
    """Say a sentence that whoever reads the result should know."""
    warnings.warn(sentence, RegRefineWarning, stacklevel=2)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Give the list in which the sentences said while the body runs are kept; each is said too."""
    sentences: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", RegRefineWarning)
        show = warnings.showwarning

        def keep(message, category, filename, lineno, file=None, line=None):  # type: ignore[no-untyped-def]
            if issubclass(category, RegRefineWarning):
                sentences.append(str(message))
            show(message, category, filename, lineno, file, line)

        warnings.showwarning = keep
        yield sentences
