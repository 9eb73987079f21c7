"""diffusers: fused and unfused processors give the same maps, under the layer of the attention they work for."""

from __future__ import annotations

import pytest
import torch
from named import assert_all_are_found

import astcapture

HOME = "diffusers.models.attention_processor"
BLOCKS = [
    "down_blocks.0.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.0", "up_blocks.1.attentions.1",
]  # fmt: skip
LAYERS = [f"{block}.transformer_blocks.0.{attention}" for block in BLOCKS for attention in ("attn1", "attn2")]


@pytest.fixture(scope="module")
def unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


def run(unet, processor):
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, 8, generator=generator)
    unet.set_attn_processor(processor)
    with torch.no_grad():
        return unet(latents, 3, text).sample


def test_the_weights_of_the_fused_processor_are_the_maps_of_the_other(unet, rec):
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    plain, fused = run(unet, AttnProcessor()), run(unet, AttnProcessor2_0())
    torch.testing.assert_close(plain, fused, rtol=0, atol=1e-5)
    probabilities = rec[f"{HOME}:AttnProcessor.__call__"]["attention_probs"]
    weights = rec[f"{HOME}:AttnProcessor2_0.__call__"]["weights"]
    assert [record.layer for record in probabilities.records] == LAYERS
    assert [record.layer for record in weights.records] == LAYERS
    with astcapture.recording() as of_one:
        run(unet, AttnProcessor2_0())
    assert_all_are_found(unet, of_one)
    for flat, computed in zip(probabilities, weights, strict=True):
        assert computed.shape[0] == 2 and computed.shape[-1] in (5, 64, 16)
        torch.testing.assert_close(flat, computed.flatten(0, 1), rtol=0, atol=1e-5)


def test_the_models_that_dispatch_their_attention_are_captured_there(rec):
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    ).eval()
    with torch.no_grad():
        model(
            hidden_states=torch.randn(1, 6, 4),
            encoder_hidden_states=torch.randn(1, 3, 8),
            pooled_projections=torch.randn(1, 8),
            timestep=torch.tensor([0.5]),
            img_ids=torch.zeros(6, 3),
            txt_ids=torch.zeros(3, 3),
        )
    weights = rec["diffusers.models.attention_dispatch:_native_attention"]["weights"]
    assert [record.layer for record in weights.records] == [
        "transformer_blocks.0.attn",
        "single_transformer_blocks.0.attn",
        "single_transformer_blocks.1.attn",
    ]
    assert_all_are_found(model, rec)
    for value in weights:
        assert value.shape == (1, 2, 9, 9)
        torch.testing.assert_close(value.sum(-1), torch.ones(1, 2, 9))
