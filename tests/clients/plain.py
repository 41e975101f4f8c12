"""Features computed plainly, in Python, from the rows that deltalake reads in the lake: what the program's are held against."""

import math
import tomllib
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
from deltalake import DeltaTable

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def micros(moment) -> int:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return (moment - EPOCH) // timedelta(microseconds=1)


def span(text: str) -> int:
    return timedelta(**{UNITS[text[-1]]: int(text[:-1])}) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Plain:
    """A value; of many values a quantile is told within a hundredth."""

    value: np.float32 | None
    sketched: bool = False

    def same(self, found) -> bool:
        if self.value is None or found is None:
            return self.value is found
        return np.float32(found) == self.value or self.sketched and abs(found - self.value) <= 0.01001 * abs(self.value) + 1e-9


class PlainView:
    """One feature view over the rows of its dataset's table."""

    def __init__(self, declaration: Path | str, table: str):
        self.view = tomllib.loads(declaration if isinstance(declaration, str) else declaration.read_text())
        rows = pl.from_arrow(DeltaTable(table).to_pyarrow_table())
        self.rows = rows.height
        context = pl.SQLContext({self.view["dataset"]: rows})
        seen = context.execute(self.view["source"], eager=True)
        entity, event, known = self.view["entity"], self.view["event_time"], self.view.get("known_at")
        moments = [event] + ([known] if known else [])
        seen = seen.drop_nulls([*entity, *moments]).with_columns(pl.col(moments).dt.timestamp("us"))
        known = pl.max_horizontal(event, known) if known else pl.col(event)
        seen = seen.with_columns(known.alias("_known")).sort(event, "_known")
        self.began = seen["_known"].min()
        self.columns = [name for name in seen.columns if name not in entity]
        self.entities = {}
        for key, group in seen.group_by(entity, maintain_order=True):
            group = group.to_dict(as_series=False)
            self.entities[key] = {**group, "_event": group[event]}
        self.names = list(self.view["features"])

    def window(self, feature, rows, at):
        """The places of the rows that a feature's window holds at a moment, and whether the history fills it."""
        events, known = rows["_event"], rows["_known"]
        ttl, window = span(self.view["ttl"]), feature.get("window", self.view["ttl"])
        by = [row for row in range(bisect_right(events, at)) if known[row] <= at]
        filled = lambda start: self.began is not None and self.began <= start  # noqa: E731
        if window == "lifetime":
            return by, filled(at)
        if isinstance(window, str):
            start = at - span(window)
            return by[bisect_right(by, bisect_right(events, start) - 1) :], filled(start)
        if "tumbling" in window:
            every, origin = span(window["tumbling"]), micros(window.get("origin", "1970-01-01T00:00:00Z"))
            end = origin + (at - origin) // every * every
            return [row for row in by if end - every <= events[row] < end], filled(end - every)
        gap, held, first = span(window["session"]), [], at
        for row in reversed(by):
            if events[row] <= at - ttl or first - events[row] > gap:
                break
            held.append(row)
            first = events[row]
        return held[::-1], first - gap >= at - ttl and filled(first - gap)

    def of(self, key: tuple, at: int) -> list:
        """Every feature of an entity at a moment, as (value, whether the window is marked as not filled)."""
        rows = self.entities.get(key) or {name: [] for name in [*self.columns, "_event", "_known"]}
        windows = {}
        for feature in self.view["features"].values():
            window = str(feature.get("window"))
            windows[window] = windows.get(window) or self.window(feature, rows, at)
        features = self.view["features"].values()
        return [self.feature(feature, rows, at, *windows[str(feature.get("window"))]) for feature in features]

    @staticmethod
    def feature(feature, rows, at, held, filled):
        name, column = feature["aggregate"], feature.get("column")
        if name == "complete":
            return Plain(np.float32(filled)), False
        if column:
            held = [row for row in held if rows[column][row] is not None]
        value = aggregate(name, feature, [rows[column][row] for row in held] if column else held, [rows["_event"][row] for row in held], at)
        marked = not filled and value is not None and not (name in ("last", "age") and held)
        sketched = name == "quantile" and len(held) > 1024
        return Plain(None if value is None else np.float32(value), sketched), marked


def aggregate(name, feature, values, events, at):
    """`values` and `events` of the rows that count, in order; values of one event are ordered by themselves."""
    if name == "count":
        return float(len(values))
    if name == "rate":
        window = feature["window"]
        return len(values) / (span(window if isinstance(window, str) else window["tumbling"]) / 1e6)
    if name == "distinct":
        return float(len(set(values)))
    if name == "sum":
        return math.fsum(values)
    if not values:
        return None
    if name == "age":
        return (at - events[-1]) / 3_600e6
    if name in ("last", "first"):
        return values[-1] if name == "last" else values[0]
    if name == "mean":
        return math.fsum(values) / len(values)
    if name in ("min", "max"):
        return min(values) if name == "min" else max(values)
    if name == "std":
        if len(values) < 2:
            return None
        # The values are whole numbers of 1/1024.
        whole, n = [int(value * 1024) for value in values], len(values)
        return math.sqrt((n * sum(one * one for one in whole) - sum(whole) ** 2) / (n * (n - 1))) / 1024
    if name == "quantile":
        return sorted(values)[math.floor(feature["q"] * (len(values) - 1))]
    counted = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))
    return counted[feature["k"] - 1][0] if len(counted) >= feature["k"] else None
