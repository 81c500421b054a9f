"""Work that a device does beside what others ask of it, and what comes back from there; knows no model."""

import time
from contextlib import AbstractContextManager, nullcontext

import torch

# Between two looks at a device that is not ready, where there is nothing else to do.
_PAUSE_S = 2e-4


class Aside:
    """A CUDA stream of its own, so that nobody waits for what is begun there; elsewhere work is done here and now.

    Tensors that are made on it are used on it only: their memory may be given away as soon as nobody holds them, and
    what comes next on the stream comes behind what still reads them.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            # Weights may still be on their way.
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def __call__(self) -> AbstractContextManager:
        """What is begun within goes there. Not to be held while others may begin something."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def upload(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the CPU there; to be called within. From memory that can move, CUDA would first finish all that
        was begun."""
        if self._stream is None:
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def now(self) -> "torch.cuda.Event | None":
        """A mark behind all that was begun there; to be called within."""
        if self._stream is None:
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Packet:
    """Samples `[num_samples]` on their way to the CPU; made within `aside`. `begun`: the mark before their making."""

    def __init__(self, aside: Aside, samples: torch.Tensor, begun: "torch.cuda.Event | None") -> None:
        self._begun = begun
        if samples.device.type == "cuda":
            here = torch.empty(samples.shape, dtype=samples.dtype, pin_memory=True)
            self._samples = here.copy_(samples, non_blocking=True)
        else:
            self._samples = samples.cpu()
        self._end = aside.now()

    @property
    def is_ready(self) -> bool:
        return self._end is None or self._end.query()

    def pause(self) -> None:
        time.sleep(_PAUSE_S)

    def samples(self) -> torch.Tensor:
        """Once they are there, in memory that can move."""
        return self._samples if self._end is None else self._samples.clone()

    @property
    def device_s(self) -> float:
        """Seconds from `begun` on that the device took while nobody waited."""
        if self._begun is None or self._end is None:
            return 0.0
        return self._begun.elapsed_time(self._end) / 1e3
