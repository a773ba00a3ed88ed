"""Reads a lake without weir, with DuckDB and pyarrow; prints one JSON document.

    lake.py rows HOME TABLE SESSION     every row of a table (bytes as hexadecimal)
    lake.py schema HOME                 what differs from the contract (DESIGN §5), and what each engine counts
    lake.py bodies HOME SESSION         per exchange: URL, decoded response body's SHA-256, as DuckDB joins it
    lake.py verify HOME                 reads every Parquet file there is in full: per session, rows and distinct ids
"""

import glob
import gzip
import hashlib
import json
import os
import sys
import zlib

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

WORDS = "dictionary<values=string, indices=int32, ordered=0>"
FIELDS = "list<item: struct<name: string, value: string>>"
EXCHANGES = {
    "id": "uint64", "source": WORDS, "device": WORDS, "client": "string", "server": "string", "connection": "uint64",
    "started": "timestamp[us, tz=UTC]", "protocol": WORDS, "method": WORDS, "scheme": WORDS, "domain": WORDS,
    "type": WORDS, "category": WORDS, "port": "uint16", "path": "string", "query": "string", "url": "string",
    "endpoint": WORDS, "status": "uint16", "reason": "string", "error": "string", "request_headers": FIELDS,
    "response_headers": FIELDS, "request_body": "fixed_size_binary[32]", "response_body": "fixed_size_binary[32]",
    "request_size": "uint64", "response_size": "uint64", "request_body_state": WORDS, "response_body_state": WORDS,
    "duration_us": "uint64", "dns_us": "uint64", "connect_us": "uint64", "tls_us": "uint64", "wait_us": "uint64",
    "receive_us": "uint64", "process": WORDS, "pid": "uint32", "flags": "uint32",
}  # fmt: skip
TABLES = ("exchanges", "bodies", "messages", "connections", "cookies")


def files(home, table):
    return sorted(glob.glob(f"{home}/lake/{table}/session=*/*.parquet"))


def query(home, table, what, where="true"):
    """Rows as dictionaries; points in time as microseconds since the epoch (DuckDB wants pytz for anything else)."""
    if not files(home, table):
        return []
    connection = duckdb.connect()
    source = f"read_parquet('{home}/lake/{table}/session=*/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
    if what == "*":
        kinds = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        what = ", ".join(
            f'epoch_us("{name}") AS "{name}"' if kind.startswith("TIMESTAMP") else f'"{name}"' for name, kind, *_ in kinds
        )
    cursor = connection.execute(f"SELECT {what} FROM {source} WHERE {where}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(type(value))


def rows(home, table, session):
    return query(home, table, "*", f"session = '{session}'")


def decode(data, encoding):
    if encoding in ("gzip", "x-gzip"):
        return gzip.decompress(data)
    if encoding == "deflate":
        return zlib.decompress(data)
    return data


def bodies(home, session):
    place = f"{home}/lake/bodies/session={session}/*.parquet"
    got = duckdb.connect().execute(
        f"""SELECT e.id, e.url, b.bytes, b.encoding, b.size, e.response_size
            FROM read_parquet('{home}/lake/exchanges/session={session}/*.parquet') e
            JOIN read_parquet('{place}') b ON e.response_body = b.hash ORDER BY e.id"""
    )
    return [
        {
            "id": id, "url": url, "size": size, "on_wire": on_wire,
            "sha256": hashlib.sha256(decode(data, encoding)).hexdigest(),
        }
        for id, url, data, encoding, size, on_wire in got.fetchall()
    ]  # fmt: skip


def list_of_fields(kind):
    """The name of a list's item field, and what cannot be null in it, are no part of the contract."""
    return f"list<item: {kind.value_type}>".replace(" not null", "") if pa.types.is_list(kind) else str(kind)


def schema(home):
    wrong, counts = [], {}
    for table in TABLES:
        if not files(home, table):
            continue
        dataset = pyarrow.dataset.dataset(f"{home}/lake/{table}", partitioning="hive")
        counts[table] = {
            "pyarrow": dataset.count_rows(),
            "duckdb": query(home, table, "count(*) AS n")[0]["n"],
            "sessions": len(dataset.to_table(columns=["session"])["session"].unique()),
        }
    for file in files(home, "exchanges"):
        found = pyarrow.parquet.read_schema(file)
        got = {name: list_of_fields(found.field(name).type) for name in found.names}
        for name, kind in EXCHANGES.items():
            if got.get(name) != kind:
                wrong.append(f"{os.path.basename(file)}: {name} is {got.get(name)}, not {kind}")
        if list(got)[: len(EXCHANGES)] != list(EXCHANGES):
            wrong.append(f"columns come as {list(got)}")
        if found.field("id").nullable:
            wrong.append("id is nullable")
    for file in files(home, "bodies"):
        names = pyarrow.parquet.read_schema(file).names
        if names[:5] != ["hash", "bytes", "size", "encoding", "first_seen"]:
            wrong.append(f"bodies has {names}")
    return {"wrong": wrong, "counts": counts}


def verify(home):
    """Every file must be readable to its last page; every session's ids distinct over all its files."""
    sessions = {}
    for file in glob.glob(f"{home}/l*/**/*.parquet", recursive=True):
        table = pyarrow.parquet.read_table(file, partitioning=None)
        table.validate(full=True)
        if "exchanges" in file:
            session = next(part[8:] for part in file.split("/") if part.startswith("session="))
            sessions.setdefault(session, []).extend(table["id"].to_pylist())
    return {session: {"rows": len(ids), "distinct": len(set(ids))} for session, ids in sessions.items()}


COMMANDS = {"rows": rows, "schema": schema, "bodies": bodies, "verify": verify}
print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:]), default=plain))
