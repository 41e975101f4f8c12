"""Bad input at the doors of features: a clear refusal each time, never a fault of the server's, and it goes on."""

import json
import random
import time
from datetime import date, datetime, timedelta, timezone

import pyarrow as pa
import pytest
import requests
from test_online import ARROW, asked
from test_online_kill import Company, readings

NOW = datetime.now(timezone.utc)
UTC = pa.timestamp("us", "UTC")
FEAST = {"/get-online-features", "/push", "/write-to-online-store"}


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    made = Company(tmp_path_factory.mktemp("doors") / "acme")
    with made:
        assert made.push(readings(random.Random(1), 0, 100, NOW), "first").status_code == 200
        yield made
        made.check(random.Random(2), 10)


def table(rows=3, **instead):
    columns = {"sensor": pa.array(["s1"] * rows), "channel": pa.array([1] * rows, pa.int64()), "when": pa.array([NOW] * rows, UTC)}
    return pa.table({**columns, **instead})


def whole(numbers, kind):
    return pa.array(numbers, pa.int64()).cast(kind)


def post(company, path, body, headers, *statuses, words=""):
    began = time.monotonic()
    answer = requests.post(f"http://{company.address}{path}", data=body, headers=headers, timeout=60)
    took = time.monotonic() - began
    assert answer.status_code in statuses, (path[:200], answer.status_code, answer.text[:500])
    assert took < 15, (path[:200], took)
    if answer.status_code != 200 and path.split("?")[0] not in FEAST:
        assert answer.json()["error"], answer.text
    assert words in answer.text, answer.text[:500]
    return answer


def bulk(company, body, *statuses, words="", service="m", query="?at=when"):
    body = asked(body) if isinstance(body, pa.Table) else body
    return post(company, f"/api/v1/features/{service}/online{query}", body, ARROW, *statuses, words=words)


def feast(company, body, *statuses, words="", path="/get-online-features"):
    body = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return post(company, path, body, {"Content-Type": "application/json"}, *statuses, words=words)


def test_columns_of_wrong_types_are_told_by_name(company):
    texts = pa.array(["s1"] * 3)
    for fine in (texts.dictionary_encode(), texts.cast(pa.large_string()), texts.cast(pa.string_view())):
        assert bulk(company, table(sensor=fine), 200).content == bulk(company, table(), 200).content
    wrong = [[1, 2, 3], [0.5] * 3, [True] * 3, [b"s1"] * 3, [["s1"]] * 3, [{"a": 1}] * 3, [NOW] * 3, [timedelta(1)] * 3]
    wrong = [pa.array(values) for values in wrong] + [pa.nulls(3), pa.array([1] * 3, pa.decimal128(9, 2))]
    for column in [*wrong, pa.array([1] * 3).dictionary_encode()]:
        bulk(company, table(sensor=column), 422, words="column `sensor` holds")
    for column in [*wrong[1:], texts, pa.array([2**64 - 1] * 3, pa.uint64())]:
        bulk(company, table(channel=column), 422, words="feature view `pair`")
    bulk(company, table().drop(["sensor"]), 422, words="there is no column `sensor`")


def test_moments_that_cannot_be_are_refused_and_not_taken_for_none(company):
    assert bulk(company, table(when=pa.array([None] * 3, UTC)), 200)
    for kind in ("us", "ns"):
        assert bulk(company, table(when=pa.array([NOW.replace(tzinfo=None)] * 3, pa.timestamp(kind))), 200)
    least, most = -(2**63), 2**63 - 1
    for kind in ("s", "ms"):
        for number in (least, most):
            bulk(company, table(when=whole([number] * 3, pa.timestamp(kind, "UTC"))), 422, words="moments cannot be read")
    bulk(company, table(when=pa.array([2**31 - 1] * 3, pa.int32()).cast(pa.date32())), 422, words="moments cannot be read")
    bulk(company, table(when=whole([most] * 3, UTC)), 422, words="in the future")
    bulk(company, table(when=whole([least] * 3, UTC)), 422, words="read the past from the lake")
    bulk(company, table(when=pa.array([NOW + timedelta(hours=2)] * 3, UTC)), 422, words="row 1 asks as of")
    bulk(company, table(when=pa.array([date(1, 1, 1)] * 3)), 422, words="read the past from the lake")
    for column in ([1] * 3, ["2026-01-01T00:00:00Z"] * 3, [True] * 3, [[1]] * 3):
        bulk(company, table(when=pa.array(column)), 422, words="where a moment is needed")
    for name in ("nope", "", "%C3%A4", "%ff", "%22when%22", "a" * 5000):
        bulk(company, table(), 422, words="there is no column", query=f"?at={name}")
    for query in ("?at=when&at=when", "?when=at", "?at=when&x=1"):
        bulk(company, table(), 400, query=query)


def test_streams_that_are_none(company):
    good = asked(table())
    for body in (b"", b"{}", b"\0\xff" * 500, good[:8], good[: len(good) // 2], good[:-200]):
        bulk(company, body, 400, words="not a whole Arrow IPC stream")
    bulk(company, b"\0" * (65 << 20), 413)
    bulk(company, table(60_000), 413, words="are the most at once")
    nulls = pa.nulls(10**6)
    bulk(company, pa.table({"sensor": nulls, "channel": nulls, "when": nulls}), 400, words="more rows than it holds")
    bulk(company, table(1, sensor=pa.array(["x" * (20 << 20)])), 200)
    assert pa.ipc.open_stream(bulk(company, table(0), 200).content).read_all().num_rows == 0
    dice = random.Random(5)
    for _ in range(200):
        damaged = bytearray(good)
        for _ in range(dice.choice([1, 1, 3])):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        bulk(company, bytes(damaged), 200, 400, 413, 422)


def test_names_of_all_sorts(company):
    names = ["nope", "m@", "m@x", "m@1", "m@0", "m@-1", "m@" + "9" * 30, "m@1@2", "@", "%00", "a%2Fb", "%22", "%C3%A4", "m.", "M", "m%20", "m" * 5000, "%F0%9F%98%80"]
    for name in names:
        bulk(company, table(), 404, service=name)
    for name in ["nope:x", "heat:nope", "heat:", ":", ":x", "heat:a.b", '"heat":x', "ä:ö", "heat:\0", "heat@1:x", "..:x", "x" * 100_000 + ":y", "😀:x"]:
        feast(company, {"features": [name], "entities": {"sensor": ["s1"]}}, 404, words="feast.errors")
    feast(company, {"features": ["heat"], "entities": {"sensor": ["s1"]}}, 422, words="is written `view:feature`")
    for name in ["nope", "m@", "@", "m@" + "9" * 30, "a/b", "ä", "m'"]:
        feast(company, {"feature_service": name, "entities": {"sensor": ["s1"]}}, 404, words="FeatureServiceNotFound")
    requests.get(f"http://{company.address}/api/v1/features/search", params={"q": '"\0ä%'}, timeout=30).raise_for_status()


def test_feasts_door(company):
    rows, pair = ["heat:heat_rows_day"], ["pair:pair_rows_ttl"]
    for value in (1, 1.5, True, ["a"], {"a": 1}, 10**30):
        feast(company, {"features": rows, "entities": {"sensor": [value]}}, 422, words="names an entity by text")
    for value in ("1", 1.5, True, [1], 10**30, "\0", "x" * 10**6):
        feast(company, {"features": pair, "entities": {"sensor": ["s"], "channel": [value]}}, 422, words="by a whole number")
    feast(company, {"features": rows, "entities": {"sensor": ["s", None, "😀", "\0", "x" * 10**6]}}, 200)
    for count in (10_001, 300_000, 10**6):
        feast(company, {"features": rows, "entities": {"sensor": ["s"] * count}}, 413)
    feast(company, {"features": rows * 10_000, "entities": {"sensor": ["s"]}}, 422, words="would be called")
    feast(company, {"features": [f"heat:x{at}" for at in range(50_000)], "entities": {"sensor": ["s"]}}, 404)
    feast(company, {"features": pair, "entities": {"sensor": ["s"], "channel": [1, 2]}}, 422, words="not equally long")
    for body in ["", "{", "NaN", '{"a":' * 100_000, '{"entities":{"sensor":' + "[" * 200 + "]" * 200 + "}}", '{"entities":{"sensor":[1e400]}}', b"\xff\xfe{}"]:
        feast(company, body, 400, words="feast.errors")
    for body in ["[]", "null", '"x"', "[" * 100_000, '{"entities":1}', '{"entities":{"sensor":1}}', '{"features":[]}', '{"entities":{}}']:
        feast(company, body, 400, 422, words="feast.errors")


def test_what_is_pushed_through_feasts_doors(company):
    row = {"id": [1], "sensor": ["a"], "channel": [1], "at": ["2026-11-01T00:00:00Z"], "known_at": ["2026-11-01T00:00:00Z"], "value": [1], "note": ["x"]}
    for path in ("/push", "/write-to-online-store"):

        def push(frame, *statuses, name="heat", words="feast.errors"):
            body = {"push_source_name": name, "feature_view_name": name, "df": frame}
            feast(company, body, *statuses, path=path, words=words)

        push(row, 404, name='a.b"c')
        for frame in (1, [1], None, "x", {"sensor": 1}):
            push(frame, 422)
        for frame in ({"sensor": ["a"], "at": ["x", "y"]}, {"sensor": ["a"]}, {"sensor": [[[[1]]]]}, {}):
            push(frame, 422)
        for wrong in ({"at": ["never"]}, {"at": ["+99999-01-01T00:00:00Z"]}, {"id": [10**30]}, {"value": [1e300]}, {"channel": ["x"]}, {"id": [[1]]}):
            push({**row, **wrong}, 422, words="none of the 1 rows was accepted")
        feast(company, "[" * 100_000, 422, path=path, words="feast.errors")
