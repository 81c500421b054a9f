"""How much memory a device has left; knows nothing of what is kept in it."""

from pathlib import Path

import torch


def free_bytes(device: str) -> int | None:
    """Bytes that can still be allocated on `device`, or None where nobody can tell."""
    kind = torch.device(device).type
    if kind == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch's allocator holds without using it is free to us too.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if kind == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _available_ram()


def _available_ram() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
