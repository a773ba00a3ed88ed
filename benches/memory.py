"""Resident memory of weir after 10 thousand and after 2 million exchanges, with defaults.

    memory.py [--quick] [--counts 10000,2000000]

Every exchange is another URL with another 600-byte body, so that nothing is remembered once for all of them. Read when the load
has ended and all of it is on disk (resident memory no longer changes), with the peak under the load before it.
Bars (issue 2): at rest within 10 % of each other, and the peak under 300 MiB.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import clients
import rig

# Numbers each request; threads take disjoint ranges.
LUA = """
local threads = 0
function setup(thread) thread:set("base", threads * 1000000000) threads = threads + 1 end
local n = 0
request = function() n = n + 1 return wrk.format("GET", os.getenv("TARGET") .. (base + n)) end
wrk.headers["Host"] = os.getenv("HOST")
"""


def at_rest(running):
    """Resident memory, MiB, once it has not changed by a MiB for three seconds; half a minute at most."""
    seen = [running.rss_mib()]
    while len(seen) < 30 and (len(seen) < 4 or max(seen[-4:]) - min(seen[-4:]) > 1):
        time.sleep(1)
        seen.append(running.rss_mib())
    return seen[-1]


def peak(running, reset=False):
    """Highest resident memory, MiB, since the last reset."""
    place = pathlib.Path("/proc", str(running.child.pid))
    if reset:
        (place / "clear_refs").write_text("5")
    line = next(line for line in (place / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--counts", default="10000,2000000")
    arguments = parser.parse_args()
    counts = [1000, 10_000] if arguments.quick else [int(count) for count in arguments.counts.split(",")]
    origin = rig.origin(rig.certificates())
    proxy = rig.weir(origin)
    script = pathlib.Path(rig.HELD, "numbered.lua")
    script.write_text(LUA)
    host = f"127.0.0.1:{origin.http}"
    print(f"Machine: {rig.machine()}; commit {rig.commit()}. Command: `benches/memory.py {' '.join(sys.argv[1:])}`.\n")
    print("| exchanges (at least) | RSS at rest | peak until then | took |\n|---|---|---|---|")
    found, peaks, answered, began, step = [], [], 0, time.monotonic(), 0
    try:
        for count in counts:
            peak(proxy.running, reset=True)
            while answered < count:
                # Short loads until the count is reached; wrk takes a duration, not a number. Each step has its own URLs.
                step += 1
                seconds = 1 if count - answered < 50_000 else 20
                text = clients.run(
                    ["wrk", "-t2", "-c64", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{proxy.plain}"],
                    seconds, TARGET=f"http://{host}/n?step={step}&n=", HOST=host,
                )  # fmt: skip
                answered += int(text.split(" requests in ")[0].split()[-1])
            took = time.monotonic() - began
            peaks.append(peak(proxy.running))
            found.append(at_rest(proxy.running))
            print(f"| {answered} | {found[-1]:.0f} MiB | {peaks[-1]:.0f} MiB | {took:.0f} s |", flush=True)
        stopping = time.monotonic()
    finally:
        proxy.running.__exit__()
        origin.running.__exit__()
    stopped = time.monotonic() - stopping
    size = sum(file.stat().st_size for file in proxy.home.rglob("*") if file.is_file())
    command = [rig.weir_binary(), "--home", str(proxy.home), "overview", "--json"]
    stored = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["exchanges"]
    # wrk does not count what was under way when its time was over: at most its 64 connections each time.
    if not answered <= stored <= answered + 64 * step:
        raise SystemExit(f"error: {answered} were answered, {stored} are stored")
    print(f"\nThe last is {found[-1] / found[0]:.2f} × the first. Stopping took {stopped:.1f} s; the session takes {size / stored:.0f} bytes an exchange on disk.")
    if not arguments.quick and (found[-1] > 1.1 * found[0] or max(peaks) > 300):
        raise SystemExit("error: over the bars: within 10 % of each other, under 300 MiB")


main()
