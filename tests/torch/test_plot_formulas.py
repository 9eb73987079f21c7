"""The formulas, against numbers worked out by hand and against second implementations written in another way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from astcapture.plot import formulas
from astcapture.values.record import Record
from astcapture.values.records import Records


def attention(*shape: int, seed: int = 0) -> torch.Tensor:
    scores = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * scores).softmax(dim=-1)


# Rollout


def rollout_by_paths(maps: list[list[list[float]]]) -> list[list[float]]:
    """The same by its meaning: the sum over all paths from an input to an output token of the products on the way."""
    tokens = range(len(maps[0]))
    total = [[0.0] * len(tokens) for _ in tokens]
    for path in itertools.product(tokens, repeat=len(maps) + 1):
        share = 1.0
        for weights, below, above in zip(maps, path, path[1:], strict=False):
            share *= 0.5 * weights[above][below] + 0.5 * (above == below)
        total[path[-1]][path[0]] += share
    return total


def test_rollout_of_two_layers_is_as_worked_out_by_hand():
    first, second = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.0, 1.0]])
    # (first + I) / 2 = [[1, 0], [1/4, 3/4]]; (second + I) / 2 = [[3/4, 1/4], [0, 1]]; the second times the first.
    assert formulas.rollout([first, second]).tolist() == [[13 / 16, 3 / 16], [1 / 4, 3 / 4]]


def test_rollout_is_the_sum_over_all_paths():
    layers = attention(4, 3, 5, 5)
    expected = rollout_by_paths(layers.mean(dim=1).tolist())
    assert np.allclose(formulas.rollout(list(layers)), expected)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.3, 0.9])
def test_rollout_with_fusion_and_discard_is_that_of_a_second_implementation(fusion, discard):
    layers = attention(3, 4, 7, 7)
    result = torch.eye(7, dtype=torch.float64)
    for layer in layers:
        fused = {"mean": layer.mean(0), "max": layer.amax(0), "min": layer.amin(0)}[fusion].clone()
        count = int(discard * 49)
        fused.view(-1)[fused.view(-1).topk(count, largest=False).indices] = 0
        mixed = (fused + torch.eye(7)) / 2
        result = (mixed / mixed.sum(dim=-1, keepdim=True)) @ result
    assert np.allclose(formulas.rollout(list(layers), fusion=fusion, discard=discard), result.numpy())


def test_rollout_discards_of_equal_weights_those_that_come_first():
    weights = np.array([[0.25, 0.75], [0.25, 0.75]])
    # A quarter of 4 weights is the first of the two smallest; with the residual, row 0 is [1/2, 3/8] by 7/8.
    assert np.allclose(formulas.rollout([weights], discard=0.25), [[4 / 7, 3 / 7], [1 / 8, 7 / 8]])


def test_rollout_without_residual_is_the_product_of_the_maps():
    layers = attention(3, 6, 6)
    expected = torch.linalg.multi_dot([layers[2], layers[1], layers[0]])
    assert np.allclose(formulas.rollout(list(layers), residual=0), expected)


def test_rollout_of_half_precision_is_computed_in_double():
    layers = attention(12, 4, 9, 9)
    result = formulas.rollout(list(layers.to(torch.bfloat16)))
    assert result.dtype == np.float64
    assert np.allclose(result.sum(axis=1), 1)
    assert np.allclose(result, formulas.rollout(list(layers)), atol=0.01)


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ([], {}, "rollout of no layers"),
        ([np.eye(3), np.eye(4)], {}, "layer 1 has 4 tokens and layer 0 has 3"),
        ([np.ones((2, 3))], {}, r"layer 0 has shape \(2, 3\); accepted are \(tokens, tokens\) and \(heads, tokens"),
        ([np.ones(3)], {}, r"layer 0 has shape \(3,\); accepted are"),
        ([np.eye(2), np.array([[1, np.nan], [0, 1]])], {}, "layer 1 holds NaN or infinite weights"),
        ([np.array([[1.0, -2.0], [0, 1]])], {}, r"layer 0 of shape \(2, 2\) has negative weights, down to -2: "),
        ([np.eye(2)], {"fusion": "median"}, "fusion='median'; accepted are 'mean', 'max', 'min'"),
        ([np.eye(2)], {"discard": 1.0}, "discard=1.0; accepted is a share"),
        ([np.eye(2)], {"residual": 1.0}, "residual=1.0; accepted is a share"),
    ],
)
def test_rollout_says_what_it_cannot_take(layers, options, message):
    with pytest.raises(ValueError, match=message):
        formulas.rollout(layers, **options)


# Entropy


def test_entropy_of_known_rows_is_as_worked_out_by_hand():
    rows = np.array([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.25, 0.0]])
    # 0, ln 2, 2 ln 2, 1.5 ln 2: on average 1.125 ln 2
    assert formulas.entropy(rows) == pytest.approx(1.125 * math.log(2))
    assert np.allclose(formulas.entropy(rows[:, None]), np.array([0, 1, 2, 1.5]) * math.log(2))


def test_entropy_is_that_of_torchs_distributions():
    weights = attention(2, 3, 5, 7)
    assert np.allclose(formulas.entropy(weights), Categorical(probs=weights).entropy().mean(dim=-1))


def test_entropy_of_weights_after_dropout_is_that_of_their_shares():
    weights = attention(3, 5, 7)
    assert np.allclose(formulas.entropy(weights * 1.25), formulas.entropy(weights))


def test_rows_without_any_weight_say_nothing():
    weights = np.array([[0.5, 0.5], [0.0, 0.0]])
    assert formulas.entropy(weights) == pytest.approx(math.log(2))
    assert np.isnan(formulas.entropy(np.zeros((2, 2))))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_map_with_nan_has_no_entropy_and_no_distance_and_the_others_have(bad, recwarn):
    weights = attention(3, 4, 4).numpy()
    weights[1, 2, 3] = bad
    centres = formulas.patch_centres((2, 2))
    for values in (formulas.entropy(weights), formulas.mean_distance(weights, centres)):
        assert np.isnan(values).tolist() == [False, True, False]
    assert not recwarn.list


def test_scores_before_softmax_have_no_entropy():
    with pytest.raises(ValueError, match=r"has negative weights, down to -1: this formula takes attention after"):
        formulas.entropy(np.array([[-1.0, 2.0]]))


@pytest.mark.parametrize("shape", [(4,), (0, 4, 4)])
def test_entropy_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"attention has shape .*; accepted is \(..., queries, keys\)"):
        formulas.entropy(np.zeros(shape))


# Distance


def test_distance_on_a_line_of_patches_is_as_worked_out_by_hand():
    centres = formulas.patch_centres((1, 3), patch=10)
    weights = np.array([[0.5, 0.0, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    # 0.5 × 20, then 10, then 0
    assert formulas.mean_distance(weights, centres) == pytest.approx(20 / 3)


def test_distance_is_that_of_plain_loops_on_a_grid_that_is_not_square():
    rows, columns, height, width = 2, 3, 8, 4
    weights = attention(2, 6, 6).numpy()
    for head in range(2):
        total = 0.0
        for query, key in itertools.product(range(6), range(6)):
            down = (query // columns - key // columns) * height
            right = (query % columns - key % columns) * width
            total += weights[head, query, key] * math.hypot(down, right) / 6
        centres = formulas.patch_centres((rows, columns), (height, width))
        assert formulas.mean_distance(weights, centres)[head] == pytest.approx(total)


def test_distance_of_attention_to_oneself_is_zero_and_to_the_next_patch_one():
    centres = formulas.patch_centres((1, 4))
    assert formulas.mean_distance(np.eye(4), centres) == 0
    assert formulas.mean_distance(np.eye(4)[[1, 2, 3, 2]], centres) == 1


def test_distance_needs_a_centre_for_each_token():
    with pytest.raises(ValueError, match=r"attention has shape \(5, 5\); accepted for 4 centres is \(..., 4, 4\)"):
        formulas.mean_distance(np.eye(5), formulas.patch_centres((2, 2)))


# Feature maps


def seeds_attention_map(feature_map: torch.Tensor, attention_weights: torch.Tensor) -> torch.Tensor:
    """Word for word as the seed has it."""
    attention_map = torch.mul(feature_map, attention_weights)
    attention_map = torch.mean(attention_map, dim=1)
    attention_map = torch.relu(attention_map)
    attention_map /= torch.max(attention_map)
    return attention_map


@pytest.mark.parametrize("shape", [(2, 5, 1, 1), (2, 1, 3, 4), (2, 5, 3, 4), (1, 5, 1, 1), (1, 1, 3, 4)])
def test_the_attention_map_is_the_seeds(shape):
    torch.manual_seed(0)
    features, weights = torch.randn(2, 5, 3, 4), torch.randn(shape)
    assert np.allclose(formulas.attention_map(features, weights), seeds_attention_map(features, weights), atol=1e-6)


def test_the_attention_map_is_as_worked_out_by_hand():
    features = np.array([[[1.0, 2.0], [3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]]])
    # means over the channels of 1 × the first and -1 × the second: -1.5, -0.5, 0.5, 1.5
    assert np.allclose(formulas.attention_map(features, np.array([1.0, -1.0])), [[0, 0], [1 / 3, 1]])


def test_channel_weights_may_come_without_axes_of_length_one():
    features, weights = torch.rand(2, 5, 3, 4), torch.rand(2, 5)
    expected = seeds_attention_map(features, weights[:, :, None, None])
    assert np.allclose(formulas.attention_map(features, weights), expected)
    one = seeds_attention_map(features[:1], weights[:1, :, None, None])[0]
    assert np.allclose(formulas.attention_map(features[0], weights[0]), one)


def test_an_attention_map_that_is_nowhere_positive_is_zero(recwarn):
    assert formulas.attention_map(-np.ones((1, 2, 2, 2)), np.ones(2)).tolist() == [[[0, 0], [0, 0]]]
    assert not recwarn.list


def test_nan_in_a_feature_map_stays_where_it_is():
    features = np.ones((2, 2, 2))
    features[0, 0, 1] = np.nan
    result = formulas.attention_map(features, np.array([1.0, 3.0]))
    assert np.isnan(result).tolist() == [[False, True], [False, False]]
    assert result[1, 1] == 1


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 1, 1), (2, 5, 3, 5), (5, 5, 3, 4), (1, 2, 5, 3, 4), ()])
def test_weights_that_do_not_fit_the_feature_map_are_refused(shape):
    with pytest.raises(ValueError, match=r"do not fit a feature map of shape \(2, 5, 3, 4\); accepted are \(channels,"):
        formulas.attention_map(np.ones((2, 5, 3, 4)), np.ones(shape))


def test_grad_cam_is_as_worked_out_by_hand():
    features = np.array([[[1.0, 2.0]], [[3.0, 0.0]]])
    gradient = np.array([[[2.0, 4.0]], [[-1.0, 0.0]]])
    # channel weights 3 and -1/2: 3 - 1.5 and 6
    assert formulas.grad_cam(features, gradient).tolist() == [[1.5, 6.0]]


def test_grad_cam_of_a_network_is_what_its_weights_say():
    """After global average pooling and a linear layer it is CAM by the number of places (Selvaraju, section 3)."""
    torch.manual_seed(0)
    features, classify = torch.rand(2, 5, 3, 4, requires_grad=True), torch.nn.Linear(5, 7)
    classify(features.mean(dim=(2, 3)))[:, 6].sum().backward()
    expected = [
        [
            [
                max(0.0, sum(float(classify.weight[6, k].detach() / 12 * one[k, i, j]) for k in range(5)))
                for j in range(4)
            ]
            for i in range(3)
        ]
        for one in features.detach()
    ]
    assert np.allclose(formulas.grad_cam(features, features.grad), expected, atol=1e-6)


def test_grad_cam_takes_a_gradient_of_the_same_shape_alone():
    with pytest.raises(ValueError, match=r"the gradient has shape \(5, 1, 1\) and the feature map \(5, 3, 4\)"):
        formulas.grad_cam(np.ones((5, 3, 4)), np.ones((5, 1, 1)))


@pytest.mark.parametrize("shape", [(3, 4), (1, 2, 3, 4, 5), (0, 2, 2)])
def test_a_feature_map_of_another_shape_is_refused(shape):
    for formula in (formulas.attention_map, formulas.grad_cam):
        with pytest.raises(ValueError, match=r"the feature map has shape .*; accepted are \(channels, rows, columns\)"):
            formula(np.ones(shape), np.ones(shape))


# Windows


def windows_of(x: torch.Tensor, window: tuple[int, int], shift: int) -> torch.Tensor:
    """Swin's partition, (batch, rows, columns, dim) to (batch × windows, tokens of a window, dim)."""
    x = torch.roll(x, shifts=(-shift, -shift), dims=(1, 2))
    batch, rows, columns, dim = x.shape
    x = x.view(batch, rows // window[0], window[0], columns // window[1], window[1], dim)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window[0] * window[1], dim)


@pytest.mark.parametrize(("window", "shift"), [((2, 2), 0), ((2, 2), 1), ((2, 3), 0), ((4, 6), 0), ((2, 3), 2)])
def test_joined_windows_are_attention_between_all_tokens_with_those_of_other_windows_masked(window, shift):
    grid, dim = (4, 6), 5
    x = torch.randn(2, *grid, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = windows_of(x, window, shift)
    captured = (inside @ inside.mT).softmax(dim=-1)[:, None]

    tokens = x.flatten(1, 2)
    place = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))
    number = ((place - shift) % torch.tensor(grid)) // torch.tensor(window)
    same = (number[:, None] == number[None]).all(dim=-1)
    expected = (tokens @ tokens.mT).masked_fill(~same, -torch.inf).softmax(dim=-1)
    joined = formulas.join_windows(captured, grid, window=window, shift=shift)
    assert joined.shape == (2, 1, 24, 24)
    assert np.allclose(joined[:, 0], expected)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((4, 4, 4), {}, r"attention has shape \(4, 4, 4\); accepted is \(batch × windows, heads,"),
        ((4, 1, 6, 6), {}, r"6 tokens are not a window of 2 × 2: pass window="),
        ((4, 1, 4, 4), {"grid": (5, 4)}, r"4 windows of 2 × 2 tokens do not fill grid=\(5, 4\)"),
        ((5, 1, 4, 4), {}, r"5 windows of 2 × 2 tokens do not fill grid=\(4, 4\)"),
    ],
)
def test_windows_that_do_not_fill_the_grid_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        formulas.join_windows(np.ones(shape), **{"grid": (4, 4), **options})


# Inputs of all of them


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_formula_takes_tensors_of_any_float_type_arrays_and_records(dtype):
    weights = attention(1, 2, 4, 4).to(dtype)
    records = Records([Record(weights, "attn", "m", "f", 1)])
    centres = formulas.patch_centres((2, 2))
    for formula in (
        formulas.entropy,
        lambda values: formulas.mean_distance(values, centres),
        lambda values: formulas.attention_map(values, np.ones(2)),
        lambda values: formulas.grad_cam(values, weights),
        lambda values: formulas.join_windows(values, (2, 2)),
    ):
        given = [formula(values) for values in (weights, weights.float().numpy(), records)]
        assert np.allclose(given[0], given[1], rtol=1e-3) and np.array_equal(given[0], given[2])
        assert all(isinstance(one, np.ndarray) for one in given)
