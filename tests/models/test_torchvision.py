"""torchvision: what its models bind is captured, and the weights that its vision transformer never makes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from named import assert_all_are_found

MHA = "torch.nn.functional:multi_head_attention_forward"


def image(side: int) -> torch.Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("swin_transformer", "torchvision.models.swin_transformer:shifted_window_attention"),
        ("swin_transformer_v2", "torchvision.models.swin_transformer:shifted_window_attention"),
        ("maxvit", "torchvision.models.maxvit:RelativePositionalMultiHeadAttention.forward"),
    ],
)
def test_rows_of_the_maps_of_windows_sum_to_one(name, key, rec):
    from torchvision import models

    torch.manual_seed(0)
    if name == "maxvit":
        model = models.MaxVit((56, 56), 16, 7, [16, 32], [1, 1], 8, 0.0, num_classes=4)
        layers = 2 * 2
    else:
        block = models.swin_transformer.SwinTransformerBlockV2 if name.endswith("v2") else None
        down = models.swin_transformer.PatchMergingV2 if name.endswith("v2") else models.swin_transformer.PatchMerging
        model = models.SwinTransformer(
            [4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=4, block=block, downsample_layer=down
        )
        layers = 4
    with torch.no_grad():
        model.eval()(image(56))
    assert len(rec[key]) == layers
    assert_all_are_found(model, rec)
    for value in rec[key]:
        torch.testing.assert_close(value.sum(-1), torch.ones(value.shape[:-1]))


def test_the_maps_of_video_swin_sum_to_one(rec):
    from torchvision.models.video.swin_transformer import SwinTransformer3d

    torch.manual_seed(0)
    model = SwinTransformer3d([2, 4, 4], 16, [2, 2], [2, 4], [2, 4, 4], num_classes=4)
    with torch.no_grad():
        model.eval()(torch.randn(1, 3, 4, 32, 32))
    maps = rec["torchvision.models.video.swin_transformer:shifted_window_attention_3d"]["attn"]
    assert_all_are_found(model, rec)
    assert [record.layer for record in maps.records] == [
        f"features.{stage}.{n}.attn" for stage in (0, 2) for n in (0, 1)
    ]
    for value in maps:
        assert value.shape[-2:] == (32, 32)
        torch.testing.assert_close(value.sum(-1), torch.ones(value.shape[:-1]))


def test_the_maps_of_mvit_sum_to_one(rec):
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    torch.manual_seed(0)
    blocks = [MSBlockConfig(2, 16, 16, [3, 3, 3], [3, 3, 3], [1, stride, stride], [1, 2, 2]) for stride in (1, 2)]
    model = MViT((32, 32), 4, blocks, True, True, rel_pos_embed=True, proj_after_attn=True, num_classes=4)
    with torch.no_grad():
        model.eval()(torch.randn(1, 3, 4, 32, 32))
    maps = rec["torchvision.models.video.mvit:MultiscaleAttention.forward"]["attn"]
    assert [record.layer for record in maps.records] == ["blocks.0.attn", "blocks.1.attn"]
    assert_all_are_found(model, rec)
    for value in maps:
        torch.testing.assert_close(value.sum(-1), torch.ones(value.shape[:-1]))


def vision_transformer() -> torch.nn.Module:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    return VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4).eval()


@pytest.fixture
def python_path() -> Iterator[None]:
    """In eval mode without gradients the module takes a path in C++ unless it is told not to."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def test_on_the_fast_path_in_cpp_nothing_is_recorded(rec):
    with torch.no_grad():
        vision_transformer()(image(32))
    assert len(rec[MHA]) == 0


def test_the_weights_of_the_vision_transformer_are_those_that_its_attention_would_return(rec, python_path):
    model = vision_transformer()
    attention = model.encoder.layers[0].self_attention
    inputs = []
    attention.register_forward_pre_hook(lambda module, args, kwargs: inputs.append(args[0]), with_kwargs=True)
    with torch.no_grad():
        model(image(32))
        weights = rec[MHA]["weights"]
        assert len(weights) == 2 and weights[0].shape == (1, 2, 17, 17)
        assert_all_are_found(model, rec)
        x = inputs[0]
        _, expected = attention(x, x, x, need_weights=True, average_attn_weights=False)
    torch.testing.assert_close(weights[0], expected, rtol=0, atol=1e-5)


def test_attention_that_is_asked_for_its_weights_gives_them(rec):
    attention = vision_transformer().encoder.layers[0].self_attention
    x = torch.randn(1, 5, 16)
    _, weights = attention(x, x, x, need_weights=True, average_attn_weights=False)
    assert torch.equal(rec[MHA]["weights"][0], weights.detach())
