"""The binary data of a file: compressed, written as text, and kept on disk until the file is put together."""

from __future__ import annotations

import base64
import shutil
import tempfile
import zlib
from typing import IO, Any

#: More than this goes to a temporary file.
_IN_MEMORY = 8 * 2**20
#: Searches for runs of one byte only: 0.6 of the time of level 1, and the data of sparse maps become smaller, since
#: other repetitions in them are short and cost more than they save.
_STRATEGY = zlib.Z_RLE


class Blocks:
    """Numbered blocks, each a script element with the base64 text of a zlib stream.

    What the first picture needs goes before the rest.

    Attributes:
        nbytes: the size of all elements.
    """

    def __init__(self) -> None:
        self._first: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._rest: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._count = 0
        self.nbytes = 0

    def add(self, data: bytes, *, first: bool = False) -> int:
        """Add what `compress` returned, and return the number of its block."""
        number = self._count
        self._count += 1
        text = b'<script type="application/octet-stream" id="block-%d">%s</script>\n' % (number, base64.b64encode(data))
        (self._first if first else self._rest).write(text)
        self.nbytes += len(text)
        return number

    def write_to(self, file: IO[bytes]) -> None:
        """Write all elements."""
        for part in (self._first, self._rest):
            part.seek(0)
            shutil.copyfileobj(part, file)

    def close(self) -> None:
        """Delete the temporary files."""
        self._first.close()
        self._rest.close()


def compress(data: Any) -> bytes:
    """Return a zlib stream of the bytes of an array, or of bytes."""
    stream = zlib.compressobj(1, strategy=_STRATEGY)
    return stream.compress(data) + stream.flush()
