"""``limit=`` where tensors are captured: what they weigh, when recording stops, also in compiled code."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import astcapture
from astcapture.errors import CaptureWarning
from astcapture.record import budget
from astcapture.record.weight import Scale

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
]

SOURCE = """\
import torch

def f(x):
    y = x * 1
    return y

def given(x):
    return 0
"""


@pytest.fixture
def limited(tmp_path: Path, fresh_imports: Any) -> Any:
    (tmp_path / "tensors_limited.py").write_text(SOURCE)
    yield lambda: importlib.import_module("tensors_limited")
    astcapture.cache.clear()


def kept(key: str = "f") -> int:
    return len(astcapture.cache[f"tensors_limited:{key}"])


def weight(*values: Any) -> int:
    scale = Scale()
    for value in values:
        scale.put(value)
    return sum(scale.bytes.values())


def test_a_view_weighs_the_whole_storage_and_each_storage_once() -> None:
    x = torch.zeros(1000)
    assert weight(x[:1]) == weight(x[:1], x, x[5:], x.view(10, 100)) == 4000
    assert weight(x, x.clone()) == 8000


def test_sparse_and_meta_tensors_weigh_what_they_hold() -> None:
    assert weight(torch.eye(10).to_sparse()) == 10 * 4 + 2 * 10 * 8
    csr = torch.sparse_csr_tensor(torch.arange(11), torch.arange(10), torch.ones(10))
    assert weight(csr) == 11 * 8 + 10 * 8 + 10 * 4
    assert weight(torch.empty(10**6, device="meta")) == 0


def test_recording_of_tensors_stops_at_the_limit_with_one_warning(limited: Any) -> None:
    x = torch.ones(2500)  # 10 kB
    with astcapture.install(["tensors_limited:f=y"], limit="1MB"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(300):
            assert limited().f(x).shape == (2500,)
    assert len(caught) == 1
    assert issubclass(caught[0].category, CaptureWarning)
    assert 95 <= kept() <= 100
    assert astcapture.cache.counts["tensors_limited:f", "y"].left_out == 300 - kept()
    astcapture.cache.clear()


def test_tiny_tensors_count_with_what_a_record_takes(limited: Any) -> None:
    x = torch.ones(1)
    with astcapture.install(["tensors_limited:f=y"], limit="1MB"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20_000):
            limited().f(x)
    assert len(caught) == 1
    assert 2_000 < kept() < 8_000


def test_a_tensor_larger_than_the_limit_is_not_even_copied(limited: Any) -> None:
    x = torch.empty(25_000_000)
    with astcapture.install(["tensors_limited:given=x"], limit="10MB"), pytest.warns(CaptureWarning):
        with torch.profiler.profile(profile_memory=True) as profile:
            limited().given(x)
    assert not [event for event in profile.events() if event.cpu_memory_usage > 10**6]
    assert kept("given") == 0


def test_values_that_are_not_copied_weigh_what_they_keep_alive(limited: Any) -> None:
    def give() -> None:
        for _ in range(20):
            limited().given(torch.ones(50_000)[:1])

    with astcapture.install(["tensors_limited:given=x"], limit="1MB", copy=False), pytest.warns(CaptureWarning):
        give()
    assert sum(budget.weigh().values()) <= 10**6 + 200_000
    assert kept("given") < 20


def test_gradients_count(limited: Any) -> None:
    with astcapture.install(["tensors_limited:f=y"], limit="1MB", grad=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(80):
            limited().f(torch.ones(2500, requires_grad=True)).sum().backward()
        held = sum(budget.weigh().values())
    records = astcapture.cache["tensors_limited:f"].records
    assert 45 <= len(records) <= 50
    assert records[0].grad.tolist() == [1] * 2500
    assert 800_000 < held <= 10**6


def test_a_gradient_that_there_is_no_room_for_is_told_to_who_asks_for_it(limited: Any) -> None:
    with astcapture.install(["tensors_limited:f=y"], limit="15kB", grad=True):
        y = limited().f(torch.ones(2500, requires_grad=True))
        with pytest.warns(CaptureWarning, match="has stopped"):
            y.sum().backward()
    with pytest.raises(astcapture.CaptureError, match="the gradient could not be kept: the memory limit was reached"):
        _ = astcapture.cache["tensors_limited:f"].records[0].grad


def test_a_long_run_that_reduces_never_reaches_the_limit(limited: Any) -> None:
    x = torch.ones(25_000)
    with astcapture.install(["tensors_limited:f=y"], reduce=torch.sum, limit="1MB"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(1000):
            limited().f(x)
        assert sum(budget.weigh().values()) < 300_000
    assert kept() == 1000


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_code_stops_at_the_limit_too(limited: Any, backend: str) -> None:
    torch._dynamo.reset()
    x = torch.ones(2500)
    with astcapture.install(["tensors_limited:f=y"], limit="1MB"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CaptureWarning)
        compiled = torch.compile(limited().f, fullgraph=True, backend=backend)
        for _ in range(300):
            compiled(x)
        held = sum(budget.weigh().values())
    assert len([one for one in caught if one.category is CaptureWarning]) == 1
    assert held <= 10**6 + 50_000, "what compiled code has recorded is counted one run later"
    assert 90 <= kept() <= 103
    assert astcapture.cache.counts["tensors_limited:f", "y"].left_out == 300 - kept()
    torch._dynamo.reset()


def test_compiled_code_that_reduces_stays_below_it(limited: Any) -> None:
    torch._dynamo.reset()
    x = torch.ones(25_000)
    with astcapture.install(["tensors_limited:f=y"], reduce=torch.sum, limit="1MB"), warnings.catch_warnings():
        warnings.simplefilter("error", CaptureWarning)
        compiled = torch.compile(limited().f, fullgraph=True, backend="eager")
        for _ in range(300):
            compiled(x)
    assert kept() == 300
    torch._dynamo.reset()


class KeysAndValues:
    """Kept by reference, as transformers' caches are."""

    def __init__(self, keys: torch.Tensor) -> None:
        self.layers = [SimpleNamespace(keys=keys)]


def held_with(limited: Any, values: list[Any], limit: Any) -> tuple[int, int, str]:
    """How many of some objects are recorded, how many failed, and why."""
    with astcapture.install(["tensors_limited:given=x"], limit=limit), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        astcapture.cache.clear()
        for value in values:
            limited().given(value)
        astcapture.cache.summary()
        count = astcapture.cache.counts.get(("tensors_limited:given", "x"))
        return len(astcapture.cache["tensors_limited:given"]), count.failed if count else 0, str(count and count.error)


def test_tensors_behind_an_object_that_is_kept_by_reference_count_once(limited: Any) -> None:
    one = KeysAndValues(torch.ones(50_000))
    assert held_with(limited, [one] * 100, "1MB")[:2] == (100, 0)
    assert held_with(limited, [KeysAndValues(torch.ones(50_000)) for _ in range(10)], "1MB")[:2] == (4, 0)


def test_a_module_that_is_kept_by_reference_counts_nothing(limited: Any) -> None:
    assert held_with(limited, [torch.nn.Linear(1000, 1000) for _ in range(5)], "1MB")[:2] == (5, 0)


def test_an_object_that_keeps_a_graph_is_refused_under_a_limit_and_says_what_to_do(limited: Any) -> None:
    weight = torch.ones(10, requires_grad=True)
    values = [KeysAndValues(weight * 2), KeysAndValues(torch.ones(10)), KeysAndValues(weight)]
    recorded, failed, why = held_with(limited, values, "1MB")
    assert (recorded, failed) == (2, 1)
    assert "a KeysAndValues is kept by reference, and its tensors keep their autograd graph" in why
    assert "limit='1 MB' could be exceeded" in why
    assert "set limit=None" in why
    assert held_with(limited, values, None)[:2] == (3, 0)


def test_by_itself_the_limit_lets_such_an_object_be_kept_while_memory_is_free(
    limited: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [KeysAndValues(torch.ones(10, requires_grad=True) * 2)]
    assert held_with(limited, values, "auto")[:2] == (1, 0)
    free = iter([8 * 10**9])
    monkeypatch.setattr(budget, "free_on", lambda device: next(free, 10**9))
    recorded, failed, why = held_with(limited, values * 3, "auto")
    assert (recorded, failed) == (0, 3)
    assert "limit='auto' could be exceeded" in why
