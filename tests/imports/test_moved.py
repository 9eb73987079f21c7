"""A target that names a function where it is only imported means the module that defines it; sources are read."""

from __future__ import annotations

import pytest

import astcapture
from astcapture.errors import CaptureError
from astcapture.imports.hook import install

DEFINED = """
    class Attention:
        def forward(self, x):
            attn = x * 2
            return attn
    def mask(x):
        attn = x + 1
        return attn
"""
PACKAGE = {
    "lib/__init__.py": "",
    "lib/layers/__init__.py": "from .attention import Attention, mask as add_mask\nfrom . import attention\n",
    "lib/layers/attention.py": DEFINED,
    "lib/model.py": (
        "from lib.layers import Attention as Attn, add_mask\nfrom lib import layers\nimport lib.layers as l\n"
    ),
    "lib/starred.py": "from .nothing import *\nfrom .layers.attention import *\n",
    "lib/nothing.py": "x = 1\n",
    "lib/tried.py": "try:\n    from .gone import Attention\nexcept ImportError:\n    from .layers import Attention\n",
}


@pytest.fixture
def package(make_package, fresh_imports):
    make_package(PACKAGE)
    return fresh_imports


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("lib.layers:Attention.forward", "lib.layers.attention:Attention.forward"),
        ("lib.layers:add_mask", "lib.layers.attention:mask"),
        ("lib.layers:attention.mask", "lib.layers.attention:mask"),
        ("lib.model:Attn.forward", "lib.layers.attention:Attention.forward"),
        ("lib.model:add_mask", "lib.layers.attention:mask"),
        ("lib.model:layers.Attention.forward", "lib.layers.attention:Attention.forward"),
        ("lib.model:l.add_mask", "lib.layers.attention:mask"),
        ("lib.starred:Attention.forward", "lib.layers.attention:Attention.forward"),
        ("lib.tried:Attention.forward", "lib.layers.attention:Attention.forward"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_re_export_is_followed_before_and_after_the_import_and_from_the_bytecode_cache(package, target, key):
    for imported_before in (False, False, True):
        package()
        astcapture.cache.clear()
        if imported_before:
            __import__(target.partition(":")[0])
            from lib.layers.attention import Attention, mask
        with install(f"{target}=attn") as hook:
            __import__(target.partition(":")[0])
            from lib.layers.attention import Attention, mask

            results = Attention().forward(3), mask(3)
            assert results == (6, 4)
            assert list(astcapture.cache[key]) == [6 if "forward" in key else 4]
            assert key in astcapture.cache
        mask(1), Attention().forward(1)
        assert len(astcapture.cache[key]) == 1
        assert "_@record" not in mask.__code__.co_names + Attention.forward.__code__.co_names
        del hook


def test_the_options_of_the_hook_hold_for_what_was_followed(package):
    with install("lib.layers:add_mask=attn", reduce=lambda value: value * 100):
        from lib.layers import add_mask

        add_mask(1)
        assert list(astcapture.cache["lib.layers.attention:mask"]) == [200]


def test_at_exit_nothing_is_said_of_a_target_that_was_followed(make_package, run_python):
    make_package(PACKAGE)
    done = run_python("import astcapture; astcapture.install('lib.layers:add_mask=attn'); import lib.layers")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (
            "class Base:\n    def forward(self):\n        x = 1\nclass Sub(Base):\n    pass\n",
            "Sub.forward=x",
            "Sub does not define forward; if it inherits forward, write other:Base.forward=x",
        ),
        (
            "from lib.layers import Attention\nclass Mid(Attention[int]):\n    pass\nclass Sub(Mid):\n    pass\n",
            "Sub.forward=attn",
            "Sub does not define forward; if it inherits forward, write lib.layers:Attention.forward=attn",
        ),
        (
            "import lib.layers\nclass Sub(lib.layers.Attention):\n    pass\n",
            "Sub.forward=attn",
            "if it inherits forward, write lib.layers:Attention.forward=attn",
        ),
        (
            "class Sub:\n    def forward(self): pass\n",
            "Sub.forwrad=attn",
            "did you mean Sub.forward?",
        ),
        (
            "class Sub:\n    def _forward(self): pass\n    forward = _forward\n",
            "Sub.forward=attn",
            "Sub.forward is an alias there: write other:Sub._forward=attn",
        ),
        (
            "class Old:\n    def forward(self): pass\nNew = Old\n",
            "New.forward=attn",
            "New is an alias there: write other:Old.forward=attn",
        ),
        (
            "from lib.nothing import Attention\n",
            "Attention.forward=attn",
            "other imports Attention.forward from lib.nothing, but no source file that defines it was found",
        ),
        (
            "from math import sqrt\n",
            "sqrt=x",
            "other imports sqrt from math, but no source file that defines it was found: name the module that defines",
        ),
    ],
)
@pytest.mark.parametrize("imported", [False, True])
def test_what_cannot_be_followed_is_an_error_that_names_the_target_to_write(
    make_package, package, source, target, said, imported
):
    make_package({"other.py": source})
    if imported and "lib.nothing" not in source and "Attention[int]" not in source:
        import other
    with pytest.raises(CaptureError) as error, install(f"other:{target}"):
        import other  # noqa: F401
    assert said in str(error.value)


def test_a_chain_of_imports_that_leads_back_ends(make_package, fresh_imports):
    make_package({"one.py": "from two import f\n", "two.py": "from one import f\n"})
    with install("one:f=x"), pytest.raises(CaptureError, match="no source file that defines it was found"):
        import one  # noqa: F401
