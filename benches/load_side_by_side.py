"""weir's load tools beside wrk, h2load and oha on the same origin, and beside the truth.

    load_side_by_side.py [--quick] [--seconds N] [--parts rate,origin,stall,proof,interface,replay] [--rates A,B,…]

- rate: requests a second and CPU a request of each generator (user and system time of its process), straight and through the proxy.
- origin: `weir load origin` beside nginx, the same answer.
- stall: the origin answers nothing for a known time again and again; percentiles against what arithmetic says.
- proof: the proxy at fixed rates and at its highest (0); the sender's truth held against the session.
- interface: the same with packets from a veth pair between network namespaces (root).
- replay: a captured session sent again at its own times and as fast as it goes.
Prints Markdown.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

import clients
import netpair
import rig

CONNECTIONS = 64
ROUNDS = 3


def weir(*arguments, fails=False, inside=()):
    got = subprocess.run([*inside, rig.weir_binary(), "load", *arguments, "--json"], capture_output=True, text=True)
    if got.returncode not in ((0, 1, 3) if fails else (0,)):
        raise RuntimeError(f"weir load {arguments}: {got.stdout[-300:]} {got.stderr[-600:]}")
    return json.loads(got.stdout.splitlines()[-1])


@contextlib.contextmanager
def origin(*arguments):
    authority = pathlib.Path(rig.HELD, f"origin-{rig.free_port()}.pem")
    command = [rig.weir_binary(), "load", "origin", "--json", "--listen", "127.0.0.1:0", "--tls", "127.0.0.1:0", "--ca-file", str(authority)]
    with rig.Running("origin", [*command, *arguments], stdout=subprocess.PIPE) as running:
        ready = json.loads(running.child.stdout.readline())
        yield f"http://127.0.0.1:{ready['port']}", f"https://localhost:{ready['tls_port']}", authority


@contextlib.contextmanager
def capture(authority):
    home = rig.folder("weir-home")
    command = [rig.weir_binary(), "capture", "--json", "--proxy", "127.0.0.1:0", "--no-ui", "--home", str(home), "--upstream-ca", str(authority)]
    with rig.Running("capture", command, stdout=subprocess.PIPE) as running:
        ready = json.loads(running.child.stdout.readline())
        yield running, ready, home


def stop(running):
    """Ends a capture cleanly, so that its session is whole."""
    running.child.terminate()
    last = [json.loads(line) for line in running.child.stdout]
    running.child.wait(60)
    return last[-1] if last else {}


def timed(work):
    """(what it gives, CPU seconds of the children it waited for)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    got = work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return got, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def by_wrk(url, seconds, **_):
    text = clients.run(["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", url], seconds)
    requests, took, unit = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text).groups()
    return int(requests), float(took) / (1000 if unit == "ms" else 1)


def by_h2load(url, seconds, **_):
    command = ["h2load", "-D", str(seconds), "-c", "8", "-m", "8", "-t", "2", url]
    text = clients.run(command, seconds)
    return int(re.search(r"(\d+) succeeded", text)[1]), float(seconds)


def by_oha(url, seconds, proxy=None, http2=False):
    requests, took, *_ = clients.oha(proxy, url, CONNECTIONS, seconds, http2)
    return requests, took


def by_weir(url, seconds, proxy=None, http2=False, ca=None):
    command = ["run", url, "--duration", f"{seconds}s", "-t", "2"]
    command += ["--http2", "-c", "8", "--streams", "8"] if http2 else ["-c", str(CONNECTIONS)]
    command += ["--proxy", proxy] if proxy else []
    command += ["--cacert", str(ca)] if ca else []
    report = weir(*command)
    if report["failed"]:
        raise RuntimeError(f"failed: {report['failures']}")
    return report["requests"], report["seconds"]


def rates(seconds):
    print(f"### Requests a second and CPU of the generator\n\nmedian of {ROUNDS} rounds of {seconds} s, taken in turns; 600-byte JSON; ", end="")
    print("64 connections, HTTP/2: 8 connections of 8 streams; origin: `weir load origin`; all on the same cores.\n")
    print("| what | generator | requests/s | against the peer | CPU a request |\n|---|---|---|---|---|")
    with origin() as (http, https, ca), capture(ca) as (running, ready, _):
        proxy = ready["proxy"]
        plain, secure = f"{http}/bytes/600", f"{https}/bytes/600"
        nginx = rig.origin(rig.certificates())
        cases = [
            ("HTTP/1.1", {"wrk": lambda: by_wrk(plain, seconds), "weir": lambda: by_weir(plain, seconds)}),
            ("HTTP/1.1, nginx as origin", {"wrk": lambda: by_wrk(f"http://127.0.0.1:{nginx.http}/600", seconds),
                                           "weir": lambda: by_weir(f"http://127.0.0.1:{nginx.http}/600", seconds)}),
            ("HTTP/2 in the clear", {"h2load": lambda: by_h2load(plain, seconds), "weir": lambda: by_weir(plain, seconds, http2=True)}),
            ("HTTP/2 over TLS", {"h2load": lambda: by_h2load(secure, seconds), "weir": lambda: by_weir(secure, seconds, http2=True, ca=ca)}),
        ]  # fmt: skip
        if clients.oha_program():
            cases += [
                ("HTTP through weir's proxy", {"oha": lambda: by_oha(plain, seconds, proxy), "weir": lambda: by_weir(plain, seconds, proxy)}),
                ("HTTPS through weir's proxy", {"oha": lambda: by_oha(secure, seconds, proxy),
                                                "weir": lambda: by_weir(secure, seconds, proxy, ca=ready["ca"])}),
            ]  # fmt: skip
        else:
            rig.say("oha is not there: nothing beside us through a proxy")
        for name, generators in cases:
            told = {generator: [] for generator in generators}
            for _ in range(ROUNDS):
                for generator, work in generators.items():
                    rig.say(f"{name}: {generator}")
                    if generator in ("wrk", "h2load") and not rig.find(generator):
                        continue
                    (requests, took), cpu = timed(work)
                    told[generator].append((requests / took, cpu * 1e6 / max(1, requests)))
            middle = {g: sorted(rows)[len(rows) // 2] for g, rows in told.items() if rows}
            peer = next((rate for generator, (rate, _) in middle.items() if generator != "weir"), None)
            for generator, (rate, cpu) in middle.items():
                ratio = f"{rate / peer:.2f} ×" if generator == "weir" and peer else ""
                print(f"| {name} | {generator} | {rate:,.0f} | {ratio} | {cpu:.1f} µs |")
        nginx.running.__exit__()
    print()


def origins(seconds):
    print(f"### The origin\n\nwrk, 64 connections, the same 600 bytes; median of {ROUNDS} rounds of {seconds} s, taken in turns.\n")
    print("| origin | requests/s | against nginx | CPU of the origin a request |\n|---|---|---|---|")
    nginx = rig.origin(rig.certificates())
    with rig.Running("origin", [rig.weir_binary(), "load", "origin", "--json", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE) as running:
        port = json.loads(running.child.stdout.readline())["port"]
        servers = {"nginx": (nginx.running, f"http://127.0.0.1:{nginx.http}/600"), "weir load origin": (running, f"http://127.0.0.1:{port}/bytes/600")}
        told = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (server, url) in servers.items():
                before = server.cpu_seconds()
                requests, took = by_wrk(url, seconds)
                told[name].append((requests / took, (server.cpu_seconds() - before) * 1e6 / requests))
        middle = {name: sorted(rows)[len(rows) // 2] for name, rows in told.items()}
        for name, (rate, cpu) in middle.items():
            print(f"| {name} | {rate:,.0f} | {rate / middle['nginx'][0]:.2f} × | {cpu:.1f} µs |")
    nginx.running.__exit__()
    print()


def stalls(seconds):
    every, length, rate = 2.0, 0.5, 1000
    # Of all requests, the share that is due in a stall; those wait between 0 and its length, evenly.
    span = max(4, seconds)
    count = int((span - 0.01) / every)
    share = count * length / span
    true = lambda p: max(0.0, length * (1 - (1 - p) / share)) if share else 0.0
    print(f"### Percentiles under a stall\n\nThe origin answers nothing for {length * 1000:.0f} ms every {every:.0f} s; {rate} requests/s for {span} s. ", end="")
    print("The truth by arithmetic: requests due in a stall wait for its end, evenly spread.\n")
    print("| | p50 | p90 | p99 | p99.9 | max |\n|---|---|---|---|---|---|")
    print(f"| truth (stall alone) | {true(0.5) * 1e3:.0f} ms | {true(0.9) * 1e3:.0f} ms | {true(0.99) * 1e3:.0f} ms | {true(0.999) * 1e3:.0f} ms | {length * 1e3:.0f} ms |")
    row = lambda name, l: print(f"| {name} | " + " | ".join(f"{l[k] / 1e3:.1f} ms" for k in ("p50_us", "p90_us", "p99_us", "p99_9_us", "max_us")) + " |")
    for kind in ([], ["--poisson"]):
        with origin("--stall", f"{every}s,{length}s") as (http, _, _):
            got = weir("run", f"{http}/bytes/600", "--rate", str(rate), *kind, "-c", "1000", "-t", "1", "--duration", f"{span}s")
            row(f"weir, open loop{', Poisson' if kind else ''}, from when it was due", got["latency"])
    with origin("--stall", f"{every}s,{length}s") as (http, _, _):
        row("weir, closed loop, one connection", weir("run", f"{http}/bytes/600", "-c", "1", "-t", "1", "--duration", f"{span}s")["latency"])
    if rig.find("wrk"):
        with origin("--stall", f"{every}s,{length}s") as (http, _, _):
            script = pathlib.Path(rig.HELD, "stall.lua")
            script.write_text('done = function(s, l) io.write(string.format("RESULT %f %f %f %f %f\\n", l:percentile(50), l:percentile(90), l:percentile(99), l:percentile(99.9), l.max)) end')
            text = clients.run(["wrk", "-t1", "-c1", f"-d{span}s", "-s", str(script), f"{http}/bytes/600"], span)
            values = [float(value) / 1e3 for value in re.search(r"RESULT (.*)", text)[1].split()]
            print("| wrk, closed loop, one connection | " + " | ".join(f"{value:.1f} ms" for value in values) + " |")
    print()


PROOF_HEAD = """| asked for | sent | requests/s | p99 | weir's CPU/request | recorded | missing | of them told by the ledger | wrong pairs | proven pairs | wrong bodies | begin, p99 apart | verdict |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def prove(seconds, rate, run, running, ready, home):
    """One row: loads at `rate`, ends the capture, holds the truth against its session."""
    truth = pathlib.Path(rig.HELD, "truth.parquet")
    pace = ["--rate", str(rate)] if rate else []
    before = running.cpu_seconds()
    got = run("-c", "64", "-t", "1", "--duration", f"{seconds}s", "--truth", str(truth), *pace)
    cpu = (running.cpu_seconds() - before) * 1e6 / max(1, got["requests"])
    stop(running)
    verdict = weir("verify", str(truth), ready["session"], "--home", str(home), fails=True)
    found = 100 * verdict["found"] / max(1, verdict["answered"])
    print(f"| {f'{rate:,}/s' if rate else 'as fast as it goes'} | {verdict['sent']:,} | {got['rate']:,.0f} | {got['latency']['p99_us'] / 1e3:.2f} ms | {cpu:.1f} µs "
          f"| {found:.3f} % | {verdict['missing']} | {verdict['missing'] - verdict['unaccounted']} | {verdict['wrong_pairs']} | {verdict['proven_pairs']:,} | {verdict['wrong_bodies']} "
          f"| {verdict['start_distance']['p99_us']:.0f} µs | {'good' if verdict['good'] else 'NOT good'} |", flush=True)  # fmt: skip
    return verdict["good"]


def proof(seconds, wanted):
    print(f"### The proxy, and the truth held against its session\n\n{seconds} s each, 64 connections, `/unique/600` (each body differs); load, proxy and origin share the cores.\n")
    print(PROOF_HEAD)
    good = True
    for rate in wanted:
        with origin() as (http, _, ca), capture(ca) as (running, ready, home):
            run = lambda *arguments: weir("run", f"{http}/unique/600", "--proxy", ready["proxy"], *arguments, fails=True)
            good &= prove(seconds, rate, run, running, ready, home)
    print()
    return good


def interface_proof(seconds, wanted):
    if os.geteuid() != 0:
        print("left out: network namespaces need root", file=sys.stderr)
        return True
    print(f"### An interface, and the truth held against its session\n\n{seconds} s each, 64 connections over a veth pair, `/unique/600`; load, capture and origin share the cores.\n")
    print(PROOF_HEAD)
    good = True
    pair = netpair.Pair()
    for rate in wanted:
        home = rig.folder("weir-home")
        serve = [rig.weir_binary(), "load", "origin", "--json", "--listen", f"{netpair.SERVER}:0"]
        record = [rig.weir_binary(), "capture", "--json", "--no-proxy", "--no-ui", "--home", str(home), "--interface", netpair.INTERFACE]
        with rig.Running("origin", pair.inside(pair.server, *serve), stdout=subprocess.PIPE) as served:
            port = json.loads(served.child.stdout.readline())["port"]
            with rig.Running("capture", pair.inside(pair.server, *record), stdout=subprocess.PIPE) as running:
                ready = json.loads(running.child.stdout.readline())
                url = f"http://{netpair.SERVER}:{port}/unique/600"
                run = lambda *arguments: weir("run", url, *arguments, fails=True, inside=pair.inside(pair.client))
                good &= prove(seconds, rate, run, running, ready, home)
    print()
    return good


def replays(seconds):
    print(f"### Replay\n\nA session of {seconds} s at 500 requests/s (Poisson, 32 connections, a mix of five paths), sent again to the same origin.\n")
    with origin() as (http, _, ca), capture(ca) as (running, ready, home):
        mix = pathlib.Path(rig.HELD, "mix.toml")
        paths = ["/bytes/600", "/bytes/10000", "/delay/5", "/chunked/5000/700", "/gzip/4000"]
        mix.write_text("".join(f"[[request]]\nurl = '{path}'\n" for path in paths))
        weir("run", http, "--scenario", str(mix), "--proxy", ready["proxy"], "--rate", "500", "--poisson", "-c", "32", "--duration", f"{seconds}s")
        stop(running)
        common = ["replay", ready["session"], "--home", str(home)]
        once, most = weir(*common, fails=True), weir(*common, "--speed", "max", fails=True)
    print("| distance of a gap from the captured one | requests at 1x |\n|---|---|")
    for bucket in once["gap_error"]:
        limit = bucket["up_to_us"]
        print(f"| {f'up to {limit:,} µs' if limit else 'more'} | {bucket['count']:,} |")
    gap = once["gap_error_us"]
    print(f"\n1x: {once['sent']:,} requests on {once['lanes']} lanes; gap error p50 {gap['p50_us']:.0f} µs, p99 {gap['p99_us']:.0f} µs; ", end="")
    print(f"{once['same_status']:,} statuses and {once['same_body']:,} bodies the same. max: {most['measured']['rate']:,.0f} requests/s, ", end="")
    print(f"{most['same_status']:,} statuses and {most['same_body']:,} bodies the same.\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a second each: does it run at all?")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--parts", default="rate,origin,stall,proof,interface,replay")
    parser.add_argument("--rates", default="1000,10000,0", help="requests a second that are proven; 0 is as fast as it goes")
    arguments = parser.parse_args()
    if arguments.quick:
        global ROUNDS
        ROUNDS, arguments.seconds = 1, 1
    os.environ["PATH"] += ":/opt/oha/bin"
    print(f"Machine: {rig.machine()}; commit {rig.commit()}; {time.strftime('%Y-%m-%d')}.")
    print(f"Command: `benches/load_side_by_side.py {' '.join(sys.argv[1:])}`.\n")
    good = True
    for part in arguments.parts.split(","):
        if part in ("proof", "interface"):
            prover = {"proof": proof, "interface": interface_proof}[part]
            good &= prover(arguments.seconds, list(map(int, arguments.rates.split(","))))
        else:
            {"rate": rates, "origin": origins, "stall": stalls, "replay": replays}[part](arguments.seconds)
    if not good:
        raise SystemExit("error: a verdict above is not good")


main()
