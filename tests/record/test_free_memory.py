"""What is free, by folders that stand in for /proc and the control groups of machines and containers."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from astcapture.record.free_memory import accelerators, free_on

GIB = 2**30
#: In the kernel's own order and columns; 5 MB are available of 16.
MEMINFO = (
    "MemTotal:       16000000 kB\nMemFree:         1000000 kB\n"
    "MemAvailable:    5000000 kB\nSwapFree:        2000000 kB\nHugePages_Total:       0\n"
)
AVAILABLE = 5_000_000 * 1024
MB = 10**6


class Machine:
    """The files that tell of memory: those of /proc, and those of the control groups by their paths."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroup = root / "proc", root / "groups"
        self.write(self.proc / "meminfo", MEMINFO)

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))

    def runs_in(self, *lines: str) -> None:
        self.write(self.proc / "self/cgroup", "".join(f"{line}\n" for line in lines))

    def group(self, path: str, limit: int | str, used: int, stat: str = "") -> None:
        """A group of version 2."""
        self.write(self.cgroup / path / "memory.max", f"{limit}\n")
        self.write(self.cgroup / path / "memory.current", f"{used}\n")
        if stat:
            self.write(self.cgroup / path / "memory.stat", stat)

    def old_group(self, path: str, limit: int, used: int, stat: str = "") -> None:
        """A group of version 1, which has a tree of its own for memory."""
        self.write(self.cgroup / "memory" / path / "memory.limit_in_bytes", f"{limit}\n")
        self.write(self.cgroup / "memory" / path / "memory.usage_in_bytes", f"{used}\n")
        if stat:
            self.write(self.cgroup / "memory" / path / "memory.stat", stat)

    @property
    def free(self) -> int:
        return free_on("cpu", self.proc, self.cgroup)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# --- the machine --------------------------------------------------------------------------------------------------


def test_without_control_groups_all_that_is_available_is_free(machine: Machine):
    assert machine.free == AVAILABLE
    machine.write(machine.proc / "self/cgroup", "")
    assert machine.free == AVAILABLE


def test_the_kernels_own_files_are_read_unless_others_are_given(machine: Machine):
    assert machine.free == AVAILABLE
    given = inspect.signature(free_on).parameters
    assert given["proc"].default.as_posix() == "/proc"
    assert given["cgroup"].default.as_posix() == "/sys/fs/cgroup"


@pytest.mark.parametrize(
    "meminfo",
    [
        None,
        "",
        "MemTotal: 1 kB\nMemFree: 2 kB\n",  # kernels before 3.14 do not say what is available
        "MemAvailable:   lots kB\n",
    ],
)
def test_where_linux_does_not_say_what_is_available_all_memory_is_taken(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, meminfo: str | None
):
    (machine.proc / "meminfo").unlink()
    if meminfo is not None:
        machine.write(machine.proc / "meminfo", meminfo)
    # The names that POSIX systems have for them: so many pages, of so many bytes.
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert machine.free == 4_096_000


@pytest.mark.parametrize("error", [None, OSError("not known"), ValueError("unrecognized configuration name")], ids=str)
def test_where_no_system_says_anything_some_gigabytes_are_taken_for_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
):
    def sysconf(name: str) -> int:
        assert error is not None
        raise error

    if error is None:
        monkeypatch.delattr(os, "sysconf", raising=False)  # as on Windows
    else:
        monkeypatch.setattr(os, "sysconf", sysconf, raising=False)
    assert 2 * GIB <= free_on("cpu", tmp_path, tmp_path) <= 64 * GIB


def test_nothing_is_read_in_an_encoding_that_is_not_said(machine: Machine, run_python: Any):
    machine.runs_in("0::/app")
    machine.group("app", 3 * MB, 2 * MB, "inactive_file 1\n")
    done = run_python(
        "-X",
        "warn_default_encoding",
        "-c",
        "import pathlib, warnings\nfrom astcapture.record.free_memory import free_on\n"
        "warnings.simplefilter('error')\n"
        f"print(free_on('cpu', pathlib.Path({str(machine.proc)!r}), pathlib.Path({str(machine.cgroup)!r})))",
    )
    assert (done.stdout.strip(), done.stderr) == (str(MB + 1), "")


# --- control groups of version 2 ----------------------------------------------------------------------------------


def test_a_group_leaves_what_is_not_used_of_its_limit(machine: Machine):
    machine.runs_in("0::/app")
    machine.group("app", 3 * MB, 2 * MB)
    assert machine.free == MB


def test_the_group_that_leaves_least_counts_whether_it_is_above_or_below(machine: Machine):
    machine.runs_in("0::/pod/app")
    machine.group("pod/app", 9 * MB, 1 * MB)
    machine.group("pod", 7 * MB, 2 * MB)
    machine.group("", 8 * MB, 2 * MB)
    assert machine.free == 5 * MB
    machine.group("pod/app", 5 * MB, 4 * MB)
    assert machine.free == 1 * MB
    machine.group("", 8 * MB, 8 * MB - 10)
    assert machine.free == 10


def test_groups_of_other_processes_do_not_count(machine: Machine):
    machine.runs_in("0::/pod/app")
    machine.group("pod/app", 9 * MB, 1 * MB)
    machine.group("pod/other", 2 * MB, 1 * MB)
    machine.group("pod/app/below", 2 * MB, 1 * MB)
    assert machine.free == 8 * MB


def test_what_lies_above_the_tree_of_groups_is_no_group(machine: Machine):
    machine.runs_in("0::/app")
    machine.group("app", 9 * MB, 1 * MB)
    machine.group("..", 2 * MB, 1 * MB)
    assert machine.free == 8 * MB


def test_in_a_container_that_does_not_see_its_own_path_the_group_at_the_root_counts(machine: Machine):
    machine.runs_in("0::/kubepods/burstable/pod12")
    machine.group("", 4 * MB, 1 * MB)
    assert machine.free == 3 * MB


def test_a_group_that_uses_more_than_its_limit_leaves_nothing(machine: Machine):
    machine.runs_in("0::/app")
    machine.group("app", 2 * MB, 3 * MB)
    assert machine.free == 0


def test_a_machine_with_more_than_its_groups_allow_has_no_more_than_is_available(machine: Machine):
    machine.runs_in("0::/app")
    machine.group("app", 100 * GIB, 1 * GIB)
    assert machine.free == AVAILABLE


def test_pages_of_files_that_are_not_in_use_are_free(machine: Machine):
    machine.runs_in("0::/app")
    stat = "anon 11\nfile 22\nactive_file 33\ninactive_file 500000\ntotal_inactive_file 7\n"
    machine.group("app", 3 * MB, 2 * MB, stat)
    assert machine.free == 1_500_000


@pytest.mark.parametrize("stat", ["inactive_file\n", "inactive_file lots\n", "anon 1\n"])
def test_where_a_group_does_not_say_what_is_cached_nothing_is(machine: Machine, stat: str):
    machine.runs_in("0::/app")
    machine.group("app", 3 * MB, 2 * MB, stat)
    assert machine.free == MB


def test_a_group_without_a_limit_leaves_what_is_available(machine: Machine):
    machine.runs_in("0::/app")
    machine.group("app", "max", 2 * MB)
    assert machine.free == AVAILABLE


def test_a_group_that_does_not_say_what_it_uses_is_left_out(machine: Machine):
    machine.runs_in("0::/pod/app")
    machine.group("pod/app", 3 * MB, 2 * MB)
    machine.group("pod", 9 * MB, 1 * MB)
    (machine.cgroup / "pod/app/memory.current").unlink()
    assert machine.free == 8 * MB


@pytest.mark.parametrize("name", ["a:b:c", "caf\u00e9", "caf\udce9", "with space"], ids=ascii)
def test_a_group_may_have_any_name_that_a_folder_may_have(machine: Machine, name: str):
    machine.runs_in(f"0::/{name}")
    machine.group(name, 3 * MB, 2 * MB)
    assert machine.free == MB


# --- control groups of version 1 ----------------------------------------------------------------------------------


def test_in_version_one_the_tree_for_memory_counts_wherever_it_is_listed(machine: Machine):
    machine.runs_in("5:cpu:/app", "4:memory:/app", "3:pids:/app")
    machine.old_group("app", 3 * MB, 2 * MB)
    assert machine.free == MB


def test_in_version_one_memory_may_share_its_tree_with_other_controllers(machine: Machine):
    machine.runs_in("4:hugetlb,memory,pids:/app")
    machine.old_group("app", 3 * MB, 2 * MB)
    assert machine.free == MB


def test_in_version_one_the_limits_of_groups_for_other_things_do_not_count(machine: Machine):
    machine.runs_in("5:cpu,cpuacct:/app", "1:name=systemd:/app")
    machine.old_group("app", 3 * MB, 2 * MB)
    machine.group("app", 3 * MB, 2 * MB)
    assert machine.free == AVAILABLE


def test_in_version_one_the_cached_pages_of_all_groups_below_are_free(machine: Machine):
    machine.runs_in("4:memory:/app")
    machine.old_group("app", 3 * MB, 2 * MB, "inactive_file 7\ntotal_inactive_file 500000\n")
    assert machine.free == 1_500_000


def test_no_limit_is_a_number_of_bytes_that_no_machine_has(machine: Machine):
    machine.write(machine.proc / "meminfo", f"MemAvailable: {2**62 // 1024} kB\n")
    machine.runs_in("4:memory:/app")
    machine.old_group("app", 2**63 - 4096, 10)
    assert machine.free == 2**62
    machine.old_group("app", 2**50, 2**49)
    assert machine.free == 2**49


def test_of_a_machine_with_both_versions_the_one_that_leaves_less_counts(machine: Machine):
    machine.runs_in("4:memory:/app", "0::/app")
    machine.old_group("app", 3 * MB, 2 * MB)
    machine.group("app", 9 * MB, 1 * MB)
    assert machine.free == MB
    machine.group("app", 9 * MB, 9 * MB - 5)
    assert machine.free == 5


# --- accelerators -------------------------------------------------------------------------------------------------


class Devices:
    """Stands in for torch's module of a kind of devices: of each, bytes in all, free, reserved and in use."""

    def __init__(self, *devices: tuple[int, int, int, int], started: bool = True) -> None:
        self.devices, self.started = devices, started

    def is_initialized(self) -> bool:
        return self.started

    def device_count(self) -> int:
        assert self.started, "this starts CUDA"
        return len(self.devices)

    def _of(self, device: Any) -> tuple[int, int, int, int]:
        return self.devices[device if isinstance(device, int) else int(device.partition(":")[2] or 0)]

    def mem_get_info(self, device: Any) -> tuple[int, int]:
        return self._of(device)[1], self._of(device)[0]

    def memory_reserved(self, device: Any) -> int:
        return self._of(device)[2]

    def memory_allocated(self, device: Any) -> int:
        return self._of(device)[3]


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    torch = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch


def test_the_accelerators_are_those_that_the_program_has_memory_on(torch: Any):
    torch.cuda = Devices((100, 50, 20, 5), (100, 100, 0, 0), (100, 10, 1, 1))
    assert accelerators() == ["cuda:0", "cuda:2"]


def test_a_program_that_has_not_started_cuda_has_none_and_it_is_not_started_for_it(torch: Any):
    torch.cuda = Devices((100, 50, 20, 5), started=False)
    assert accelerators() == []


def test_a_torch_that_is_half_imported_has_none(torch: Any):
    assert accelerators() == []


def test_a_program_without_torch_has_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert accelerators() == []


def test_free_on_an_accelerator_is_what_the_driver_has_and_what_torch_keeps_for_later(torch: Any):
    torch.cuda = Devices((100, 50, 20, 5), (1000, 300, 0, 0))
    torch.xpu = Devices((100, 7, 4, 1))
    assert free_on("cuda:0") == 50 + (20 - 5)
    assert free_on("cuda:1") == 300
    assert free_on("cuda") == free_on("cuda:0")
    assert free_on("xpu:0") == 7 + (4 - 1)


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, ValueError, TypeError])
def test_an_accelerator_that_does_not_say_what_is_free_has_some_gigabytes(torch: Any, error: type[Exception]):
    class Silent(Devices):
        def mem_get_info(self, device: Any) -> tuple[int, int]:
            raise error("not known here")

    torch.cuda = Silent((100, 50, 20, 5))
    assert 2 * GIB <= free_on("cuda:0") <= 64 * GIB


def test_a_kind_of_accelerator_that_torch_has_no_module_for_has_some_gigabytes(torch: Any):
    assert 2 * GIB <= free_on("maia:0") <= 64 * GIB
