"""Live packets: weir's backends beside tcpdump and tshark, the same packets on the same interface at rising rates.

    live_side_by_side.py [--quick] [--seconds N] [--rates A,B,…] [--tools A,B] [--memory SIZE]

tcpreplay sends a file of HTTP traffic (`weir load synth`, fixed seed) over a veth pair, N seconds a rate (packets a second;
0 is as fast as it can), again and again with other addresses each time, so that each pass is new connections. The sender's own count is that of its interface. For each tool and rate: what it received, what it says it
dropped, what nobody counted (sent - received - dropped; with tshark mostly what it had not read yet when it was ended, a second after
the last packet), CPU seconds. weir parses, pairs and stores; tcpdump writes to /dev/null;
tshark dissects HTTP and counts it (`-q -z http,stat`, the least it can do). Prints Markdown. Root; tcpreplay, tcpdump, tshark are left out with a message where they are missing.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

import netpair
import rig


def cpu_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / rig.TICK


class Weir:
    def __init__(self, pair, backend, memory):
        home = rig.folder("live-home")
        command = pair.inside(pair.server, rig.weir_binary(), "capture", "--json", "--no-proxy", "--no-ui", "--home", home,
                              "--memory", memory, "--interface", netpair.INTERFACE, *backend)  # fmt: skip
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready = json.loads(self.child.stdout.readline())
        assert ready["event"] == "ready", ready

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        last = json.loads(self.child.stdout.readlines()[-1])
        self.child.wait()
        packets = last["ledger"].get("packets", {"seen": 0, "kept": 0, "dropped": {}})
        dropped = packets.get("dropped", {})
        lost = dropped.get("ring_full", 0) + dropped.get("ring_unread", 0)
        assert packets["seen"] == packets["kept"] + sum(dropped.values()), packets
        shed = last["ledger"].get("exchanges", {}).get("dropped", {}).get("queue_full", 0)
        return packets["seen"] - lost, lost, f"{last['exchanges']} exchanges" + (f", {shed} shed" if shed else "")


class Tcpdump:
    COMMAND = ["tcpdump", "-i", netpair.INTERFACE, "-s", "0", "-w", "/dev/null"]
    READY = "listening on"

    def __init__(self, pair):
        self.child = subprocess.Popen(pair.inside(pair.server, *self.COMMAND), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)  # fmt: skip
        self.said = ""
        while self.READY not in self.said.lower():
            line = self.child.stderr.readline()
            if not line:
                raise RuntimeError(f"{self.COMMAND[0]}: {self.said}")
            self.said += line
        # It says so a moment before it does.
        time.sleep(1)

    def stop(self):
        self.child.send_signal(signal.SIGINT)
        self.said += self.child.stderr.read()
        self.child.wait()
        number = lambda what: int((re.search(rf"(\d+) packets? {what}", self.said) or [0, 0])[1])
        return number("captured"), number("dropped by kernel") or number("dropped"), ""


class Tshark(Tcpdump):
    COMMAND = ["tshark", "-q", "-i", netpair.INTERFACE, "-z", "http,stat"]
    READY = "capturing on"


def tree_cpu(pid):
    total = 0.0
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            total += cpu_of(one)
            todo += [int(child) for task in pathlib.Path(f"/proc/{one}/task").iterdir() for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return total


def measure(pair, begin, file, rate, seconds):
    tool = begin()
    before = pair.counter(pair.client, "tx_packets"), pair.counter(pair.server, "rx_packets"), pair.counter(pair.server, "tx_packets")
    speed = ["--topspeed"] if rate == 0 else [f"--pps={rate}"]
    replay = pair.inside(pair.client, "tcpreplay", "-q", "-i", netpair.INTERFACE, "--preload-pcap", "--unique-ip", "--loop=1000000",
                         f"--duration={seconds}", *speed, file)  # fmt: skip
    cpu = tree_cpu(tool.child.pid)
    subprocess.run(replay, capture_output=True, check=True)
    time.sleep(1)
    cpu = tree_cpu(tool.child.pid) - cpu
    sent = pair.counter(pair.client, "tx_packets") - before[0]
    # What the receiving host sends in answer to nobody's packets passes the interface too.
    answered = pair.counter(pair.server, "tx_packets") - before[2]
    received, dropped, note = tool.stop()
    return sent, answered, received, dropped, cpu, note


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rates", default="50000,100000,200000,400000,0")
    parser.add_argument("--tools", default="")
    parser.add_argument("--memory", default="256MiB")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not rig.find("tcpreplay"):
        print("left out: live capture needs root and tcpreplay (scripts/setup bench)", file=sys.stderr)
        return
    seconds = 2 if arguments.quick else arguments.seconds
    pair = netpair.Pair()
    file = rig.folder("live") / "web.pcap"
    subprocess.run([rig.weir_binary(), "load", "synth", "--mix", "web", "--connections", "1000000", "--size", "64MiB", "--seed", "7", "-o", file],
                   check=True, capture_output=True)  # fmt: skip
    tools = {
        "weir, ring": lambda: Weir(pair, ["--backend", "af_packet"], arguments.memory),
        "weir, ring, 2 shards": lambda: Weir(pair, ["--shards", "2"], arguments.memory),
        "weir, AF_XDP": lambda: Weir(pair, ["--backend", "af_xdp"], arguments.memory),
        "weir, libpcap": lambda: Weir(pair, ["--backend", "pcap"], arguments.memory),
    }
    for name, tool in (("tcpdump", Tcpdump), ("tshark", Tshark)):
        if rig.find(name):
            tools[name] = lambda tool=tool: tool(pair)
        else:
            print(f"left out: {name} is missing (scripts/setup bench)", file=sys.stderr)
    wanted = [name.strip() for name in arguments.tools.split(";") if name.strip()]
    load = os.getloadavg()
    print(f"tcpreplay over a veth pair, {seconds} s a rate, segments of 1 448 bytes of the web's mix; {os.cpu_count()} cores, load before {load[0]:.1f}.\n")
    print("| tool | asked, packets/s | sent, packets/s | received | it says it dropped | not accounted for | CPU s | |")
    print("|---|---|---|---|---|---|---|---|")
    for name, begin in tools.items():
        if wanted and name not in wanted:
            continue
        for rate in map(int, arguments.rates.split(",")):
            sent, answered, received, dropped, cpu, note = measure(pair, begin, file, rate, seconds)
            missing = sent + answered - received - dropped
            print(f"| {name} | {rate or 'top speed'} | {sent // seconds} | {received} | {dropped} | {missing} | {cpu:.2f} | {note} |", flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    main()
