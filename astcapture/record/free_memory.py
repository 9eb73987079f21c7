"""How much memory is free: on the machine, in the container of the process, and on an accelerator.

Linux reports it in /proc/meminfo (MemAvailable) and in the files of control groups, versions 1 and 2:
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory. On other systems all installed memory counts as free.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

#: Used if the free memory is unknown.
_UNKNOWN = 8 * 2**30


def free_on(device: str, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free for the process on a device, ``"cpu"`` or an accelerator such as ``"cuda:0"``."""
    if device != "cpu":
        return _free_on_accelerator(device)
    free = _available(proc)
    limits = [free, *_left_in_groups(proc, cgroup)]
    return max(0, min(limits))


def _text(path: Path) -> str:
    # Said outright: Python can be asked to warn where it is not, and would, in the program's own output.
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _available(proc: Path) -> int:
    with suppress(OSError, ValueError):
        for line in _text(proc / "meminfo").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _UNKNOWN


def _left_in_groups(proc: Path, cgroup: Path) -> list[int]:
    """What is left below the limit of each control group of the process."""
    left = []
    with suppress(OSError):
        for line in _text(proc / "self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                root, most, used, cached = cgroup, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                root, most, used = cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
                cached = "total_inactive_file"
            else:
                continue
            # Inside a container the path may be the one outside, and the mounted root is the group.
            here = root / path.strip("/")
            for folder in {here, *here.parents, root}:
                if folder == root or root in folder.parents:
                    left += _left_in(folder, most, used, cached)
    return left


def _left_in(folder: Path, most: str, used: str, cached: str) -> list[int]:
    try:
        limit = int(_text(folder / most))  # "max" where there is none
        taken = int(_text(folder / used))
    except (OSError, ValueError):
        return []
    with suppress(OSError, ValueError):
        for line in _text(folder / "memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == cached:
                taken -= int(value)  # cached files, which the system frees when memory is short
    # In version 1, a number larger than any machine means no limit.
    return [limit - taken] if limit < 2**60 else []


def accelerators() -> list[str]:
    """The CUDA devices that the program uses; does not initialise CUDA."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return []
    return [f"cuda:{index}" for index in range(cuda.device_count()) if cuda.memory_reserved(index)]


def _free_on_accelerator(device: str) -> int:
    """The free memory of the device, plus what torch has reserved there and does not use."""
    torch = sys.modules["torch"]
    home = getattr(torch, device.partition(":")[0], None)
    with suppress(AttributeError, RuntimeError, ValueError, TypeError):
        reserved = home.memory_reserved(device) - home.memory_allocated(device)  # type: ignore[union-attr]
        return int(home.mem_get_info(device)[0] + reserved)  # type: ignore[union-attr]
    return _UNKNOWN
