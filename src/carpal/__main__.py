"""`python -m carpal`: the command without its script."""

import sys

from carpal.cli import main

if __name__ == "__main__":
    sys.exit(main())
