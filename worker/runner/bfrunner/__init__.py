"""Runs custom Python blocks: {block, inputs} in, an `execute_block` answer out.

The same files run beside a worker, in a jail, in Modal and in an E2B template;
they need nothing but the standard library.  README.md has the whole picture.
"""

__version__ = "1"
