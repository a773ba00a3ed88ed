"""Capture files to sessions: weir beside tshark, tcpflow, Suricata and a plain walk over the packet headers.

    import_side_by_side.py [--quick] [--size BYTES] [--repeat N] [--stream BYTES] [--har BYTES] [--tools A,B] [--json FILE]

Two files made by `weir load synth` with a fixed seed: one of the web's mix of bodies, one of tiny exchanges. Each is read into
the page cache first; every tool reads it from there, and what it writes goes to disk. The median of N runs counts (once for the
slow ones). Then memory: a stream through a pipe, and a HAR through a pipe. Prints Markdown. Bars (issue 3) are told beside.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

import rig

FILES = {
    "web": (
        "web mix",
        ["--mix", "web", "--connections", "1000000", "--posts", "0.1", "--ipv6", "0.1"],
        "42 % JSON, 8 % HTML, 16 % scripts, 6 % styles (text; half to four fifths of it in gzip), 24 % images, 3 % fonts, 1 % video; "
        "sizes of 200 B to 1 MiB, each doubling alike; a third of the static bodies are one of 100; 20 % chunked, 10 % POST, "
        "10 % of connections pipeline, 10 % over IPv6, one to 20 exchanges a connection, 32 connections at once, segments of 1 448 bytes",
    ),
    "tiny": (
        "tiny exchanges",
        ["--mix", "tiny", "--connections", "1000000", "--posts", "0", "--gzip", "0", "--exchanges", "100"],
        "bodies of 0 to 200 bytes, one to 100 exchanges a connection, else as above without POST and gzip",
    ),
}


def packets_example():
    target = os.environ.get("CARGO_TARGET_DIR", rig.ROOT / "target")
    beside = pathlib.Path(rig.weir_binary()).parent / "examples" / "packets"
    return os.environ.get("PACKETS_BIN") or str(beside if beside.exists() else pathlib.Path(target, "release/examples/packets"))


def measure(command, cwd=None):
    """Runs it once: wall seconds, CPU seconds of it and its children, peak RSS in MiB, standard output."""
    began = time.monotonic()
    child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    errors = []
    reading = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    reading.start()
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    reading.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}: {errors[0][-300:].decode(errors='replace')}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said


def weir(*flags):
    def run(capture):
        home = rig.folder("weir-home")
        try:
            wall, cpu, rss, said = measure([rig.weir_binary(), "--home", str(home), "import", str(capture), "--json", *flags])
            done = json.loads(said.splitlines()[-1])
            if any(tally["seen"] != tally["kept"] + sum(tally["dropped"].values()) for tally in done["ledger"].values()):
                raise RuntimeError(f"the ledger does not balance: {done}")
            size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
            return {"wall": wall, "cpu": cpu, "rss": rss, "exchanges": done["exchanges"], "disk": size}
        finally:
            shutil.rmtree(home, ignore_errors=True)

    return run


def example(*arguments):
    def run(capture):
        wall, cpu, rss, said = measure([packets_example(), str(capture), *arguments])
        done = json.loads(said)
        return {"wall": wall, "cpu": cpu, "rss": rss, "exchanges": done["exchanges"], "packets": done["packets"]}

    return run


def tshark(capture):
    fields = ["-T", "fields", "-e", "http.request.method", "-e", "http.request.full_uri", "-e", "http.response.code"]
    wall, cpu, rss, said = measure(["tshark", "-r", str(capture), "-n", "-Y", "http", *fields])
    seen = sum(len(line.split(b"\t")[0].split(b",")) for line in said.splitlines() if line.split(b"\t")[0])
    return {"wall": wall, "cpu": cpu, "rss": rss, "exchanges": seen}


def tcpflow(capture):
    place = rig.folder("tcpflow")
    try:
        wall, cpu, rss, _ = measure(["tcpflow", "-q", "-r", str(capture), "-o", str(place)], cwd=place)
        return {"wall": wall, "cpu": cpu, "rss": rss, "disk": sum(file.stat().st_size for file in place.iterdir())}
    finally:
        shutil.rmtree(place, ignore_errors=True)


def suricata(capture):
    place = rig.folder("suricata")
    settings = place / "suricata.yaml"
    settings.write_text("""%YAML 1.1
---
max-pending-packets: 10000
stream: {memcap: 1gb, checksum-validation: no, reassembly: {memcap: 2gb, depth: 0}}
flow: {memcap: 1gb, hash-size: 65536}
app-layer: {protocols: {http: {enabled: yes, memcap: 2gb, libhtp: {default-config: {personality: IDS, request-body-limit: 0, response-body-limit: 0}}}}}
outputs: [{eve-log: {enabled: yes, filetype: regular, filename: eve.json, types: [{http: {}}]}}]
""")
    try:
        wall, cpu, rss, _ = measure(["suricata", "-c", str(settings), "-r", str(capture), "-l", str(place), "-k", "none", "--runmode", "single", "-S", "/dev/null"])
        log = place / "eve.json"
        return {"wall": wall, "cpu": cpu, "rss": rss, "exchanges": sum(1 for _ in open(log, "rb")), "disk": log.stat().st_size}
    finally:
        shutil.rmtree(place, ignore_errors=True)


# name: (run, slow, bar in GB/s on the web mix)
TOOLS = {
    "walk over the record headers (limit)": (example("walk"), False, None),
    "blocks of frames, nothing decoded": (example("source"), False, None),
    "packet path without storage, rows only": (example("shard", "none"), False, None),
    "packet path without storage, with bodies": (example("shard", "media-off"), False, None),
    "weir, rows only": (weir("--bodies", "none"), False, 1.5),
    "weir, rows only, --jobs 2": (weir("--bodies", "none", "--jobs", "2"), False, None),
    "weir, bodies but media (the default)": (weir(), False, 1.0),
    "weir, bodies but media, --jobs 2": (weir("--jobs", "2"), False, None),
    "weir, all bodies": (weir("--bodies", "all"), False, None),
    "Suricata, single thread, http log": (suricata, True, None),
    "tcpflow": (tcpflow, True, None),
    "tshark, http fields": (tshark, True, None),
}


def make(name, size):
    capture = pathlib.Path(rig.HELD, f"{name}.pcap")
    command = [rig.weir_binary(), "load", "synth", "-o", str(capture), "--size", str(size), "--json", *FILES[name][1]]
    return capture, json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def warm(capture):
    with open(capture, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def table(name, capture, made, arguments, chosen, results):
    title, flags, mix = FILES[name]
    print(f"### {title}\n")
    print(f"{made['bytes'] / 1e6:.0f} MB, {made['packets']} packets, {made['exchanges']} exchanges begun: {mix}.\n")
    print("| tool | GB/s | GB a CPU second | packets/s | exchanges/s | wall | CPU | peak RSS | written | exchanges found | bar |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for tool, (run, slow, bar) in TOOLS.items():
        if not chosen(tool):
            continue
        rig.say(f"{name}: {tool}")
        try:
            runs = [run(capture) for _ in range(1 if slow else arguments.repeat)]
        except (RuntimeError, OSError, ValueError) as error:
            print(f"| {tool} | none: {str(error)[:200].replace('|', '/')} | | | | | | | | | |", flush=True)
            results.setdefault(name, {})[tool] = {"failed": str(error)}
            continue
        row = sorted(runs, key=lambda run: run["wall"])[len(runs) // 2]
        worst = max(run["wall"] for run in runs)
        results.setdefault(name, {})[tool] = {**row, "worst": worst}
        rate = made["bytes"] / row["wall"] / 1e9
        per_cpu = f"{made['bytes'] / row['cpu'] / 1e9:.2f}" if row["cpu"] else ""
        exchanges = f"{row['exchanges'] / row['wall']:.0f}" if row.get("exchanges") else ""
        written = f"{row['disk'] / 1e6:.1f} MB" if "disk" in row else ""
        told = f"{bar} {'met' if rate >= bar else 'missed'}" if bar and name == "web" else ""
        print(
            f"| {tool} | {rate:.2f} | {per_cpu} | {made['packets'] / row['wall']:.0f} | {exchanges} | {row['wall']:.3f} s (worst {worst:.3f}) |"
            f" {row['cpu']:.2f} s | {row['rss']:.0f} MiB | {written} | {row.get('exchanges') or ''} | {told} |",
            flush=True,
        )
    rows = results.get(name, {})
    for what in ("weir, rows only", "weir, bodies but media"):
        one = rows.get(what) or rows.get(f"{what} (the default)")
        two = rows.get(f"{what}, --jobs 2")
        if one and two and "wall" in one and "wall" in two:
            print(f"\nTwo shards against one, {what.removeprefix('weir, ')}: {one['wall'] / two['wall']:.2f} × (bar 1.7 ×).")
    print()


def resident(pid):
    found = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0


def sampled(child, points, total):
    """Resident memory whenever another share of the bytes has been read."""
    seen = {}
    while child.poll() is None:
        try:
            text = pathlib.Path(f"/proc/{child.pid}/io").read_text()
            done = int(re.search(r"rchar: (\d+)", text)[1])
            for point in points:
                if point not in seen and done >= point * total:
                    seen[point] = resident(child.pid)
        except (OSError, TypeError):
            break
        time.sleep(0.02)
    return seen


def memory(name, producer, flags, total):
    home = rig.folder("weir-home")
    began = time.monotonic()
    source = producer()
    child = subprocess.Popen([rig.weir_binary(), "--home", str(home), "import", "-", "--json", *flags], stdin=source.stdout, stdout=subprocess.PIPE)
    source.stdout.close()
    seen = sampled(child, (0.05, 0.25, 0.5, 0.75, 0.95), total)
    done = json.loads(child.stdout.read().splitlines()[-1])
    child.wait()
    source.wait()
    shutil.rmtree(home, ignore_errors=True)
    took = time.monotonic() - began
    marks = " | ".join(f"{seen[point]:.0f} MiB" if point in seen else "" for point in (0.05, 0.25, 0.5, 0.75, 0.95))
    print(f"| {name} | {total / 1e9:.1f} GB | {done['exchanges']} | {marks} | {took:.0f} s |", flush=True)
    return seen


HAR = """
import json, sys
size, written, number = int(sys.argv[1]), 0, 0
out = sys.stdout.buffer
out.write(b'{"log":{"version":"1.2","creator":{"name":"bench","version":"1"},"entries":[')
while written < size:
    body = (f"{number:08x}" * 1024)
    entry = {"startedDateTime": "2026-01-02T03:04:05.678Z", "time": 1, "request": {"method": "GET", "url": f"https://h{number % 50}.example/items/{number}",
             "httpVersion": "HTTP/1.1", "headers": [{"name": "accept", "value": "*/*"}], "bodySize": 0},
             "response": {"status": 200, "statusText": "OK", "httpVersion": "HTTP/1.1", "headers": [{"name": "content-type", "value": "text/plain"}],
             "content": {"size": len(body), "mimeType": "text/plain", "text": body}, "bodySize": len(body)}, "timings": {"send": 0, "wait": 1, "receive": 0}}
    text = json.dumps(entry).encode()
    out.write(b"," + text if number else text)
    written += len(text)
    number += 1
out.write(b"]}}")
"""


def streams(arguments):
    print("### Memory over a stream through a pipe\n")
    print("Resident memory of weir when a share of the bytes had been read; `--memory` is the default, 256 MiB.\n")
    print("| what | bytes | exchanges | at 5 % | 25 % | 50 % | 75 % | 95 % | took |")
    print("|---|---|---|---|---|---|---|---|---|")
    synth = [rig.weir_binary(), "load", "synth", "-o", "-", "--gzip", "0", "--size", str(arguments.stream)]
    packets = lambda: subprocess.Popen(synth, stdout=subprocess.PIPE)
    har = lambda: subprocess.Popen([sys.executable, "-c", HAR, str(arguments.har)], stdout=subprocess.PIPE)
    if arguments.stream:
        memory("packets, rows only", packets, ["--bodies", "none"], arguments.stream)
    if arguments.har:
        memory("HAR with bodies of 8 KiB", har, [], arguments.har)
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small files, once: does it run at all?")
    parser.add_argument("--size", type=int, default=400_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--stream", type=int, default=20_000_000_000, help="bytes of the stream of packets; 0: none")
    parser.add_argument("--har", type=int, default=500_000_000, help="bytes of the HAR; 0: none")
    parser.add_argument("--files", default=",".join(FILES))
    parser.add_argument("--tools", help="beginnings of their names: weir,tshark,walk")
    parser.add_argument("--json", help="also write every figure to this file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.repeat, arguments.stream, arguments.har = 8_000_000, 1, 50_000_000, 8_000_000
    wanted = [word for word in (arguments.tools or "").split(",") if word]
    chosen = lambda name: not wanted or any(name.startswith(word) for word in wanted)
    load = os.getloadavg()[0]
    print(f"Machine: {rig.machine()}; commit {rig.commit()}; {time.strftime('%Y-%m-%d')}; load average at the start {load:.2f}.")
    print(f"Command: `benches/import_side_by_side.py {' '.join(sys.argv[1:])}`; median of {arguments.repeat} runs, slow tools once.\n")
    results = {}
    for name in arguments.files.split(","):
        capture, made = make(name, arguments.size)
        warm(capture)
        table(name, capture, made, arguments, chosen, results)
        capture.unlink()
    streams(arguments)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps({"machine": rig.machine(), "commit": rig.commit(), "results": results}, indent=1))
    if any("failed" in row for rows in results.values() for tool, row in rows.items() if tool.startswith("weir")):
        raise SystemExit("error: weir failed in a table above")


main()
