"""``python -m astcapture``."""

import sys

from astcapture.cli import main

if __name__ == "__main__":
    sys.exit(main())
