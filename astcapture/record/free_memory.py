"""How much memory is free: of the machine, of the container that the process runs in, and of an accelerator.

Linux says it in /proc/meminfo (MemAvailable) and in the files of the control groups, version 1 and 2:
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory. Elsewhere all memory there is stands for what is free.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

#: Taken for free where nothing is known.
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
    """What each control group above the process leaves of its limit."""
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
            # Inside a container the path may be the one outside, and the group is the root that is mounted.
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
                taken -= int(value)  # pages of files, which are given up where memory is short
    # Version 1 says that there is no limit by a number that no machine has.
    return [limit - taken] if limit < 2**60 else []


def accelerators() -> list[str]:
    """The CUDA devices that the program computes on; torch is not made to look for any."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return []
    return [f"cuda:{index}" for index in range(cuda.device_count()) if cuda.memory_reserved(index)]


def _free_on_accelerator(device: str) -> int:
    """Free on the device, and what torch has reserved there and does not use."""
    torch = sys.modules["torch"]
    home = getattr(torch, device.partition(":")[0], None)
    with suppress(AttributeError, RuntimeError, ValueError, TypeError):
        reserved = home.memory_reserved(device) - home.memory_allocated(device)  # type: ignore[union-attr]
        return int(home.mem_get_info(device)[0] + reserved)  # type: ignore[union-attr]
    return _UNKNOWN
