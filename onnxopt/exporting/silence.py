"""Exporters talk: here nobody hears them, and their warnings are kept."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silent() -> Iterator[list[warnings.WarningMessage]]:
    """Swallow standard output and error, logs and warnings; gives the list of warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(record=True) as heard,
        ):
            warnings.simplefilter("always")
            yield heard
    finally:
        logging.disable(before)
