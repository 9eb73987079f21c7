"""A library with tests of its own: where they lie, and what is captured while they run."""

from __future__ import annotations

from dataclasses import dataclass

#: What is captured, by the name of the mode.
CAPTURES = {"all": "*", "assign": "*@assign"}
MODES = (*CAPTURES, "recipes")


@dataclass(frozen=True)
class Library:
    """The test files of a library and the modules that each tests; ``{name}`` is what a file is about."""

    #: Below the folder with the tests.
    file: str
    #: Modules, with wildcards.
    modules: tuple[str, ...]
    #: The recipes that know its attention.
    recipes: tuple[str, ...]
    #: The subjects whose tests are run when none is named.
    names: tuple[str, ...]
    #: Whether it needs torch.
    torch: bool = True

    def file_of(self, name: str) -> str:
        return self.file.format(name=name)

    def targets(self, name: str, mode: str) -> str:
        """What ``ASTCAPTURE`` is set to."""
        if mode == "recipes":
            return ";".join(self.recipes)
        return ";".join(f"{module.format(name=name)}:*={CAPTURES[mode]}" for module in self.modules)


LIBRARIES = {
    "transformers": Library(
        file="tests/models/{name}/test_modeling_{name}.py",
        modules=("transformers.models.{name}.modeling_*",),
        recipes=("@hf-attention", "@hf-attention-eager"),
        names=(
            # decoders: grouped queries, sliding windows, ALiBi, one projection for q, k and v, no attention at all
            *("llama", "mistral", "qwen3", "gemma2", "cohere2", "phi3", "gpt2", "gpt_neox", "opt", "bloom", "mamba"),
            # mixtures of experts
            *("mixtral", "gpt_oss", "deepseek_v3"),
            # encoders
            *("bert", "albert", "distilbert", "electra", "deberta_v2", "modernbert", "longformer"),
            # encoder and decoder
            *("t5", "bart", "pegasus"),
            # images
            *("vit", "deit", "dinov2", "vit_mae", "swin", "segformer", "convnext", "videomae", "yolos"),
            # sound
            *("sew", "whisper", "hubert", "audio_spectrogram_transformer"),
            # several of them
            *("clip", "siglip", "blip", "git", "llava"),
        ),
    ),
    # Its own tests of the compiler; what is captured is the tests' own functions, which are what it compiles.
    "torch": Library(
        file="test/dynamo/test_{name}.py",
        modules=("*test_{name}",),
        recipes=(),
        names=(
            *("functions", "repros", "misc", "modules", "higher_order_ops", "activation_checkpointing", "hooks"),
            *("autograd_function", "ctx_manager", "exceptions", "decorators", "subclasses", "aot_autograd", "export"),
            *("unspec", "global", "input_attr_tracking", "interop", "modes", "optimizers", "python_autograd"),
            *("recompiles", "reconstruct", "sdpa", "subgraphs", "view", "model_output", "resume", "backends", "nops"),
            *("pre_dispatch", "base_output", "comptime", "debug_utils", "profiler", "graph_deduplication", "sources"),
        ),
    ),
    "timm": Library(
        file="tests/{name}.py",
        modules=("timm.models.*", "timm.layers.*"),
        recipes=("@timm-attention",),
        names=("test_layers", "test_layers_drop", "test_layers_pool", "test_layers_pos_embed", "test_model_input"),
    ),
}
