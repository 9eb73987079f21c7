"""open_clip: the weights of both towers, whichever attention they are built of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from named import assert_all_are_found

MHA = "torch.nn.functional:multi_head_attention_forward"


@pytest.fixture
def python_path() -> Iterator[None]:
    """In eval mode without gradients the module takes a path in C++ unless it is told not to."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def clip(**options):
    from open_clip.model import CLIP

    torch.manual_seed(0)
    vision = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8, **options}
    text = {"context_length": 6, "vocab_size": 30, "width": 16, "heads": 2, "layers": 2, **options}
    return CLIP(8, vision, text).eval()


def run(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model(torch.randn(3, 3, 16, 16, generator=generator), torch.randint(1, 29, (3, 6), generator=generator))


def test_the_standard_towers_are_captured_where_torch_computes_their_attention(rec, python_path):
    model = clip()
    run(model)
    assert_all_are_found(model, rec)
    by_layer = rec[MHA]["weights"].by_layer()
    assert list(by_layer) == [
        "visual.transformer.resblocks.0.attn",
        "visual.transformer.resblocks.1.attn",
        "transformer.resblocks.0.attn",
        "transformer.resblocks.1.attn",
    ]
    for layer, weights in by_layer.items():
        tokens = 5 if layer.startswith("visual") else 6
        assert weights[0].shape == (3, 2, tokens, tokens)
        torch.testing.assert_close(weights[0].sum(-1), torch.ones(3, 2, tokens))
    assert by_layer["transformer.resblocks.0.attn"][0].triu(1).count_nonzero() == 0  # the text is causal


def test_the_weights_of_its_own_attention_times_the_values_are_what_it_returns(rec):
    from open_clip.transformer import Attention

    torch.manual_seed(0)
    attention = Attention(16, 2).eval()
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        returned = attention(x)
        weights = rec["open_clip.transformer:Attention.forward"]["weights"][0]
        values = torch.nn.functional.linear(x, attention.in_proj_weight[32:], attention.in_proj_bias[32:])
        values = values.reshape(2, 5, 2, 8).transpose(1, 2)
        expected = attention.out_proj((weights @ values).transpose(1, 2).reshape(2, 5, 16))
    torch.testing.assert_close(returned, expected, rtol=0, atol=1e-5)
    assert_all_are_found(attention, rec)
