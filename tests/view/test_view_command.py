"""``astcapture view``: a file, or a page on this machine; and one line for what does not go."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from unpacked import attention, opened, record

import astcapture
from astcapture.cli.main import main
from astcapture.values.saving import save
from astcapture.view.vision import png

LAYERS = [f"blocks.{number}.attn" for number in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two stored runs of three layers with two heads, two executions each on two examples."""
    folder = tmp_path_factory.mktemp("stored")
    for number, run in enumerate(("run", "other")):
        several = [
            record(attention(2, 2, 17, 17, seed=call + number), layer, call, model="ViT", tags={"image": f"{call}.png"})
            for call in range(2)
            for layer in LAYERS
        ]
        save([*several, record(np.ones(4), label="loss")], astcapture.Cache().notes(), folder / run)
    (folder / "image.png").write_bytes(png(np.zeros((16, 16, 3), np.uint8)))
    (folder / "tokens.txt").write_text("\n".join(f"w{number} x" for number in range(17)), encoding="utf-8")
    return folder


@pytest.fixture
def view(folder, tmp_path, monkeypatch, capsys):
    """Run the command in the folder of the runs; gives its status, what it said, and the file."""
    monkeypatch.chdir(folder)

    def run(*arguments: str, name: str = "run"):
        out = tmp_path / "map.html"
        status = main(["view", name, "-o", str(out), *arguments])
        said = capsys.readouterr()
        return status, said.out + said.err, opened(out) if out.exists() else None

    return run


def test_a_run_becomes_one_file(view, tmp_path):
    status, said, file = view()
    assert status == 0 and re.fullmatch(rf"wrote {tmp_path}/map\.html \(0\.\d MB\)\n", said)
    assert file.series("attn")["layers"] == LAYERS
    assert len(file.series("attn")["items"]) == 12 and len(file.series("loss")["items"]) == 1


def test_layers_labels_calls_tags_and_examples_are_picked(view):
    _, _, file = view("--layer", "blocks.[12].*", "--call", "-1", "--label", "attn", "--batch", "1", "--title", "Mine")
    items = file.series("attn")["items"]
    assert file.series("attn")["layers"] == LAYERS[1:]
    assert {(one["call"], one["batch"], one["tags"]["image"]) for one in items} == {(1, 1, "1.png")}
    assert (len(file.meta["series"]), file.meta["title"]) == (1, "Mine")
    _, _, file = view("--layer", "0", "--tag", "image=1*")
    assert [one["call"] for one in file.series("attn")["items"]] == [1, 1]


def test_tokens_come_from_the_line_or_from_a_file(view):
    _, _, file = view("--tokens", " ".join(f"w{number}" for number in range(17)), "--label", "attn")
    assert file.axis(file.item(), "row")["words"][16] == "w16"
    _, _, file = view("--tokens", "tokens.txt", "--label", "attn")
    assert file.axis(file.item(), "row")["words"][16] == "w16 x"


def test_a_second_run_exact_maps_a_grid_and_a_size_are_passed_on(view):
    options = "--compare other --label attn --exact 1:0 --exact blocks.2.*:1 --cls 1 --grid 2x8 --size 0.5"
    _, _, file = view(*options.split())
    axis = file.axis(file.item(), "row")
    assert (axis["rows"], axis["columns"], axis["prefix"]) == (2, 8, 1)
    assert [one["run"] for one in file.meta["series"]] == [0, 1]
    assert [one["form"] for one in file.item(layer=1)["maps"]] == ["exact", "full"]
    assert [one["form"] for one in file.item(layer=2)["maps"]] == ["full", "exact"]


def test_an_image_lies_under_the_patches(view):
    pytest.importorskip("PIL")
    _, _, file = view("--image", "image.png", "--label", "attn")
    assert file.axis(file.item(), "row")["image"] == 0
    assert file.meta["images"][0]["name"] == "image.png"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--layer", "blocks.1.atn"], 1, "nothing matches --layer blocks.1.atn; did you mean --layer blocks.1.attn"),
        (["--label", "atn"], 1, "did you mean --label attn"),
        (["--label", "attn", "--tokens", "a b"], 1, "astcapture: tokens has 2 tokens, and the maps have 17 × 17"),
        (["--exact", "7:0"], 1, "astcapture: exact: there is no layer 7"),
        (["--exact", "7"], 2, "'7' is not LAYER:HEAD, 3:5 or blocks.3.attn:5 for instance"),
        (["--image", "none.png"], 1, "none.png: No such file|to read none.png you need pillow"),
        (["--compare", "nowhere"], 1, "astcapture: there is no folder 'nowhere'"),
        (["--batch", "7"], 1, "astcapture: batch=7: no value has so many examples"),
        (["-o", "no/such/map.html"], 1, "astcapture: no/such/map.html: No such file or directory"),
        (["--kind", "maps"], 2, "'maps' is not one of"),
        (["--size", "0"], 2, "0"),
    ],
)  # fmt: skip
def test_what_does_not_go_is_said_in_one_line(view, arguments, status, message):
    found, said, file = view(*arguments)
    assert (found, file) == (status, None)
    assert re.search(message, said), said
    assert status == 2 or len(said.splitlines()) == 1


def test_an_empty_run_says_why(view, folder):
    save([record((1, 2))], astcapture.Cache().notes(), folder / "odd")
    assert view(name="odd")[1] == (
        "astcapture: nothing here can be shown; attn: a value that is no array: tuple is left out\n"
    )


def test_without_a_file_the_page_is_served_on_this_machine_until_it_is_interrupted(folder):
    # Ctrl-C ends it also where whoever started the tests has switched that off, as a shell does in the background.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program += "import sys, webbrowser; webbrowser.open = lambda address: print('opened', address, flush=True);"
    program += "from astcapture.cli.main import main; sys.exit(main(['view', 'run', '--label', 'attn']))"
    server = subprocess.Popen([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().removesuffix(" (Ctrl-C ends)\n")
        assert server.stdout.readline() == f"opened {address}\n"
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/[\w-]{16}/)", address)
        assert found
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert b"astcapture-data" in answer.read()
        port, place = int(found[1]), found[2]
        for path, host, status in [
            (place, f"localhost:{port}", 200),
            ("/", f"127.0.0.1:{port}", 404),
            ("/etc/passwd", f"127.0.0.1:{port}", 404),
            (f"{place}../../etc/passwd", f"127.0.0.1:{port}", 404),
            (place, "elsewhere.example", 404),
        ]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", path, headers={"Host": host})
            assert connection.getresponse().status == status, path
            connection.close()
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()
        server.communicate()
