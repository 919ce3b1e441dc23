"""What a library raises over third-party files, as an error that the user can fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from framework import FrameworkError
from framework.api import is_out_of_memory, summarize_error


@contextmanager
def refusing_errors(problem: str, fix: str = "", *, code: str = "") -> Iterator[None]:
    """Turn any error into a `FrameworkError`: libraries do not check the types of what they read, so they raise any.

    Args:
        problem: the beginning of the message; the error follows.
        fix: its end.
        code: the subject of another message, if the error is that the files bring Python code of their own.

    Raises:
        FrameworkError: instead of what is raised inside. An error that says that memory ran out stays as it is.
    """
    try:
        yield
    except FrameworkError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = f"{problem}: {summarize_error(error).rstrip('.')}{fix and f': {fix}'}"
        if code and "trust_remote_code" in str(error):
            message = f"{code} brings Python code of its own: read it, then set model.trust_remote_code=true"
        raise FrameworkError(message) from error
