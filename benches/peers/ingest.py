"""Writes the rows of `rows.parquet`, which are in memory before the time begins: into new Delta tables with the Python package
`deltalake`, and into Parquet files with DuckDB. No contract, no checks, no synced files."""

import os
import shutil
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet
from deltalake import write_deltalake

from answering import answer

folder = Path(sys.argv[1])
rows = pyarrow.parquet.read_table(folder / "rows.parquet")
connection = duckdb.connect(config={"threads": int(os.environ["OMP_NUM_THREADS"])})


def timed(write, target: Path):
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    os.sync()
    processor, wall = time.process_time(), time.perf_counter()
    write(str(target))
    return {
        "seconds": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "rows": rows.num_rows,
    }


def delta():
    return timed(lambda target: write_deltalake(target, rows), folder / "peer" / "delta")


def duckdb_copy():
    (folder / "peer" / "copy.parquet").unlink(missing_ok=True)
    return timed(lambda target: connection.sql(f"COPY rows TO '{target}' (FORMAT parquet)"), folder / "peer" / "copy.parquet")


answer({"write_deltalake": delta, "DuckDB COPY": duckdb_copy})
