# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""hub_lib.py - what the oracles of the hub share: the hub of tests/hub on 127.0.0.1, and the environment of its clients."""
import os
import subprocess
import time


class Hub:
    """A hub with its own log, of models below WORK/models."""

    def __init__(self, server, work, name, *options):
        self.log = f"{work}/{name}.log"
        ports = f"{work}/{name}.ports"
        self.process = subprocess.Popen([server, f"{work}/models", self.log, ports, *options])
        while not os.path.exists(ports):
            time.sleep(0.02)
        self.endpoint = "http://127.0.0.1:" + open(ports).read().split()[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def lines(self):
        """What was asked for, a list of words for each request."""
        time.sleep(0.1)
        return [line.split() for line in open(self.log)]


def environment(endpoint, home, **more):
    """That of a client which knows this hub and nothing else."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("HF_", "TRANSFORMERS_")) and not k.lower().endswith("_proxy")}
    return env | {"HF_HOME": home, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                  "HF_HUB_DISABLE_TELEMETRY": "1"} | more
