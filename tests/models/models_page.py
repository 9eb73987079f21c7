"""Writes docs/models.md from the tables that the tests run: ``python tests/models/models_page.py``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from architectures import ARCHITECTURES, UNCAPTURED, UNDER_SDPA, Architecture, averaged, sliding, unflattened
from test_timm import MIXED, MODELS

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
LIBRARIES = ("torch", "transformers", "timm", "torchvision", "open_clip_torch", "diffusers")
LAYOUTS = {
    unflattened: "batch and heads in one axis",
    sliding: "encoder: tokens before heads, padded to whole windows",
    averaged: "the mean over heads",
}

TEXT = """\
# Models that are captured

Written by `python tests/models/models_page.py` from the tables that `pytest tests/models` runs; a test fails where the
two differ. Checked with torch {torch}, transformers {transformers}, timm {timm} and torchvision {torchvision}.

## transformers, `@hf-attention-eager`

Each model is built small with random weights and `attn_implementation="eager"`, and run with
`output_attentions=True`. What is captured must equal what it returns bit for bit, layer by layer in order, and nothing
may be captured that the table does not tell of. {count} architectures do; so does the pretrained all-MiniLM-L6-v2, and
each step of `generate()` with GPT-2, Llama, Mixtral (decoders with a cache) and T5.

| kind | architectures |
| --- | --- |
{kinds}

What to know of some of them:

| architecture | what is captured |
| --- | --- |
{notes}

What is not captured, or not as it is returned:

| architecture | why |
| --- | --- |
{reasons}

Under `attn_implementation="sdpa"`, the default, the eager function is not called: `@hf-attention` computes the
weights. They are within 1e-5 of those of the eager path, in float32, for {sdpa} of these architectures: {sdpa_names}.
Most of the others have no SDPA path; of flash attention nothing is recorded.

## timm, `@timm-attention`

Built small with random weights, once after `timm.layers.set_fused_attn(False)` and once fused. There is one map for
each attention module, every row sums to one, and the weights of the fused model are within 1e-5 of the unfused maps:
{timm_models}.
The exception is `{mixed}` of CaiT, which mixes the heads after the softmax (its rows sum to anything) and has no
fused path. For ViT and DeiT the map times the values is checked to give what the module returns.

## torchvision, `@torchvision-attention`

Every row of every map sums to one for `SwinTransformer`, with blocks of version 1 and 2, and `MaxVit`.
`VisionTransformer` (`vit_b_16`) calls `nn.MultiheadAttention` with `need_weights=False`: its weights are computed, and
within 1e-5 of what the module returns when it is asked. In eval mode without gradients it takes a path in C++ that
no Python sees: call `torch.backends.mha.set_fastpath_enabled(False)`. Every row of
the maps of Video Swin (`SwinTransformer3d`) and `MViT` sums to one too.

## open_clip, `@open-clip-attention`

open_clip {open_clip_torch}: the weights of both towers of a small CLIP are there under their layers, every row sums to
one, and those of the text look at no later token. The weights of its own `Attention` times the values are what it
returns. Its branch without fused attention stops in `torch.bmm` in this version, and scaled cosine attention with it.

## diffusers, `@diffusers-attention`

diffusers {diffusers}: a small `UNet2DConditionModel` is run with the processors `AttnProcessor` and `AttnProcessor2_0`;
the weights computed for the second are within 1e-5 of the maps of the first, in each of its eight attentions by name.
A small `FluxTransformer2DModel` is captured where it dispatches its attention. Of the other processors it is checked
that they bind the name.
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
        timm_models=",\n".join(f"`{name}`" for name in MODELS),
        mixed="`, `".join(MIXED),
    )


def captured() -> list[Architecture]:
    return [one for one in ARCHITECTURES if not one.differs]


def about(one: Architecture) -> str:
    """What sets the captures apart from what `output_attentions` returns; "" for most."""
    parts = [LAYOUTS[one.layout]] if one.layout is not None else []
    if one.beyond[0]:
        parts.append(f"beyond what is returned: {one.beyond[1]}")
    return "; ".join([*parts, *filter(None, [one.note])])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
