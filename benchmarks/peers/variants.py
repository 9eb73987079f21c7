"""Who is compared: for each way to the attention maps, the very lines that the benchmark runs.

The lines a user must write are counted from these texts, so the count is of what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

PLAIN, BY_HAND, OURS = "plain model", "by hand, in the source", "astcapture"

#: What a user of any of them has already; it does not count.
GIVEN_LINES = {"model(pixels)"}

_MODULE = "transformers.models.vit.modeling_vit"
_INSTALL = "pip install -c constraints.txt -r benchmarks/peers_requirements.txt"
_CLONE = "git clone https://github.com/luo3300612/Visualizer, then pass --visualizer FOLDER"


@dataclass(frozen=True)
class Variant:
    """One way to the maps.

    `before` runs before the model's module is imported, `after` when `model` is built; `each` runs the model on
    `pixels` once and binds `maps`; `drop` forgets what was kept, for the next forward. `edits` are lines put into the
    model's own source, each before the first line that starts with its key. `module` is what must be importable.
    """

    name: str
    each: str
    before: str = ""
    after: str = ""
    drop: str = ""
    edits: tuple[tuple[str, str], ...] = ()
    module: str = ""
    distribution: str = ""
    missing: str = _INSTALL

    @property
    def lines(self) -> int:
        texts = [self.before, self.after, self.each, self.drop, *(line for _, line in self.edits)]
        written = [line.strip() for text in texts for line in text.splitlines()]
        return sum(bool(line) and line not in GIVEN_LINES for line in written)


def _decorated(module: str, key: str) -> dict[str, str]:
    return {
        "before": f"""
from {module} import get_local
get_local.activate()
from transformers.models.vit import modeling_vit
modeling_vit.eager_attention_forward = get_local("attn_weights")(modeling_vit.eager_attention_forward)
""",
        "each": f"""
model(pixels)
maps = list(get_local.cache["{key}"])
""",
        "drop": "get_local.clear()",
        "module": module,
    }


VARIANTS = (
    Variant(name=PLAIN, each="model(pixels)\n"),
    Variant(
        name=BY_HAND,
        edits=(
            ("def eager_attention_forward(", "kept = []\n"),
            ("    return attn_output, attn_weights", "    kept.append(attn_weights.detach().clone())\n"),
        ),
        before=f"from {_MODULE} import kept",
        each="""
model(pixels)
maps = list(kept)
""",
        drop="kept.clear()",
    ),
    Variant(
        name="forward hooks",
        after="""
kept = []
def keep(module, args, output):
    kept.append(output[1].detach().clone())
for layer in model.layers:
    layer.attention.register_forward_hook(keep)
""",
        each="""
model(pixels)
maps = list(kept)
""",
        drop="kept.clear()",
    ),
    Variant(
        name="output_attentions",
        each="maps = model(pixels, output_attentions=True).attentions",
        distribution="transformers",
    ),
    Variant(
        name="Visualizer",
        **_decorated("visualizer", "eager_attention_forward"),
        distribution="bytecode",
        missing=_CLONE,
    ),
    Variant(
        name="anycapture",
        **_decorated("anycapture", "eager_attention_forward.attn_weights"),
        distribution="anycapture",
    ),
    Variant(
        name="nnsight, .source",
        after="""
import nnsight
traced = nnsight.NNsight(model)
""",
        each="""
with traced.trace(pixels):
    maps = nnsight.save([layer.attention.source.attention_interface_1.output[1] for layer in traced.layers])
""",
        module="nnsight",
        distribution="nnsight",
    ),
    Variant(
        name="nnsight, module output",
        after="""
import nnsight
traced = nnsight.NNsight(model)
""",
        each="""
with traced.trace(pixels):
    maps = nnsight.save([layer.attention.output[1] for layer in traced.layers])
""",
        module="nnsight",
        distribution="nnsight",
    ),
    Variant(
        name="torchlens, record",
        after="import torchlens as tl",
        each="""
maps = [kept.ram_payload for kept in tl.record(model, pixels, save=tl.func("softmax")).records]
""",
        module="torchlens",
        distribution="torchlens",
    ),
    Variant(
        name="torchlens, trace",
        after="import torchlens as tl",
        each="""
maps = [op.out for op in tl.trace(model, pixels, save=tl.func("softmax")).saved_ops]
""",
        module="torchlens",
        distribution="torchlens",
    ),
    Variant(
        name=OURS,
        before=f"""
import astcapture
astcapture.install("{_MODULE}:eager_attention_forward=attn_weights")
""",
        each="""
model(pixels)
maps = list(astcapture.cache["eager_attention_forward"])
""",
        drop="astcapture.cache.clear()",
        module="astcapture",
        distribution="astcapture",
    ),
)


def edited(source: str, edits: tuple[tuple[str, str], ...]) -> str:
    """`source` with each line put before the first one that starts with its key.

    >>> print(edited("a = 1\\nreturn a\\n", (("return", "kept.append(a)\\n"),)), end="")
    a = 1
    kept.append(a)
    return a
    """
    lines = source.splitlines(keepends=True)
    for start, line in edits:
        places = [number for number, text in enumerate(lines) if text.startswith(start)]
        if not places:
            raise ValueError(f"no line of the model's source starts with {start!r}; edit benchmarks/peers/variants.py")
        lines.insert(places[0], line)
    return "".join(lines)
