"""Train a small Llama to repeat a sentence, let it generate, and look around in its attention.

    python examples/repeat_words.py

The model has two layers and has never seen an English sentence: it is trained for half a minute on random words that
are written twice. To repeat them, it has to find the last time the same word occurred and attend to the word after it.
Heads that do this are called induction heads. The script writes `out/repeat_words.html`: open it in a browser and sort
the heads by induction.

It needs transformers: pip install transformers
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

import astcapture

START = "<s>"
SENTENCE = "the quick red fox jumps over a small old dog in cold rain ."
REPEATED = 2  # words of the second time that are in the prompt
WORDS = f"""
    {START} the a cat dog bird fish fox mouse tree house river sea sun moon star rain snow wind fire road hill old new
    small big red green blue white black quick slow cold warm sees finds likes takes gives sings runs jumps sleeps waits
    swims flies and or but with over under near behind in on at . ,
""".split()
BATCH = 32


def make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


def train(model: LlamaForCausalLM, steps: int) -> None:
    """Train on random words, 5 to 13 of them, that are written twice; only the second time counts."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in tqdm(range(steps), desc="training", unit="step"):
        count = int(torch.randint(5, 14, ()))
        words = torch.randint(1, len(WORDS), (BATCH, count))
        text = torch.cat([torch.zeros(BATCH, 1, dtype=torch.long), words, words], dim=1)
        predicted = model(text).logits[:, count + 1 : -1]
        loss = cross_entropy(predicted.flatten(0, 1), text[:, count + 2 :].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small Llama to repeat words, then look at its attention.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the file (default: out)")
    parser.add_argument("--steps", type=int, default=1200, help="of the training (default: 1200)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # more threads hardly help so small a model
    model = make_model()
    train(model, options.steps)
    model.eval()

    sentence = SENTENCE.split()
    prompt = [START, *sentence, *sentence[:REPEATED]]
    with astcapture.attention(model) as maps:
        ids = torch.tensor([[WORDS.index(word) for word in prompt]])
        text = model.generate(ids, max_new_tokens=len(sentence) - REPEATED, do_sample=False)[0]
    words = [WORDS[index] for index in text]
    print("generated:", " ".join(words[len(prompt) :]))

    # The last word was generated, but never fed to the model, so it has no row and no column.
    options.out.mkdir(parents=True, exist_ok=True)
    path = maps.view(tokens=words[:-1], title="A Llama repeats words").save(options.out / "repeat_words.html")
    print(f"wrote {path}")
    if words[-len(sentence) :] != sentence:
        sys.exit("the model did not learn to repeat: train it longer, --steps 2000")


if __name__ == "__main__":
    main()
