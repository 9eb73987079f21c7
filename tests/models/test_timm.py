"""timm: the maps of the unfused path are those that the module multiplies with, and the fused path's are the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from named import assert_all_are_found
from torch import Tensor, nn

import astcapture
from astcapture.values.cache import Cache

#: Models of each kind, and what `timm.create_model` makes small.
MODELS = {
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 3},
    "deit_tiny_patch16_224": {"img_size": 64, "depth": 3},
    "beit_base_patch16_224": {"img_size": 64, "depth": 2, "embed_dim": 96, "num_heads": 3},
    "eva02_tiny_patch14_224": {"img_size": 56, "depth": 3},
    "swin_tiny_patch4_window7_224": {"img_size": 56, "depths": (1, 1), "embed_dim": 48, "num_heads": (2, 4)},
    "cait_xxs24_224": {"img_size": 64, "depth": 3},
    "pvt_v2_b0": {"depths": (1, 1, 1, 1)},
    "maxvit_rmlp_pico_rw_256": {"img_size": 64},
}
#: Attention whose rows are mixed over heads after the softmax, so that they sum to anything.
MIXED = ("TalkingHeadAttn",)


@pytest.fixture
def unfused() -> Iterator[None]:
    import timm.layers

    timm.layers.set_fused_attn(False)
    yield
    timm.layers.set_fused_attn(True, experimental=False)


def build(name: str) -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, num_classes=10, **MODELS[name]).eval()


def run(model: nn.Module, name: str) -> Tensor:
    side = MODELS[name].get("img_size", 64)
    with torch.no_grad():
        return model(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)))


def mixed(key: str) -> bool:
    """Whether the function has rows that do not sum to one, and no fused path."""
    return any(kind in key for kind in MIXED)


def maps(rec: Cache) -> list[tuple[str, Tensor]]:
    return [(key, value) for key, records in rec.items() for value in records]


@pytest.mark.parametrize("name", MODELS)
def test_every_row_of_every_map_sums_to_one(name, rec, unfused):
    run(build(name), name)
    captured = maps(rec)
    assert captured
    for key, value in captured:
        assert value.shape[-1] > 1 or "pvt" in name
        if not mixed(key):
            torch.testing.assert_close(value.sum(-1), torch.ones(value.shape[:-1]))


@pytest.mark.parametrize("name", MODELS)
def test_there_is_one_map_for_each_attention_module_of_the_model(name, rec, unfused):
    model = build(name)
    run(model, name)
    attention = [module for module in model.modules() if hasattr(module, "attn_drop")]
    assert len(maps(rec)) == len(attention) > 0
    assert_all_are_found(model, rec)


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_of_the_fused_model_are_the_maps_of_the_unfused(name, unfused):
    import timm.layers

    with astcapture.recording() as plain:
        expected = run(build(name), name)
    timm.layers.set_fused_attn(True, experimental=True)  # Swin's is called experimental
    with astcapture.recording() as fused:
        torch.testing.assert_close(run(build(name), name), expected, rtol=1e-4, atol=1e-4)
    before, after = maps(plain), maps(fused)
    assert [key for key, _ in before] == [key for key, _ in after]
    for (key, attn), (_, weights) in zip(before, after, strict=True):
        torch.testing.assert_close(weights, attn, rtol=0, atol=1e-5, msg=key)
    labels = {record.label for records in fused.values() for record in records.records if not mixed(record.function)}
    assert labels == {"weights"}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_patch16_224"])
def test_the_map_times_the_values_is_what_the_module_returns(name, rec, unfused):
    model = build(name)
    block = model.blocks[0].attn
    seen = []
    block.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    run(model, name)
    x, output = seen[0]
    batch, tokens, _ = x.shape
    with torch.no_grad():
        value = block.qkv(x).reshape(batch, tokens, 3, block.num_heads, -1).permute(2, 0, 3, 1, 4)[2]
        mixed = (maps(rec)[0][1] @ value).transpose(1, 2).reshape(batch, tokens, -1)
        torch.testing.assert_close(block.proj(block.norm(mixed)), output)
