"""The same questions over the same Parquet: weir beside DuckDB, Polars and ClickHouse (chdb); and pages far down.

    overview_side_by_side.py [--quick] [--count 10000000] [--home HOME] [--times 7] [--ask BINARY] [--engines weir,DuckDB,...]

HOME is filled by storage/examples/overview_rate.rs when it is not there, else used as it is. Each engine answers in one process
that has been asked once before; the best of several times counts. Engines that are not installed are left out with a
message (scripts/setup bench). Bars (DESIGN.md): the overview of 10 M exchanges under 50 ms, filtered ones faster than all
three; a filtered listing of the last page of a session of a million under 100 ms.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import rig

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The question as weir has it, the condition and the columns of the others.
QUESTIONS = {
    "overview": (None, ["method", "domain", "type", "status"]),
    "overview by endpoint": (None, ["endpoint"]),
    "status >= 400 by domain": ("status >= 400", ["domain"]),
    "method and domain by status": ("method = 'POST' AND domain = 'svc7.example.com'", ["status"]),
    "slow by endpoint": ("duration_us > 45000", ["endpoint"]),
    "url like by domain": ("url LIKE '%/orders/%page=3'", ["domain"]),
}


def best(ask, times):
    ask()
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        took.append((time.perf_counter() - begun) * 1e3)
    return min(took)


def weir(arguments, home, count, times):
    output = subprocess.run([*arguments.ask, str(count), str(home), str(times)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    lines = [json.loads(line) for line in output.stdout.splitlines()]
    return {line["question"]: line["best_ms"] for line in lines}


def duckdb(parts, times):
    import duckdb as engine

    connection = engine.connect()
    columns = "count(*), sum(request_size), sum(response_size), count(*) FILTER (status IS NULL OR status >= 400 OR error IS NOT NULL), " \
              "approx_quantile(duration_us, [0.5, 0.95, 0.99])"

    def ask(condition, by):
        where = f"WHERE {condition}" if condition else ""
        for column in by:
            connection.execute(f"SELECT {column}, {columns} FROM read_parquet('{parts}') {where} GROUP BY 1 ORDER BY 2 DESC").fetchall()

    return {name: best(lambda: ask(*question), times) for name, question in QUESTIONS.items()}


def polars(parts, times):
    import polars as pl

    def ask(condition, by):
        frame = pl.scan_parquet(parts)
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

    return {name: best(lambda: ask(*question), times) for name, question in QUESTIONS.items()}


def clickhouse(parts, times):
    import chdb

    def ask(condition, by):
        where = f"WHERE {condition}" if condition else ""
        for column in by:
            chdb.query(
                f"SELECT {column}, count(), sum(request_size), sum(response_size), countIf(status IS NULL OR status >= 400 OR error IS NOT NULL), "
                f"quantiles(0.5, 0.95, 0.99)(duration_us) FROM file('{parts}', Parquet) {where} GROUP BY 1 ORDER BY 2 DESC",
                "CSV",
            )

    return {name: best(lambda: ask(*question), times) for name, question in QUESTIONS.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--home", default=None, help="filled when it is not there; default: a temporary one")
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--ask", default=None, help="built overview_rate; default: cargo run --release --example")
    parser.add_argument("--engines", default="weir,DuckDB,Polars,ClickHouse")
    arguments = parser.parse_args()
    arguments.ask = [arguments.ask] if arguments.ask else ["cargo", "run", "--release", "--workspace", "--example", "overview_rate", "--"]
    count, times = (20_000, 1) if arguments.quick else (arguments.count, arguments.times)
    wanted = arguments.engines.split(",")
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(arguments.home or f"{folder}/home")
        if not home.exists():
            weir(arguments, home, count, 1)
        parts = f"{home}/lake/exchanges/session=*/part-*.parquet"
        results = {"weir": weir(arguments, home, count, times)} if "weir" in wanted else {}
        for name, engine in (("DuckDB", duckdb), ("Polars", polars), ("ClickHouse", clickhouse)):
            try:
                if name in wanted:
                    results[name] = engine(parts, times)
            except ImportError as error:
                print(f"{name} is left out: {error}; scripts/setup bench installs it", file=sys.stderr)
    print(f"Machine: {rig.machine()}; commit {rig.commit()}. Command: `benches/overview_side_by_side.py {' '.join(sys.argv[1:])}`.\n")
    print(f"{count:,} exchanges; best of {times}, milliseconds.\n".replace(",", " "))
    engines = list(results)
    print("| question | " + " | ".join(engines) + " |")
    print("|---" * (len(engines) + 1) + "|")
    asked = list(QUESTIONS) + [name for name in results.get("weir", {}) if name not in QUESTIONS]
    for question in asked:
        cells = [f"{results[engine][question]:.1f}" if question in results[engine] else "–" for engine in engines]
        print(f"| {question} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
