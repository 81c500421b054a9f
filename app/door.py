"""The one catch-all of the program: turns what nobody expected into a sentence; logs no path, prompt or content."""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from app.errors import DemoError, OutOfMemory

logger = logging.getLogger(__name__)


class Unexpected(DemoError):
    """A fault of the program itself."""

    code = "internal"


@contextmanager
def door(work: str, is_moot: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Lets a `DemoError` pass and turns every other exception into one, after logging where it came from.

    `is_moot`: nobody wants the work any more, and what it stumbles over, such as a file that is gone, is no news.

    The exception's own message is left out of the log: it may quote a path or what somebody typed.
    """
    try:
        yield
    except DemoError:
        raise
    except Exception as error:
        if not is_moot():
            frames = "".join(traceback.format_tb(error.__traceback__))
            logger.error("%s failed with %s\n%s", work, type(error).__name__, frames)
        raise _as_demo_error(error) from error


def _as_demo_error(error: Exception) -> DemoError:
    # CPU allocations fail with a plain RuntimeError: "DefaultCPUAllocator: can't allocate memory: you tried to ..."
    is_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
    if is_memory:
        return OutOfMemory(
            "The device ran out of memory: shorten the media, drop the oldest turns or clear the conversation."
        )
    return Unexpected("Something went wrong inside the program: try again, and look into the server's log if it stays.")
