"""Clients that browse through weir; each prints one JSON document.

    clients.py WHAT PROXY CA ARGUMENT...
"""

import asyncio
import hashlib
import itertools
import json
import resource
import socket
import ssl
import sys
import time
import warnings

warnings.filterwarnings("ignore")
WHAT, PROXY, CA, *ARGUMENTS = sys.argv[1:]
HOST, PORT = PROXY.rsplit(":", 1)
PORT = int(PORT)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def with_requests():
    """Each URL in one session, with keep-alive: status, size, hash."""
    import requests

    session = requests.Session()
    session.trust_env = False
    session.proxies = {"http": f"http://{PROXY}", "https": f"http://{PROXY}"}
    session.verify = CA
    answers = []
    for url in ARGUMENTS:
        answer = session.get(url, headers={"X-Client": "requests"}, timeout=60)
        answers.append({"url": url, "status": answer.status_code, "size": len(answer.content), "sha256": digest(answer.content)})
    posted = session.post(ARGUMENTS[0], data={"field": "value"}, timeout=60)
    answers.append({"url": ARGUMENTS[0], "status": posted.status_code, "method": "POST"})
    return answers


def with_httpx():
    """All URLs at once over HTTP/2: status, version, size, hash."""
    import httpx

    async def run():
        async with httpx.AsyncClient(
            http2=True, proxy=f"http://{PROXY}", verify=ssl.create_default_context(cafile=CA), trust_env=False, timeout=60
        ) as client:
            answers = await asyncio.gather(*(client.get(url) for url in ARGUMENTS))
        return [
            {"url": str(a.url), "status": a.status_code, "version": a.http_version, "size": len(a.content), "sha256": digest(a.content)}
            for a in answers
        ]

    return asyncio.run(run())


def with_websocket():
    """Sends texts and binaries to an echo (with and without compression), says bye: what came back."""
    import websockets

    async def run():
        url = ARGUMENTS[0]
        tls = ssl.create_default_context(cafile=CA) if url.startswith("wss") else None
        got = {}
        for name, compression in (("plain", None), ("deflate", "deflate")):
            async with websockets.connect(
                url + f"/{name}", proxy=f"http://{PROXY}", ssl=tls, compression=compression, max_size=None
            ) as socket:
                back = []
                for message in ("hello", "ünïcode ☃", "x" * 100_000, b"\x00\xff" * 500, ""):
                    await socket.send(message)
                    answer = await socket.recv()
                    back.append(answer == message)
                await (await socket.ping())
                await socket.send("bye")
                try:
                    await socket.recv()
                except websockets.ConnectionClosed as closed:
                    got[name] = {"same": back, "code": closed.rcvd.code, "reason": closed.rcvd.reason}
        return got

    return asyncio.run(run())


def tunnel(target, tls=None, server_name=None):
    """A socket to target through CONNECT, with TLS on it when asked."""
    raw = socket.create_connection((HOST, PORT), timeout=30)
    raw.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = raw.recv(1)
        if not byte:
            raise ConnectionError(f"closed after {head!r}")
        head += byte
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise ConnectionError(head.decode("latin-1"))
    return tls.wrap_socket(raw, server_hostname=server_name) if tls else raw


def without_sni():
    """TLS without a server name: the certificate's names, and the status line got."""
    context = ssl.create_default_context(cafile=CA)
    context.check_hostname = False
    with tunnel(ARGUMENTS[0], context) as stream:
        names = [name for _, name in stream.getpeercert()["subjectAltName"]]
        stream.sendall(f"GET {ARGUMENTS[1]} HTTP/1.1\r\nHost: {ARGUMENTS[0]}\r\nConnection: close\r\n\r\n".encode())
        status = stream.recv(65536).split(b"\r\n")[0].decode()
    return {"names": names, "status": status}


def refusing_the_ca():
    """A client that does not trust weir: the error it stops with, and what the server's own certificate says."""
    context = ssl.create_default_context(cafile=CA)  # CA is the real authority here
    try:
        with tunnel(ARGUMENTS[0], context, "localhost") as stream:
            stream.sendall(f"GET {ARGUMENTS[1]} HTTP/1.1\r\nHost: {ARGUMENTS[0]}\r\nConnection: close\r\n\r\n".encode())
            status = stream.recv(65536).split(b"\r\n")[0].decode()
            issuer = dict(pair for entry in stream.getpeercert()["issuer"] for pair in entry)
            return {"status": status, "issuer": issuer.get("commonName")}
    except (ssl.SSLError, ConnectionError, OSError) as error:
        return {"error": str(error)}


def raw_tunnel():
    """Bytes that are neither TLS nor HTTP to an echo through CONNECT; what came back."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with tunnel("127.0.0.1:%d" % listener.getsockname()[1]) as stream:
            # The server speaks first, as SMTP and SSH do.
            accepted, _ = listener.accept()
            accepted.sendall(b"220 welcome\r\n")
            greeting = stream.recv(100)
            stream.sendall(b"\x00\x01\x02 hello \xff" * 1000)
            got = b""
            while len(got) < 11_000:
                got += accepted.recv(65536)
            accepted.sendall(got)
            back = b""
            while len(back) < len(got):
                back += stream.recv(65536)
            accepted.close()
    return {"greeting": greeting.decode(), "sent": len(got), "same": back == got}


def crowd():
    """IDLE connections that send nothing and ACTIVE ones with ROUNDS requests each: how many were answered."""
    url, idle, active, rounds = ARGUMENTS[0], *map(int, ARGUMENTS[1:4])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = url.split("/")[2]
    request = f"GET {url} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()

    async def open_one(gate):
        async with gate:
            return await asyncio.open_connection(HOST, PORT)

    async def ask(stream):
        reader, writer = stream
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        body = await reader.readexactly(length)
        return head.startswith(b"HTTP/1.1 200") and len(body) == length

    async def run():
        gate = asyncio.Semaphore(200)
        idlers = await asyncio.gather(*(open_one(gate) for _ in range(idle)))
        streams = await asyncio.gather(*(open_one(gate) for _ in range(active)))
        answered = 0
        for _ in range(rounds):
            answered += sum(await asyncio.gather(*(ask(stream) for stream in streams)))
        print(json.dumps({"answered": answered}), flush=True)
        # Those that idled must still be there, and be served.
        served = sum(await asyncio.gather(*(ask(stream) for stream in idlers[:: max(1, idle // 200)])))
        gone = sum(stream[0].at_eof() for stream in idlers)
        return {"answered": answered, "idle": len(idlers), "served_after_idling": served, "gone": gone}

    return asyncio.run(run())


async def ask_numbered(url, counter, go_on, done):
    """Asks for url + number on one connection while go_on(number): (number, when it was complete) into done."""
    target = url.split("/")[2]
    reader, writer = await asyncio.open_connection(HOST, PORT)
    while True:
        number = next(counter)
        if not go_on(number):
            writer.close()
            return
        writer.write(f"GET {url}{number} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(head.decode("latin-1"))
        done.append((number, time.time()))


def load():
    """Requests numbered FIRST.. on 8 connections until the proxy is gone, at most SECONDS long."""
    url, first, seconds = ARGUMENTS[0], int(ARGUMENTS[1]), float(ARGUMENTS[2])
    end = time.monotonic() + seconds
    counter, done = itertools.count(first), []

    async def worker():
        try:
            await ask_numbered(url, counter, lambda _: time.monotonic() < end, done)
        except (ConnectionError, OSError, asyncio.IncompleteReadError):
            pass  # the proxy is gone

    async def run():
        await asyncio.gather(*(worker() for _ in range(8)))

    asyncio.run(run())
    return {"done": done, "next": next(counter)}


def count():
    """COUNT requests numbered FIRST.. on 16 connections: how many were answered."""
    url, first, wanted = ARGUMENTS[0], int(ARGUMENTS[1]), int(ARGUMENTS[2])
    counter, done = itertools.count(first), []

    async def run():
        await asyncio.gather(*(ask_numbered(url, counter, lambda n: n < first + wanted, done) for _ in range(16)))

    asyncio.run(run())
    return {"answered": len(done)}


CLIENTS = {
    "requests": with_requests,
    "httpx": with_httpx,
    "websocket": with_websocket,
    "no-sni": without_sni,
    "refuse": refusing_the_ca,
    "tunnel": raw_tunnel,
    "crowd": crowd,
    "load": load,
    "count": count,
}
print(json.dumps(CLIENTS[WHAT]()))
