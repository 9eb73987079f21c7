"""Models of transformers and timm entered beside `forward`: each map is of the layer that named_modules says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from astcapture.values.cache import Cache


def paths_of(model: nn.Module, kind: str) -> list[str]:
    return [path for path, module in model.named_modules() if type(module).__name__ == kind]


def by_model(rec: Cache) -> dict[str | None, list[str | None]]:
    found: dict[str | None, list[str | None]] = {}
    for record in rec.select().records:
        layers = found.setdefault(record.model, [])
        if record.layer not in layers:
            layers.append(record.layer)
    return found


def t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "vocab_size": 20}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)).eval()


def bart() -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    sizes = {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 20,
        "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    config = BartConfig(**sizes, decoder_start_token_id=2, attn_implementation="eager")
    return BartForConditionalGeneration(config).eval()


@pytest.mark.parametrize(("build", "kind"), [(t5, "T5Attention"), (bart, "BartAttention")])
def test_generate_that_runs_encoder_and_decoder_by_themselves_names_them_as_the_whole_does(
    build: Any, kind: str, rec: Cache
) -> None:
    model = build()
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        model(input_ids=ids, decoder_input_ids=ids)
        whole = by_model(rec)
        rec.clear()
        model.generate(ids, max_new_tokens=2, min_new_tokens=2, do_sample=False, num_beams=1)
        generated = by_model(rec)
        rec.clear()
        model.get_encoder()(ids)
        encoder = by_model(rec)
    name = type(model).__name__
    expected = set(paths_of(model, kind))
    assert set(whole) == set(generated) == set(encoder) == {name}
    assert set(whole[name]) == set(generated[name]) == expected
    assert set(encoder[name]) == {path for path in expected if "encoder" in path.split(".")}


def test_the_features_of_clip_are_of_the_layers_of_the_whole(rec: Cache) -> None:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 20, "max_position_embeddings": 8, "eos_token_id": 2},
        vision_config={**sizes, "image_size": 8, "patch_size": 4},
        projection_dim=8,
        attn_implementation="eager",
    )
    model = CLIPModel._from_config(config, attn_implementation="eager").eval()
    ids, pixels = torch.tensor([[3, 4, 2]]), torch.zeros(1, 3, 8, 8)
    expected = paths_of(model, "CLIPAttention")
    with torch.no_grad():
        model.get_text_features(input_ids=ids)
        assert by_model(rec) == {"CLIPModel": [path for path in expected if path.startswith("text_model")]}
        rec.clear()
        model.get_image_features(pixel_values=pixels)
        assert by_model(rec) == {"CLIPModel": [path for path in expected if path.startswith("vision_model")]}
        rec.clear()
        model(input_ids=ids, pixel_values=pixels)
    assert {layer for layers in by_model(rec).values() for layer in layers} == set(expected)


def llama(layers: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=20, max_position_embeddings=64, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()


def test_draft_and_target_of_assisted_generation_are_two_models(rec: Cache) -> None:
    target, draft = llama(2), llama(1)
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        target(ids), draft(ids)
        names = list(by_model(rec))
        rec.clear()
        target.generate(ids, assistant_model=draft, max_new_tokens=4, do_sample=False)
    assert len(names) == 2
    assert by_model(rec) == {
        names[1]: paths_of(draft, "LlamaAttention"),
        names[0]: paths_of(target, "LlamaAttention"),
    }
    layers = rec.select().by_layer()
    assert set(layers) == {
        *(f"{names[0]}:{path}" for path in paths_of(target, "LlamaAttention")),
        *(f"{names[1]}:{path}" for path in paths_of(draft, "LlamaAttention")),
    }
    for values in layers.values():
        assert [record.call for record in values.records] == list(range(len(values)))


def test_every_way_into_a_vit_of_timm_has_the_same_layers(rec: Cache) -> None:
    import timm

    torch.manual_seed(0)
    timm.layers.set_fused_attn(False)
    try:
        model = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=3, img_size=32, num_classes=5).eval()
    finally:
        timm.layers.set_fused_attn(True)
    x = torch.zeros(1, 3, 32, 32)

    def loop() -> None:
        h = model.norm_pre(model._pos_embed(model.patch_embed(x)))
        for block in model.blocks:
            h = block(h)

    expected = [path for path in paths_of(model, "Attention") if path.startswith("blocks")]
    ways = [
        lambda: model(x),
        lambda: model.forward_features(x),
        lambda: model.forward_intermediates(x),
        lambda: model.get_intermediate_layers(x, n=2),
        loop,
    ]
    for way in ways:
        rec.clear()
        with torch.no_grad():
            way()
        assert [record.layer for record in rec.select(label="attn").records] == expected
