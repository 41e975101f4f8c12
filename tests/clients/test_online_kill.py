"""The online store under a program that is killed again and again while rows are pushed: what it serves is what the lake says."""

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import polars as pl
import pyarrow as pa
import pytest
import requests
from conftest import TENON
from deltalake import DeltaTable
from plain import PlainView, micros
from redis_server import Server
from small import Folder
from test_online import ARROW, asked

KILLS = int(os.environ.get("TENON_KILLS", "5"))
DAMAGES = int(os.environ.get("TENON_DAMAGES", "12"))
SEED = int(os.environ.get("TENON_SEED", "7"))
READINGS = """description = "Readings"
event_time = "at"
[source]
push = true
[contract]
max_quarantined = "100%"
[contract.columns]
id = { type = "int64" }
sensor = { type = "string" }
channel = { type = "int64" }
at = { type = "timestamp" }
known_at = { type = "timestamp" }
value = { type = "float64", nullable = true, range = [-1000000, 1000000] }
note = { type = "string", nullable = true }
"""
DECISIONS = """description = "Decisions"
event_time = "decided_at"
[source]
push = true
[contract.columns]
id = { type = "int64" }
sensor = { type = "string" }
channel = { type = "int64" }
decided_at = { type = "timestamp" }
late = { type = "boolean" }
"""
MODEL = """description = "d"
limits = "l"
observations = "SELECT id, sensor, channel, decided_at, late AS label FROM decisions"
key = "id"
decided_at = "decided_at"
features = ["heat", "pair", "ever"]
split = { by = "time", test = "20%" }
trainer = { kind = "gbdt", budget = 0.1 }
"""
WINDOWS = {
    "ttl": None,
    "day": '"1d"',
    "week": '"7d"',
    "whole": '{ tumbling = "1d", origin = "2024-01-01T05:00:00Z" }',
    "visit": '{ session = "2h" }',
    "ever": '"lifetime"',
}
AGGREGATES = {
    **{name: f'aggregate = "{name}", column = "value"' for name in ("last", "first", "count", "sum", "mean", "min", "max", "std", "age")},
    "rows": 'aggregate = "count"',
    "median": 'aggregate = "quantile", q = 0.5, column = "value"',
    "p90": 'aggregate = "quantile", q = 0.9, column = "value"',
    "notes": 'aggregate = "distinct", column = "note"',
    "usual": 'aggregate = "top_k", k = 1, column = "value"',
    "second": 'aggregate = "top_k", k = 2, column = "value"',
    "complete": 'aggregate = "complete"',
}


def view(name, entity, source, ttl, windows, known=True) -> str:
    lines = []
    for window in windows:
        wide = "" if WINDOWS[window] is None else f", window = {WINDOWS[window]}"
        lines += [f"{name}_{aggregate}_{window} = {{ {said}{wide} }}" for aggregate, said in AGGREGATES.items()]
        if window in ("day", "week", "whole"):
            lines.append(f'{name}_rate_{window} = {{ aggregate = "rate"{wide} }}')
    known = 'known_at = "known_at"\n' if known else ""
    return (
        f'description = "d"\nentity = {json.dumps(entity)}\ndataset = "readings"\nsource = "{source}"\n'
        f'event_time = "at"\n{known}ttl = "{ttl}"\n[features]\n' + "\n".join(lines) + "\n"
    )


#: Every kind of window, keys of one and of two columns, sources with and without a moment at which rows are known.
VIEWS = {
    "heat": view("heat", ["sensor"], "SELECT sensor, at, known_at, value, note FROM readings", "20d", ["ttl", "day", "week", "whole", "visit"]),
    "pair": view(
        "pair", ["channel", "sensor"], "SELECT sensor, channel, at, value * 2 AS value, note FROM readings WHERE channel < 3", "2d", ["ttl", "visit"], known=False
    ),
    "ever": view("ever", ["channel"], "SELECT channel, at, known_at, value, note FROM readings", "2d", ["ever", "day"]),
}
SENSORS, CHANNELS = [f"s{number}" for number in range(6)], range(4)
DAY = 86_400


def stamp(moment) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class Refused(Exception):
    """The server did not start, and said why."""


class Company(Folder):
    """Three views over readings, and a program on it that can be killed."""

    def __init__(self, folder, store=None, views=VIEWS):
        super().__init__(folder)
        self.store = store
        if store:
            store.declare(folder)
        pod = self.datasets.parent
        for kind in ("features", "models"):
            (pod / kind).mkdir(exist_ok=True)
        self.views = pod / "features"
        (self.datasets / "readings.toml").write_text(READINGS)
        (self.datasets / "decisions.toml").write_text(DECISIONS)
        for name, text in views.items():
            (self.views / f"{name}.toml").write_text(text)
        (pod / "models" / "m.toml").write_text(MODEL.replace('["heat", "pair", "ever"]', json.dumps(list(views))))
        self.run("apply")
        self.process = None

    def start(self):
        command = [TENON, "--dir", str(self.folder), "serve", "--listen", "127.0.0.1:0"]
        with (self.folder.parent / "log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        found = re.search(r"http://(\S+)", self.process.stdout.readline())
        if not found:
            self.process.wait(timeout=30)
            raise Refused((self.folder.parent / "log").read_text())
        self.address = found.group(1)
        return self

    def stop(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        code = self.process.wait(timeout=30)
        assert code == (-signal.SIGKILL if how == signal.SIGKILL else 0), code

    def end(self):
        if self.process and self.process.poll() is None:
            self.stop()

    def __enter__(self):
        return self.start()

    def __exit__(self, failed, *_):
        if self.process.poll() is None:
            self.stop(signal.SIGKILL if failed else signal.SIGTERM)

    def push(self, rows, key, session=requests, dataset="readings"):
        headers = {"Idempotency-Key": key, "Content-Type": "application/x-ndjson"}
        body = "".join(json.dumps(row) + "\n" for row in rows)
        return session.post(f"http://{self.address}/ingest/{dataset}", data=body, headers=headers, timeout=30)

    def bulk(self, entities, moments, model="m") -> pl.DataFrame:
        """What the door for many rows says of (sensor, channel) pairs, each as of its moment in microseconds."""
        table = pa.table(
            {
                "sensor": pa.array([sensor for sensor, _ in entities], pa.string()),
                "channel": pa.array([channel for _, channel in entities], pa.int64()),
                "when": pa.array(moments, pa.timestamp("us", "UTC")),
            }
        )
        url = f"http://{self.address}/api/v1/features/{model}/online?at=when"
        answer = self.answered(lambda: requests.post(url, data=asked(table), headers=ARROW, timeout=60))
        return pl.from_arrow(pa.ipc.open_stream(answer.content).read_all())

    def answered(self, ask):
        """An answer; a store in Redis may be away for a while, and it is said so."""
        end = time.monotonic() + 30
        while (answer := ask()).status_code == 503 and self.store and time.monotonic() < end:
            assert "redis://" in answer.text, answer.text
            time.sleep(0.1)
        assert answer.status_code == 200, answer.text
        return answer

    def feast(self, features, entities) -> dict:
        columns = {"sensor": [sensor for sensor, _ in entities], "channel": [channel for _, channel in entities]}
        url, body = f"http://{self.address}/get-online-features", {"features": features, "entities": columns}
        told = self.answered(lambda: requests.post(url, json=body, timeout=60)).json()
        return dict(zip(told["metadata"]["feature_names"], told["results"]))

    def plain(self) -> dict[str, PlainView]:
        return {file.stem: PlainView(file, self.table("readings")) for file in self.views.glob("*.toml")}

    def check(self, dice: random.Random, samples=40):
        """Both doors say what a plain computation over the rows of the lake says, to the bit."""
        plain = self.plain()
        now = micros(datetime.now(timezone.utc))
        entities = [(dice.choice([*SENSORS, "nobody"]), dice.choice([*CHANNELS, 99])) for _ in range(samples)]
        # So far back every row is there: the store keeps them for two days beyond the time to live.
        moments = [now - dice.randrange(int(1.5 * DAY * 1e6)) if dice.random() < 0.7 else now + dice.randrange(-10**7, 3 * 10**9) for _ in entities]
        read = self.bulk(entities, moments)
        values = 0
        for view in plain.values():
            for row, (pair, at) in enumerate(zip(entities, moments)):
                key = tuple({"sensor": pair[0], "channel": pair[1]}[column] for column in view.view["entity"])
                for name, (plainly, marked) in zip(view.names, view.of(key, at)):
                    found, status = read[name][row], read[f"{name}__status"][row]
                    assert plainly.same(found), f"{name} of {key} at {at}: {found} ({status}), and the lake says {plainly}"
                    assert (status == "INCOMPLETE_WINDOW") == marked, f"{name} of {key} at {at}: {status}, marked {marked}"
                    assert (status in ("PRESENT", "INCOMPLETE_WINDOW")) == (found is not None), f"{name} of {key}: {status}"
                    values += found is not None
        assert values > 0 or all(view.rows == 0 for view in plain.values())
        # By Feast's protocol as of now, where nothing changes between before and after.
        names = [(name, column) for name, view in plain.items() for column in view.names if "_age_" not in column]
        before = micros(datetime.now(timezone.utc))
        told = self.feast([f"{name}:{column}" for name, column in names], entities)
        after = micros(datetime.now(timezone.utc))
        for name, view in plain.items():
            for row, pair in enumerate(entities):
                key = tuple({"sensor": pair[0], "channel": pair[1]}[column] for column in view.view["entity"])
                for column, (one, _), (later, _) in zip(view.names, view.of(key, before), view.of(key, after)):
                    if column in told and one == later:
                        found = told[column]["values"][row]
                        assert one.same(found), f"{column} of {key}: {found}, and the lake says {one}"


def readings(dice: random.Random, first: int, count: int, now) -> list[dict]:
    """Rows of which some are late, out of order, a second time the same, not known yet, of long ago, null, or against the contract."""
    rows = []
    for number in range(first, first + count):
        ago = dice.choice([dice.expovariate(1 / 600), dice.uniform(0, 3 * DAY), dice.uniform(0, 12 * DAY), dice.uniform(0, 12 * DAY)])
        if dice.random() < 0.03:
            ago = dice.choice([-1800, 40 * DAY])
        # No two rows of one moment but those that are the same: what ties is ordered by values.
        at = now - timedelta(seconds=int(ago), microseconds=number % 1_000_000)
        known = at + timedelta(seconds=dice.choice([0, 0, 0, -60, 600, 5 * 3600]))
        value = dice.choice([dice.randrange(12), dice.randrange(-(10**9), 10**9) / 1024, None])
        rows.append(
            {
                "id": number,
                "sensor": dice.choice(SENSORS),
                "channel": dice.choice(CHANNELS),
                "at": stamp(at),
                "known_at": stamp(known),
                "value": 5e6 if dice.random() < 0.05 else value,
                "note": dice.choice([None, "ä", "b", f"n{dice.randrange(50)}"]),
            }
        )
        if dice.random() < 0.05:
            rows.append(rows[-1])
    return rows


def expected(rows) -> int:
    return sum(row["value"] is None or abs(row["value"]) <= 1e6 for row in rows)


class Pushers:
    """Some who push at once; each keeps its rows under their key until they are acknowledged, whatever happens to the server."""

    def __init__(self, company: Company, count: int, seed: int):
        self.company, self.count = company, count
        self.dice = [random.Random(f"{seed}-{number}") for number in range(count)]
        self.acknowledged, self.waiting = {}, [None] * count
        self.number, self.lock = 0, threading.Lock()

    def until_killed(self, end: threading.Event):
        def one(which):
            dice, session = self.dice[which], requests.Session()
            while not end.is_set():
                if self.waiting[which] is None:
                    with self.lock:
                        self.number += 1
                        number = self.number
                    rows = readings(dice, number * 1000, dice.choice([1, 3, 30, 100]), datetime.now(timezone.utc))
                    self.waiting[which] = (f"push-{number}", rows)
                key, rows = self.waiting[which]
                try:
                    answer = self.company.push(rows, key, session)
                except requests.RequestException:
                    return
                if answer.status_code == 429:
                    time.sleep(0.05)
                    continue
                assert answer.status_code == 200, answer.text
                told = answer.json()
                assert told["outcome"] in ("committed", "already", "refused"), told
                assert told["accepted"] == expected(rows), (told, rows)
                self.acknowledged[key] = rows
                self.waiting[which] = None
                # Who never heard that rows had landed sends them again.
                if dice.random() < 0.1:
                    self.waiting[which] = (key, rows)

        self.pool = ThreadPoolExecutor(self.count)
        self.running = [self.pool.submit(one, which) for which in range(self.count)]

    def wait(self):
        for one in self.running:
            one.result()
        self.pool.shutdown()

    def check_landed(self):
        """What was acknowledged is in the lake once; what was not is there once or not at all."""
        landed = DeltaTable(self.company.table("readings")).to_pyarrow_table(columns=["id"]).column("id").to_pylist()
        landed = pl.Series(landed).value_counts() if landed else None
        counts = dict(zip(*landed.to_dict(as_series=False).values())) if landed is not None else {}

        def good(rows):
            sums = {}
            for row in rows:
                if row["value"] is None or abs(row["value"]) <= 1e6:
                    sums[row["id"]] = sums.get(row["id"], 0) + 1
            return sums

        known = {0: counts.get(0)}
        for rows in self.acknowledged.values():
            known.update(good(rows))
        doubtful = {}
        for waiting in self.waiting:
            if waiting and waiting[0] not in self.acknowledged:
                doubtful.update(good(waiting[1]))
        for number, times in known.items():
            assert counts.get(number, 0) == times, f"row {number} was acknowledged {times} times, and is there {counts.get(number)} times"
        for number, times in counts.items():
            if number not in known:
                assert doubtful.get(number) == times, f"row {number} is there {times} times"


@pytest.fixture(params=["file", "redis"])
def company(request, tmp_path):
    store = Server(tmp_path) if request.param == "redis" else None
    made = Company(tmp_path / "acme", store)
    yield made
    made.end()
    if store:
        store.kill()


def disturb(store, dice):
    """What befalls a store in Redis now and then: it hangs for a moment, is emptied, or is killed and comes back empty."""
    what = dice.choice(["nothing", "nothing", "hangs", "emptied", "killed"])
    if store is None or what == "nothing":
        return
    if what == "emptied":
        store.client.flushall()
    elif what == "hangs":
        store.hang()
        time.sleep(dice.uniform(0.05, 0.6))
        store.go_on()
    else:
        store.kill()
        time.sleep(dice.uniform(0, 0.3))
        store.start()


def test_killed_while_rows_are_pushed_it_serves_what_the_lake_says(company):
    dice = random.Random(SEED)
    pushers = Pushers(company, 4, SEED)
    with company:
        assert company.push(readings(dice, 0, 1, datetime.now(timezone.utc)), "first").status_code == 200
    for kill in range(KILLS):
        company.start()
        company.check(dice, 8)
        end = threading.Event()
        pushers.until_killed(end)
        time.sleep(dice.uniform(0.05, 0.5))
        disturb(company.store, dice)
        time.sleep(dice.uniform(0.05, 0.5))
        how = dice.choice(["kill", "kill", "kill", "kill", "end and kill", "end"])
        if how == "kill":
            company.stop()
            end.set()
            pushers.wait()
        else:
            end.set()
            pushers.wait()
            company.check(dice, 8)
            company.stop(signal.SIGKILL if how == "end and kill" else signal.SIGTERM)
        pushers.check_landed()
    with company:
        company.check(dice, 30)


def test_whatever_becomes_of_its_file_it_serves_what_the_lake_says_or_nothing(tmp_path):
    dice = random.Random(SEED)
    company = Company(tmp_path / "acme")
    with company:
        for number in range(4):
            assert company.push(readings(dice, number * 1000, 60, datetime.now(timezone.utc)), f"{number}").status_code == 200
    file = company.folder / ".tenon" / "online.redb"
    whole = file.read_bytes()
    used = [at for at in range(0, len(whole), 4096) if any(whole[at : at + 4096])]

    def served(what) -> bool:
        """Whether the server starts; what it then serves is right."""
        try:
            with company:
                company.check(random.Random(SEED), 6)
                return True
        except Refused as told:
            assert "online.redb failed; when its disk is sound, delete it, and it is built again from the lake" in str(told), (what, str(told))
            assert "panicked" not in str(told), (what, str(told))
            return False

    file.unlink()
    assert served("deleted")
    file.write_bytes(b"")
    assert served("empty")
    for what, damaged in {
        "cut in half": whole[: len(whole) // 2],
        "a byte short": whole[:-1],
        "one page": whole[:4096],
        "no page": whole[:100],
        "garbage": dice.randbytes(len(whole)),
        "zeros": bytes(len(whole)),
    }.items():
        file.write_bytes(damaged)
        assert not served(what), what
        assert file.read_bytes() == damaged, "nobody's file is written over"
    for _ in range(DAMAGES):
        damaged, at = bytearray(whole), dice.choice(used)
        if dice.random() < 0.5:
            what = f"page {at // 4096}"
            damaged[at : at + 4096] = dice.randbytes(4096)
        else:
            at += dice.randrange(4096)
            what = f"byte {at}"
            damaged[at] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        served(what)
    file.unlink(missing_ok=True)
    assert served("deleted, as it is told")
