"""Run by the interpreter that is measured: prints its pure Python modules that hold functions, one a line,
each with ``early`` where it is imported before a target can be read, and with ``late`` where not."""

import ast
import os
import subprocess
import sys
import sysconfig

# Tests, what is there for other platforms, and programs rather than modules.
SKIPPED = {"test", "tests", "idle_test", "site-packages", "__pycache__", "_bundled", "lib-dynload", "turtledemo"}
START = "import sys, astcapture.imports.hook, astcapture.imports.startup; print(*sys.modules)"


def modules():
    root = sysconfig.get_path("stdlib")
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(one for one in folders if one not in SKIPPED and not one.startswith("config-"))
        for file in sorted(files):
            path = os.path.join(folder, file)
            parts = os.path.relpath(path, root).removesuffix(".py").split(os.sep)
            if parts[-1] == "__init__":
                parts.pop()
            # The import system itself is compiled into the interpreter.
            compiled_in = parts[1:2] in (["_bootstrap"], ["_bootstrap_external"])
            if file.endswith(".py") and parts[-1] != "__main__" and not compiled_in and holds_functions(path):
                yield ".".join(parts)


def holds_functions(path):
    with open(path, "rb") as file:
        try:
            tree = ast.parse(file.read())
        except SyntaxError:
            return False
    return any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in ast.walk(tree))


def main():
    early = subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, text=True).stdout.split()
    for name in modules():
        print(name, "early" if name in early else "late")


if __name__ == "__main__":
    main()
