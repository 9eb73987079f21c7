"""Draws what the examples make for the pages, the pictures of docs/pictures and the viewer's files of docs/live: all of
it, or that of the scripts that are named.

    python docs/draw_pictures.py
    python docs/draw_pictures.py vit_photo.py resnet_photo.py

After a change of the viewer's page alone, `python docs/draw_viewer.py` is enough and needs no models. This script needs
what the examples and tests/models/requirements.txt need. With one core for all it takes about five minutes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests" / "models"))

from run_example import run  # noqa: E402

SENTENCE = "The cat that chased the mice was tired."
ARGUMENTS = {"minilm_draw.py": [SENTENCE, "--overview", "--word", "tired", "--view"]}
STEPS = ["1_head", "2_heads", "3_patch", "4_cls", "5_cls_heads", "6_layers", "7_rollout", "8_heads"]
#: Script: what it writes: what it is called in docs/pictures or, if it is HTML, in docs/live. Photographs become JPEG
#: files, which are smaller.
PICTURES = {
    "minilm_draw.py": {
        "minilm_words_0.png": "minilm_words.png",
        "minilm_word_0.png": "minilm_word.png",
        "minilm_layers_0.png": "minilm_layers.png",
        "minilm_0.html": "minilm.html",
    },
    "vit_photo.py": {f"vit_photo{part}.png": f"vit_photo{part}.jpg" for part in ("", "_heads", "_patch")},
    "vit_digits.py": {"vit_digits.png": "vit_digits.png", "vit_digits.html": "digits.html"},
    "vit_steps.py": {
        **{f"vit_step_{step}.png": f"vit_step_{step}.png" for step in STEPS},
        "vit_step_9_layers.gif": "vit_step_9_layers.gif",
    },
    "repeat_words.py": {"repeat_words.html": "generation.html"},
    "resnet_photo.py": {
        "resnet_photo.png": "resnet_photo.jpg",
        "resnet_attention_map.png": "resnet_attention_map.png",
    },
}


def keep(drawn: Path, picture: Path) -> None:
    """Copy a picture, or convert it to JPEG where its new name says so."""
    if picture.suffix == ".jpg":
        with Image.open(drawn) as image:
            image.convert("RGB").save(picture, quality=90, optimize=True)
    else:
        shutil.copyfile(drawn, picture)
    print(f"wrote {picture.relative_to(DOCS.parent)}, {picture.stat().st_size / 1000:.0f} kB", flush=True)


def main() -> None:
    unknown = set(sys.argv[1:]) - PICTURES.keys()
    if unknown:
        sys.exit(f"no script with pictures: {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    with tempfile.TemporaryDirectory() as folder:
        for script in sys.argv[1:] or PICTURES:
            print(run(script, *ARGUMENTS.get(script, []), folder=Path(folder)).stdout, end="")
            for drawn, picture in PICTURES[script].items():
                keep(Path(folder, "out", drawn), DOCS / ("live" if picture.endswith(".html") else "pictures") / picture)


if __name__ == "__main__":
    main()
