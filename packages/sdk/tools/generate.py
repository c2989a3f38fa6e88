"""Generates the Python half of the contract: `proto/` in, `src/plait_sdk/_gen` out. Called by `nox -s proto`."""

import re
import shutil
import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

SDK = Path(__file__).resolve().parents[1]
PROTO = SDK / "proto"
OUT = SDK / "src" / "plait_sdk" / "_gen"


def main() -> int:
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    options = [f"--{kind}_out={OUT}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    code = protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", *options, *files])
    if code:
        return int(code)
    for path in OUT.rglob("*.py*"):
        # protoc writes imports from the root of the proto tree; ours lives inside the package.
        text = re.sub(r"^from plait\.v1 import", "from plait_sdk._gen.plait.v1 import", path.read_text(), flags=re.M)
        text = (
            re.sub(r"\bplait\.v1\.(\w+_pb2)\b", r"plait_sdk._gen.plait.v1.\1", text) if path.suffix == ".pyi" else text
        )
        path.write_text(text)
    for folder in (OUT, OUT / "plait", OUT / "plait" / "v1"):
        (folder / "__init__.py").write_text('"""Generated; see `packages/sdk/proto`."""\n')
    return 0


sys.exit(main())
