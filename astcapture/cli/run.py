"""``astcapture run``: run a program with capturing on, with or without the start-up file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial

import click


@click.command(
    short_help="Run a program with capturing on.",
    # Arguments after SCRIPT belong to the script, even those that look like options.
    context_settings={"allow_interspersed_args": False},
    options_metavar="-c TARGET [-c TARGET]... [OPTIONS]",
)
@click.option(
    "-c",
    "targets",
    metavar="TARGET",
    multiple=True,
    help="What to capture: MODULE[:QUALNAME[=NAMES]] or a recipe, @NAME. Can be repeated.",
)
@click.option(
    "-e",
    "edits",
    metavar="EDIT",
    multiple=True,
    help="What to change: TARGET=CHANGE(...), such as mymodel:Attention.forward=attn=zero(heads=[3]). Can be repeated.",
)
@click.option("-o", "store", metavar="DIR", help="Stream captured values to this folder.")
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@click.option("-m", "module", is_flag=True, help="Run SCRIPT as a module, like python -m.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    targets: tuple[str, ...],
    edits: tuple[str, ...],
    store: str | None,
    strict: bool,
    module: bool,
    script: str,
    args: tuple[str, ...],
) -> Callable[[], None]:
    """Run SCRIPT with ARGS as python would, and capture from the modules that it imports, or edit values in them.

    Without -c and -e, the targets come from ASTCAPTURE or ASTCAPTURE_CONFIG. At exit a summary is printed to standard
    error; with -o the values are streamed to a folder instead. Processes that SCRIPT starts are captured too if
    astcapture.pth is installed (see astcapture doctor). The exit status is that of SCRIPT.

    \b
    Examples:
      astcapture run -c mymodel eval.py --batch-size 8
      astcapture run -c @hf-attention -o runs/eval -m mypackage.eval
      astcapture run -e 'mymodel:Attention.forward=attn=zero(heads=[3])' eval.py
    """
    from astcapture.imports import startup
    from astcapture.imports.launcher import run_script

    if sys.flags.ignore_environment:  # -E and -I: only the command line counts
        for name in [name for name in os.environ if name.startswith("ASTCAPTURE")]:
            del os.environ[name]
    # Passed on in the environment, so that the processes that SCRIPT starts see it too.
    if targets:
        os.environ["ASTCAPTURE"] = ";".join(targets)
    if edits:
        os.environ["ASTCAPTURE_EDIT"] = "\n".join(edits)
    if not any(map(os.environ.get, startup.SWITCHES)):
        raise click.UsageError("nothing to capture: write -c TARGET before SCRIPT, for example -c mymodel")
    if store is not None:
        os.environ["ASTCAPTURE_STORE"] = os.path.abspath(store)  # a child may work in another folder
    if strict:
        os.environ["ASTCAPTURE_STRICT"] = "1"
    # The hook looks at the modules that are already imported, and __main__ is still this program, not SCRIPT.
    main = sys.modules.pop("__main__")
    try:
        startup.switch_on()
    finally:
        sys.modules["__main__"] = main
    return partial(run_script, [script, *args], module=module)
