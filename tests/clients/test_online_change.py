"""A view's definition changes under a stream of rows: who reads gets the old or the new one, and a version what it learnt.
And a view over what is there already, and a long stream that takes no more room than what counts."""

import random
import signal
import threading
import time
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest
import requests
from plain import PlainView, micros
from redis_server import Server
from test_online import ARROW, asked
from test_online_kill import Company, stamp

#: Every value is 1, so that sum and count of one window are equal, whatever has landed.
HEAT = """description = "d"
entity = ["sensor"]
dataset = "readings"
source = "SELECT sensor, channel, at, value FROM readings WHERE channel < 3"
event_time = "at"
ttl = "2d"
[features]
rows = { aggregate = "count", column = "value", window = "12h" }
total = { aggregate = "sum", column = "value", window = "12h" }
channels = { aggregate = "distinct", column = "channel", window = "12h" }
"""
CHANGES = [
    ("a window", lambda text: text.replace('"12h"', '"3h"')),
    ("the source", lambda text: text.replace("channel < 3", "channel < 2")),
    ("an aggregate", lambda text: text.replace('channels = { aggregate = "distinct"', 'channels = { aggregate = "max"')),
    ("one more", lambda text: text + 'least = { aggregate = "min", column = "channel", window = { session = "1h" } }\n'),
    ("one less", lambda text: "\n".join(line for line in text.splitlines() if not line.startswith("channels")) + "\n"),
    ("words", lambda text: text.replace('description = "d"', 'description = "Other words"')),
    ("the name", None),
    ("back again", lambda _: HEAT),
]
SENSORS = [f"s{number}" for number in range(20)]


def ones(dice, first, count, hours=40):
    now = datetime.now(timezone.utc)
    for number in range(first, first + count):
        at = stamp(now - timedelta(seconds=dice.uniform(0, hours * 3600)))
        yield {"id": number, "sensor": dice.choice(SENSORS), "channel": dice.randrange(4), "at": at, "known_at": at, "value": 1.0, "note": None}


class Learnt(Company):
    """One view, rows, and a version that learnt from it."""

    def __init__(self, folder, store=None):
        super().__init__(folder, store, {"heat": HEAT})
        dice, now = random.Random(1), datetime.now(timezone.utc)
        with self:
            assert self.push(list(ones(dice, 0, 2000)), "first").status_code == 200
            rows = [
                {"id": row, "sensor": dice.choice(SENSORS), "channel": 0, "decided_at": stamp(now - timedelta(minutes=row)), "late": dice.random() < 0.5}
                for row in range(200)
            ]
            assert self.push(rows, "decisions", dataset="decisions").status_code == 200
        self.version = self.json("train", "m")
        self.learnt = (self.views / "heat.toml").read_text()

    def same(self, model, declaration, dice):
        """A door and a plain computation agree about a definition."""
        plain = PlainView(declaration, self.table("readings"))
        pairs = [(dice.choice(SENSORS), 0) for _ in range(60)]
        now = micros(datetime.now(timezone.utc))
        moments = [now - dice.randrange(36 * 3600 * 10**6) for _ in pairs]
        read = self.bulk(pairs, moments, model)
        assert [name for name in read.columns if "__" not in name] == plain.names
        for row, ((sensor, _), at) in enumerate(zip(pairs, moments)):
            for name, (one, _) in zip(plain.names, plain.of((sensor,), at)):
                assert one.same(read[name][row]), f"{model}: {name} of {sensor} at {at}: {read[name][row]} for {one}"

    def under(self, seconds, dice, number):
        """Pushes and reads at once, for so long; what is read is never of two definitions."""
        end, failed = time.monotonic() + seconds, []

        def push():
            count = 0
            while time.monotonic() < end:
                count += 1
                answer = self.push(list(ones(random.Random(f"{number}-{count}"), (number * 1000 + count) * 100, 20)), f"{number}-{count}")
                assert answer.status_code in (200, 429), answer.text

        def read(model):
            pairs = [(sensor, 0) for sensor in SENSORS]
            while time.monotonic() < end:
                now = micros(datetime.now(timezone.utc))
                found = self.bulk(pairs, [now] * len(pairs), model)
                assert found["rows"].to_list() == found["total"].to_list(), (model, found)

        def told(work, *arguments):
            try:
                work(*arguments)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=told, args=one) for one in ((push,), (read, "m"), (read, "m@1"))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        if failed:
            raise failed[0]


@pytest.fixture(params=["file", "redis"])
def learnt(request, tmp_path):
    store = Server(tmp_path) if request.param == "redis" else None
    made = Learnt(tmp_path / "acme", store)
    yield made
    made.end()
    if store:
        store.kill()


def test_a_changed_view_is_served_as_it_is_and_a_version_as_it_learnt(learnt):
    dice = random.Random(5)
    view = learnt.views / "heat.toml"
    model = learnt.views.parent / "models" / "m.toml"
    for number, (what, change) in enumerate(CHANGES):
        text = view.read_text()
        if change is None:
            view.unlink()
            view = learnt.views / "warmth.toml"
            model.write_text(model.read_text().replace('"heat"', '"warmth"'))
            change = lambda text: text  # noqa: E731
        view.write_text(change(text))
        learnt.run("apply")
        with learnt:
            learnt.under(0.7, dice, number)
            learnt.same("m", view.read_text(), dice)
            learnt.same("m@1", learnt.learnt, dice)
            if number % 2 == 0:
                learnt.stop(signal.SIGKILL)


def push_many(company, first, moments, sensors):
    """Rows of value 1, in one push of Arrow."""
    count = len(moments)
    table = pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "sensor": pa.array([f"s{row % sensors}" for row in range(count)]),
            "channel": pa.array([row % 4 for row in range(count)], pa.int64()),
            "at": pa.array(moments, pa.timestamp("us", "UTC")),
            "known_at": pa.array(moments, pa.timestamp("us", "UTC")),
            "value": [1.0] * count,
            "note": pa.array(["x"] * count),
        }
    )
    headers = {**ARROW, "Idempotency-Key": f"many-{first}"}
    answer = requests.post(f"http://{company.address}/ingest/readings", data=asked(table), headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


def test_a_view_over_what_is_there_takes_it_and_the_stream_each_row_once(learnt):
    """A hundred thousand rows, then a view and an earlier meaning of it, read for the first time while pushes go on."""
    dice, now = random.Random(6), datetime.now(timezone.utc)
    with learnt:
        push_many(learnt, 10**6, [now - timedelta(seconds=dice.uniform(0, 40 * 3600)) for _ in range(100_000)], 2000)
    view = learnt.views / "heat.toml"
    view.write_text(HEAT.replace('"12h"', '"3h"'))
    learnt.run("apply")
    with learnt:
        learnt.under(2, dice, 10)
        learnt.same("m", view.read_text(), dice)
        learnt.same("m@1", learnt.learnt, dice)


def memory(process) -> int:
    """What a process holds, in KB."""
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_long_stream_takes_no_more_room_than_what_counts(tmp_path):
    """Two months of four hundred thousand rows about the same entities; an hour of them counts, and two days more are kept."""
    company = Company(tmp_path / "acme", None, {"heat": HEAT.replace('"12h"', '"20m"').replace('ttl = "2d"', 'ttl = "1h"')})
    file, sizes, held = company.folder / ".tenon" / "online.redb", [], []
    steps, count = 40, 10_000
    start = datetime.now(timezone.utc) - timedelta(days=60)
    with company:
        for step in range(steps):
            first = start + timedelta(days=60) * step / steps
            push_many(company, step * count, [first + timedelta(milliseconds=row) for row in range(count)], 500)
            sizes.append(file.stat().st_size)
            held.append(memory(company.process))
    with company:
        assert memory(company.process) < 200_000
    assert max(sizes) < 20 << 20 and file.stat().st_size < 20 << 20, sizes
    assert held[-1] - held[steps // 4] < 60_000, held
