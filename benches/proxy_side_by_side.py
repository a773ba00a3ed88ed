"""weir beside other proxies: same machine, same run, same clients, same origin.

    proxy_side_by_side.py [--quick] [--seconds N] [--connections N] [--proxies A,B] [--scenarios A,B] [--json FILE]

Per scenario and proxy: requests per second, p50 and p99, CPU time of the proxy's processes per request (utime + stime of
/proc, children too), resident memory at the end. Prints Markdown; ratios to weir first.
"""

import argparse
import json
import subprocess
import sys
import time

import clients
import rig

# name: (what is measured, scheme, path, how)
SCENARIOS = {
    "http": ("plain HTTP keep-alive, 600-byte JSON", "http", "/600", "keep"),
    "http-ab": ("the same with ab in place of wrk", "http", "/600", "ab"),
    "https": ("intercepted HTTPS keep-alive, 600-byte JSON", "https", "/600", "keep"),
    "h2": ("intercepted HTTP/2, 8 streams a connection, 600-byte JSON", "https", "/600", "h2"),
    "fresh": ("a fresh intercepted TLS connection a request", "https", "/600", "fresh"),
    "http-10k": ("plain HTTP keep-alive, 10 KiB", "http", "/10k", "keep"),
    "https-10k": ("intercepted HTTPS keep-alive, 10 KiB", "https", "/10k", "keep"),
    "http-1m": ("plain HTTP keep-alive, 1 MiB", "http", "/1m", "keep"),
    "https-1m": ("intercepted HTTPS keep-alive, 1 MiB", "https", "/1m", "keep"),
}


def drive(proxy, origin, scheme, path, how, connections, seconds):
    """One load on one proxy (None: straight at the origin)."""
    port = origin.https if scheme == "https" else origin.http
    host = f"{'localhost' if scheme == 'https' else '127.0.0.1'}:{port}"
    url = f"{scheme}://{host}{path}"
    forward = proxy and not proxy.reverse
    if how == "ab":
        return clients.ab(f"127.0.0.1:{proxy.plain}" if forward else None, at(proxy, scheme, url, path), connections, seconds)
    if scheme == "http":
        entry = f"http://127.0.0.1:{proxy.plain if proxy else port}"
        return clients.wrk(entry, host, url, connections, seconds)
    if clients.oha_program():
        address = f"127.0.0.1:{proxy.tls}" if forward else None
        return clients.oha(address, at(proxy, scheme, url, path), connections, seconds, how == "h2", how == "fresh")
    if how == "fresh":
        return clients.curl_fresh(f"127.0.0.1:{proxy.tls}" if forward else None, at(proxy, scheme, url, path), 100 * seconds)
    shim = None
    try:
        entry = at(proxy, scheme, url, "")
        if forward:
            shim, shim_port = clients.shim(proxy.tls, host)
            entry = f"https://localhost:{shim_port}"
        return clients.h2load(entry.removesuffix(path) + path, connections, seconds, http2=how == "h2")
    finally:
        if shim:
            shim.__exit__()


def at(proxy, scheme, url, path):
    """The URL a client is given: a reverse proxy stands in the server's place."""
    if proxy and proxy.reverse:
        return f"{scheme}://localhost:{proxy.tls}{path}" if scheme == "https" else f"http://127.0.0.1:{proxy.plain}{path}"
    return url


def how_of(scenario):
    return SCENARIOS[scenario][3]


def measure(start, origin, what, connections, seconds):
    _, scheme, path, how = what
    proxy = start(origin) if start else None
    try:
        drive(proxy, origin, scheme, path, how, connections, max(1, seconds // 5))
        before, began = (proxy.running.cpu_seconds() if proxy else 0), time.monotonic()
        requests, took, p50, p99, errors = drive(proxy, origin, scheme, path, how, connections, seconds)
        cpu = proxy.running.cpu_seconds() - before if proxy else 0
        return {
            "requests": requests, "per_second": requests / took, "p50_ms": p50, "p99_ms": p99, "errors": errors,
            "cpu_us": cpu * 1e6 / max(1, requests), "rss_mib": proxy.running.rss_mib() if proxy else 0,
            "wall_s": time.monotonic() - began,
        }  # fmt: skip
    finally:
        if proxy:
            proxy.running.__exit__()


def markdown(results, arguments):
    client = "oha" if clients.oha_program() else "h2load behind connect_shim.py, fresh connections by curl"
    print(f"Machine: {rig.machine()}; commit {rig.commit()}; {time.strftime('%Y-%m-%d')}.")
    print(f"Command: `benches/proxy_side_by_side.py {' '.join(sys.argv[1:])}`; {arguments.connections} connections, ", end="")
    print(f"{arguments.seconds} s each, origin nginx, plain HTTP by wrk, TLS by {client}; client, proxy and origin share the cores.\n")
    for name, rows in results.items():
        print(f"### {SCENARIOS[name][0]}\n")
        print("| proxy | CPU against weir | CPU/request | requests/s | p50 | p99 | RSS | errors |")
        print("|---|---|---|---|---|---|---|---|")
        base = rows.get("weir", {}).get("cpu_us")
        for proxy, row in rows.items():
            if "failed" in row:
                print(f"| {proxy} | | none: {row['failed']} | | | | | |")
                continue
            ratio = f"{row['cpu_us'] / base:.2f} ×" if base and row["cpu_us"] else ""
            cpu = f"{row['cpu_us']:.1f} µs" if row["cpu_us"] else ""
            rss = f"{row['rss_mib']:.0f} MiB" if row["rss_mib"] else ""
            print(
                f"| {proxy} | {ratio} | {cpu} | {row['per_second']:.0f} | {row['p50_ms']:.2f} ms | {row['p99_ms']:.2f} ms"
                f" | {rss} | {row['errors']} |"
            )
        print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a second each: does it run at all?")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--proxies", help="beginnings of their names: weir,haproxy,squid,mitmdump,direct")
    parser.add_argument("--scenarios", help=",".join(SCENARIOS))
    parser.add_argument("--json", help="also write every figure to this file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.connections = 1, 8
    wanted = [word.lower() for word in (arguments.proxies or "").split(",") if word]
    chosen = lambda name: not wanted or any(name.lower().startswith(word) for word in wanted)
    origin = rig.origin(rig.certificates())
    results = {}
    try:
        for name in (arguments.scenarios or ",".join(SCENARIOS)).split(","):
            rows = results[name] = {}
            for proxy, (start, there) in {"direct": (None, lambda: True), **rig.PROXIES}.items():
                if not chosen(proxy):
                    continue
                # A body policy shows only where there are bodies worth the name.
                if proxy == "weir --bodies none" and "1m" not in name and "10k" not in name:
                    continue
                if how_of(name) == "h2" and proxy.startswith("Squid"):
                    rows[proxy] = {"failed": "it speaks no HTTP/2"}
                    continue
                if not there():
                    rows[proxy] = {"failed": "not installed"}
                    continue
                rig.say(f"{name}: {proxy}")
                try:
                    rows[proxy] = measure(start, origin, SCENARIOS[name], arguments.connections, arguments.seconds)
                except (RuntimeError, OSError, SystemExit, subprocess.TimeoutExpired) as error:
                    rows[proxy] = {"failed": str(error)[:300].replace("\n", " ").replace("|", "/")}
    finally:
        origin.running.__exit__()
    markdown(results, arguments)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"machine": rig.machine(), "commit": rig.commit(), "results": results}, file, indent=1)
    # A failed run of weir itself is an error of the bench; others may be missing.
    if any("failed" in row or row["errors"] for rows in results.values() for name, row in rows.items() if name.startswith("weir")):
        raise SystemExit("error: weir failed in a scenario above")


main()
