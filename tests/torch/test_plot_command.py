"""``astcapture plot``: pictures of a stored run, and one line for what cannot be drawn."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image

import astcapture
from astcapture.cli.main import main
from astcapture.cli.pictures import KINDS
from astcapture.values.record import Record
from astcapture.values.records import Records

EXAMPLES = Path(__file__).parents[2] / "examples"
TARGETS = ["vit:Attention.forward=attn", "vit:VisionTransformer.forward=tokens"]
LAYERS = [f"blocks.{number}.attn" for number in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A stored run: two executions of a ViT of 3 layers with 2 heads on two images; maps and tokens."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        patch.delitem(sys.modules, "vit", raising=False)
        with (
            astcapture.install(TARGETS),
            astcapture.recording() as rec,
        ):
            vit = importlib.import_module("vit")
            torch.manual_seed(0)
            model = vit.VisionTransformer(depth=3, heads=2).eval()
            with torch.no_grad():
                for _ in range(2):
                    model(torch.rand(2, 1, 8, 8))
            rec.save(folder / "run")
        del sys.modules["vit"]
    Image.fromarray(np.linspace(0, 255, 24 * 24).astype(np.uint8).reshape(24, 24)).save(folder / "image.png")
    astcapture.cache.clear()
    return folder


@pytest.fixture
def plot(folder, tmp_path, monkeypatch, capsys):
    """Run the command in the folder of the run; gives its status, what it said and the files it made."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> tuple[int, str, str, list[str]]:
        status = main(["plot", "run", "-o", str(tmp_path / "out"), *arguments])
        said = capsys.readouterr()
        made = sorted(path.name for path in (tmp_path / "out").glob("*"))
        return status, said.out, said.err, made

    return run


@pytest.mark.slow
def test_heads_are_drawn_for_each_layer_and_call(plot, tmp_path):
    status, out, err, made = plot("--label", "attn", "--batch", "1")
    expected = [f"heads-{layer}-call{call}-batch1.png" for call in range(2) for layer in LAYERS]
    assert (status, err, made) == (0, "", sorted(expected))
    assert out.splitlines() == [f"wrote {tmp_path / 'out' / name}" for name in expected]
    for name in made:
        pixels = matplotlib.image.imread(tmp_path / "out" / name)[..., :3]
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_layers_and_a_call_are_picked_and_the_format_is_chosen(plot, tmp_path):
    status, _, _, made = plot("--layer", "blocks.[12].*", "--call", "1", "--batch", "0", "--format", "svg")
    assert (status, made) == (0, [f"heads-{layer}-call1-batch0.svg" for layer in LAYERS[1:]])
    text = (tmp_path / "out" / made[0]).read_text(encoding="utf-8")
    assert text.startswith("<?xml") and "<svg" in text


MAPS = ["--label", "attn", "--batch", "0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("head", [*MAPS, "--head", "1", "--call", "0"], [f"head-{layer}-call0-batch0-head1.png" for layer in LAYERS]),
        ("tokens", [*MAPS, "--layer", "blocks.2.*", "--call", "0", "--tokens", "CLS " + "a " * 16, "--query", "CLS"],
         ["tokens-blocks.2.attn-call0-batch0-query0-CLS.png"]),
        ("patch", [*MAPS, "--layer", "blocks.2.*", "--call", "0", "--image", "image.png", "--patch", "1,2"],
         ["patch-blocks.2.attn-call0-batch0-patch-1-2.png"]),
        ("cls", [*MAPS, "--layer", "blocks.2.*", "--call", "0", "--image", "image.png", "--grid", "4x4", "--cls", "1"],
         ["cls-blocks.2.attn-call0-batch0.png"]),
        ("layers", MAPS, [f"layers-Attention.forward-call{call}-batch0.png" for call in range(2)]),
        ("rollout", [*MAPS, "--image", "image.png"],
         [f"rollout-Attention.forward-call{call}-batch0.png" for call in range(2)]),
        ("distance", ["--label", "attn", "--patch-size", "2"], ["distance-Attention.forward.png"]),
        ("entropy", [*MAPS, "--call", "1"], ["entropy-Attention.forward-call1-batch0.png"]),
        ("animate", MAPS, [f"animate-{layer}-batch0.gif" for layer in LAYERS]),
        ("animate", [*MAPS, "--call", "0"], ["animate-Attention.forward-call0-batch0.gif"]),
    ],
)  # fmt: skip
def test_every_kind_is_drawn_and_named_by_layer_and_call(plot, kind, options, expected):
    status, out, err, made = plot("--kind", kind, *options)
    assert (status, err) == (0, "")
    assert made == expected
    assert len(out.splitlines()) == len(expected)


def test_no_kind_is_left_untested():
    tested = test_every_kind_is_drawn_and_named_by_layer_and_call.pytestmark[0].args[1]
    assert {kind for kind, *_ in tested} == set(KINDS) - {"heads", "overlay"}


def test_a_captured_map_is_laid_over_the_image(plot, monkeypatch):
    stored = Records([Record(np.eye(3), "heat", "m", "Model.forward", 1, "head", 0)])
    monkeypatch.setattr(astcapture, "load", lambda path: stored)
    assert plot("--kind", "overlay", "--image", "image.png")[3] == ["overlay-head-call0.png"]


def test_pictures_of_several_processes_do_not_overwrite_each_other(plot, monkeypatch):
    stored = Records([Record(np.eye(3), "attn", "m", "A.forward", 1, "h.0", 0, rank) for rank in (0, 1, 1)])
    monkeypatch.setattr(astcapture, "load", lambda path: stored)
    names = ["head-h.0-call0", "head-h.0-call0-rank1", "head-h.0-call0-rank1-2"]
    assert sorted(plot("--kind", "head")[3]) == sorted(f"{name}.png" for name in names)


def test_layers_of_other_functions_and_processes_are_other_pictures(plot, monkeypatch):
    stored = Records(
        [
            Record(np.eye(4), "attn", "m", function, 1, f"h.{layer}", 0, rank)
            for rank in (0, 1)
            for function in ("A.forward", "B.forward")
            for layer in (0, 1)
        ]
    )
    monkeypatch.setattr(astcapture, "load", lambda path: stored)
    names = [f"layers-{function}.forward-call0{rank}.png" for function in "AB" for rank in ("", "-rank1")]
    assert plot("--kind", "layers")[3] == sorted(names)


def stored_run(monkeypatch, layers: int, calls: int) -> None:
    """A stored run of small maps, each tagged with its image."""
    stored = Records(
        [
            Record(
                np.eye(2), "attn", "m", "A.forward", 1, f"h.{layer}", call, tags={"image": f"{call}.jpg", "fold": call}
            )
            for call in range(calls)
            for layer in range(layers)
        ]
    )
    monkeypatch.setattr(astcapture, "load", lambda path: stored)


@pytest.mark.slow
def test_more_than_forty_files_are_written_only_when_they_are_asked_for(plot, monkeypatch):
    stored_run(monkeypatch, layers=2, calls=21)
    status, out, err, made = plot("--kind", "head")
    assert (status, out, made) == (1, "", [])
    assert err == (
        "astcapture: --kind head would write 42 files: select some with --layer (2 layers) or --call (21 calls) or "
        "--tag (fold, image), or write them all with --all\n"
    )
    assert len(plot("--kind", "head", "--all", "--dpi", "10")[3]) == 42


@pytest.mark.slow
def test_forty_files_and_films_of_many_maps_are_written_without_being_asked_for(plot, monkeypatch):
    stored_run(monkeypatch, layers=2, calls=20)
    assert len(plot("--kind", "head", "--dpi", "10")[3]) == 40
    stored_run(monkeypatch, layers=2, calls=21)
    assert plot("--kind", "entropy")[3][:1] == ["entropy-A.forward.png"]


def test_values_are_picked_by_their_tags_whatever_these_are(plot, monkeypatch):
    stored_run(monkeypatch, layers=1, calls=12)
    assert plot("--kind", "head", "--tag", "image=3.jpg", "--tag", "fold=3")[3] == ["head-h.0-call3.png"]
    assert len(plot("--kind", "head", "--tag", "fold=1*")[3]) == 4  # 1, 10, 11; and the one before


def test_a_selection_that_is_empty_says_what_is_there(plot, monkeypatch):
    stored_run(monkeypatch, layers=2, calls=2)
    status, _, err, made = plot("--kind", "head", "--tag", "image=dog.jpg", "--layer", "h.0")
    assert (status, made) == (1, [])
    assert err == (
        "astcapture: run: nothing matches --layer h.0 --tag image=dog.jpg; functions there: A.forward; labels there: "
        "attn; layers there: h.0, h.1; calls there: 0 to 1; tags there: image=0.jpg, fold=0, image=1.jpg, fold=1\n"
    )


def test_an_image_that_does_not_fit_is_stretched_only_when_that_is_asked_for(plot, folder):
    Image.new("L", (48, 24)).save(folder / "wide.png")
    only = ["--label", "attn", "--layer", "blocks.0.*", "--call", "0", "--batch", "0", "--kind", "cls"]
    status, _, err, _ = plot(*only, "--image", "wide.png")
    assert status == 1
    assert "blocks.0.attn, call 0: a map of 4 × 4 (rows × columns) does not fit an image of 48 × 24" in err
    assert "--stretch" in err and "stretch=True" not in err
    assert plot(*only, "--image", "wide.png", "--stretch")[0] == 0


def test_a_damaged_shard_is_told_and_the_others_are_drawn(folder, tmp_path, monkeypatch, capsys):
    damaged = tmp_path / "run" / "host-0-1"
    damaged.mkdir(parents=True)
    (damaged / "000000.safetensors").write_bytes(b"torn")
    for process in (folder / "run").iterdir():
        shutil.copytree(process, tmp_path / "run" / process.name)
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "run", "-o", "out", *MAPS, "--layer", "blocks.0.*"]) == 0
    said = capsys.readouterr()
    assert (
        said.err.startswith("astcapture: run/host-0-1/000000.safetensors is left out: ") and said.err.count("\n") == 1
    )
    assert len(list((tmp_path / "out").iterdir())) == said.out.count("wrote ") == 2


def test_tokens_come_from_a_file_too_and_may_hold_spaces(plot, folder):
    (folder / "tokens.txt").write_text("\n".join(["[CLS]", "New York", *map(str, range(15))]), encoding="utf-8")
    only = [*MAPS, "--layer", "blocks.0.*", "--call", "0"]
    assert plot("--kind", "tokens", *only, "--tokens", "tokens.txt", "--query", "New York")[0] == 0


WORDS = "[CLS] the mice , eat . cheese [SEP]"


@pytest.fixture
def text(monkeypatch) -> None:
    """A stored run of a text model: one execution of three layers with two heads on eight tokens."""
    maps = np.random.default_rng(0).dirichlet(np.ones(8), (3, 1, 2, 8)).astype(np.float32)
    records = [
        Record(maps[layer], "probs", "m", "sdpa", 1, f"encoder.{layer}", 0, model="Bert", tags={"text": "a"})
        for layer in range(3)
    ]
    monkeypatch.setattr(astcapture, "load", lambda path: Stored(records))


class Stored:
    """What is used of a stored run."""

    def __init__(self, records: list[Record]) -> None:
        self.select = lambda: Records(records)


def test_pictures_of_other_heads_queries_and_tokens_are_other_files(plot, text):
    only = ["--kind", "tokens", "--layer", "-1", "--tokens", WORDS, "--dpi", "20"]
    names = []
    for options, name in (
        ([], ""),
        (["--head", "1"], "-head1"),
        (["--head", "0"], "-head0"),
        (["--query", "mice"], "-query2-mice"),
        (["--query", ","], "-query3"),
        (["--query", "5"], "-query5-."),
        (["--query", "-2"], "-query6-cheese"),
        (["--without", "[CLS] [SEP]"], "-without-CLS-SEP"),
    ):
        names.append(f"tokens-encoder.2-call0{name}.png")
        status, _, err, made = plot(*only, *options)
        assert (status, err, made) == (0, "", sorted(names))


def titles(monkeypatch) -> list[str]:
    """The titles of the pictures that are drawn from here on."""
    from astcapture.cli import pictures

    said, whole = [], pictures.title_of
    monkeypatch.setattr(pictures, "title_of", lambda *given: said.append(whole(*given)) or said[-1])
    return said


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (["--kind", "tokens", "--layer", "1", "--tokens", WORDS, "--query", "2", "--head", "1"],
         "encoder.1, call 0, head 1\nattention of 'mice'"),
        (["--kind", "tokens", "--layer", "1", "--tokens", WORDS], "encoder.1, call 0, mean of 2 heads"),
        (["--kind", "tokens", "--layer", "1", "--tokens", WORDS, "--without", "[CLS]"],
         "encoder.1, call 0, mean of 2 heads\nwithout [CLS]"),
        (["--kind", "rollout"], "attention rollout of Bert, 3 layers\ncall 0"),
        (["--kind", "rollout", "--layer", "*.[12]"], "attention rollout of Bert, 2 layers\ncall 0, layers *.[12]"),
        (["--kind", "layers"], "attention maps of Bert, 3 layers, call 0"),
        (["--kind", "entropy"], "attention entropy of Bert, 3 layers\ncall 0"),
        (["--kind", "entropy", "--layer", "0"], "attention entropy of encoder.0, call 0"),
    ],
)  # fmt: skip
def test_the_title_says_what_a_picture_shows(plot, text, monkeypatch, options, title):
    said = titles(monkeypatch)
    assert plot(*options, "--dpi", "20")[:3:2] == (0, "")
    assert said == [title]


def test_other_layers_and_labels_of_one_function_are_other_files(plot, text, monkeypatch):
    plot("--kind", "rollout", "--dpi", "20")
    assert len(plot("--kind", "rollout", "--layer", "*.[12]", "--dpi", "20")[3]) == 2
    records = [Record(np.eye(3), label, "m", "A.forward", 1, "h.0", 0) for label in ("attn", "bias")]
    monkeypatch.setattr(astcapture, "load", lambda path: Stored(records))
    plot("--kind", "head", "--label", "attn", "--dpi", "20")
    made = plot("--kind", "head", "--label", "bias", "--dpi", "20")[3]
    assert made[:2] == ["head-h.0-call0-attn.png", "head-h.0-call0-bias.png"]


def test_a_token_to_leave_out_that_there_is_not_is_refused(plot, text):
    status, _, err, _ = plot("--kind", "tokens", "--tokens", WORDS, "--without", "[CLS] [PAD]")
    assert (status, err) == (1, "astcapture: --without [PAD]: there is no such token in --tokens\n")


def test_layers_and_calls_are_counted(plot):
    last = plot(*MAPS, "--layer", "-1", "--call", "-1", "--dpi", "20")[3]
    assert last == ["heads-blocks.2.attn-call1-batch0.png"]
    assert plot(*MAPS, "--layer", "0", "--call", "0", "--dpi", "20")[3][0] == "heads-blocks.0.attn-call0-batch0.png"
    status, _, err, _ = plot(*MAPS, "--layer", "9")
    assert status == 1 and "nothing matches --layer 9 " in err and "layers there: blocks.0.attn, " in err


def test_a_layer_whose_name_is_a_number_is_meant_by_it(plot, monkeypatch):
    records = [Record(np.eye(3), "attn", "m", "f", 1, layer, 0) for layer in ("2", "1", "0")]
    monkeypatch.setattr(astcapture, "load", lambda path: Records(records))
    assert plot("--kind", "head", "--layer", "2", "--dpi", "20")[3] == ["head-2-call0.png"]


def test_the_last_call_is_that_of_the_values_with_the_tag(plot, monkeypatch):
    stored_run(monkeypatch, layers=1, calls=4)
    assert plot("--kind", "head", "--tag", "image=2.jpg", "--call", "-1", "--dpi", "20")[3] == ["head-h.0-call2.png"]


def test_the_special_tokens_that_are_given_are_seen_on_the_maps_of_all_heads(plot, tmp_path):
    pixels = []
    for cls in ("0", "1"):
        (name,) = plot(*MAPS, "--layer", "0", "--call", "0", "--cls", cls)[3]
        pixels.append(matplotlib.image.imread(tmp_path / "out" / name))
    assert pixels[0].shape != pixels[1].shape or (pixels[0] != pixels[1]).any()


def test_an_area_of_the_image_is_given_by_its_four_sides(plot, folder):
    Image.new("L", (48, 24)).save(folder / "wide.png")
    only = [*MAPS, "--layer", "0", "--call", "0", "--kind", "cls", "--image", "wide.png"]
    status, _, err, _ = plot(*only)
    assert status == 1
    assert err.endswith(
        "if the model saw a part of it, --area LEFT TOP RIGHT BOTTOM, for the middle --area 12 0 36 24; "
        "if the whole was squeezed into the model's input, --stretch\n"
    )
    assert plot(*only, "--area", "12", "0", "36", "24")[0] == 0


def test_maps_of_words_over_an_image_are_refused_with_options_that_exist(plot, text):
    status, _, err, _ = plot("--kind", "cls", "--layer", "0")
    assert status == 1
    assert err == (
        "astcapture: encoder.0, call 0: 8 tokens, with or without one CLS token, do not form a square of patches: pass "
        "--grid ROWSxCOLUMNS, and --cls N for the number of tokens before the patches; if they are words, --kind "
        "tokens draws them\n"
    )


def test_of_several_models_one_is_picked(plot, monkeypatch):
    records = [Record(np.eye(4), "attn", "m", "f", 1, "h.0", 0, model=model) for model in ("A", "B")]
    monkeypatch.setattr(astcapture, "load", lambda path: Stored(records))
    assert (
        plot("--kind", "layers")[2]
        == "astcapture: h.0, call 0: the values are of 'A' and 'B', 2 models: pick one, --model 'A'\n"
    )
    for model in "AB":
        made = plot("--kind", "layers", "--model", model, "--dpi", "20")[3]
    assert made == ["layers-h.0-call0-A.png", "layers-h.0-call0-B.png"]


def test_a_query_is_a_number_unless_it_is_a_token():
    from astcapture.cli.plot import _read_inputs

    assert _read_inputs({"tokens": "a b c", "query": "2"})["query"] == 2
    assert _read_inputs({"tokens": "a 2 c", "query": "2"})["query"] == "2"


def test_a_value_of_the_model_itself_is_named_by_its_function(plot):
    status, _, _, made = plot("--label", "tokens", "--call", "0")
    assert (status, made) == (0, ["heads-VisionTransformer.forward-call0.png"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "run: labels there: attn, tokens: pick one with --label"),
        (
            ["--label", "atn"],
            "run: nothing matches --label atn; did you mean --label attn? functions there: Attention.forward, ",
        ),
        (["--label", "attn"], "blocks.0.attn, call 0: attention of shape (2, 2, 17, 17) has 2 along its batch"),
        (["--label", "attn", "--batch", "2"], "blocks.0.attn, call 0: --batch 2 is outside attention of shape"),
        (["--function", "Attenton.forward"], "run: 'Attenton.forward' is not captured; did you mean 'Attention"),
        ([*MAPS, "--kind", "patch", "--image", "none.png", "--patch", "0"], "none.png: No such file or directory"),
        ([*MAPS, "--kind", "patch", "--image", "run", "--patch", "0"], "run: Is a directory"),
        ([*MAPS, "--kind", "cls", "--grid", "5x5"], "blocks.0.attn, call 0: 17 tokens are not --grid 5x5 = 25"),
        ([*MAPS, "--kind", "tokens", "--tokens", "a b"], "blocks.0.attn, call 0: 2 tokens do not label attention of"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told_in_one_line(plot, options, message):
    status, out, err, made = plot(*options)
    assert (status, out, made) == (1, "", [])
    assert err.startswith(f"astcapture: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "patch"], "--kind patch needs --image"),
        (["--kind", "tokens"], "--kind tokens needs --tokens"),
        (["--kind", "entropy", "--image", "image.png"], "--image does not go with --kind entropy, which takes --batch"),
        (["--kind", "pie"], "'pie' is not one of"),
        (["--grid", "14"], "'14' is not ROWSxCOLUMNS"),
        (["--tag", "dog.jpg"], "'dog.jpg' is not KEY=VALUE"),
        (["--patch-size", "big"], "'big' is not a number of pixels"),
        (["--patch-size", "16"], "--patch-size does not go with --kind heads, which takes --batch, --cls"),
        (["--patch", "1,2,3"], "'1,2,3' is not ROW,COLUMN"),
        (["--format", "gif"], "--format gif does not go with --kind heads: it is png or svg or pdf"),
        (["--kind", "animate", "--format", "png"], "--format png does not go with --kind animate: it is gif or mp4"),
    ],
)
def test_wrong_usage_has_exit_status_2(plot, options, message):
    status, _, err, made = plot(*options)
    assert (status, made) == (2, [])
    assert message in err


def test_a_folder_that_holds_no_run_is_told_in_one_line(tmp_path, capsys):
    assert main(["plot", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("astcapture: ") and str(tmp_path / "none") in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_place_for_the_pictures_is_told_in_one_line(plot, folder, tmp_path):
    (tmp_path / "out").write_text("a file")
    status, _, err, _ = plot(*MAPS)
    assert status == 1
    assert err == f"astcapture: {tmp_path / 'out'}: File exists\n"


def test_mp4_without_ffmpeg_is_told_before_anything_is_drawn(plot, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "animation.ffmpeg_path", "no-such-ffmpeg")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    status, _, err, made = plot("--kind", "animate", *MAPS, "--format", "mp4")
    assert (status, made) == (1, [])
    assert "MP4 is written by the program ffmpeg, and there is none" in err


def test_without_matplotlib_it_says_what_to_install(folder, tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from astcapture.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "plot", "run", *MAPS, "-o", str(tmp_path / "out")],
        cwd=folder, env={"PYTHONPATH": str(EXAMPLES.parent)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "astcapture: plot needs matplotlib: pip install 'astcapture[plot]'\n"


@pytest.mark.slow
def test_a_run_stored_by_the_launcher_is_drawn(folder, tmp_path):
    script = "import torch, vit; torch.manual_seed(0); vit.VisionTransformer(depth=1).eval()(torch.rand(1, 1, 8, 8))"
    (tmp_path / "eval.py").write_text(script)
    environ = {"PYTHONPATH": f"{EXAMPLES.parent}:{EXAMPLES}", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin"}
    for command in (["run", "-c", "vit", "-o", "runs/eval", "eval.py"], ["plot", "runs/eval", "-o", "pictures"]):
        done = subprocess.run(
            [sys.executable, "-m", "astcapture", *command], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote pictures/heads-blocks.0.attn-call0.png\n"
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["heads-blocks.0.attn-call0.png"]
