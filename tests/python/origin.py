"""The origin that misbehaves on request.

    origin.py CHAIN KEY

Listens on free ports of the loopback and prints one JSON line that tells them:
http, https (HTTP/1.1 with the given certificate), ws, wss (WebSocket echo), stuck (listens, never accepts, its
queue is full: a connect to it is never answered). Which request gets what is told by the path, see ROUTES.
"""

import asyncio
import hashlib
import json
import socket
import ssl
import sys

import websockets

ROUTES = {}
EVENTS: dict[str, asyncio.Event] = {}


def route(path):
    def add(function):
        ROUTES[path] = function
        return function

    return add


def event(name):
    return EVENTS.setdefault(name, asyncio.Event())


def say(**what):
    print(json.dumps(what), flush=True)


class Request:
    def __init__(self, line, headers, reader, writer):
        self.method, target, self.version = line.split(" ", 2)
        self.path, _, self.query = target.partition("?")
        self.target, self.headers, self.reader, self.writer = target, headers, reader, writer

    def header(self, name, default=None):
        return next((value for key, value in self.headers if key.lower() == name), default)

    async def body(self):
        """Yields the body's pieces as they come; trailers are left in self.trailers."""
        self.trailers = []
        if (self.header("transfer-encoding") or "").lower().endswith("chunked"):
            while True:
                size = int((await self.reader.readline()).split(b";")[0], 16)
                if size == 0:
                    break
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            while (line := (await self.reader.readline()).strip()) != b"":
                self.trailers.append(line.decode().partition(": ")[::2])
        else:
            left = int(self.header("content-length", 0))
            while left:
                piece = await self.reader.read(min(left, 65536))
                if not piece:
                    raise ConnectionError("the client stopped inside its body")
                left -= len(piece)
                yield piece

    async def send(self, *pieces):
        for piece in pieces:
            self.writer.write(piece if isinstance(piece, bytes) else piece.encode())
        await self.writer.drain()

    async def answer(self, body, status="200 OK", kind="application/json", extra=""):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        await self.send(head, b"" if self.method == "HEAD" else body)


@route("/echo")
async def echo(request):
    """What arrived: method, target, headers in order, size and hash of the body, trailers."""
    digest, size = hashlib.sha256(), 0
    async for piece in request.body():
        digest.update(piece)
        size += len(piece)
    await request.answer(
        {
            "method": request.method,
            "target": request.target,
            "version": request.version,
            "headers": request.headers,
            "size": size,
            "sha256": digest.hexdigest(),
            "trailers": request.trailers,
        }
    )


@route("/login")
async def login(request):
    """A token in the body, and cookies."""
    async for _ in request.body():
        pass
    cookies = "Set-Cookie: sid=cookie-secret; Path=/; HttpOnly\r\nSet-Cookie: theme=dark; Max-Age=60\r\n"
    await request.answer({"user": "u", "access_token": "token-secret"}, extra=cookies)


@route("/release")
async def release(request):
    """Lets whoever waits for the event named in the query go on."""
    event(request.query).set()
    await request.answer({"released": request.query})


@route("/events")
async def events(request):
    """Three server-sent events; each waits until somebody has released `KEY-N`, having seen the one before."""
    await request.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(3):
        if number:
            await asyncio.wait_for(event(f"{request.query}-{number}").wait(), 30)
        data = f"id: {number}\nevent: tick\ndata: number {number}\n\n".encode()
        await request.send(f"{len(data):x}\r\n", data, "\r\n")
    await request.send("0\r\n\r\n")


@route("/slow")
async def slow(request):
    """Head and half of the body at once; the rest when `QUERY` is released."""
    await request.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n12345")
    await asyncio.wait_for(event(request.query).wait(), 60)
    await request.send("67890")


@route("/hold")
async def hold(request):
    """Nothing until `QUERY` is released: a long poll."""
    say(held=request.query)
    await asyncio.wait_for(event(request.query).wait(), 120)
    await request.answer({"released": request.query})


@route("/never")
async def never(request):
    """Never an answer; the connection stays open until the other side leaves."""
    say(never=request.target)
    await request.reader.read()


@route("/continue")
async def wants_continue(request):
    """100 (Continue) before the body is read; tells whether the client had asked for it."""
    asked = (request.header("expect") or "").lower() == "100-continue"
    if asked:
        await request.send("HTTP/1.1 100 Continue\r\n\r\n")
    size = 0
    async for piece in request.body():
        size += len(piece)
    await request.answer({"asked": asked, "size": size})


@route("/hints")
async def hints(request):
    """103 (Early Hints), then the answer."""
    await request.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
    await request.answer({"hinted": True})


@route("/early")
async def early(request):
    """Refuses with 413 before it has read the body, then reads and drops it."""
    await request.answer({"early": True}, "413 Content Too Large", extra="Connection: close\r\n")
    try:
        async for _ in request.body():
            pass
    finally:
        request.writer.close()


@route("/trailers")
async def trailers(request):
    """A chunked body with an extension and a trailer section."""
    await request.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTrailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nX-Checksum: abc\r\n\r\n"
    )


@route("/close-delimited")
async def close_delimited(request):
    """HTTP/1.0: the body ends with the connection."""
    await request.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"until the end" * 100)
    request.writer.close()


@route("/odd-headers")
async def odd_headers(request):
    """Order, case, repeats and obsolete characters in field lines."""
    await request.send(
        "HTTP/1.1 200 Fine By Me\r\nzEBRA: 1\r\nContent-Length: 2\r\nX-Multi: a\r\nAlpha: \xe9\r\nX-Multi: b\r\n"
        "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Empty:\r\n\r\nok".encode("latin-1")
    )


@route("/no-content")
async def no_content(request):
    await request.send("HTTP/1.1 204 No Content\r\nX-Kept: yes\r\n\r\n")


@route("/not-modified")
async def not_modified(request):
    await request.send('HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 1234\r\n\r\n')


@route("/sized")
async def sized(request):
    """QUERY bytes."""
    await request.answer(b"x" * int(request.query), kind="text/plain")


# What servers get wrong: each ends the connection itself.


@route("/bad/short")
async def bad_short(request):
    await request.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
    request.writer.close()


@route("/bad/short-chunk")
async def bad_short_chunk(request):
    await request.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nonly this")
    request.writer.close()


@route("/bad/chunk-size")
async def bad_chunk_size(request):
    await request.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\nmore\r\n0\r\n\r\n")
    request.writer.close()


@route("/bad/both-lengths")
async def bad_both_lengths(request):
    await request.send(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    request.writer.close()


@route("/bad/two-lengths")
async def bad_two_lengths(request):
    await request.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    request.writer.close()


@route("/bad/garbage")
async def bad_garbage(request):
    await request.send(bytes(range(256)) * 8)
    request.writer.close()


@route("/bad/silence")
async def bad_silence(request):
    """Closes without a word."""
    request.writer.close()


@route("/bad/half-head")
async def bad_half_head(request):
    await request.send("HTTP/1.1 200 OK\r\nContent-Ty")
    request.writer.close()


@route("/bad/giant-head")
async def bad_giant_head(request):
    await request.send("HTTP/1.1 200 OK\r\nX-Giant: ", b"g" * 8_000_000, "\r\n\r\n")
    request.writer.close()


@route("/bad/endless-head")
async def bad_endless_head(request):
    await request.send("HTTP/1.1 200 OK\r\n")
    for number in range(1_000_000):
        await request.send(f"X-Line-{number}: {number}\r\n")


@route("/bad/reset")
async def bad_reset(request):
    await request.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthen")
    raw = request.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    request.writer.transport.abort()


async def serve(reader, writer):
    try:
        while line := await reader.readline():
            headers = []
            while (field := (await reader.readline()).rstrip(b"\r\n")) != b"":
                name, _, value = field.decode("latin-1").partition(":")
                headers.append((name, value.strip()))
            request = Request(line.decode("latin-1").rstrip("\r\n"), headers, reader, writer)
            handler = ROUTES.get(request.path) or (echo if request.path.startswith("/echo/") else None)
            if handler is None:
                await request.answer({"path": request.path}, "404 Not Found")
            else:
                await handler(request)
            if writer.is_closing() or (request.header("connection") or "").lower() == "close":
                break
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError, ssl.SSLError, ValueError):
        pass
    finally:
        writer.close()


async def websocket(connection):
    async for message in connection:
        if message == "bye":
            await connection.close(1000, "as you wish")
            return
        await connection.send(message)


def stuck():
    """A listener whose queue is full: the kernel drops further SYNs, so a connect hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    return listener, fillers


async def main():
    chain, key = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain, key)
    tls.set_alpn_protocols(["http/1.1"])
    listener, fillers = stuck()
    options = {"host": "127.0.0.1", "port": 0}
    plain = await asyncio.start_server(serve, backlog=4096, limit=1 << 20, **options)
    secure = await asyncio.start_server(serve, backlog=4096, limit=1 << 20, ssl=tls, **options)
    ws = await websockets.serve(websocket, **options, max_size=None)
    wss = await websockets.serve(websocket, **options, ssl=tls, max_size=None)
    port = lambda server: list(server.sockets)[0].getsockname()[1]
    say(http=port(plain), https=port(secure), ws=port(ws), wss=port(wss), stuck=listener.getsockname()[1])
    await asyncio.Event().wait()
    del fillers


try:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main())
except KeyboardInterrupt:
    pass
