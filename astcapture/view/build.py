"""Puts a file together: reads one value after the other, and writes the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from astcapture.view.blocks import Blocks
from astcapture.view.content import Content
from astcapture.view.options import Options
from astcapture.view.page import write_page
from astcapture.view.plan import Entry
from astcapture.view.prepare import Planned
from astcapture.view.reading import Reader
from astcapture.view.work import Workers

#: Called with how many values of how many are done.
Progress = Callable[[int, int], None]


def build(
    file: IO[bytes], planned: Planned, options: Options, progress: Progress = lambda done, of: None
) -> list[list[Entry]]:
    """Write one HTML file; gives the entries of each series in it.

    Args:
        file: where to.
        planned: what it will hold.
        options: those that it was planned with.
        progress: is called after each value.

    Raises:
        CaptureError: nothing of it can be shown.
    """
    entries, blocks = planned.entries, Blocks()
    try:
        order = (record for entry in entries for record in entry.records)
        with Reader(order) as reader, Workers() as workers:
            content = Content(options, planned, blocks, workers)
            for done, entry in enumerate(entries):
                progress(done, len(entries))
                content.add(entry, reader)
            progress(len(entries), len(entries))
        write_page(file, options.title, content.finish(), blocks)
        return content.entries()
    finally:
        blocks.close()
