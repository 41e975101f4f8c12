"""One turn of a peer: `asof.py join NAME FOLDER BYTES` joins the newest rows of three Parquet files to the observations in
`o.parquet` and writes a Parquet file, on two threads; `asof.py compare NAME FOLDER BYTES` counts the rows in which that file
and ours differ. A process of its own each time, so that the peak of its memory is that of the turn."""

import json
import re
import sys
import time
from pathlib import Path

THREADS = 2
TABLES = 3
what, name, folder, memory = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
target = folder / f"{name}.parquet"


def duckdb_connection():
    import duckdb

    spill = folder / "duckdb-spill"
    config = {"threads": THREADS, "memory_limit": f"{memory // 2**20}MiB", "temp_directory": str(spill)}
    connection = duckdb.connect(config=config)
    # Theirs may come in any order, which is the cheaper way; ours keep the observations' order.
    connection.sql("SET preserve_insertion_order = false")
    return connection


def with_duckdb():
    connection = duckdb_connection()
    columns = ", ".join(f"t{t}.a{t}, t{t}.b{t}" for t in range(TABLES))
    joins = "".join(
        f" ASOF LEFT JOIN '{folder}/t{t}.parquet' t{t} ON o.k = t{t}.k AND o.at >= t{t}.at" for t in range(TABLES)
    )
    sql = f"SELECT o.id, o.k, o.at, {columns} FROM '{folder}/o.parquet' o{joins}"
    return lambda: connection.execute(f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION snappy)")


def with_polars():
    import polars

    def run():
        joined = polars.scan_parquet(folder / "o.parquet").set_sorted("at")
        for t in range(TABLES):
            table = polars.scan_parquet(folder / f"t{t}.parquet").set_sorted("at")
            joined = joined.join_asof(table, on="at", by="k", strategy="backward", check_sortedness=False)
        joined.sink_parquet(target, compression="snappy")

    return run


def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def join():
    run = {"DuckDB": with_duckdb, "Polars": with_polars}[name]()
    target.unlink(missing_ok=True)
    processor, wall = time.process_time(), time.perf_counter()
    run()
    seconds, used = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": seconds, "processor": used, "peak": peak()}


def compare():
    connection = duckdb_connection()
    columns = ["k", "at"] + [f"{c}{t}" for t in range(TABLES) for c in "ab"]
    differs = " OR ".join(f"p.{c} IS DISTINCT FROM o.{c}" for c in columns)
    sql = f"""SELECT count(*) FILTER (p.id IS NULL OR o.id IS NULL OR {differs}), count(*)
      FROM '{target}' p FULL JOIN '{folder}/ours.parquet' o ON p.id = o.id"""
    different, rows = connection.execute(sql).fetchone()
    return {"different": different, "rows": rows}


print(json.dumps({"join": join, "compare": compare}[what]()))
