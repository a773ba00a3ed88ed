"""Time of a clean release build and size of the stripped binary: build.py [TARGET_DIR]

Builds into a folder of its own, so that nothing is warm but the registry's downloads.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import rig

target = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="weir-build-", dir=rig.ROOT)
subprocess.run(["cargo", "fetch", "--locked"], cwd=rig.ROOT, check=True)
began = time.monotonic()
command = ["cargo", "build", "--release", "--locked", "--package", "weir", "--bin", "weir", "--quiet"]
subprocess.run(command, cwd=rig.ROOT, check=True, env={**os.environ, "CARGO_TARGET_DIR": target})
took = time.monotonic() - began
size = os.path.getsize(os.path.join(target, "release", "weir"))
shutil.rmtree(target)
version = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
print(f"Machine: {rig.machine()}; commit {rig.commit()}; {version}. Command: `{' '.join(command)}` in an empty target folder.\n")
print(f"| clean release build | stripped binary |\n|---|---|\n| {took / 60:.1f} min | {size / 1e6:.1f} MB |")
