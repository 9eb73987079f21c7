"""``astcapture locals``: the functions of a module and their local variables, to choose a target from."""

from __future__ import annotations

import click

from astcapture.cli.show import search_from_here


@click.command("locals", short_help="List functions, their local variables and their calls.")
@click.argument("target")
def locals_(target: str) -> None:
    """List functions and their local variables, each with the line where it is first bound.

    Below are the calls that each function makes, each with its lines: NAME@call captures what they return,
    NAME@input what they get first. TARGET is MODULE or MODULE:QUALNAME; QUALNAME may contain wildcards. The module is
    read, not imported.

    \b
    Examples:
      astcapture locals mymodel
      astcapture locals 'timm.layers.attention:Attention.*'
    """
    from astcapture.imports.source import functions_of
    from astcapture.rewrite.written_calls import written_calls

    search_from_here()
    path, functions = functions_of(target)
    module = target.partition(":")[0]
    click.secho(f"# {module}  {path}", dim=True)
    for function, scope in functions:
        marked = "  (marked)" if function.markers else ""
        click.echo(f"{module}:{function.qualname}  line {function.node.lineno}{marked}")
        parameters = [name for name in scope.bound if name in scope.parameters]
        bound = [f"{name} ({line})" for name, line in scope.bound.items() if name not in scope.parameters]
        lines: dict[str, dict[int, None]] = {}
        for call in written_calls(function.node):
            lines.setdefault(call.name, {})[call.node.lineno] = None
        calls = [f"{name} ({', '.join(map(str, on))})" for name, on in lines.items()]
        for title, names in (("parameters", parameters), ("locals", bound), ("calls", calls)):
            if names:
                text = f"{title:<12}" + ", ".join(names)
                click.echo(click.wrap_text(text, width=100, initial_indent="    ", subsequent_indent=" " * 16))
