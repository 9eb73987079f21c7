"""The architectures of transformers that are captured with ``@hf-attention-eager``: small configurations and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Inputs = Callable[[], dict[str, Tensor]]


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        model_type: as `AutoConfig.for_model` takes it.
        kind: the family under which the documentation lists it.
        config: what differs from the model's own defaults, which are large.
        inputs: makes the model's arguments.
        layout: undoes what the model does to the weights between their use and `output_attentions`;
            takes a captured tensor and the returned one.
        beyond: captures that `output_attentions` does not return, and what they are.
        differs: why some captures do not equal what `output_attentions` returns, or "".
        note: what else there is to know.
    """

    model_type: str
    kind: str
    config: Mapping[str, Any]
    inputs: Inputs
    layout: Callable[[Tensor, Tensor], Tensor] | None = None
    beyond: tuple[int, str] = (0, "")
    differs: str = ""
    note: str = ""


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


_IDS = torch.tensor([[1, 5, 9, 3, 7, 4, 11, 8], [1, 6, 2, 12, 33, 14, 5, 3]])


def text() -> dict[str, Tensor]:
    return {"input_ids": _IDS}


def pair() -> dict[str, Tensor]:
    return {"input_ids": _IDS, "decoder_input_ids": _IDS[:, :5]}


def image() -> dict[str, Tensor]:
    return {"pixel_values": _random(2, 3, 32, 32)}


def film() -> dict[str, Tensor]:
    return {"pixel_values": _random(1, 4, 3, 32, 32)}


def wave() -> dict[str, Tensor]:
    return {"input_values": _random(2, 1600)}


def text_and_image() -> dict[str, Tensor]:
    return {**text(), **image()}


def text_and_regions() -> dict[str, Tensor]:
    return {**text(), "visual_feats": _random(2, 3, 16), "visual_pos": _random(2, 3, 4)}


def speech_and_text() -> dict[str, Tensor]:
    return {"input_features": _random(2, 8, 40), "decoder_input_ids": _IDS[:, :5]}


def frames_and_text() -> dict[str, Tensor]:
    return {"input_features": _random(2, 40, 8), "decoder_input_ids": _IDS[:, :5]}


def prompt_with_image() -> dict[str, Tensor]:
    return {"input_ids": torch.cat([torch.full((2, 16), 63), _IDS], 1), **image()}


_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA = {**_BERT, "num_key_value_heads": 2, "head_dim": 8}
_MOE = {
    **_LLAMA,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
_GPTJ = {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "vocab_size": 64, "n_positions": 64}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64}
_GPT_NEO = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "vocab_size": 64,
    "max_position_embeddings": 64,
}
_DEEPSEEK = {
    **_BERT,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
}
_BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
_T5 = {
    "d_model": 32,
    "d_kv": 8,
    "num_heads": 4,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "d_ff": 48,
    "vocab_size": 64,
    "decoder_start_token_id": 0,
}
_PROPHETNET = {
    "hidden_size": 32,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 64,
    "max_position_embeddings": 64,
}
_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
_SWIN = {
    "embed_dim": 16,
    "depths": [1, 1],
    "num_heads": [2, 4],
    "window_size": 4,
    "image_size": 32,
    "patch_size": 2,
}
_HIERA = {
    "embed_dim": 16,
    "image_size": [32, 32],
    "patch_size": [7, 7],
    "patch_stride": [4, 4],
    "patch_padding": [3, 3],
    "depths": [1, 1],
    "num_heads": [2, 4],
    "masked_unit_size": [4, 4],
    "query_stride": [2, 2],
    "num_query_pool": 1,
}
_SEGFORMER = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [16, 32],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [2, 4],
    "mlp_ratios": [2, 2],
}
_PVT = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 32], "num_attention_heads": [1, 2, 2, 4]}
_MAE = {
    **_VIT,
    "decoder_hidden_size": 32,
    "decoder_num_attention_heads": 4,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 48,
}
_WAV2VEC2 = {
    **_BERT,
    "conv_dim": (32, 32),
    "conv_kernel": (8, 4),
    "conv_stride": (8, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
_WHISPER = {
    **_BART,
    "num_mel_bins": 8,
    "max_source_positions": 20,
    "max_target_positions": 20,
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
}
_SPEECH_TO_TEXT = {
    **_BART,
    "input_feat_per_channel": 8,
    "conv_channels": 16,
    "max_source_positions": 40,
    "max_target_positions": 20,
}
_TWO_TOWERS = {"text_config": _BERT, "vision_config": _VIT}
_LLAVA = {
    "text_config": {**_LLAMA, "model_type": "llama"},
    "vision_config": {**_VIT, "model_type": "clip_vision_model"},
    "image_token_id": 63,
    "vision_feature_layer": -1,
}
_LXMERT = {**_BERT, "l_layers": 1, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 16}
_DECISION = {"state_dim": 4, "act_dim": 2, "hidden_size": 32, "n_layer": 2, "n_head": 4, "max_ep_len": 32}
_PATCHTST = {
    "d_model": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "ffn_dim": 48,
    "context_length": 32,
    "patch_length": 8,
    "patch_stride": 8,
    "num_input_channels": 2,
}


def _decisions() -> dict[str, Tensor]:
    return {
        "states": _random(1, 4, 4),
        "actions": _random(1, 4, 2),
        "rewards": _random(1, 4, 1),
        "returns_to_go": _random(1, 4, 1),
        "timesteps": torch.arange(4)[None],
    }


def unflattened(captured: Tensor, returned: Tensor) -> Tensor:
    """Batch and heads in two axes, where the model uses them in one."""
    return captured.view(returned.shape) if captured.numel() == returned.numel() else captured


def averaged(captured: Tensor, returned: Tensor) -> Tensor:
    """The mean over heads, once for each head."""
    return captured.mean(1, keepdim=True).expand(returned.shape)


def sliding(captured: Tensor, returned: Tensor) -> Tensor:
    """Heads before tokens, and without the padding to whole windows."""
    if captured.dim() == 3:
        return unflattened(captured, returned)
    return captured if captured.shape == returned.shape else captured.transpose(1, 2)[:, :, : returned.shape[2]]


_VISION_TOWER = (2, "the image encoder's")
_SCORES = "output_attentions returns the scores before the softmax, and the weights are captured"


def _rows(kind: str, names: str, config: Mapping[str, Any], inputs: Inputs) -> list[Architecture]:
    return [Architecture(name, kind, config, inputs) for name in names.split()]


_A = Architecture
ARCHITECTURES: list[Architecture] = [
    *_rows(
        "encoder",
        "albert bert camembert canine convbert data2vec-text deberta deberta-v2 distilbert electra ernie esm "
        "eurobert flaubert ibert layoutlm markuplm megatron-bert mobilebert modernbert mpnet nomic_bert nystromformer "
        "rembert roberta roc_bert roformer splinter tapas xlm xlm-roberta",
        _BERT,
        text,
    ),
    _A("big_bird", "encoder", {**_BERT, "attention_type": "original_full"}, text),
    _A("longformer", "encoder", {**_BERT, "attention_window": 8}, text, sliding),
    _A("squeezebert", "encoder", {**_BERT, "embedding_size": 32}, text, differs=_SCORES),
    _A("xlnet", "encoder", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "vocab_size": 64}, text),
    *_rows(
        "decoder",
        "arcee biogpt bloom cohere ctrl ernie4_5 gemma gemma2 gemma3_text glm glm4 gpt_bigcode gpt_neox "
        "gpt_neox_japanese granite helium hunyuan_v1_dense llama mistral mpt nemotron olmo olmo2 openai-gpt opt "
        "persimmon phi phi3 qwen2 qwen3 seed_oss smollm3 stablelm starcoder2",
        _LLAMA,
        text,
    ),
    *_rows("decoder", "codegen gptj", _GPTJ, text),
    *_rows("decoder", "gpt2 imagegpt", _GPT2, text),
    _A("gpt_neo", "decoder", _GPT_NEO, text),
    _A("falcon", "decoder", {**_BERT, "alibi": True}, text),
    _A("xglm", "decoder", _LLAMA, text, unflattened),
    _A("diffllama", "decoder", _LLAMA, text, beyond=(2, "the same weights again, for the other half of the values")),
    _A("decision_transformer", "decoder", _DECISION, _decisions),
    *_rows(
        "mixture of experts",
        "flex_olmo granitemoe jetmoe mixtral olmoe phimoe qwen2_moe qwen3_moe",
        _MOE,
        text,
    ),
    _A("gpt_oss", "mixture of experts", {**_LLAMA, "num_local_experts": 4}, text),
    _A("deepseek_v3", "mixture of experts", _DEEPSEEK, text),
    _A("switch_transformers", "mixture of experts", {**_T5, "num_experts": 2}, pair),
    _A("nllb-moe", "mixture of experts", {**_BART, "num_experts": 2}, pair),
    *_rows("encoder and decoder", "bart blenderbot m2m_100 marian mbart pegasus plbart", _BART, pair),
    *_rows("encoder and decoder", "longt5 mt5 t5 umt5", _T5, pair),
    _A("bigbird_pegasus", "encoder and decoder", {**_BART, "attention_type": "original_full"}, pair),
    _A("led", "encoder and decoder", {**_BART, "attention_window": 8}, pair, sliding),
    _A("mvp", "encoder and decoder", _BART, pair, unflattened),
    _A(
        "fsmt",
        "encoder and decoder",
        {**_BART, "langs": ["a", "b"], "src_vocab_size": 64, "tgt_vocab_size": 64},
        pair,
        unflattened,
    ),
    _A("prophetnet", "encoder and decoder", _PROPHETNET, pair, differs=_SCORES + ", but for the n-gram decoder"),
    *_rows("vision", "beit data2vec-vision deit dinov2 dinov3_vit ijepa vit vit_msn", _VIT, image),
    *_rows("vision", "swin swinv2", _SWIN, image),
    _A("hiera", "vision", _HIERA, image),
    _A("pvt_v2", "vision", _PVT, image),
    _A("segformer", "vision", _SEGFORMER, image),
    _A("vit_mae", "vision", _MAE, image),
    _A("yolos", "vision", {**_VIT, "image_size": [32, 32], "num_detection_tokens": 4}, image),
    _A("timesformer", "video", {**_VIT, "num_frames": 4}, film, beyond=(2, "those over time, beside those over space")),
    _A("videomae", "video", {**_VIT, "num_frames": 4, "tubelet_size": 2}, film),
    _A("vivit", "video", {**_VIT, "num_frames": 4, "tubelet_size": [2, 8, 8]}, film),
    *_rows("audio", "data2vec-audio hubert sew unispeech unispeech-sat wav2vec2", _WAV2VEC2, wave),
    _A("wavlm", "audio", _WAV2VEC2, wave, averaged, note="with `@torch-mha`; it returns the mean once for each head"),
    _A(
        "audio-spectrogram-transformer",
        "audio",
        {**_VIT, "num_mel_bins": 16, "max_length": 24},
        lambda: {"input_values": _random(2, 24, 16)},
    ),
    _A("whisper", "audio", _WHISPER, speech_and_text),
    _A("speech_to_text", "audio", _SPEECH_TO_TEXT, frames_and_text),
    _A("patchtst", "time series", _PATCHTST, lambda: {"past_values": _random(2, 32, 2)}),
    *_rows("multimodal", "altclip chinese_clip clip", _TWO_TOWERS, text_and_image),
    _A("siglip", "multimodal", _TWO_TOWERS, text_and_image, beyond=(1, "the pooling head's, with `@torch-mha`")),
    _A("git", "multimodal", {**_BERT, "vision_config": _VIT}, text_and_image, beyond=_VISION_TOWER),
    _A("llava", "multimodal", _LLAVA, prompt_with_image, beyond=_VISION_TOWER),
    _A("lxmert", "multimodal", _LXMERT, text_and_regions, beyond=(3, "the cross layer's other three")),
    _A("vilt", "multimodal", {**_BERT, **_VIT}, text_and_image),
    _A(
        "visual_bert",
        "multimodal",
        {**_BERT, "visual_embedding_dim": 16},
        lambda: {**text(), "visual_embeds": _random(2, 3, 16)},
    ),
]

#: Those whose weights under SDPA are compared with the eager path's.
UNDER_SDPA = [
    "albert",
    "bert",
    "camembert",
    "data2vec-text",
    "distilbert",
    "electra",
    "ernie",
    "esm",
    "eurobert",
    "layoutlm",
    "mobilebert",
    "modernbert",
    "nomic_bert",
    "roberta",
    "roc_bert",
    "xlm-roberta",
    "arcee",
    "biogpt",
    "cohere",
    "ctrl",
    "ernie4_5",
    "gemma",
    "gemma3_text",
    "glm",
    "glm4",
    "gpt_bigcode",
    "gpt_neox",
    "granite",
    "helium",
    "hunyuan_v1_dense",
    "llama",
    "mistral",
    "nemotron",
    "olmo",
    "olmo2",
    "opt",
    "persimmon",
    "phi",
    "phi3",
    "qwen2",
    "qwen3",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder2",
    "gpt2",
    "diffllama",
    "decision_transformer",
    "flex_olmo",
    "granitemoe",
    "jetmoe",
    "mixtral",
    "olmoe",
    "phimoe",
    "qwen2_moe",
    "qwen3_moe",
    "deepseek_v3",
    "bart",
    "blenderbot",
    "m2m_100",
    "marian",
    "mbart",
    "pegasus",
    "plbart",
    "mt5",
    "t5",
    "umt5",
    "beit",
    "deit",
    "dinov2",
    "dinov3_vit",
    "ijepa",
    "vit",
    "vit_msn",
    "swin",
    "segformer",
    "vit_mae",
    "yolos",
    "videomae",
    "vivit",
    "data2vec-audio",
    "hubert",
    "sew",
    "unispeech",
    "unispeech-sat",
    "wav2vec2",
    "audio-spectrogram-transformer",
    "whisper",
    "patchtst",
    "altclip",
    "chinese_clip",
    "clip",
]


@dataclass(frozen=True)
class Uncaptured:
    """An architecture that gives no attention map, and why."""

    model_type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


#: Nothing is recorded of these, and the reason.
UNCAPTURED = [
    Uncaptured("fnet", _BERT, "a Fourier transform mixes the tokens: there are no weights"),
    Uncaptured("mamba", _BERT, "a state-space model: there are no weights"),
    Uncaptured("rwkv", _BERT, "a linear recurrence: there are no weights between two tokens"),
    Uncaptured("mra", _BERT, "a sparse approximation in blocks, of which no map is made"),
]
