"""Writes docs/models.md from the tables that the tests run: ``python tests/models/models_page.py``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from architectures import ARCHITECTURES, UNCAPTURED, UNDER_SDPA, Architecture, averaged, sliding, unflattened
from test_timm import MIXED, MODELS

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
LIBRARIES = ("torch", "transformers", "timm", "torchvision", "open_clip_torch", "diffusers")
LAYOUTS = {
    unflattened: "batch and heads are one axis",
    sliding: "in the encoder, the axis of tokens is before the axis of heads, and is padded to whole windows",
    averaged: "each head by itself; `output_attentions` returns the mean over heads, repeated for each head",
}

TEXT = """\
# Models

This page lists the models whose attention maps are tested, with one section for each [recipe](recipes.md). Other
models of these libraries may work too: run one and look at `astcapture.cache.summary()`.

| library | recipe | tested |
| --- | --- | --- |
| transformers {transformers} | `@hf-attention` | {sdpa} architectures with SDPA, the default; flex and flash |
| transformers {transformers} | `@hf-attention-eager` | {count} architectures with `attn_implementation="eager"` |
| timm {timm} | `@timm-attention` | {timm_count} models, fused and not |
| torchvision {torchvision} | `@torchvision-attention` | ViT, Swin, Swin V2, MaxViT, Video Swin, MViT |
| open_clip {open_clip_torch} | `@open-clip-attention` | both towers of CLIP |
| diffusers {diffusers} | `@diffusers-attention` | `UNet2DConditionModel`, `FluxTransformer2DModel` |

The tests use torch {torch}. `python tests/models/models_page.py` writes this page from the tables that
`pytest tests/models` runs. A test fails if the two differ.

## transformers, `@hf-attention`

Under `attn_implementation="sdpa"`, the default, the fused kernel never builds the weights; `@hf-attention` recomputes
them. In float32 they are within 1e-5 of the weights of the eager path, for these {sdpa} architectures:

{sdpa_names}.

Most of the other architectures below have no SDPA path: use `@hf-attention-eager`.

With `attn_implementation="flex_attention"`, the maps of llama, mistral (sliding window), gemma2 (soft cap) and qwen3
are within 1e-5 of the eager ones, with and without padding. With `"flash_attention_2"`, those of the same models, bert,
modernbert and gpt_oss (attention sinks) are; flash attention needs a GPU, so a stand-in with its documented functions
ran in these tests, not the kernel. Continuous batching was tested with `"paged|eager"`, `"sdpa"` and the stand-in.

## transformers, `@hf-attention-eager`

Each model is small, has random weights and `attn_implementation="eager"`, and runs with `output_attentions=True`. The
captured weights must equal the returned ones bit for bit, layer by layer and in order, and nothing else may be
captured except as noted below. This is true for {count} architectures, for the pretrained all-MiniLM-L6-v2, and for
each step of `generate()` with GPT-2, Llama, Mixtral (decoders with a cache) and T5.

| kind | architectures |
| --- | --- |
{kinds}

In some of them, more is captured than `output_attentions` returns ("also"), or the axes differ:

| architecture | what is captured |
| --- | --- |
{notes}

These are not captured, or differ in another way:

| architecture | why |
| --- | --- |
{reasons}

## timm, `@timm-attention`

Each model is small and has random weights. It runs once after `timm.layers.set_fused_attn(False)` and once fused.
There is one map for each attention module, every row sums to one, and the recomputed weights of the fused model are
within 1e-5 of the maps of the unfused one:

{timm_models}.

The exception is `{mixed}` of CaiT. It mixes the heads after the softmax, so its rows do not sum to one, and it has no
fused path. For ViT and DeiT, a test also checks that the map times the values gives the output of the module.

## torchvision, `@torchvision-attention`

- `VisionTransformer` (`vit_b_16`) calls `nn.MultiheadAttention` with `need_weights=False`. Its weights are
  recomputed, and are within 1e-5 of those that the module returns with `need_weights=True`. In eval mode without
  gradients it runs in C++, which Python cannot see: call `torch.backends.mha.set_fastpath_enabled(False)` first.
- For `SwinTransformer` with blocks of version 1 and 2, `MaxVit`, Video Swin (`SwinTransformer3d`) and `MViT`, every
  row of every map sums to one.

## open_clip, `@open-clip-attention`

- The weights of both towers of a small CLIP are captured under their layers. Every row sums to one, and in the text
  tower no token attends to a later one.
- For open_clip's own `Attention`, the weights times the values give its output. In this version, its branch without
  fused attention fails in `torch.bmm`, and so does scaled cosine attention.

## diffusers, `@diffusers-attention`

- A small `UNet2DConditionModel` runs with the processors `AttnProcessor` and `AttnProcessor2_0`. The weights
  recomputed for the second are within 1e-5 of the maps of the first, in each of its eight attention modules.
- A small `FluxTransformer2DModel` is captured where it dispatches its attention.
- For the other processors, a test only checks that they have the captured name.
"""


def page() -> str:
    """The page as it should be, for the versions installed here."""
    kinds: dict[str, list[str]] = {}
    for one in captured():
        kinds.setdefault(one.kind, []).append(one.model_type)
    return TEXT.format(
        **{name: version(name).partition("+")[0] for name in LIBRARIES},
        count=len(captured()),
        kinds="\n".join(f"| {kind} | {', '.join(sorted(names))} |" for kind, names in kinds.items()),
        notes="\n".join(f"| {one.model_type} | {about(one)} |" for one in captured() if about(one)),
        reasons="\n".join(
            [f"| {one.model_type} | {one.differs} |" for one in ARCHITECTURES if one.differs]
            + [f"| {one.model_type} | {one.why} |" for one in UNCAPTURED]
        ),
        sdpa=len(UNDER_SDPA),
        sdpa_names=", ".join(sorted(UNDER_SDPA)),
        timm_count=len(MODELS),
        timm_models=", ".join(f"`{name}`" for name in MODELS),
        mixed="`, `".join(MIXED),
    )


def captured() -> list[Architecture]:
    return [one for one in ARCHITECTURES if not one.differs]


def about(one: Architecture) -> str:
    """What sets the captures apart from what `output_attentions` returns; "" for most."""
    parts = [LAYOUTS[one.layout]] if one.layout is not None else []
    if one.beyond[0]:
        parts.append(f"also: {one.beyond[1]}")
    return "; ".join([*parts, *filter(None, [one.note])])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
