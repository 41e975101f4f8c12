"""Feast's own feature server on its SQLite online store, with the newest reading of each sensor of `rows.parquet`."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pandas
import requests
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource
from feast.types import Float32
from feast.value_type import ValueType

from answering import answer

folder = Path(sys.argv[1])
repository = folder / "feast"
servers = []


def start():
    repository.mkdir()
    (repository / "feature_store.yaml").write_text(
        "project: acme\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
        "online_store:\n  type: sqlite\n  path: online.db\n"
    )
    store = FeatureStore(repo_path=str(repository))
    rows = pandas.read_parquet(folder / "rows.parquet").sort_values("at").groupby("sensor", as_index=False).last()
    names = {column: f"f{column[1:]}" for column in rows.columns if column.startswith("c")}
    rows = rows.rename(columns=names | {"at": "event_timestamp"})
    sensor = Entity(name="sensor", join_keys=["sensor"], value_type=ValueType.STRING)
    file = FileSource(name="file", path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(
        name="sensor",
        entities=[sensor],
        schema=[Field(name=name, dtype=Float32) for name in names.values()],
        source=PushSource(name="push", batch_source=file),
        ttl=timedelta(hours=24),
    )
    store.apply([sensor, view])
    store.write_to_online_store("sensor", rows)
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [str(Path(sys.executable).parent / "feast"), "-c", str(repository), "serve", "--port", str(port)]
    command += ["--no-access-log", "--max-requests", "0", "--workers", str(os.cpu_count()), "--registry_ttl_sec", "3600"]
    servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            if requests.get(f"{address}/health", timeout=1).status_code == 200:
                return {"address": address}
        except requests.RequestException:
            time.sleep(0.2)
    return {"error": "it did not start"}


try:
    answer({"start": start})
finally:
    for server in servers:
        server.terminate()
        server.wait()
