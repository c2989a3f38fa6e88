"""Owns the command line of the worker: `python -I -m plait_sdk.host --control FD`, as the proxy starts it."""

import argparse
import os

from plait_sdk import _native
from plait_sdk.host.control import adopt
from plait_sdk.host.zygote import Zygote


def main() -> None:
    """Becomes the zygote of a trust group."""
    parser = argparse.ArgumentParser(
        prog="plait_sdk.host", description="Runs plugins for plait-proxy, which starts it."
    )
    parser.add_argument("--control", type=int, required=True, help="descriptor of the control socket")
    parent = os.getppid()
    control = adopt(parser.parse_args().control)
    try:
        _native.die_with_parent(parent)
        Zygote(control).run()
    except (EOFError, ProcessLookupError):
        os._exit(0)


if __name__ == "__main__":
    main()
