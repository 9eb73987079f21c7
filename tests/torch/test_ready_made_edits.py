"""Ready-made edits give what the same line written by hand gives, bit for bit, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import astcapture
from astcapture.edits import ReadyMade, Site, add, clamp, mean, noise, patch, project_out, replace, scale, zero
from astcapture.errors import EditError

SHAPE = (2, 4, 5, 6)
SITE = Site("blocks.0", 0, "attn", 3)
VECTOR = torch.tensor([0.5, -1.0, 2.0, 0.25, 3.0, -0.125])
OTHER = torch.linspace(-1, 1, 240).reshape(SHAPE)


class Case(NamedTuple):
    """A ready-made edit, and what is done to the copy `y` of the value `x` by hand."""

    make: Callable[[], ReadyMade]
    by_hand: str


CASES = [
    Case(lambda: zero(), "y[:] = 0"),
    Case(lambda: zero(heads=3), "y[:, 3] = 0"),
    Case(lambda: zero(heads=[3]), "y[:, 3] = 0"),
    Case(lambda: zero(heads=-1), "y[:, -1] = 0"),
    Case(lambda: zero(heads=[0, 3]), "y[:, 0] = y[:, 3] = 0"),
    Case(lambda: zero(heads=[0, 1, 3]), "y[:, [0, 1, 3]] = 0"),
    Case(lambda: zero(heads=[0, -1, 1]), "y[:, [0, 3, 1]] = 0"),
    Case(lambda: zero(batch=0, rows=slice(1, 3), columns=range(0, 6, 2)), "y[0, :, 1:3, ::2] = 0"),
    Case(lambda: zero(heads=[0, 1, 3], columns=[0, 1, 5]), "y[:, [[0], [1], [3]], :, [0, 1, 5]] = 0"),
    Case(lambda: zero(heads=[0, 1, 3], rows=2, columns=[0, 1, 5]), "y[:, [[0], [1], [3]], 2, [0, 1, 5]] = 0"),
    Case(lambda: zero(tokens=-1), "y[:, :, -1] = 0"),
    Case(lambda: zero(tokens=[0, 1], axes="tbhd"), "y[:2] = 0"),
    Case(lambda: zero(heads=1, axes="bthd"), "y[:, :, 1] = 0"),
    Case(lambda: zero(heads=1, axes="bxhk"), "y[:, :, 1] = 0"),
    Case(lambda: scale(0.3), "y = x * 0.3"),
    Case(lambda: scale(0.3, heads=2), "y[:, 2] = x[:, 2] * 0.3"),
    Case(lambda: scale(-2, rows=[0, 3]), "y[:, :, ::3] = x[:, :, ::3] * -2"),
    Case(lambda: scale(VECTOR, rows=1), "y[:, :, 1] = x[:, :, 1] * VECTOR"),
    Case(lambda: scale(VECTOR), "y = (x * VECTOR).to(x.dtype)"),
    Case(lambda: add(0.3, heads=2), "y[:, 2] = x[:, 2] + 0.3"),
    Case(lambda: add(VECTOR), "y = (x + VECTOR).to(x.dtype)"),
    Case(lambda: add(VECTOR, heads=[0, 1, 3]), "y[:, [0, 1, 3]] = (x[:, [0, 1, 3]] + VECTOR).to(x.dtype)"),
    Case(lambda: add(VECTOR.numpy(), tokens=2), "y[:, :, 2] = x[:, :, 2] + VECTOR"),
    Case(lambda: replace(0.3), "y[:] = 0.3"),
    Case(lambda: replace(0.3, heads=[0, 1, 3]), "y[:, [0, 1, 3]] = 0.3"),
    Case(lambda: replace(VECTOR, rows=1), "y[:, :, 1] = VECTOR"),
    Case(lambda: replace(float("-inf"), columns=0), "y[..., 0] = float('-inf')"),
    Case(lambda: clamp(-0.3, 0.7), "y = x.clamp(-0.3, 0.7)"),
    Case(lambda: clamp(max=0.7, heads=1), "y[:, 1] = x[:, 1].clamp(max=0.7)"),
    Case(lambda: clamp(0, columns=[0, 1, 4]), "y[..., [0, 1, 4]] = x[..., [0, 1, 4]].clamp(min=0)"),
    Case(lambda: mean(), "y[:] = x.mean((0, 2), keepdim=True)"),
    Case(lambda: mean(heads=1), "y[:, 1] = x[:, 1].mean((0, 1), keepdim=True)"),
    Case(lambda: mean(heads=1, rows=0), "y[:, 1, 0] = x[:, 1].mean((0, 1))"),
    Case(lambda: mean(over=["columns"], heads=1), "y[:, 1] = x[:, 1].mean(-1, keepdim=True)"),
    Case(lambda: mean(over="heads", batch=[1]), "y[1] = x[1].mean(0, keepdim=True)"),
    Case(lambda: project_out(VECTOR), "y = projected(x)"),
    Case(lambda: project_out(VECTOR, heads=1), "y[:, 1] = projected(x[:, 1])"),
    Case(lambda: patch(OTHER), "y[:] = OTHER"),
    Case(lambda: patch(OTHER, heads=1, rows=2), "y[:, 1, 2] = OTHER[:, 1, 2]"),
    Case(lambda: patch({"blocks.0": OTHER}, heads=[0, 1, 3]), "y[:, [0, 1, 3]] = OTHER[:, [0, 1, 3]].to(x.dtype)"),
]
NAMES = [f"{one.by_hand}" for one in CASES]


def projected(x: torch.Tensor) -> torch.Tensor:
    exact = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    direction = VECTOR.to(exact.dtype)
    share = (exact * direction).sum(-1, keepdim=True) / (direction * direction).sum()
    return (exact - share * direction).to(x.dtype)


def edited_by_hand(x: torch.Tensor, line: str) -> torch.Tensor:
    names = {"x": x, "y": x.clone(), "VECTOR": VECTOR, "OTHER": OTHER, "projected": projected}
    exec(line, names)
    return names["y"]


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same bits, the sign of zero too; NaN is NaN, whatever its bits."""
    if (one.dtype, one.shape, one.device) != (other.dtype, other.shape, other.device):
        return False
    one, other = one.detach(), other.detach()
    unequal = (one != other) | (one.signbit() != other.signbit())
    return not bool((unequal & ~(one.isnan() & other.isnan())).any())


def a_value(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    x[0, 1, 1, 1], x[1, 0, 0, 2], x[0, 2, 3, 4], x[1, 3, 4, 5] = float("nan"), -0.0, float("inf"), -0.0
    return x


def with_gradient(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = x.clone().requires_grad_()
    result = function(x * 1)
    weight = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    (gradient,) = torch.autograd.grad((result * weight).sum(), x)
    return result, gradient


@pytest.mark.parametrize("autocast", [False, True], ids=["", "autocast"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_an_edit_is_the_line_written_by_hand(case: Case, dtype: torch.dtype, autocast: bool) -> None:
    edit, x = case.make(), a_value(dtype)
    before = x.clone()
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        expected = with_gradient(lambda x: edited_by_hand(x, case.by_hand), x)
        found = with_gradient(lambda x: edit(x, SITE), x)
        plain = edit(x, SITE)
    assert same(x, before), "the value itself is changed"
    assert plain.dtype is dtype
    for one, other in zip((*found, plain), (*expected, expected[0]), strict=True):
        assert same(one, other)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_what_comes_back_shares_no_memory(case: Case) -> None:
    edit, x = case.make(), a_value()
    first = edit(x, SITE)
    kept = first.clone()
    edit(x, SITE).fill_(9)
    x.fill_(8)
    assert same(first, kept)
    if not any(name in case.by_hand for name in ("x.mean", "x[", "x *", "x +", "(x")):
        assert same(edit(a_value(), SITE), kept)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_arrays_are_edited_as_tensors_are(case: Case) -> None:
    edit, x = case.make(), a_value().nan_to_num(posinf=3)
    found = edit(x.numpy(), SITE)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found), edit(x, SITE), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_values_of_three_axes_have_tokens_and_no_heads() -> None:
    x = torch.ones(2, 4, 3)
    assert zero(tokens=1)(x).sum(dim=(0, 2)).tolist() == [6, 0, 6, 6]
    assert zero(batch=1, columns=[0, 2])(x).sum(dim=(0, 1)).tolist() == [4, 8, 4]
    assert zero(heads=1, axes="hqk")(x).sum(dim=(1, 2)).tolist() == [12, 0]
    with pytest.raises(EditError, match=r"^zero\(heads=2\): which axis of a value of shape \(2, 4, 3\) is heads"):
        zero(heads=2)(x)
    assert zero(rows=1)(torch.ones(2, 3)).tolist() == [[1, 1, 1], [0, 0, 0]]


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "out of range": (
        lambda: zero(heads=[1, 4])(a_value()),
        "zero(heads=[1, 4]): index 4 is out of range: there are 4 heads in a value of shape (2, 4, 5, 6)",
    ),
    "out of range from the end": (
        lambda: scale(2, tokens=-6)(a_value()),
        "scale(2, tokens=-6): index -6 is out of range: there are 5 tokens in a value of shape (2, 4, 5, 6)",
    ),
    "an empty slice": (
        lambda: zero(rows=slice(7, 9))(a_value()),
        "zero(rows=slice(7, 9)): rows=slice(7, 9) selects none of the 5 rows in a value of shape (2, 4, 5, 6)",
    ),
    "an empty list": (lambda: zero(heads=[]), "heads=[] selects nothing"),
    "twice": (
        lambda: zero(heads=[3, 0, -1])(a_value()),
        "zero(heads=[3, 0, -1]): heads=[3, 0, -1] names one of them twice",
    ),
    "a mask": (lambda: zero(heads=[True, False]), "heads=[True, False]: write a number, a list, a range or a slice"),
    "a text": (lambda: zero(heads="3"), "heads='3': write a number, a list, a range or a slice: heads=[0, 3]"),
    "a step backwards": (lambda: zero(rows=slice(None, None, -1)), "the step of a slice is positive"),
    "rows and tokens": (lambda: zero(rows=1, tokens=1), "rows= and tokens= are the same axis: pass one of them"),
    "axes that are no letters": (lambda: zero(axes=3), "axes=3: write a letter for each axis, such as axes=\"bthd\""),
    "axes with two letters for one": (lambda: zero(axes="bhqt"), "axes='bhqt': q and t mean the same axis, rows"),
    "axes of another number": (
        lambda: zero(heads=1, axes="bhd")(a_value()),
        "zero(heads=1, axes='bhd'): axes='bhd' names 3 axes, and the value has 4: (2, 4, 5, 6)",
    ),
    "axes without heads": (
        lambda: zero(heads=1, axes="bxqd")(a_value()),
        "zero(heads=1, axes='bxqd'): no axis of axes='bxqd' is heads: write h for it",
    ),
    "five axes": (lambda: zero(batch=1)(torch.ones(1, 2, 3, 4, 5)), "pass axes="),
    "a tuple": (
        lambda: zero()((1, 2), SITE),
        "zero(): edits tensors and arrays, and attn is a tuple",
    ),
    "a fraction of integers": (
        lambda: scale(0.5)(torch.ones(3, dtype=torch.int64), SITE),
        "scale(0.5): makes float64 of attn, which is int64",
    ),
    "a fraction in integers": (lambda: replace(0.5)(torch.ones(3, dtype=torch.int32)), "makes float64 of the value"),
    "a mean of integers": (lambda: mean(over="rows")(torch.ones(3, 3, dtype=torch.int32)), "makes the mean of"),
    "a complex number": (lambda: add(1j)(torch.ones(3)), "add(1j): makes complex64 of the value, which is float32"),
    "a tensor that is larger": (
        lambda: add(torch.ones(2, 6), heads=1, rows=0)(a_value()[0], SITE),
        "which axis of a value of shape (4, 5, 6) is heads",
    ),
    "a tensor of another shape": (
        lambda: add(torch.ones(7), heads=1)(a_value()),
        "add(<float32 (7,)>, heads=1): a tensor of shape (7,) is not spread over (2, 1, 5, 6)",
    ),
    "a text as a number": (lambda: add("1"), "add: value='1': write a number, a tensor or an array"),
    "no ends": (lambda: clamp(), "clamp(): pass min, max or both"),
    "an end that is no number": (lambda: clamp(VECTOR), "the ends are numbers"),
    "no axis": (lambda: mean(over=("batch", "row")), "'row' is no axis: write some of batch, heads, rows"),
    "no axes": (lambda: mean(over=()), "mean(over=()) averages nothing"),
    "a direction of two axes": (lambda: project_out(torch.ones(2, 2)), "a direction has one axis"),
    "no direction": (lambda: project_out(torch.zeros(2)), "project_out: the direction is zero"),
    "a direction that is too long": (
        lambda: project_out(torch.ones(7))(a_value()),
        "a direction of 7 numbers, and the last axis of the part that is edited has 6",
    ),
    "a tensor of noise": (lambda: noise(VECTOR), "the standard deviation is a number"),
    "a seed": (lambda: noise(1, seed=0.5), "noise(seed=0.5): the seed is a whole number"),
    "patch of a text": (lambda: patch("run"), "patch(str): pass a run, the cache, Records"),
    "patch of nothing": (lambda: patch({}), "patch: there is no value in what was given"),
    "patch of another shape": (
        lambda: patch(OTHER)(torch.ones(2, 3), SITE),
        "the value of the other run is <float32 (2, 4, 5, 6)>, and 'attn' on layer 'blocks.0' has shape (2, 3)",
    ),
    "patch of another layer": (
        lambda: patch({"blocks.1": OTHER})(OTHER, SITE),
        "the other run has no value of 'attn' on layer 'blocks.0'; it has layers 'blocks.1'",
    ),
    "patch without a site": (lambda: patch({"blocks.1": OTHER})(OTHER, None), "needs the site"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_an_error_that_says_what_to_write(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(EditError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_integers_are_edited_by_whole_numbers() -> None:
    for dtype in (torch.int64, torch.int32, torch.uint8):
        x = torch.ones(3, dtype=dtype)
        assert scale(2)(x).tolist() == [2, 2, 2] and scale(2)(x).dtype is dtype
        assert replace(5.0, columns=0)(x).tolist() == [5, 1, 1]
        assert add(torch.tensor([1, 2, 3], dtype=torch.int32))(x).tolist() == [2, 3, 4]
        assert clamp(0, 0)(x).tolist() == [0, 0, 0]
        assert scale(2)(x.numpy()).dtype == x.numpy().dtype
    assert zero(columns=1)(torch.ones(3, dtype=torch.bool)).tolist() == [True, False, True]


VALUES: dict[str, tuple[Callable[[Any], ReadyMade], Any, Any]] = {
    "scale": (lambda value: scale(value, heads=1), 0.5, 2),
    "scale by a tensor": (lambda value: scale(value, heads=1), VECTOR, VECTOR * 2),
    "add": (add, 0.5, -1.0),
    "add a tensor": (add, VECTOR, VECTOR * 2),
    "replace": (lambda value: replace(value, rows=0), 0.5, 3),
    "replace by a tensor": (lambda value: replace(value, rows=0), VECTOR, VECTOR * 2),
    "clamp": (lambda value: clamp(*value, heads=1), (-0.5, 0.5), (-1, 2)),
    "project_out": (lambda value: project_out(value, heads=1), VECTOR, VECTOR.flip(0)),
    "noise": (lambda value: noise(value, heads=1), 0.5, 2.0),
    "patch": (lambda value: patch(value, heads=1), OTHER, OTHER * 2),
    "patch of layers": (lambda value: patch(value, heads=1), {"blocks.0": OTHER}, {"blocks.0": OTHER * 2}),
}


@pytest.mark.parametrize(("make", "one", "other"), VALUES.values(), ids=VALUES)
def test_a_value_can_be_set(make: Callable[[Any], ReadyMade], one: Any, other: Any) -> None:
    x, edit = a_value(), make(one)
    given = one.clone() if isinstance(one, torch.Tensor) else one
    before = edit(x, SITE)
    edit.value = other
    assert same(edit(x, SITE), make(other)(x, SITE)) and not same(edit(x, SITE), before)
    if isinstance(given, torch.Tensor):
        assert same(one, given), "the tensor that was passed is changed"
        assert torch.equal(edit.value, other)
    else:
        assert edit.value == other or isinstance(other, dict)


def test_edits_without_a_value_say_so() -> None:
    for edit in (zero(), mean()):
        with pytest.raises(AttributeError, match="has no value"):
            edit.value  # noqa: B018
        with pytest.raises(AttributeError, match="has no value to set"):
            edit.value = 3


TRAINED: dict[str, Callable[[torch.Tensor], ReadyMade]] = {
    "scale": lambda value: scale(value, heads=1),
    "add": lambda value: add(value, tokens=[0, 1, 4]),
    "replace": lambda value: replace(value, rows=0),
    "project_out": lambda value: project_out(value, heads=1),
}


@pytest.mark.parametrize("make", TRAINED.values(), ids=TRAINED)
def test_gradients_flow_to_the_value_and_to_a_trained_tensor(make: Callable[[torch.Tensor], ReadyMade]) -> None:
    x = a_value(torch.float64).nan_to_num(0.5, 0.5).requires_grad_()
    value = VECTOR.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, value: make(value)(x, SITE), (x, value))
    kept = torch.nn.Parameter(VECTOR.double())
    edit = make(kept)
    edit(x, SITE).sum().backward()
    assert edit.value is kept and kept.grad is not None


@pytest.mark.cases(13)
@pytest.mark.parametrize("case", [one for one in CASES if "inf" not in one.by_hand])
def test_gradients_are_right(case: Case) -> None:
    x = a_value(torch.float64).nan_to_num(0.5, 0.5)[:, :, :, :].requires_grad_()
    edit = case.make()
    assert torch.autograd.gradcheck(lambda x: edit(x, SITE), (x,))


def test_noise_is_the_same_for_a_seed_a_layer_and_a_shape() -> None:
    x = torch.zeros(2, 3, 400)
    state = torch.random.get_rng_state()
    first = noise(0.5)(x, SITE)
    assert torch.equal(torch.random.get_rng_state(), state), "the program's random numbers are used up"
    assert same(first, noise(0.5)(x, SITE._replace(call=4, lineno=9)))
    assert same(noise(1.0)(x, SITE) * 0.5, first)
    others = [
        noise(0.5, seed=1)(x, SITE),
        noise(0.5)(x, SITE._replace(layer="blocks.1")),
        noise(0.5)(x, SITE._replace(label="q")),
    ]
    assert all(not torch.equal(first, other) for other in others)
    assert abs(float(first.std()) - 0.5) < 0.02 and abs(float(first.mean())) < 0.02
    assert abs(float((first * others[1]).mean())) < 0.02
    for dtype in (torch.bfloat16, torch.float64):
        torch.testing.assert_close(noise(0.5)(x.to(dtype), SITE).float(), first, rtol=0.02, atol=0)
    part = noise(0.5, tokens=1)(x, SITE)
    assert part[:, 1].all() and not part[:, [0, 2]].any()


def test_noise_that_was_written_over_is_drawn_as_before() -> None:
    x = torch.zeros(2, 3, 4)
    expected = noise(1.0)(x, SITE)
    torch.ops.astcapture.noise(x, "0 blocks.0 attn").zero_()
    assert same(noise(1.0)(x, SITE), expected)
    assert same(torch.ops.astcapture.noise(x, "0 blocks.0 attn"), expected)


def test_noise_in_a_checkpoint_gives_the_gradients_without_one() -> None:
    edit, weight = noise(0.5), torch.linspace(0, 1, 8).requires_grad_()

    def block(x: torch.Tensor) -> torch.Tensor:
        return (edit(x * weight, SITE) ** 2).sum()

    plain = torch.autograd.grad(block(torch.ones(8)), weight)[0]
    for reentrant in (True, False):
        x = torch.ones(8, requires_grad=True)
        found = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=reentrant)
        assert same(torch.autograd.grad(found, weight)[0] if not reentrant else grad_of(found, weight), plain)


def grad_of(loss: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    loss.backward()
    assert weight.grad is not None
    return weight.grad


def records_of(*values: tuple[Any, ...]) -> astcapture.Records:
    return astcapture.Records(
        [astcapture.Record(value, label, "m", "f", line, layer, call) for value, label, layer, call, line in values]
    )


def test_patch_puts_in_what_was_at_the_same_layer_label_and_call() -> None:
    x = torch.zeros(3)
    records = records_of(
        *(
            (torch.full((3,), 10.0 * call + layer), "attn", f"blocks.{layer}", call, 3)
            for layer in (0, 1)
            for call in (0, 1)
        ),
        (torch.full((3,), 100.0), "q", "blocks.0", 0, 2),
    )  # fmt: skip
    edit = patch(records)
    assert edit.needs_call and not patch(records.select(call=0)).needs_call
    assert edit(x, Site("blocks.1", 1, "attn", 9)).tolist() == [11] * 3
    assert edit(x, Site("blocks.0", 0, "q", 9)).tolist() == [100] * 3
    assert patch(records.select(call=0))(x, Site("blocks.1", None, "attn", 9)).tolist() == [1] * 3
    by_layer = patch(records.select(call=0, label="attn").by_layer())
    assert by_layer(x, Site("blocks.1", None, "", 9)).tolist() == [1] * 3
    for site, message in [
        (Site("blocks.0", 2, "attn", 3), "none of call 2, and the other run has calls 0, 1 of 'attn' on layer"),
        (Site("blocks.0", None, "attn", 3), "in compiled code the call is not known, and the other run has calls 0, 1"),
        (Site("blocks.1", 0, "q", 3), "has no value of 'q' on layer 'blocks.1'; it has layers 'blocks.0', 'blocks.1' "),
    ]:
        with pytest.raises(EditError, match=message):
            edit(x, site)
    with pytest.raises(EditError, match=r"has none of call 1|none of call 1"):
        patch(records.select(call=0))(x, Site("blocks.1", 1, "attn", 9))


def test_patch_tells_bindings_of_a_name_apart_by_their_lines() -> None:
    x = torch.zeros(2)
    records = records_of(*((torch.full((2,), float(line)), "attn", "a", 0, line) for line in (3, 4)))
    assert patch(records)(x, Site("a", 0, "attn", 4)).tolist() == [4, 4]
    with pytest.raises(EditError, match=r"has 2 values of 'attn' on layer 'a' in a call, of lines 3, 4: select one"):
        patch(records)(x, Site("a", 0, "attn", 5))


def test_patch_keeps_the_values_that_the_cache_had(tmp_path: Any) -> None:
    records = records_of((torch.ones(2), "attn", "a", 0, 3), (np.full(2, 2.0), "attn", "b", 0, 3))
    edit = patch(records)
    x = torch.zeros(2, dtype=torch.bfloat16)
    assert edit(x, Site("b", 0, "attn", 3)).tolist() == [2, 2]
    assert edit(x.float().numpy(), Site("a", 0, "attn", 3)).tolist() == [1, 1]


def test_edits_say_how_they_were_written() -> None:
    written = [
        (zero(heads=[3]), "zero(heads=[3])"),
        (zero(rows=slice(2), columns=slice(1, 3), axes="qk"), "zero(rows=slice(2), columns=slice(1, 3), axes='qk')"),
        (scale(0.5, tokens=-1), "scale(0.5, tokens=-1)"),
        (clamp(max=1, heads=range(2)), "clamp(None, 1, heads=range(0, 2))"),
        (mean(over="batch"), "mean(over=('batch',))"),
        (mean(batch=0), "mean(batch=0)"),
        (noise(0.1, seed=3, rows=0), "noise(0.1, seed=3, rows=0)"),
        (add(VECTOR), "add(<float32 (6,)>)"),
        (patch({"a": VECTOR, "b": VECTOR}), "patch(<2 values of 2 layers>)"),
        (patch({"a": VECTOR}), "patch(<1 value of 1 layer>)"),
    ]
    for edit, text in written:
        assert edit.describe() == text and repr(edit) == text
    scaled = written[2][0]
    scaled.value = 2
    assert scaled.describe() == "scale(2, tokens=-1)"


def test_transforms_of_functions_go_through() -> None:
    x = torch.randn(3, 4, 5)
    for edit in (
        zero(rows=1),
        scale(2.0, columns=[0, 1, 3]),
        clamp(0, 1),
        mean(over="columns"),
        project_out(torch.ones(5)),
    ):
        assert same(
            torch.func.vmap(lambda one, edit=edit: edit(one, SITE))(x), torch.stack([edit(one, SITE) for one in x])
        )
        gradient = torch.func.grad(lambda one, edit=edit: (edit(one, SITE) ** 2).sum())(x[0])
        assert gradient.shape == (4, 5)
