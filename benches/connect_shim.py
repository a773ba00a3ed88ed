"""CONNECT on behalf of load clients that cannot: connect_shim.py PORT PROXY_PORT HOST:PORT

Every connection to PORT is tunnelled through the proxy to the target. Bytes are spliced by the kernel; one process
handles a share of the connections each, so that Python's lock is not what is measured.
"""

import os
import select
import socket
import sys

port, proxy_port, target = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
REQUEST = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
PIPE = 1 << 16


def tunnel():
    upstream = socket.create_connection(("127.0.0.1", proxy_port))
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    upstream.sendall(REQUEST)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = upstream.recv(1)
        if not byte:
            raise ConnectionError(head)
        head += byte
    upstream.setblocking(False)
    return upstream


def serve():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    ends = {}  # descriptor → (socket, the other one, pipe towards the other)

    def close(descriptor):
        for one in (ends.get(descriptor), ends.get(ends[descriptor][1].fileno()) if descriptor in ends else None):
            if one:
                ends.pop(one[0].fileno(), None)
                one[0].close()
                os.close(one[2][0])
                os.close(one[2][1])

    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                try:
                    client, _ = listener.accept()
                except BlockingIOError:
                    continue
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setblocking(False)
                try:
                    upstream = tunnel()
                except OSError:
                    client.close()
                    continue
                for one, other in ((client, upstream), (upstream, client)):
                    ends[one.fileno()] = (one, other, os.pipe())
                    poll.register(one, select.EPOLLIN)
                continue
            if descriptor not in ends:
                continue
            _, other, (pipe_out, pipe_in) = ends[descriptor]
            try:
                taken = os.splice(descriptor, pipe_in, PIPE, flags=os.SPLICE_F_MOVE if hasattr(os, "SPLICE_F_MOVE") else 0)
                if taken == 0:
                    close(descriptor)
                while taken:
                    try:
                        taken -= os.splice(pipe_out, other.fileno(), taken)
                    except BlockingIOError:
                        select.select([], [other], [])
            except BlockingIOError:
                pass
            except OSError:
                close(descriptor)


for _ in range(max(1, (os.cpu_count() or 2) // 2) - 1):
    if os.fork() == 0:
        break
serve()
