#!/usr/bin/env python3
"""Seeds for the fuzz targets, made from captures (pcap files): seeds.py FOLDER. What comes out (corpus/) is not committed."""

import pathlib
import struct
import sys

LINKS = [0, 1, 9, 12, 14, 50, 51, 101, 104, 105, 108, 113, 127, 166, 228, 229, 239, 276, 9999, 10, 107, 192, 219]
FILTERS = [
    "method = 'POST' AND status >= 400 AND domain LIKE '%.example.com' AND NOT url ~ '/health'",
    "status IN (200, 404) OR request_size BETWEEN 1 AND 10",
    "request_headers['x'] IS NOT NULL AND started > '2026-01-01T00:00:00Z'",
    "path NOT LIKE 'a\\_%' ESCAPE '\\' AND (type = 'text/html' OR category = 'json')",
    "url ~* 'a(b|c)+$'",
]
TALKS = [
    [(0, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")],
    [(0, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n"), (1, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n")],
    [(0, b"CONNECT a:1 HTTP/1.1\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\n\r\n"), (0, b"GET /x HTTP/1.0\r\n\r\n"), (1, b"HTTP/1.0 200 OK\r\n\r\nbody")],
    [(0, b"GET /w HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"), (1, b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n\xc1\x03abc\x89\x00"), (0, b"\x81\x82\x01\x02\x03\x04ab")],
    [(0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000" "000003010500000001" "828684")), (1, bytes.fromhex("000000040000000000" "000001010400000001" "88" "000005000100000001") + b"hello")],
    [(0, b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"), (1, b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n" + bytes.fromhex("000000040000000000" "000001010500000001" "88"))],
    [(0, b"GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\n"), (3, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), (1, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")],
    [(0, b"GET /old\r\n"), (9, b"<html>bare</html>")],
]


def frames(path):
    data = path.read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<"}.get(data[:4])
    if order is None:
        return None, []
    link, at, out = struct.unpack(order + "I", data[20:24])[0] & 0xFFFF, 24, []
    while at + 16 <= len(data):
        length = struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        out.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return link, out


def main():
    here = pathlib.Path(__file__).parent / "corpus"
    folders = {name: here / name for name in ("frame", "packets", "streams", "pcapng", "filter", "content")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(pathlib.Path(sys.argv[1]).rglob("*.*cap*")) + sorted(pathlib.Path(sys.argv[1]).rglob("*.trace"))):
        data = path.read_bytes()
        if len(data) < 64 << 10:
            (folders["pcapng"] / f"file-{number}").write_bytes(data)
        link, packets = frames(path)
        if link not in LINKS or not packets:
            continue
        first = bytes([LINKS.index(link)])
        for index, packet in enumerate(packets[:3]):
            (folders["frame"] / f"{number}-{index}").write_bytes(first + b"\0" + packet[:1600])
        container = b"".join(b"\1" + struct.pack("<H", len(p)) + p for p in packets[:40] if len(p) < 65536)
        if len(container) < 32 << 10:
            (folders["packets"] / f"file-{number}").write_bytes(first + container)
    for number, text in enumerate(FILTERS):
        (folders["filter"] / f"filter-{number}").write_text(text)
    for number, talk in enumerate(TALKS):
        pieces = b"".join(bytes([kind]) + struct.pack("<H", len(part)) + part for kind, part in talk)
        (folders["streams"] / f"talk-{number}").write_bytes(pieces)
    import gzip
    import zlib

    for number, body in enumerate([gzip.compress(b"a" * 99), zlib.compress(b"b" * 99), b"\x0b\x02\x80hello\x03", b"(\xb5/\xfd\x04\x00\x29\x00\x00hello"]):
        (folders["content"] / f"body-{number}").write_bytes(bytes([number]) + body)


main()
