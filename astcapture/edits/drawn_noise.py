"""``noise``: adds random numbers that are the same at each execution, so that a checkpoint repeats them.

They come from a generator of their own. The program's random numbers stay as they are.
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from typing import Any

from astcapture.edits.held import Held, is_tensor
from astcapture.edits.ready_made import ReadyMade
from astcapture.edits.slices import Chosen, Slices
from astcapture.errors import EditError

#: As many numbers are kept at most, so that the next execution need not draw them again.
_KEPT = 2**23

_kept: dict[tuple[Any, ...], Any] = {}
_library: Any = None


class _Noise(ReadyMade):
    makes_new = True

    def __init__(self, std: Any, seed: int, slices: Slices) -> None:
        self.held = Held(std, "noise: std")
        if not self.held.is_number:
            raise EditError(f"noise({self.held}): the standard deviation is a number")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise EditError(f"noise(seed={seed!r}): the seed is a whole number")
        self.seed = seed
        # As text, since the compiler may treat a whole number as one that varies.
        self._seeded = f"{seed} "
        super().__init__("noise", slices)

    # Without a default, so that an edit passes the site.
    def __call__(self, value: Any, site: Any) -> Any:  # type: ignore[override]
        return super().__call__(value, site)

    def changed(self, part: Any, value: Any, site: Any) -> Any:
        seed = self._seeded + ("" if site is None else f"{site.layer} {site.label}")
        if not is_tensor(part):
            return part + self.held.operand(part) * _of_numpy(part.shape, seed).astype(part.dtype)
        _define()
        torch = sys.modules["torch"]
        # Without gradients there is nothing to detach, and in ``inference_mode`` torch 2.13 cannot compile it.
        drawn = torch.ops.astcapture.noise(part.detach() if torch.is_grad_enabled() else part, seed)
        return part + self.held.operand(part) * drawn

    @property
    def value(self) -> Any:
        return self.held.value

    @value.setter
    def value(self, new: Any) -> None:
        self.held.value = new

    def arguments(self) -> str:
        return str(self.held) + (f", seed={self.seed}" if self.seed else "")


def noise(
    std: float,
    seed: int = 0,
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Add normally distributed noise, the same at each execution.

    The same seed gives the same noise for a layer, a name and a shape: in each call, in the second run of a
    checkpoint, on each device. It is drawn on the CPU in float32 by a generator of its own, so the program's random
    numbers do not change. Change ``seed`` for other noise.

    Args:
        std: the standard deviation; the ``value`` of the edit.
        seed: a whole number.
        batch, heads, rows, columns, tokens, axes: as for `zero`.

    Raises:
        EditError: ``std`` is no number, or ``seed`` no whole number.

    >>> import torch
    >>> noisy, x = noise(0.1, seed=1, tokens=0), torch.zeros(1, 4, 8)
    >>> torch.equal(noisy(x, None), noisy(x, None)), float(noisy(x, None)[:, 1:].abs().max())
    (True, 0.0)
    """
    return _Noise(std, seed, Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens))


def _seeded(seed: str) -> int:
    return int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "big") >> 1


def _of_numpy(shape: tuple[int, ...], seed: str) -> Any:
    import numpy

    return numpy.random.default_rng(_seeded(seed)).standard_normal(shape)


def _draw(like: Any, seed: str) -> Any:
    """Noise of the shape, dtype and device of a tensor, in memory that is the caller's."""
    torch = sys.modules["torch"]
    key = (seed, tuple(like.shape), like.dtype, like.device)
    drawn = _kept.get(key)
    if drawn is None:
        generator = torch.Generator("cpu").manual_seed(_seeded(seed))
        drawn = torch.randn(like.shape, generator=generator, dtype=torch.float32, device="cpu").to(like)
        if drawn.numel() > _KEPT:
            return drawn
        if drawn.numel() + sum(one.numel() for one in _kept.values()) > _KEPT:
            _kept.clear()
        _kept[key] = drawn
    # Compiled code may write over what an operator returns.
    return drawn.clone()


def _define() -> bool:
    """Define the operator that draws, once. The compiler calls this while it traces, for its effect."""
    global _library
    if _library is None:
        torch = sys.modules["torch"]
        library = torch.library.Library("astcapture", "FRAGMENT")
        library.define("noise(Tensor like, str seed) -> Tensor")
        library.impl("noise", _draw, "CompositeExplicitAutograd")
        torch.library.register_fake("astcapture::noise", _shaped, lib=library)
        _library = library
    return True


_define._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _shaped(like: Any, seed: str) -> Any:
    return like.new_empty(like.shape)
