"""Features that are computed when they are asked for: the same text in training and in serving, and a version is served by what
its features meant when it learnt."""

import numpy as np
import pyarrow.parquet as parquet
import requests
from conftest import serving

DERIVED = """description = "How the delays of this aircraft relate to the flight that is planned"
views = ["aircraft_delay", "carrier_origin_delay"]
request = { miles = "float64" }
[features]
delay_per_mile = { sql = "last_arr_delay / nullif(miles, 0)", unit = "minutes per mile" }
worse_than_carrier = { sql = "last_arr_delay > coalesce(carrier_dep_delay_3h, 0)" }
is_night = { sql = "date_part('hour', moment) >= 22" }
"""
PODS = "pods/arrivals"


def change(company, path, before, after):
    file = company.folder / PODS / path
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def plans(company, count):
    """Planned flights whose aircraft is known, newest first."""
    sql = (
        "SELECT flight_id, tailnum, origin, carrier, dest, distance FROM schedule WHERE tailnum IS NOT NULL "
        f"ORDER BY published_at DESC, flight_id LIMIT {count}"
    )
    return company.json("query", sql, "--limit", str(count))


def ask(server, plan, at, **sent):
    body = {"entities": {key: value for key, value in plan.items() if key != "distance"} | sent, "at": at}
    answer = requests.post(f"http://{server}/decide/late_arrival", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def values(decision):
    return {feature["name"]: feature["value"] for feature in decision["features"]}


def newest(server):
    size = requests.get(f"http://{server}/api/v1/facts?from=0&limit=1", timeout=30).json()["size"]
    return requests.get(f"http://{server}/api/v1/facts/{size - 1}", timeout=30).json()["fact"]["at"]


def derived_company(company):
    """The company with the derived view, and a version of the model that learnt with it. What was decided before."""
    (company.folder / PODS / "derived").mkdir()
    (company.folder / PODS / "derived" / "flight_shape.toml").write_text(DERIVED)
    change(company, "models/late_arrival.toml", '"flight_plan"]', '"flight_plan", "flight_shape"]')
    change(company, "models/late_arrival.toml", "s.dest, s.sched_dep_at", "s.dest, s.distance AS miles, s.sched_dep_at")
    company.run("apply")
    return company.json("train", "late_arrival")


def test_one_expression_for_training_and_for_serving(company):
    some = plans(company, 60)
    with serving(company.folder) as (server, _):
        at = newest(server)
        before = [ask(server, plan, at) for plan in some]
    champion = before[0]["version"]
    made = derived_company(company)
    version = made["version"] if "version" in made else made["registered"]["version"]
    assert version != champion

    # What it learnt from, by numpy's arithmetic.
    (record,) = [one for one in company.json("get", "versions") if one["registered"]["version"] == version]
    digest = record["run"]["training_set"]["digest"].removeprefix("sha256:")
    (path,) = (company.folder / ".tenon" / "artifacts").rglob(f"*{digest}*.parquet")
    table = parquet.read_table(path)
    last, carrier = (table[name].to_numpy(zero_copy_only=False) for name in ("last_arr_delay", "carrier_dep_delay_3h"))
    distance = table["miles"].to_numpy().astype(np.float64)
    per_mile = (last.astype(np.float64) / distance).astype(np.float32)
    np.testing.assert_array_equal(table["delay_per_mile"].to_numpy(zero_copy_only=False), per_mile)
    worse = np.where(np.isnan(last), np.nan, last > np.nan_to_num(carrier)).astype(np.float32)
    np.testing.assert_array_equal(table["worse_than_carrier"].to_numpy(zero_copy_only=False), worse)
    hours = table["decided_at"].to_numpy().astype("datetime64[h]").astype(int) % 24
    np.testing.assert_array_equal(table["is_night"].to_numpy(zero_copy_only=False), (hours >= 22).astype(np.float32))
    assert set(record["run"]["training_set"]["views"]) >= {"flight_shape", "aircraft_delay", "carrier_origin_delay"}

    company.run("rollout", "late_arrival", version)
    with serving(company.folder) as (server, _):
        answers = [ask(server, plan, at, miles=plan["distance"]) for plan in some]
        sides = {answer["version"] for answer in answers}
        assert sides == {champion, version}, "both sides answer"
        compared = 0
        for plan, answer, was in zip(some, answers, before):
            told = values(answer)
            if answer["version"] == champion:
                # Nothing that the champion reads has changed for it.
                assert told == values(was) and "delay_per_mile" not in told
                continue
            last = told["last_arr_delay"]
            wanted = None if last is None else np.float32(np.float64(np.float32(last)) / plan["distance"])
            assert told["delay_per_mile"] == wanted or np.float32(told["delay_per_mile"]) == wanted
            compared += last is not None
        assert compared > 0
        # Whoever asks meets the same side, whatever is sent for computed features.
        for plan, answer in list(zip(some, answers))[:20]:
            assert ask(server, plan, at, miles=17.5)["version"] == answer["version"]
            assert ask(server, plan, at)["version"] == answer["version"]
        wrong = requests.post(
            f"http://{server}/decide/late_arrival",
            json={"entities": {**{key: value for key, value in some[0].items() if key != "distance"}, "miles": "far"}, "at": at},
            timeout=30,
        )
        assert wrong.status_code == 422 and "miles" in wrong.json()["error"], wrong.text
        receipt = requests.get(f"http://{server}/decisions/{answers[0]['id']}", timeout=30).json()
        assert receipt["verified"] is True

        # By Feast's protocol and by name.
        columns = {key: [plan[key] for plan in some[:5]] for key in ("flight_id", "tailnum", "origin", "carrier", "dest")}
        body = {"entities": {**columns, "miles": [plan["distance"] for plan in some[:5]]}}
        one = requests.post(f"http://{server}/get-online-features", json={"feature_service": version, **body}, timeout=30)
        assert one.status_code == 200 and "delay_per_mile" in one.json()["metadata"]["feature_names"], one.text
        features = ["flight_shape:delay_per_mile", "aircraft_delay:last_arr_delay"]
        named = requests.post(f"http://{server}/get-online-features", json={"features": features, **body}, timeout=30).json()
        results = dict(zip(named["metadata"]["feature_names"], named["results"]))
        for per_mile, last, miles in zip(results["delay_per_mile"]["values"], results["last_arr_delay"]["values"], body["entities"]["miles"]):
            assert (per_mile is None) == (last is None)
            assert last is None or np.float32(per_mile) == np.float32(np.float64(np.float32(last)) / miles)
        before_it = requests.post(
            f"http://{server}/get-online-features", json={"feature_service": champion, "entities": columns}, timeout=30
        )
        assert before_it.status_code == 200, before_it.text
    pairs = [f"{'miles' if key == 'distance' else key}={value}" for key, value in some[0].items()]
    shown = company.json("decide", "late_arrival", *pairs, "--at", at)
    # One prints a float32 in its own digits, the other in those of a float64.
    told = [{name: None if value is None else np.float32(value) for name, value in values(one).items()} for one in (shown, answers[0])]
    assert shown["version"] == answers[0]["version"] and told[0] == told[1]


def test_a_changed_meaning_leaves_versions_what_they_learnt(company):
    some = plans(company, 30)
    with serving(company.folder) as (server, _):
        at = newest(server)
        before = [values(ask(server, plan, at)) for plan in some]
        (old,) = [one for one in company.json("features", "search", "carrier_dep_delay_3h") if one["view"] == "carrier_origin_delay"]
    change(company, "features/carrier_origin_delay.toml", 'window = "3h", unit = "minutes"', 'window = "9h", unit = "minutes"')
    planned = company.run("plan").stdout
    assert "feature view carrier_origin_delay\n  means something else" in planned and "model late_arrival of pod arrivals" in planned
    (effect,) = company.json("plan")["views"]
    assert (effect["becomes"], effect["features"]) == ("another_meaning", ["carrier_dep_delay_3h"])
    company.run("apply")
    with serving(company.folder) as (server, _):
        assert [values(ask(server, plan, at)) for plan in some] == before
        (new,) = [one for one in company.json("features", "search", "carrier_dep_delay_3h") if one["view"] == "carrier_origin_delay"]
        assert (new["window"], old["window"]) == ("9h", "3h") and new["definition"] != old["definition"]
        entities = {key: [plan[key] for plan in some] for key in ("flight_id", "tailnum", "origin", "carrier", "dest")}

        def read(service):
            body = {"feature_service": service, "entities": entities}
            answer = requests.post(f"http://{server}/get-online-features", json=body, timeout=30).json()
            return dict(zip(answer["metadata"]["feature_names"], answer["results"]))["carrier_dep_delay_3h"]["values"]

        pinned, today = read("late_arrival@1"), read("late_arrival")
        assert pinned != today, "the version reads three hours, and the model as it is declared now nine"
    # Words change no meaning.
    change(company, "features/carrier_origin_delay.toml", "last 24 hours", "the last 24 hours")
    assert company.json("plan")["views"][0]["becomes"] == "reworded"
    company.run("apply")
    (same,) = [one for one in company.json("features", "search", "carrier_dep_delay_3h") if one["view"] == "carrier_origin_delay"]
    assert same["definition"] == new["definition"]


def test_what_cannot_be_computed_is_told_by_file_and_line(company):
    (company.folder / PODS / "derived").mkdir()
    file = company.folder / PODS / "derived" / "flight_shape.toml"
    for before, after, words in [
        ("last_arr_delay / nullif", "last_delay / nullif", "last_delay"),
        ("is_night = { sql = \"date_part('hour', moment) >= 22\" }", 'is_night = { sql = "random() > 0.5" }', "random"),
        ("is_night = { sql = \"date_part('hour', moment) >= 22\" }", "is_night = { sql = \"'late'\" }", "a feature is a number"),
        ('views = ["aircraft_delay", "carrier_origin_delay"]', 'views = ["flight_shape"]', "circle"),
        ('miles = "float64"', 'last_arr_delay = "float64"', "already"),
    ]:
        assert before in DERIVED
        file.write_text(DERIVED.replace(before, after))
        done = company.run("plan", check=False)
        assert done.returncode == 1 and words in done.stderr and "flight_shape.toml" in done.stderr, done.stderr
        assert company.run("apply", check=False).returncode == 1
    file.write_text(DERIVED)
    change(company, "models/late_arrival.toml", '"flight_plan"]', '"flight_plan", "flight_shape"]')
    done = company.run("plan", check=False)
    assert done.returncode == 1 and "`miles` is sent with requests" in done.stderr, done.stderr


def test_another_pods_feature_is_used_by_leave_of_the_policies(company):
    pod = company.folder / "pods" / "desk"
    pod.mkdir()
    (pod / "pod.toml").write_text('mission = "Answer passengers"\n[members.ana]\nrole = "lead"\n')
    policy = company.folder / "policies" / "features.cedar"
    policy.write_text(
        '@id("aircraft-stay-home")\n@says("what is known of aircraft stays in its pod")\n'
        'forbid (principal is Tenon::Person, action == Tenon::Action::"feature.read", resource == Tenon::FeatureView::"aircraft_delay");\n'
    )
    company.run("apply")
    (pod / "derived").mkdir()
    (pod / "derived" / "delays.toml").write_text(
        'description = "Delays that the desk looks at"\nviews = ["aircraft_delay"]\n[features]\nlate = { sql = "last_arr_delay > 15" }\n'
    )
    done = company.run("apply", check=False)
    assert done.returncode == 1 and "what is known of aircraft stays in its pod" in done.stderr, done.stderr
    # The policies that stand have the say: first it is lifted, then the view comes.
    (pod / "derived").rename(company.folder / "later")
    policy.unlink()
    company.run("apply")
    (company.folder / "later").rename(pod / "derived")
    company.run("apply")
    (found,) = company.json("features", "search", "desk", "late")
    assert (found["pod"], found["sql"], found["views"]) == ("desk", "last_arr_delay > 15", ["aircraft_delay"])
