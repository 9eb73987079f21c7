"""One head of one layer switched off, by astcapture, nnsight and TransformerLens side by side.

    pip install torch==2.13.0 nnsight==0.8.1 transformer_lens==4.3.0 -e .
    python benchmarks/edit_peers.py

In an environment of its own. The model is transformers' GPT-2 with 12 layers, 192 wide, 3 heads, 17 tokens, eager
attention and random weights; head 1 of layer 4 is set to zero before the output projection. Each way has a process of
its own with one thread and without gradients. They take turns, in an order shuffled for each round. Times are the
processor's, of all threads. Quoted are medians over the rounds, and ranges from the 10th to the 90th percentile; ratios
are of times of the same round. The difference is the largest of a logit from that of the source edited by hand.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import inspect
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")

ROUNDS, FORWARDS = 31, 5
PLAIN, BY_HAND = "plain model", "by hand, in the source"
_MODULE = "transformers.models.gpt2.modeling_gpt2"

#: By name: what is written before the forward, and the forward.
WAYS = {
    PLAIN: ("", "logits = model(tokens).logits"),
    BY_HAND: ("", "logits = model(tokens).logits"),
    "forward hook": (
        """
def zero(module, args):
    z = args[0].clone()
    z[..., 64:128] = 0
    return (z,)
model.transformer.h[4].attn.c_proj.register_forward_pre_hook(zero)
""",
        "logits = model(tokens).logits",
    ),
    "nnsight": (
        """
import nnsight
traced = nnsight.NNsight(model)
""",
        """
with traced.trace(tokens):
    traced.transformer.h[4].attn.c_proj.input[..., 64:128] = 0
    logits = traced.output.logits.save()
""",
    ),
    "transformer_lens": (
        """
from transformer_lens.model_bridge import TransformerBridge
bridge = TransformerBridge.boot_transformers(folder)
def zero(z, hook):
    z[:, :, 1] = 0
    return z
""",
        'logits = bridge.run_with_hooks(tokens, fwd_hooks=[("blocks.4.attn.hook_z", zero)])',
    ),
    "astcapture": (
        f"""
import astcapture
from astcapture.edits import zero
target = "{_MODULE}:eager_attention_forward=attn_weights"
astcapture.edit(target, zero(heads=[1]), layer="transformer.h.4.attn")
""",
        "logits = model(tokens).logits",
    ),
}
#: The last line of GPT-2's attention that binds the weights, and what is written behind it by hand.
_LINE = "    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)\n"
_EDIT = "    if module.layer_idx == 4:\n        attn_weights = attn_weights.clone()\n        attn_weights[:, 1] = 0\n"


def missing(name: str) -> bool:
    return name in ("nnsight", "transformer_lens") and importlib.util.find_spec(name) is None


def work(name: str, folder: str, connection: Any) -> None:
    """A process that times a way each time it is asked to."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if name == BY_HAND:
        _edit_by_hand()
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokens = torch.randint(1000, (1, 17), generator=torch.Generator().manual_seed(1))
    scope: dict[str, Any] = {"model": model, "tokens": tokens, "folder": folder, "__name__": "__main__"}
    before, forward = WAYS[name]
    body = "".join(f"    {line}\n" for line in forward.strip().splitlines())
    for part, text in (("before", before), ("forward", f"def forward():\n{body}    return logits\n")):
        path = os.path.join(folder, f"{name}_{part}.py".replace(" ", "_").replace(",", ""))
        with open(path, "w") as file:  # nnsight reads the lines around it
            file.write(text)
        exec(compile(text, path, "exec"), scope)
    connection.send(scope["forward"]().numpy())
    while connection.recv():
        scope["forward"]()  # the others have had the caches of the processor since
        start = time.process_time()
        for _ in range(FORWARDS):
            scope["forward"]()
        connection.send((time.process_time() - start) / FORWARDS)


def _edit_by_hand() -> None:
    module = importlib.import_module(_MODULE)
    source = inspect.getsource(module.eager_attention_forward)
    assert source.count(_LINE) == 1, f"{_MODULE} has changed: edit benchmarks/edit_peers.py"
    exec(source.replace(_LINE, _LINE + _EDIT), module.__dict__)


def save_model(folder: str) -> None:
    """A model and a tokenizer of two words: TransformerLens loads both."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    size = {"vocab_size": 1000, "n_embd": 192, "n_layer": 12, "n_head": 3, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0)).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"<e>": 0, "a": 1}, unk_token="<e>"))
    special = {"eos_token": "<e>", "bos_token": "<e>", "pad_token": "<e>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


def lines(name: str) -> int:
    texts = (*WAYS[name], _EDIT if name == BY_HAND else "")
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


def spread(values: list[float], form: str) -> str:
    deciles = statistics.quantiles(values, n=10)
    return f"{statistics.median(values):{form}} ({deciles[0]:{form}} to {deciles[-1]:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of timing ({ROUNDS})")
    rounds = parser.parse_args().rounds
    names = [name for name in WAYS if not missing(name)]
    for name in set(WAYS) - set(names):
        print(f"left out: {name} is not installed")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder)
        workers, logits = {}, {}
        for name in names:
            workers[name], theirs = context.Pipe()
            context.Process(target=work, args=(name, folder, theirs), daemon=True).start()
            theirs.close()  # so that the end of the process is noticed
            logits[name] = workers[name].recv()
        times: dict[str, list[float]] = {name: [] for name in names}
        order = random.Random(0)
        for _ in range(rounds):
            for name in order.sample(names, len(names)):
                workers[name].send(True)
                times[name].append(workers[name].recv())
        for connection in workers.values():
            connection.send(False)
    versions = ["torch", "transformers", *(name for name in names if name in ("nnsight", "transformer_lens"))]
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in versions), f"({rounds} rounds)\n")
    print("| way | lines | ms a forward | against by hand | difference |\n| --- | --- | --- | --- | --- |")
    for name in names:
        ratio = [one / other for one, other in zip(times[name], times[BY_HAND], strict=True)]
        difference = abs(logits[name] - logits[BY_HAND]).max()
        cells = [name, str(lines(name)), spread([1000 * one for one in times[name]], ".2f"), spread(ratio, ".2f")]
        print(f"| {' | '.join(cells)} | {difference:.1e} |")


if __name__ == "__main__":
    main()
