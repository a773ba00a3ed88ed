#!/usr/bin/env python3
"""The same questions over the same Parquet: weir beside DuckDB, Polars and ClickHouse (chdb), best of several times.

    overview_side_by_side.py EXCHANGES HOME [TIMES]

HOME is filled by `cargo run --profile profiling --example overview_rate` when it is not there. Engines that are not
installed are left out with a message. Prints a table; RESULTS.md has the measured ones with machine and command.
"""

import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNT, HOME = sys.argv[1], pathlib.Path(sys.argv[2])
TIMES = int(sys.argv[3]) if len(sys.argv) > 3 else 7
PARTS = f"{HOME}/lake/exchanges/session=*/part-*.parquet"

# The question as weir has it, the condition and the columns of the others.
QUESTIONS = {
    "overview": (None, ["method", "domain", "type", "status"]),
    "overview by endpoint": (None, ["endpoint"]),
    "status >= 400 by domain": ("status >= 400", ["domain"]),
    "method and domain by status": ("method = 'POST' AND domain = 'svc7.example.com'", ["status"]),
    "slow by endpoint": ("duration_us > 45000", ["endpoint"]),
    "url like by domain": ("url LIKE '%/orders/%page=3'", ["domain"]),
}


def best(ask):
    took = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        ask()
        took.append((time.perf_counter() - begun) * 1e3)
    return min(took)


def weir():
    command = ["cargo", "run", "--quiet", "--profile", "profiling", "--workspace", "--example", "overview_rate", "--"]
    output = subprocess.run([*command, COUNT, str(HOME), str(TIMES)], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in output.stdout.splitlines()]
    return {line["question"]: line["best_ms"] for line in lines}


def duckdb():
    import duckdb as engine

    connection = engine.connect()
    columns = "count(*), sum(request_size), sum(response_size), count(*) FILTER (status IS NULL OR status >= 400 OR error IS NOT NULL), " \
              "approx_quantile(duration_us, [0.5, 0.95, 0.99])"

    def ask(condition, by):
        where = f"WHERE {condition}" if condition else ""
        for column in by:
            connection.execute(f"SELECT {column}, {columns} FROM read_parquet('{PARTS}') {where} GROUP BY 1 ORDER BY 2 DESC").fetchall()

    return {name: best(lambda: ask(*question)) for name, question in QUESTIONS.items()}


def polars():
    import polars as pl

    def ask(condition, by):
        frame = pl.scan_parquet(PARTS)
        if condition:
            frame = frame.filter(pl.sql_expr(condition))
        duration = pl.col("duration_us")
        frames = [
            frame.group_by(column).agg(
                pl.len(), pl.col("request_size").sum(), pl.col("response_size").sum(),
                (pl.col("status").is_null() | (pl.col("status") >= 400) | pl.col("error").is_not_null()).sum().alias("errors"),
                duration.quantile(0.5).alias("p50"), duration.quantile(0.95).alias("p95"), duration.quantile(0.99).alias("p99"),
            )
            for column in by
        ]
        pl.collect_all(frames)

    return {name: best(lambda: ask(*question)) for name, question in QUESTIONS.items()}


def clickhouse():
    import chdb

    def ask(condition, by):
        where = f"WHERE {condition}" if condition else ""
        for column in by:
            chdb.query(
                f"SELECT {column}, count(), sum(request_size), sum(response_size), countIf(status IS NULL OR status >= 400 OR error IS NOT NULL), "
                f"quantiles(0.5, 0.95, 0.99)(duration_us) FROM file('{PARTS}', Parquet) {where} GROUP BY 1 ORDER BY 2 DESC",
                "CSV",
            )

    return {name: best(lambda: ask(*question)) for name, question in QUESTIONS.items()}


def main():
    results = {"weir": weir()}
    for name, engine in (("DuckDB", duckdb), ("Polars", polars), ("ClickHouse", clickhouse)):
        try:
            results[name] = engine()
        except ImportError as error:
            print(f"{name} is left out: {error}; pip install it to measure it", file=sys.stderr)
    engines = list(results)
    print("| question | " + " | ".join(f"{engine}, ms" for engine in engines) + " |")
    print("|---" * (len(engines) + 1) + "|")
    asked = list(QUESTIONS) + [name for name in results["weir"] if name not in QUESTIONS]
    for question in asked:
        cells = [f"{results[engine][question]:.1f}" if question in results[engine] else "–" for engine in engines]
        print(f"| {question} | " + " | ".join(cells) + " |")


main()
