"""Work on fixed tensors, recorded once and replayed: on CUDA as a graph, which spares launching kernel by kernel."""

import logging
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

import torch

logger = logging.getLogger(__name__)

# Before recording, libraries choose their kernels and get their workspaces.
_NUM_REHEARSALS = 3


def new_pool(device: torch.device) -> Any:
    """Memory for what is made within graphs that are never replayed at the same time."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


class Recorded:
    """`work` reads and writes tensors that stay where they are; done twice it must give the same. What it makes for
    itself is gone after it. Elsewhere than on CUDA it is simply done."""

    def __init__(self, work: Callable[[], None], device: torch.device, pool: Any = None) -> None:
        self._work, self._device, self._pool = work, device, pool
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._device.type != "cuda":
            self._work()
            return
        if self._graph is None:
            self._graph = self._record()
        self._graph.replay()

    def _record(self) -> torch.cuda.CUDAGraph:
        here, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(_NUM_REHEARSALS):
                self._work()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may ask the device for its free memory meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            self._work()
        return graph


class Pass(Protocol):
    run: Recorded


T = TypeVar("T", bound=Pass)


class Recordings:
    """Passes of several shapes that are never done at the same time; beyond `most` the one that was not used for
    longest is thrown away. What cannot be recorded is to be done without."""

    def __init__(self, device: torch.device, most: int = 24) -> None:
        self._device, self._most = device, most
        self._pool: Any = None
        self._passes: dict[Hashable, Any] = {}
        self.is_broken = False

    def recorded(self, work: Callable[[], None]) -> Recorded:
        if self._pool is None:
            self._pool = new_pool(self._device)
        return Recorded(work, self._device, self._pool)

    def of(self, shape: Hashable, make: Callable[[], T]) -> T | None:
        """The pass of a shape, made and recorded when it is new."""
        if self.is_broken:
            return None
        one = self._passes.pop(shape, None)
        if one is None:
            try:
                one = make()
                one.run()
            except torch.OutOfMemoryError:
                return None
            except RuntimeError as error:
                logger.warning("Recording failed (%s), so this stage does without.", type(error).__name__)
                self.is_broken = True
                return None
            while len(self._passes) >= self._most:
                del self._passes[next(iter(self._passes))]
        self._passes[shape] = one
        return one
