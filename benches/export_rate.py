"""Rate and peak memory of every export of a session of a million requests.

    export_rate.py [--quick] [--count 1000000] [--weir BINARY] [--record BINARY]

The session is made by storage/examples/record_rate.rs: every request another URL with another 600-byte body. Bar
(issue 4): under 200 MiB resident, whatever the format.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import rig

ROOT = pathlib.Path(__file__).resolve().parent.parent
BAR_MIB = 200
FORMATS = [
    ("jsonl", ["--to", "jsonl"]),
    ("csv", ["--to", "csv"]),
    ("har", ["--to", "har"]),
    ("curl", ["--to", "curl"]),
    ("http", ["--to", "http"]),
    ("openapi", ["--to", "openapi"]),
    ("postman, by domain and endpoint", ["--to", "postman", "--group-by", "domain,endpoint"]),
    ("postman, merged into itself", ["--to", "postman", "--into", "{postman}"]),
    ("parquet", ["--to", "parquet"]),
]


def size_of(path):
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def run(command):
    """Seconds, CPU seconds, peak MiB; ends the bench when the command fails."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command} ended with {status}: {said}")
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--weir", default=ROOT / "target/release/weir")
    parser.add_argument("--record", default=None, help="built record_rate; default: cargo run --release --example")
    parser.add_argument("--folder", default=None, help="where sessions and exports are written; default: a temporary one")
    arguments = parser.parse_args()
    count = 10_000 if arguments.quick else arguments.count
    record = [arguments.record] if arguments.record else ["cargo", "run", "--release", "--workspace", "--example", "record_rate", "--"]
    missed = False
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        folder = pathlib.Path(folder)
        home = folder / "home"
        subprocess.run([*record, str(count), "unique", str(home)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        print(f"Machine: {rig.machine()}; commit {rig.commit()}. Command: `benches/export_rate.py {' '.join(sys.argv[1:])}`.\n")
        print(f"{count:,} exchanges; each has another URL and another 600-byte body.\n".replace(",", " "))
        print("| format | exchanges/s | took | CPU | peak RSS | output |\n|---|---|---|---|---|---|")
        kept = folder / "collection.json"
        for name, flags in FORMATS:
            out = kept if name.startswith("postman, by") else folder / "out"
            flags = [flag.replace("{postman}", str(kept)) for flag in flags]
            took, cpu, peak = run([str(arguments.weir), "--home", str(home), "export", *flags, "-o", str(out)])
            missed |= peak > BAR_MIB
            mark = "" if peak <= BAR_MIB else " (over the bar)"
            print(f"| {name} | {count / took:,.0f} | {took:.1f} s | {cpu:.1f} s | {peak:.0f} MiB{mark} | {size_of(out) / 1e6:,.0f} MB |".replace(",", " "))
            if out != kept:
                subprocess.run(["rm", "-rf", str(out)], check=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
