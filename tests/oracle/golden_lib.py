# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""golden_lib.py - what the scripts that write tests/data/topo share."""
import sys


def finish(lines):
    """Print the lines; with a file on the command line, compare them with it instead."""
    text = "".join(line + "\n" for line in lines)
    if len(sys.argv) < 2:
        sys.stdout.write(text)
        return
    with open(sys.argv[1]) as f:
        if f.read() != text:
            sys.exit(f"{sys.argv[1]} is not what Megatron says")
