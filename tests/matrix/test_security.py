"""Rows of docs/security.md: odd and hostile values of the settings, and bytecode that is not what was written."""

from __future__ import annotations

import importlib
import importlib.util
import marshal
import os
import random
import time
from pathlib import Path

import pytest

import astcapture
from astcapture import CaptureError
from astcapture.imports.compile import matching
from astcapture.imports.sealed import is_whole
from astcapture.record.limit import read_limit
from astcapture.targets.environment import read_environment
from astcapture.targets.target import parse_targets

MODEL = """
    def double(x):
        y = x * 2
        return y
"""
RUN = """
    import astcapture
    astcapture.install(["model:double=y"])
    import model
    print(model.double(3), list(astcapture.cache["double"]))
"""


# Settings


@pytest.mark.parametrize(
    "text",
    ["\x1b[2Jmod", "mod:f=\x1b[31m", "mod:f=l:='\x1b[2J' +", "mod:f\x07=x", "mod:f=l\u202eabel", "mod:f=a\0b", "mo\0d",
     "mod:f=x\r\x08y", "mod:f='\udcff'", "\udcff"],
)  # fmt: skip
def test_control_characters_in_a_target_are_refused_and_do_not_reach_the_terminal(text):
    with pytest.raises(CaptureError) as error:
        parse_targets([text])
    assert all(char.isprintable() or char == "\n" for char in str(error.value))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["a" * 10**5 + "/", "m:" + "a" * 10**5 + "/", "m:f=" + "x," * 10**5, "m:f=" + "(" * 10**5]
)
def test_an_absurdly_long_target_is_refused_in_a_message_of_some_lines(text):
    with pytest.raises(CaptureError) as error:
        parse_targets([text])
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    "module",
    ["../../etc/passwd", "..", "a..b", ".a", "a.", "/etc/passwd", "a\\b", "C:\\x", "~", "a/../b", "file:///x", "a b",
     "$HOME"],
)  # fmt: skip
def test_a_module_name_cannot_be_a_path(module):
    for target in (module, f"{module}:f=x"):
        with pytest.raises(CaptureError):
            parse_targets([target])


DEEP = {
    "brackets": "(" * 10**4 + "x" + ")" * 10**4,
    "signs": "-" * 10**4 + "x",
    "nots": "not " * 10**5 + "x",
    "attributes": "x" + ".a" * 10**5,
    "sums": "x" + "+x" * 10**5,
    "conditions": "x if y else " * 10**4 + "z",
    "lambdas": "lambda:" * 10**4 + "x",
}


@pytest.mark.parametrize("kind", DEEP)
def test_an_expression_nested_without_end_is_refused_or_leaves_the_module_plain(make_package, run_python, kind):
    make_package({"model.py": MODEL})
    program = """
        import warnings
        warnings.simplefilter("ignore")
        import astcapture
        try:
            astcapture.install(["model:double=deep:=" + open("expression").read()])
        except astcapture.CaptureError as error:
            print(len(str(error)) < 2000)
        import model
        print(model.double(3))
    """
    folder = make_package({"expression": ""})
    (folder / "expression").write_text(DEEP[kind])
    assert run_python(program).stdout.endswith("6\n")


WILD = ["*a" * 30, "*a" * 200 + "c", "*[ab]" * 300 + "c", "?*?*" * 150 + "c", "*" * 5000 + "c", "*a*b" * 100]


@pytest.mark.parametrize("pattern", WILD)
def test_wildcards_do_not_blow_up_against_long_names(pattern):
    # Backtracking would take longer than the universe has; what it takes is some milliseconds.
    (target,) = parse_targets([f"{pattern}:{pattern}=x"])
    start = time.process_time()
    assert not target.matches_module("a" * 2000 + "d")
    assert not target.matches_function("a" * 2000 + "d")
    assert time.process_time() - start < 10


def test_thousands_of_targets_are_compiled_once(monkeypatch):
    import fnmatch

    targets = parse_targets(";".join(f"some{number}.*:F*.f=x;module{number}" for number in range(2000)))
    assert matching(targets, "nowhere.at.all") == ()
    monkeypatch.setattr(fnmatch, "translate", None)
    assert [target.text for target in matching(targets, "some1999.x")] == ["some1999.*:F*.f=x"]
    assert [target.text for target in matching(targets, "module7.deep.down")] == ["module7"]


@pytest.mark.parametrize("text", ["9" * 5000, "9" * 400 + "GB", "1e999GB", "nan", "-1", "\x1b"])
def test_a_limit_that_is_no_size_is_refused(text):
    with pytest.raises(CaptureError):
        read_limit(text)


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 10**4, "targets = " + "{a = " * 10**4, "limit = " + "9" * 5000, 'store = "a\\u0000b"',
     'targets = ["m:f=\\u001b"]', "[" * 10**5, "a." * 2000 + "b = 1", 'reduce = "os:system; f"', 'reduce = "../x:f"'],
)  # fmt: skip
def test_a_hostile_configuration_file_is_refused_in_words(tmp_path, text):
    path = tmp_path / "capture.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CaptureError):
        installed_as_told(str(path))


def installed_as_told(path: str) -> astcapture.Hook:
    settings = read_environment({"ASTCAPTURE_CONFIG": path})
    return astcapture.install(settings.targets or ["m"], **settings.options)


@pytest.mark.parametrize("path", ["a\0b", "a" * 10**5, "/", "\udcff"])
def test_a_path_that_is_none_is_refused_in_words(path):
    with pytest.raises(CaptureError):
        read_environment({"ASTCAPTURE_CONFIG": path})


def test_a_configuration_file_runs_nothing_by_being_read_and_imports_what_it_names_with_the_first_value(
    make_package, run_python
):
    make_package(
        {
            "model.py": MODEL,
            "own.py": "print('own imported')\ndef half(x):\n    return x / 2\n",
            "capture.toml": 'targets = ["model:double=y"]\nreduce = "own:half"\n',
        }
    )
    program = """
        import astcapture
        hook = astcapture.install()
        import model
        print("before the first value")
        model.double(3)
        print(list(astcapture.cache["double"]))
    """
    output = run_python(program, env={"ASTCAPTURE_CONFIG": "capture.toml"}).stdout
    assert output == "before the first value\nown imported\n[3.0]\n"


@pytest.mark.slow
def test_targets_and_the_commands_that_read_source_import_nothing(make_package, run_python):
    make_package(
        {"boom.py": MODEL + "\n    raise SystemExit('run')\n", "package/__init__.py": "raise SystemExit('run')"}
    )
    make_package({"package/boom.py": MODEL})
    run_python("""
        import sys
        import astcapture
        from astcapture.cli import main
        with astcapture.install(["boom:double=y", "package.boom:*=*", "*:double=y"]):
            print(astcapture.show("boom:double=y"), astcapture.show("package.boom:double=y"))
            assert main(["locals", "package.boom"]) == 0
        assert not {"boom", "package"} & set(sys.modules)
    """)


@pytest.mark.parametrize("option", ["-E", "-I"])
def test_the_launcher_takes_nothing_from_an_environment_that_python_is_told_to_ignore(run_python, make_package, option):
    make_package(
        {"model.py": MODEL, "script.py": "import os\nprint({k: v for k, v in os.environ.items() if 'ASTC' in k})"}
    )
    environ = {"ASTCAPTURE": "model:double=y", "ASTCAPTURE_STORE": "runs", "ASTCAPTURE_STRICT": "maybe"}
    # -I leaves PYTHONPATH out, and so the package too where that is how it is found.
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from astcapture.cli import main; sys.exit(main())"
    command = [option, "-c", start, str(Path(astcapture.__file__).parents[1]), "run"]
    refused = run_python(*command, "script.py", env=environ, status=2)
    assert "nothing to capture: write -c TARGET before SCRIPT" in refused.stderr
    output = run_python(*command, "-c", "model:double=y", "script.py", env=environ).stdout
    assert "'ASTCAPTURE': 'model:double=y'" in output
    assert "STORE" not in output
    assert "STRICT" not in output


# Bytecode


def sealed(data: bytes) -> bytes:
    """Bytecode with what we put behind it: that its source is too young to be known again (eight bytes of 0), its
    length, and a digest of every 29th and every 31st byte."""
    unknown = bytes(8)
    digest = importlib.util.source_hash(data[::29] + data[::31] + unknown)
    return data + unknown + len(data).to_bytes(8, "little") + digest


def cached(folder: Path) -> Path:
    (path,) = (folder / "__pycache__").glob("model.*.astcapture-*.pyc")
    return path


def test_damaged_bytecode_is_never_run_and_is_written_again(make_package, run_python, fresh_imports):
    many = "".join(f"    def f{number}(): return {number}\n" for number in range(100))
    folder = make_package({"model.py": MODEL + many})
    # A source from the future never gets old enough to be known again, however slow the machine is.
    later = time.time() + 3600
    os.utime(folder / "model.py", (later, later))
    damages = random.Random(6)
    with astcapture.install(["model:double=y"]):
        importlib.import_module("model")
        path = cached(folder)
        whole = path.read_bytes()
        for turn in range(60):
            damaged = bytearray(whole)
            kind = turn % 4
            at = damages.randrange(16, len(whole) - 512)
            if kind == 0:  # a block that a disk never wrote
                damaged[at : at + 512] = bytes(512)
            elif kind == 1:  # one of another file
                damaged[at : at + 512] = damages.randbytes(512)
            elif kind == 2:  # cut short
                del damaged[damages.randrange(len(whole)) :]
            else:  # nothing but noise, and longer
                damaged[:] = damages.randbytes(len(whole) + 50)
            path.write_bytes(damaged)
            fresh_imports()
            assert importlib.import_module("model").double(turn) == 2 * turn, turn
            # Marshal writes the same code in more than one way, so it is not compared with what stood there.
            written = path.read_bytes()
            assert written != damaged, turn
            assert written == sealed(written[:-24]), turn
    assert list(astcapture.cache["model:double"]) == [2 * turn for turn in range(60)]


@pytest.mark.parametrize("more", range(0, 62, 3))
def test_a_block_of_zeros_is_noticed_in_code_that_repeats_itself_after_whatever_length(more):
    functions = "".join(f"def f{number:02}{'x' * more}(): return {number}\n" for number in range(30))
    whole = sealed(marshal.dumps(compile(functions, "m.py", "exec")))
    assert is_whole(whole)
    places = range(len(whole) - 24 - 512)
    assert [at for at in places if is_whole(whole[:at] + bytes(512) + whole[at + 512 :])] == []


@pytest.mark.parametrize("magic", [b"\0\0\0\0", b"\x33\x0d\r\n", b"\xff\xff\r\n"])
def test_bytecode_of_another_python_under_our_name_is_not_run(make_package, run_python, magic):
    folder = make_package({"model.py": MODEL})
    assert run_python(RUN).stdout == "6 [6]\n"
    path = cached(folder)
    foreign = bytearray(path.read_bytes()[:-16])
    foreign[:4] = magic
    assert magic != importlib.util.MAGIC_NUMBER
    path.write_bytes(sealed(bytes(foreign)))
    assert run_python(RUN).stdout == "6 [6]\n"
    assert path.read_bytes()[:4] == importlib.util.MAGIC_NUMBER


def test_bytecode_of_another_version_of_the_source_or_of_a_plain_import_is_not_run(make_package, run_python):
    folder = make_package({"model.py": MODEL})
    run_python(RUN)
    stale = cached(folder).read_bytes()
    make_package({"model.py": MODEL.replace("x * 2", "x * 5")})
    cached(folder).write_bytes(stale)
    assert run_python(RUN).stdout == "15 [15]\n"
    run_python("import model")
    (plain,) = set((folder / "__pycache__").glob("model.*.pyc")) - {cached(folder)}
    cached(folder).write_bytes(plain.read_bytes())
    assert run_python(RUN).stdout == "15 [15]\n"


def test_forged_bytecode_is_trusted_as_python_trusts_its_own_and_no_more(make_package, run_python):
    """Who can write to ``__pycache__`` decides what Python runs there, with us and without."""
    folder = make_package({"model.py": MODEL})
    run_python(RUN)
    run_python("import model")
    ours = cached(folder)
    (plain,) = set((folder / "__pycache__").glob("model.*.pyc")) - {ours}
    forged = marshal.dumps(compile("def double(x): return 'forged'", str(folder / "model.py"), "exec"))
    for path in (ours, plain):
        data = path.read_bytes()[:16] + forged
        path.write_bytes(sealed(data) if path == ours else data)
    assert run_python("import model; print(model.double(3))").stdout == "forged\n"
    captured = run_python(RUN.replace('list(astcapture.cache["double"])', "dict(astcapture.cache)"))
    assert captured.stdout == "forged {}\n"
    # And what was forged does not last longer than it does in Python's: until the source changes.
    make_package({"model.py": MODEL.replace("x * 2", "x * 5")})
    assert run_python(RUN).stdout == "15 [15]\n"


def test_a_folder_or_a_dangling_link_in_the_place_of_our_bytecode_is_no_hindrance(make_package, run_python):
    folder = make_package({"model.py": MODEL})
    run_python(RUN)
    path = cached(folder)
    path.unlink()
    path.mkdir()
    assert run_python(RUN).stdout == "6 [6]\n"
    path.rmdir()
    path.symlink_to(folder / "nowhere" / "at-all")
    assert run_python(RUN).stdout == "6 [6]\n"


def test_our_bytecode_has_the_permissions_of_pythons_own(make_package, run_python):
    folder = make_package({"model.py": MODEL})
    os.chmod(folder / "model.py", 0o600)
    run_python(RUN)
    run_python("import model")
    assert {path.stat().st_mode & 0o777 for path in (folder / "__pycache__").iterdir()} == {0o600}


# Names in the current folder


def test_a_package_of_our_name_in_the_current_folder_is_not_run_at_start_up(make_package, run_python):
    """The start-up file is read before the script's folder is on the path."""
    folder = make_package(
        {"astcapture/__init__.py": "print('hijacked')", "astcapture/imports/startup.py": "print('hijacked')"}
    )
    line = (Path(__file__).parents[2] / "astcapture.pth").read_text(encoding="ascii")
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(line.replace("import os; ", "import os\n", 1))
    (folder / "script.py").write_text("print('ran')")
    path = os.pathsep.join([str(site), str(Path(astcapture.__file__).parents[1])])
    done = run_python("script.py", env={"ASTCAPTURE": "model", "PYTHONPATH": path}, cwd=folder)
    assert done.stdout == "ran\n"
    assert "no module model was imported" in done.stderr
