"""What the user of a view knows and asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from astcapture.plot.patches import Grid
from astcapture.view.axes import Given
from astcapture.view.kinds import Kind


@dataclass(frozen=True)
class Options:
    """What the user knows and asks for.

    Attributes:
        tokens, key_tokens: one list of tokens, or one for each example.
        images: as the file has them, one for all examples or one for each.
        batch: the example that is shown; None for all.
        grid, cls: how patches are laid out.
        exact: (layer, head) of the maps that are kept exactly.
        kind: what all values are, if it is not to be found out.
        size: of the file in bytes, about.
        title: of the page.
    """

    tokens: Sequence[Sequence[str]] = ()
    key_tokens: Sequence[Sequence[str]] = ()
    images: Sequence[Mapping[str, Any]] = ()
    batch: int | None = None
    grid: Grid | None = None
    cls: int | None = None
    exact: Sequence[tuple[int | str, int]] = ()
    kind: Kind | None = None
    size: float = 15e6
    title: str = "astcapture"

    def given(self, batch: int) -> Given:
        """What is known of one example."""
        image = of_example(self.images, batch)
        return Given(
            of_example(self.tokens, batch),
            of_example(self.key_tokens, batch),
            None if image is None else (self.images.index(image), image["height"], image["width"]),
            self.grid,
            self.cls,
        )


def of_example(several: Sequence[Any], batch: int) -> Any:
    """What belongs to an example: its own, or the only one that there is."""
    if len(several) == 1:
        return several[0]
    return several[batch] if 0 <= batch < len(several) else None
