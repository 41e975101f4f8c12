"""Feast's offline retrieval with its local engine: `feast_offline.py join FOLDER BYTES` gets the newest rows of three feature views,
which are Parquet files, for the observations in `o.parquet`, and writes a Parquet file; `feast_offline.py compare FOLDER BYTES`
counts the rows in which that file and ours differ."""

import json
import re
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas

TABLES = 3
what, folder = sys.argv[1], Path(sys.argv[2])
target = folder / "feast.parquet"
columns = [f"{c}{t}" for t in range(TABLES) for c in "ab"]


def store():
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.types import Float64, Int64
    from feast.value_type import ValueType

    repository = folder / "feast"
    shutil.rmtree(repository, ignore_errors=True)
    repository.mkdir()
    (repository / "feature_store.yaml").write_text(
        "project: acme\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
        "offline_store:\n  type: file\nonline_store:\n  type: sqlite\n  path: online.db\n"
    )
    found = FeatureStore(repo_path=str(repository))
    k = Entity(name="k", join_keys=["k"], value_type=ValueType.INT64)
    views = [
        FeatureView(
            name=f"t{t}",
            entities=[k],
            schema=[Field(name=f"a{t}", dtype=Float64), Field(name=f"b{t}", dtype=Int64)],
            source=FileSource(name=f"file{t}", path=str(folder / f"t{t}.parquet"), timestamp_field="at"),
            # Longer than there are rows: the newest counts, however old.
            ttl=timedelta(days=3650),
        )
        for t in range(TABLES)
    ]
    found.apply([k, *views])
    return found


def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def join():
    feast = store()
    target.unlink(missing_ok=True)
    processor, wall = time.process_time(), time.perf_counter()
    observations = pandas.read_parquet(folder / "o.parquet").rename(columns={"at": "event_timestamp"})
    features = [f"t{t}:{c}{t}" for t in range(TABLES) for c in "ab"]
    feast.get_historical_features(entity_df=observations, features=features).to_df().to_parquet(target)
    seconds, used = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": seconds, "processor": used, "peak": peak()}


def compare():
    theirs = pandas.read_parquet(target).set_index("id").sort_index()[columns].astype("float64")
    ours = pandas.read_parquet(folder / "ours.parquet").set_index("id").sort_index()[columns].astype("float64")
    same = (theirs == ours) | (theirs.isna() & ours.isna())
    return {"different": int((~same.all(axis=1)).sum()) + abs(len(theirs) - len(ours)), "rows": len(ours)}


print(json.dumps({"join": join, "compare": compare}[what]()))
