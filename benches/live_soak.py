"""A soak of live capture: a steady rate of requests for a long time; RSS over time, the ledger at the end.

    live_soak.py [--minutes N] [--rate REQUESTS_A_SECOND] [--backend af_packet|pcap]

nginx in one network namespace with weir beside it, keep-alive clients in the other. Fails when the ledger does not balance, when
the session does not hold what the access log holds, or when the RSS of the last quarter is over that of the second by more than a tenth.
Prints Markdown. Root.
"""

import argparse
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import netpair
import rig

CONNECTIONS = 8
PORT = 8080


def client(rate, seconds):
    """Runs inside the client's namespace: a steady rate over one connection, which is new every 1000 requests."""
    connection, began = None, time.monotonic()
    count = 0
    while (now := time.monotonic()) < began + seconds:
        due = began + count / rate
        if due > now:
            time.sleep(due - now)
        if count % 1000 == 0:
            connection = http.client.HTTPConnection(netpair.SERVER, PORT, timeout=30)
        connection.request("GET", f"/data.json?n={count}")
        connection.getresponse().read()
        count += 1
    print(count)


def rss(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--backend", default="af_packet")
    parser.add_argument("--client", nargs=2, type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        return client(*arguments.client)
    if os.geteuid() != 0:
        print("left out: live capture needs root", file=sys.stderr)
        return None
    pair = netpair.Pair()
    place = rig.folder("soak")
    (place / "data.json").write_text("{" + '"x": 1,' * 74 + '"y": 2}')
    (place / "nginx.conf").write_text(
        f"user root; worker_processes 1; daemon off; pid {place}/pid; error_log stderr; events {{ }}\n"
        f"http {{ access_log {place}/access.log; keepalive_requests 1000000; root {place}; client_body_temp_path {place}/b;\n"
        f"proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n"
        f"server {{ listen {PORT}; }} }}\n"
    )
    seconds = arguments.minutes * 60
    with rig.Running("nginx", pair.inside(pair.server, "nginx", "-p", place, "-c", place / "nginx.conf")):
        home = rig.folder("soak-home")
        command = pair.inside(pair.server, rig.weir_binary(), "capture", "--json", "--no-proxy", "--no-ui", "--home", home,
                              "--interface", netpair.INTERFACE, "--backend", arguments.backend)  # fmt: skip
        weir = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert json.loads(weir.stdout.readline())["event"] == "ready"
        clients = [
            subprocess.Popen(pair.inside(pair.client, sys.executable, __file__, "--client", arguments.rate / CONNECTIONS, seconds),
                             stdout=subprocess.PIPE, text=True)  # fmt: skip
            for _ in range(CONNECTIONS)
        ]
        series, began = [], time.monotonic()
        done = threading.Event()

        def sample():
            while not done.wait(max(1.0, seconds / 240)):
                series.append((time.monotonic() - began, rss(weir.pid)))

        sampling = threading.Thread(target=sample)
        sampling.start()
        sent = sum(int(one.communicate()[0]) for one in clients)
        done.set()
        sampling.join()
        weir.send_signal(signal.SIGTERM)
        last = json.loads(weir.stdout.readlines()[-1])
        weir.wait()
    answered = sum(1 for _ in open(place / "access.log", "rb"))
    ledger = last["ledger"]
    balanced = all(tally["seen"] == tally["kept"] + sum(tally.get("dropped", {}).values()) for tally in ledger.values())
    quarter = lambda at: [mib for when, mib in series if at / 4 * seconds <= when < (at + 1) / 4 * seconds] or [0.0]
    middle = lambda values: sorted(values)[len(values) // 2]
    medians = [middle(quarter(at)) for at in range(4)]
    print(f"{arguments.minutes:g} minutes, {sent / seconds:.0f} requests/s over {CONNECTIONS} connections, backend {arguments.backend}, exit code {weir.returncode}.\n")
    print("| | |\n|---|---|")
    print(f"| requests sent, answered by nginx, in the session | {sent}, {answered}, {last['exchanges']} |")
    print(f"| packets seen, dropped by the kernel | {ledger['packets']['seen']}, {ledger['packets'].get('dropped', {}).get('ring_full', 0)} |")
    print(f"| ledger balances | {'yes' if balanced else 'NO'} |")
    print(f"| RSS, median of each quarter, MiB | {', '.join(f'{mib:.1f}' for mib in medians)} (most: {max(mib for _, mib in series):.1f}) |")
    good = balanced and sent == answered == last["exchanges"] and medians[3] <= medians[1] * 1.1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
