"""The kernel's filter: CPU of weir on a load of which 95 % of the packets are not HTTP, with the filter and without.

    filter_cpu.py [--quick] [--seconds N] [--rate PPS]

tcpreplay sends the same packets (made here, fixed seed: 16 HTTP connections, 304 of a binary protocol, 1 400 bytes of payload) over a veth
pair at a steady rate. Two mixes: answers of 20 packets (28 KB, an image or a script), and the hardest one, in which every HTTP packet is a
message of its own: there the exchanges, which both runs record, are most of the work. CPU is that of the process; what the kernel spends in the filter is the sender's and is told by the second
column: CPU of the whole machine beyond an equal run without weir. Prints Markdown. Root and tcpreplay.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

import netpair
import rig

HTTP, OTHER, PAYLOAD = 16, 304, 1_400
REQUEST = b"GET /item HTTP/1.1\r\nHost: bench.example\r\n\r\n"


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(client, to_server, sequence, acknowledgement, flags, payload):
    ends = (bytes([10, 97, 0, 1]), bytes([10, 97, 0, 2]))
    ports = (20_000 + client, 80)
    source, destination = (0, 1) if to_server else (1, 0)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0x4000, 64, 6, 0) + ends[source] + ends[destination]
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    tcp = struct.pack("!HHIIBBHHH", ports[source], ports[destination], sequence, acknowledgement, 0x50, flags, 0xFFFF, 0, 0)
    return b"\x02\0\0\0\0\2\x02\0\0\0\0\1\x08\0" + ip + tcp + payload


def write_load(path, packets, answer):
    """`answer` packets a response. Connections are open all the time: a file can be sent again only with its numbers, so that each run is one pass."""
    dice = random.Random(5)
    noise = [dice.randbytes(PAYLOAD - 2) for _ in range(64)]
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (answer * PAYLOAD - 60)
    head += b"x" * (PAYLOAD - 60)
    turns = [client for client in range(HTTP + OTHER) for _ in range(1 if client < HTTP else (1 + answer + 1) // 2)]
    rounds = max(1, packets // (HTTP * (1 + answer) + 2 * (len(turns) - HTTP)))
    numbers = {client: [1, 1] for client in range(HTTP + OTHER)}
    count = http = 0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))

        def put(client, to_server, flags, payload):
            nonlocal count
            mine, theirs = numbers[client] if to_server else reversed(numbers[client])
            frame = segment(client, to_server, mine, theirs, flags, payload)
            side = 0 if to_server else 1
            numbers[client][side] = (numbers[client][side] + len(payload) + (flags & 2) // 2) & 0xFFFFFFFF
            file.write(struct.pack("<IIII", count // 1_000_000, count % 1_000_000, len(frame), len(frame)) + frame)
            count += 1

        for client in numbers:
            put(client, True, 2, b"")
            put(client, False, 0x12, b"")
        for _ in range(rounds):
            dice.shuffle(turns)
            for client in turns:
                if client < HTTP:
                    put(client, True, 0x18, REQUEST)
                    put(client, False, 0x18, head)
                    for _ in range(answer - 1):
                        put(client, False, 0x18, b"y" * PAYLOAD)
                    http += 1 + answer
                else:
                    put(client, True, 0x18, b"\0\1" + dice.choice(noise))
                    put(client, False, 0x18, b"\0\2" + dice.choice(noise))
    return count, http


def machine_cpu():
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / rig.TICK


def cpu_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / rig.TICK


def measure(pair, load, rate, flags):
    child = None
    if flags is not None:
        home = rig.folder("filter-home")
        command = pair.inside(pair.server, rig.weir_binary(), "capture", "--json", "--no-proxy", "--no-ui", "--home", home,
                              "--interface", netpair.INTERFACE, *flags)  # fmt: skip
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        ready = json.loads(child.stdout.readline())
        assert ready["event"] == "ready", ready
    before = (cpu_of(child.pid) if child else 0, machine_cpu())
    subprocess.run(pair.inside(pair.client, "tcpreplay", "-q", "-i", netpair.INTERFACE, "--pps", rate, load),
                   check=True, capture_output=True)  # fmt: skip
    time.sleep(0.5)
    own, machine = (cpu_of(child.pid) if child else 0) - before[0], machine_cpu() - before[1]
    if child is None:
        return own, machine, None
    child.send_signal(signal.SIGTERM)
    last = json.loads(child.stdout.readlines()[-1])
    child.wait()
    return own, machine, last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rate", type=int, default=100_000)
    arguments = parser.parse_args()
    if not shutil.which("tcpreplay"):
        sys.exit("left out: tcpreplay is missing (run: scripts/setup bench)")
    seconds, rate = (1, 5_000) if arguments.quick else (arguments.seconds, arguments.rate)
    pair = netpair.Pair()
    mixes = (
        ("answers of 20 packets", 20, []),
        ("answers of 20 packets, rows only (`--bodies none`)", 20, ["--bodies", "none"]),
        ("every HTTP packet a message", 1, []),
    )
    for name, answer, flags in mixes:
        load = rig.folder("filter-load") / "mixed.pcap"
        packets, http = write_load(load, seconds * rate, answer)
        print(f"### {name}\n\n{packets} packets of 54 to {54 + PAYLOAD} bytes, {100 * http / packets:.1f} % of them HTTP, {rate} a second.\n")
        compare(pair, load, rate, flags)
        load.unlink()


def compare(pair, load, rate, common):
    print("| | CPU of weir, s | CPU of the machine beyond an equal run without weir, s | packets copied | rejected in the kernel | lost | exchanges |")
    print("|---|---|---|---|---|---|---|")
    idle = measure(pair, load, rate, None)[1]
    own = {}
    for name, flags in (("with the filter", []), ("--no-kernel-filter", ["--no-kernel-filter"])):
        own[name], machine, last = measure(pair, load, rate, [*common, *flags])
        tally = last["ledger"]["packets"]
        dropped = tally.get("dropped", {})
        assert tally["seen"] == tally["kept"] + sum(dropped.values()), tally
        rejected = sum(count for reason, count in dropped.items() if reason.startswith("ignored:kernel_"))
        lost = dropped.get("ring_full", 0) + dropped.get("ring_unread", 0)
        print(f"| {name} | {own[name]:.2f} | {machine - idle:.2f} | {tally['seen'] - rejected} | {rejected} | {lost} | {last['exchanges']} |", flush=True)
    ratio = own["with the filter"] / max(own["--no-kernel-filter"], 0.001)
    print(f"\nCPU of weir with the filter: {100 * ratio:.0f} % of that without (wanted: at most 20 %).\n")


if __name__ == "__main__":
    main()
