"""Load clients: public load generators, driven through a proxy; each returns (requests, seconds, p50 ms, p99 ms, errors).

- wrk, with absolute-form targets, for plain HTTP; `ab -X` as the second witness of the same.
- oha, which speaks CONNECT, for intercepted HTTPS and HTTP/2. Where it is not installed, h2load through
  `connect_shim.py` (CONNECT on behalf of a client that cannot; its CPU is not counted as the proxy's); fresh connections by
  curl, which speaks CONNECT and counts the connections it makes. (wrk spins while TLS handshakes are under way, which starves whoever shares the cores with it.)
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import rig

LUA = """
wrk.path = os.getenv("TARGET")
wrk.headers["Host"] = os.getenv("HOST")
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def run(command, seconds, **environment):
    got = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds * 2 + 30, env={**os.environ, **environment}
    )
    if got.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {got.stdout[-500:]} {got.stderr[-1000:]}")
    return got.stdout


def wrk(url, host, target, connections, seconds):
    script = pathlib.Path(rig.HELD, "target.lua")
    script.write_text(LUA)
    text = run(
        ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "20s", "-s", str(script), url],
        seconds, TARGET=target, HOST=host,
    )  # fmt: skip
    requests, duration, p50, p99, errors = re.search(r"RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)", text).groups()
    return int(requests), int(duration) / 1e6, float(p50) / 1e3, float(p99) / 1e3, int(errors)


def ab(proxy, url, connections, seconds):
    """ab counts in whole milliseconds; its throughput and errors are what is looked at."""
    command = ["ab", "-k", "-q", "-t", str(seconds), "-n", "100000000", "-c", str(connections)]
    text = run([*command, *(["-X", proxy] if proxy else []), url], seconds)
    pick = lambda pattern: float(re.search(pattern, text)[1])
    failed = int(pick(r"Failed requests:\s+(\d+)"))
    return (
        int(pick(r"Complete requests:\s+(\d+)")), pick(r"Time taken for tests:\s+([\d.]+)"),
        pick(r"50%\s+(\d+)"), pick(r"99%\s+(\d+)"), failed,
    )  # fmt: skip


def curl_fresh(proxy, url, count):
    """`count` requests, each on a TCP and TLS connection of its own; curl counts them."""
    command = ["curl", "-s", "-k", "-Z", "--parallel-max", "16", "--http1.1", "-H", "Connection: close"]
    command += ["-x", f"http://{proxy}"] if proxy else []
    began = time.monotonic()
    text = run([*command, f"{url}?[1-{count}]", "-o", "/dev/null", "-w", "%{http_code} %{num_connects} %{time_total}\n"], 60)
    seconds = time.monotonic() - began
    rows = [line.split() for line in text.splitlines()]
    good = [row for row in rows if row[:2] == ["200", "1"]]
    hundredths = statistics.quantiles([float(row[2]) * 1e3 for row in rows], n=100) if len(rows) > 1 else [0] * 99
    return len(good), seconds, hundredths[49], hundredths[98], count - len(good)


def oha_program():
    return rig.find("oha", os.environ.get("OHA", ""))


def oha(proxy, url, connections, seconds, http2=False, fresh=False):
    streams = 8 if http2 else 1
    command = [oha_program(), "-z", f"{seconds}s", "-c", str(max(1, connections // streams)), "-p", str(streams)]
    command += ["--no-tui", "--output-format", "json", "--insecure"]
    command += ["-x", f"http://{proxy}"] if proxy else []
    command += ["--http2"] if http2 else []
    command += ["--disable-keepalive"] if fresh else []
    got = json.loads(run([*command, url], seconds))
    good = sum(got["statusCodeDistribution"].values())
    # What the deadline cut off is no error.
    errors = sum(count for why, count in got["errorDistribution"].items() if "deadline" not in why)
    errors += good - got["statusCodeDistribution"].get("200", 0)
    latency = got["latencyPercentiles"]
    return good, got["summary"]["total"], (latency["p50"] or 0) * 1e3, (latency["p99"] or 0) * 1e3, errors


def h2load(url, connections, seconds, http2=True):
    log = pathlib.Path(rig.HELD, "h2load.log")
    log.unlink(missing_ok=True)
    version = ["-c", str(max(1, connections // 8)), "-m", "8"] if http2 else ["-c", str(connections), "--h1"]
    text = run(["h2load", "-D", str(seconds), *version, "-t", "1", f"--log-file={log}", url], seconds)
    done, failed = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", text).groups()
    took = sorted(int(line.split()[2]) / 1e3 for line in log.read_text().splitlines())
    hundredths = statistics.quantiles(took, n=100) if len(took) > 1 else [0] * 99
    return int(done), float(seconds), hundredths[49], hundredths[98], int(failed)


def shim(proxy_port, target):
    """A listener whose connections go through CONNECT to target: (running, port)."""
    port = rig.free_port()
    running = rig.Running("connect_shim", [sys.executable, str(rig.HERE / "connect_shim.py"), str(port), str(proxy_port), target])
    return running.until_listening(port), port
