"""Loading progress out of the library's bars; draws nothing."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging


@contextmanager
def counted_bars(progress: Callable[[float], None]) -> Iterator[None]:
    """Inside, the library's bars report their share in [0, 1] to `progress` and are not drawn."""

    def hook(factory: Callable, args: tuple, kwargs: dict) -> CountedBar:
        return CountedBar(args[0] if args else kwargs.get("iterable"), kwargs.get("total"), progress)

    previous = transformers_logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)


class CountedBar:
    """Stands in for the library's progress bar and passes its share on instead of drawing it."""

    def __init__(self, iterable: Iterable | None, total: int | None, progress: Callable[[float], None]) -> None:
        self._iterable = iterable
        self._total = total if total is not None or iterable is None else len(iterable)
        self._progress = progress
        self._count = 0

    def __iter__(self) -> Iterator:
        for item in self._iterable:
            yield item
            self.update()

    def update(self, count: float = 1) -> None:
        self._count += count
        if self._total:
            self._progress(min(1.0, self._count / self._total))

    def set_description(self, text: str, refresh: bool = True) -> None:
        pass

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> "CountedBar":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
