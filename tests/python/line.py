"""A line between two interfaces that loses, doubles and delays frames, for kernels without netem.

    line.py ONE OTHER SEED

Frames that come in on one interface leave on the other. Of those that carry IPv4 or IPv6 with payload (neighbour discovery is left
alone) 2 % are lost, 2 % doubled, and 10 % overtaken by what comes in the next milliseconds. Writes `ready`, and at its end on SIGTERM
what it did as a line of JSON. Both hosts must have their offloads off: what is read here must be whole frames with checksums.
"""

import heapq
import json
import random
import select
import signal
import socket
import sys
import time

ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 3, 263, 23
IP = (b"\x08\x00", b"\x86\xdd")


def main():
    dice = random.Random(int(sys.argv[3]))
    ends = []
    for name in sys.argv[1:3]:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        end.bind((name, ETH_P_ALL))
        end.setblocking(False)
        ends.append(end)
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    counts = {"passed": 0, "lost": 0, "doubled": 0, "overtaken": 0}
    late, number = [], 0

    def send(to, frame):
        try:
            to.send(frame)
        except OSError:
            # No room in the interface's queue: one more that is lost.
            counts["lost"] += 1

    print("ready", flush=True)
    while not over:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else 0.1
        readable, _, _ = select.select(ends, [], [], wait)
        while late and late[0][0] <= time.monotonic():
            _, _, to, frame = heapq.heappop(late)
            send(to, frame)
        for end in readable:
            to = ends[1 - ends.index(end)]
            for _ in range(64):
                try:
                    frame = end.recv(65536)
                except BlockingIOError:
                    break
                counts["passed"] += 1
                throw = dice.random() if frame[12:14] in IP and len(frame) > 100 else 1.0
                if throw < 0.02:
                    counts["lost"] += 1
                elif throw < 0.04:
                    counts["doubled"] += 1
                    send(to, frame)
                    send(to, frame)
                elif throw < 0.14:
                    counts["overtaken"] += 1
                    number += 1
                    heapq.heappush(late, (time.monotonic() + dice.uniform(0.0005, 0.003), number, to, frame))
                else:
                    send(to, frame)
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
