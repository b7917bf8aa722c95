"""`python3 -I -m bfrunner …`, or `python3 -I path/to/bfrunner …`."""

import os
import sys

if not __package__:
    # Run by path: Python put this directory itself on sys.path, where its
    # modules would be importable under bare names, by user code too.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from bfrunner.cli import main

sys.exit(main(sys.argv[1:]))
