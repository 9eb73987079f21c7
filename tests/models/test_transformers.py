"""transformers: what is captured of the eager path is what `output_attentions` returns, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from architectures import ARCHITECTURES, UNCAPTURED, UNDER_SDPA, Architecture, Uncaptured, text
from named import assert_all_are_found
from torch import Tensor

import astcapture
from astcapture.values.cache import Cache

Compare = Callable[[Tensor, Tensor], bool]


def build(one: Architecture | Uncaptured, **attention: str) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(one.model_type, **one.config)
    return AutoModel.from_config(config, **attention).eval()


def returned(output: object) -> list[list[Tensor]]:
    """The attention weights in a model's output, one list for each of its fields, layers in order."""
    found = []
    for name, value in output.items():
        if "attention" in name:
            found.append(list(tensors(value)))
        elif hasattr(value, "items"):
            found += returned(value)  # CLIP's output holds those of its two encoders
    return found


def tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors(one)


def captured_in(rec: Cache) -> list[Tensor]:
    """In call order, which is the order of the layers, function by function."""
    return [value for records in rec.values() for value in records]


def equals(one: Architecture, captured: Tensor, expected: Tensor, compare: Compare) -> bool:
    if one.layout is not None:
        captured = one.layout(captured, expected)
    return captured.shape == expected.shape and compare(captured, expected)


def matched(
    one: Architecture, captured: list[Tensor], groups: list[list[Tensor]], compare: Compare = torch.equal
) -> tuple[list[int], int]:
    """The captures that equal a returned tensor, each used once and in order within a group; and how many
    returned tensors none equals."""
    used: list[int] = []
    missing = 0
    for group in groups:
        last = -1
        for expected in group:
            hits = (index for index in range(last + 1, len(captured)) if index not in used)
            index = next((index for index in hits if equals(one, captured[index], expected, compare)), None)
            if index is None:
                missing += 1
            else:
                last = index
                used.append(index)
    return used, missing


@pytest.mark.parametrize("one", ARCHITECTURES, ids=lambda one: one.model_type)
def test_captures_equal_what_output_attentions_returns(one, rec):
    model = build(one, attn_implementation="eager")
    with torch.no_grad():
        groups = returned(model(**one.inputs(), output_attentions=True))
    captured = captured_in(rec)
    assert_all_are_found(model, rec)
    used, missing = matched(one, captured, groups)
    if one.differs:
        assert missing > 0  # once it is none, the table has to say so
        scores = [[tensor.softmax(-1) for tensor in group] for group in groups]
        assert missing == sum(map(len, groups)) - len(used)
        assert len(used) + len(matched(one, captured, scores, torch.allclose)[0]) == len(captured)
        return
    assert groups and missing == 0
    assert len(captured) - len(used) == one.beyond[0]


@pytest.mark.parametrize("one", UNCAPTURED, ids=lambda one: one.model_type)
def test_what_makes_no_map_gives_none(one, rec):
    model = build(one)
    with torch.no_grad():
        model(**text())
    assert captured_in(rec) == []


def under(one: Architecture, attention: str) -> list[tuple[str, Tensor]]:
    """What a model of the table gives with one implementation of attention: labels and values, in call order."""
    model = build(one, attn_implementation=attention)
    with astcapture.recording() as rec, torch.no_grad():
        model(**one.inputs())
    return [(record.label, record.value) for records in rec.values() for record in records.records]


@pytest.mark.parametrize(
    "one", [one for one in ARCHITECTURES if one.model_type in UNDER_SDPA], ids=lambda one: one.model_type
)
def test_the_weights_under_sdpa_are_those_of_the_eager_path(one):
    eager, fused = under(one, "eager"), under(one, "sdpa")
    assert {label for label, _ in eager} == {"attn_weights"}
    assert {label for label, _ in fused} == {"weights"}
    assert len(eager) == len(fused) > 0
    for (_, attn), (_, weights) in zip(eager, fused, strict=True):
        torch.testing.assert_close(weights, attn, rtol=0, atol=1e-5)


_SAM = {"image_size": 32, "patch_size": 4, "window_size": 3, "global_attn_indexes": [1], "output_channels": 8}
_SAM |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 16}


@pytest.mark.parametrize("name", ["SamVision", "SamHQVision", "Data2VecVision"])
def test_classes_that_call_the_fused_kernel_themselves_give_the_weights_of_the_eager_path(name):
    import transformers

    one = next(one for one in ARCHITECTURES if one.model_type == "data2vec-vision")
    config = getattr(transformers, f"{name}Config")(**(one.config if name == "Data2VecVision" else _SAM))
    found = {}
    for attention in ("eager", "sdpa"):
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}Model")._from_config(config, attn_implementation=attention).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)  # positions relative to the query start at zero
        with astcapture.attention(model) as maps, torch.no_grad():
            model(**one.inputs())
        found[attention] = list(maps)
    assert len(found["eager"]) == len(found["sdpa"]) == 2
    for attn, weights in zip(found["eager"], found["sdpa"], strict=True):
        torch.testing.assert_close(weights.reshape(attn.shape), attn, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "mixtral"])
def test_each_step_of_a_generation_is_captured(model_type, rec):
    from transformers import AutoConfig, AutoModelForCausalLM

    one = next(one for one in ARCHITECTURES if one.model_type == model_type)
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **one.config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    prompt = text()["input_ids"]
    done = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=4,
        min_new_tokens=4,
        do_sample=False,
        pad_token_id=0,
        output_attentions=True,
        return_dict_in_generate=True,
    )
    captured = captured_in(rec)
    expected = list(tensors(done.attentions))
    assert len(captured) == len(expected) == 4 * 2
    assert all(map(torch.equal, captured, expected))
    assert [value.shape[-1] for value in captured[::2]] == [8, 9, 10, 11]


DECODERS = [
    one
    for one in ARCHITECTURES
    if one.model_type in UNDER_SDPA and one.kind in ("decoder", "mixture of experts") and one.inputs is text
]
GENERATIONS = {
    "plain": {},
    "padded": {},
    "beams": {"num_beams": 2},
    "sliding": {},
    "static": {"cache_implementation": "static"},
}


@pytest.mark.parametrize("how", GENERATIONS)
@pytest.mark.parametrize("one", DECODERS, ids=lambda one: one.model_type)
def test_each_step_of_a_generation_under_sdpa_is_what_the_eager_path_returns(one, how, rec):
    model = decoder(one, sliding=how == "sliding")
    if how == "static" and not model._can_compile_fullgraph:
        pytest.skip("it generates with no static cache")
    prompt = text()["input_ids"]
    mask = torch.ones_like(prompt)
    if how == "padded":
        mask[0, :3] = 0
    options = {
        "attention_mask": mask,
        "max_new_tokens": 4,
        "min_new_tokens": 4,
        "do_sample": False,
        "pad_token_id": 0,
        **GENERATIONS[how],
    }
    model.set_attn_implementation("eager")
    with astcapture.pause(), torch.no_grad():
        done = model.generate(prompt, output_attentions=True, return_dict_in_generate=True, **options)
    model.set_attn_implementation("sdpa")
    tokens = model.generate(prompt, **options)
    assert torch.equal(tokens, done.sequences)
    compare_steps(captured_in(rec), done.attentions, mask, again=1 + one.beyond[0] // 2)


def compare_steps(captured, attentions, mask, again=1):
    """Whether each step and layer was captured as it is returned; `again` is how often each layer makes its weights."""
    expected = [list(tensors(step)) for step in attentions]
    assert len(captured) == again * sum(map(len, expected))
    given = iter(captured[::again])
    for number, step in enumerate(expected):
        for returned_by_eager in step:
            value = next(given)
            assert value.shape == returned_by_eager.shape
            if number == 0:  # what padding looks at is of no account, and each path has its own
                kept = mask.bool().repeat_interleave(value.shape[0] // mask.shape[0], 0)
                value, returned_by_eager = (map_.transpose(1, 2)[kept] for map_ in (value, returned_by_eager))
            torch.testing.assert_close(value, returned_by_eager, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "mistral"])
def test_each_step_of_a_compiled_generation_under_sdpa_is_what_the_eager_path_returns(model_type, rec):
    one = next(one for one in ARCHITECTURES if one.model_type == model_type)
    model = decoder(one, sliding=model_type == "mistral")
    prompt = text()["input_ids"]
    mask = torch.ones_like(prompt)
    mask[0, :3] = 0
    options = {"attention_mask": mask, "max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    options["cache_implementation"] = "static"
    model.set_attn_implementation("eager")
    with astcapture.pause(), torch.no_grad():
        done = model.generate(prompt, output_attentions=True, return_dict_in_generate=True, **options)
    model.set_attn_implementation("sdpa")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model.forward = torch.compile(model.forward, backend="aot_eager", fullgraph=True)
    tokens = model.generate(prompt, **options)
    torch._dynamo.reset()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # the prompt, and each token after it
    assert torch.equal(tokens, done.sequences)
    compare_steps(captured_in(rec), done.attentions, mask)


ENCODERS_AND_DECODERS = [
    one for one in ARCHITECTURES if one.model_type in UNDER_SDPA and one.kind == "encoder and decoder"
]


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("one", ENCODERS_AND_DECODERS, ids=lambda one: one.model_type)
def test_each_step_of_an_encoder_decoder_generation_under_sdpa_is_captured(one, beams, rec):
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(one.model_type, **one.config)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "num_beams": beams}
    model.set_attn_implementation("eager")
    with astcapture.pause(), torch.no_grad():
        done = model.generate(text()["input_ids"], output_attentions=True, return_dict_in_generate=True, **options)
    model.set_attn_implementation("sdpa")
    assert torch.equal(model.generate(text()["input_ids"], **options), done.sequences)
    groups = [list(tensors(part)) for part in (done.encoder_attentions, done.decoder_attentions, done.cross_attentions)]
    captured = captured_in(rec)
    used, missing = matched(one, captured, groups, lambda value, other: torch.allclose(value, other, rtol=0, atol=1e-5))
    assert missing == 0 and len(used) == len(captured)


def decoder(one, sliding=False):
    """A model of the table that generates; with a window of three tokens, where it has windows."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(one.model_type, **one.config)
    if sliding and getattr(config, "sliding_window", None) is None:
        pytest.skip("it has no windows")
    if sliding:
        config.sliding_window = 3
    return AutoModelForCausalLM.from_config(config).eval()


def test_each_step_of_an_encoder_decoder_generation_is_captured(rec):
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    one = next(one for one in ARCHITECTURES if one.model_type == "t5")
    torch.manual_seed(0)
    config = AutoConfig.for_model("t5", **one.config)
    model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager").eval()
    done = model.generate(
        text()["input_ids"],
        max_new_tokens=3,
        min_new_tokens=3,
        do_sample=False,
        output_attentions=True,
        return_dict_in_generate=True,
    )
    groups = [list(tensors(part)) for part in (done.encoder_attentions, done.decoder_attentions, done.cross_attentions)]
    captured = captured_in(rec)
    used, missing = matched(one, captured, groups)
    assert missing == 0 and len(used) == len(captured)


SENTENCES = ["The cat sat on the mat.", "A dog chased it through the whole house!"]


def test_the_pretrained_minilm_is_captured_bit_for_bit(rec, minilm):
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(minilm)(SENTENCES, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = model(**tokens, output_attentions=True).attentions
    captured = rec["transformers.models.bert.modeling_bert:eager_attention_forward"]
    assert len(captured) == len(expected) == 6
    assert all(map(torch.equal, captured, expected))
    assert captured[0].shape == (2, 12, *[tokens["input_ids"].shape[1]] * 2)


def test_capturing_does_not_change_what_the_model_returns(rec, minilm):
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(minilm)(SENTENCES, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    with torch.no_grad():
        on = model(**tokens).last_hidden_state
        with astcapture.pause():
            off = model(**tokens).last_hidden_state
    assert torch.equal(on, off)


def test_what_transformers_exports_is_the_program_of_a_plain_run() -> None:
    from transformers import BertConfig, BertModel, GenerationConfig, LlamaConfig, LlamaForCausalLM
    from transformers.integrations.executorch import convert_and_export_with_cache

    small = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}

    def programs() -> list[str]:
        torch.manual_seed(0)
        llama = LlamaForCausalLM(LlamaConfig(**small, num_attention_heads=2, max_position_embeddings=32)).eval()
        llama.generation_config = GenerationConfig(
            use_cache=True,
            cache_implementation="static",
            max_length=16,
            cache_config={"batch_size": 1, "max_cache_len": 16, "device": "cpu"},
        )
        token = torch.ones(1, 1, dtype=torch.long)
        with_cache = convert_and_export_with_cache(
            llama, example_input_ids=token, example_cache_position=torch.tensor([0])
        )
        bert = BertModel(BertConfig(**small, num_attention_heads=2)).eval()
        tokens = torch.arange(4)[None]
        alone = torch.export.export(bert, (tokens,))
        assert torch.allclose(alone.module()(tokens)[0], bert(tokens)[0], atol=1e-5)
        return [str(one.graph_module.code) for one in (with_cache, alone)]

    plain = programs()
    targets = [
        *("transformers.models.llama.modeling_llama:*=*", "transformers.models.bert.modeling_bert:*=*"),
        *("transformers.integrations.sdpa_attention:*=*,weights@sdpa", "transformers.integrations.executorch:*=*"),
        *("transformers.cache_utils:*=*", "transformers.masking_utils:*=*"),
    ]
    with astcapture.install(targets), astcapture.recording() as rec:
        assert programs() == plain
        assert len(rec.select(label="attn_output")) > 0  # of the model that ran for comparison
        assert any("torch.export traces" in str(count.error) for _, count in rec.counts.items())
