"""Measures: in rounds over all servers, so that a change of the machine's speed meets each of them."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

from . import load
from .load import BenchmarkError
from .rows import Row
from .servers import OURS, RAW, Servers, settle

#: How many connections are there before memory is counted: the first ones make a process grow for good.
_WARM = 50


Figures = TypeVar("Figures")


class Cell(TypedDict, total=False):
    """A figure of one server in one row: the smallest of the rounds, since other work on the machine only adds.

    Keys:
        value: in the row's unit.
        spread: the largest over the smallest.
        faults: minor page faults a message; the fewest.
    """

    value: float
    spread: float
    faults: float


def measure(
    row: Row,
    servers: Servers,
    names: Sequence[str],
    rounds: int,
    scale: float,
    say: Callable[[str], None],
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Measures one row.

    Args:
        row: the workload.
        servers: starts them.
        names: those to measure.
        rounds: how often each is measured, in turns.
        scale: a factor of how many messages are sent.
        say: is given a line for each server, at the end.

    Returns:
        The row as results have it, if there is a figure; and in words what failed.
    """
    found, failures = take_rounds(names, rounds, row, lambda name: once(row, servers, name, scale))
    cells = {name: combine(figures) for name, figures in found.items()}
    say(f"\n{row.name}: {row.about} ({row.unit})")
    for name, cell in sorted(cells.items(), key=lambda item: item[1]["value"]):
        faults = "" if row.mode == "idle" else f"   faults {cell['faults']:.1f}"
        say(f"  {name:18} {cell['value']:10.2f}   spread {cell['spread']:.2f}{faults}")
    for name, why in failures.items():
        say(f"  {name:18} failed: {why}")
    return [make_row(row, cells)] if cells else [], failures


def take_rounds(
    names: Sequence[str], rounds: int, row: Row, take: Callable[[str], Figures]
) -> tuple[dict[str, list[Figures]], dict[str, str]]:
    """Measures a row on all servers in turns.

    Args:
        names: the servers.
        rounds: how often each is measured.
        row: the workload, which does not run on all.
        take: measures it once on a server.

    Returns:
        The figures of each server, in the order of the rounds; and in words what failed, which has no figures.
    """
    found: dict[str, list[Figures]] = {name: [] for name in names if row.runs_on(name)}
    failures: dict[str, str] = {}
    for _ in range(rounds):
        for name in list(found):
            try:
                found[name].append(take(name))
            except BenchmarkError as error:
                failures[name] = str(error)
                del found[name]
    return found, failures


def make_row(row: Row, cells: dict[str, Cell]) -> dict[str, Any]:
    return {"name": row.name, "about": row.about, "unit": row.unit, "cells": cells}


def combine(figures: Sequence[tuple[float, float]]) -> Cell:
    values = [value for value, _ in figures]
    least = min(values)
    spread = max(values) / least if least > 0 else 1.0
    return {"value": round(least, 3), "spread": round(spread, 2), "faults": round(min(f for _, f in figures), 2)}


def once(row: Row, servers: Servers, name: str, scale: float) -> tuple[float, float]:
    """One figure of one server, and the page faults."""
    with servers.start(name, row.kind, tls=row.tls, options=row.limits if name == OURS else ()) as (port, pid):
        if row.mode == "idle":
            return memory(row, port, pid, scale), 0
        least = row.connections() if row.mode == "echo" else 1
        messages = max(least, round(row.messages * scale))
        options = ["-n", str(messages), *row.options.split(), *(["-x"] if name == RAW else [])]
        with load.start(row.mode, port, options, tls=row.tls, cpu=servers.load_cpu) as ready:
            before = settle(pid)
            ready.run()
            after = settle(pid)
        number = messages * row.deliveries()
        return (after.cpu - before.cpu) / number, (after.faults - before.faults) / number


def memory(row: Row, port: int, pid: int, scale: float) -> float:
    """KiB of a connection that has had one echo; without what the kernel keeps for its socket."""

    def hold(stack: contextlib.ExitStack, count: int) -> None:
        options = ["-c", str(count), "-n", str(count), "-s", "64", "-t", "-b"]
        stack.enter_context(load.start("echo", port, options, tls=row.tls)).run()

    count = max(50, round(row.messages * scale))
    with contextlib.ExitStack() as stack:
        hold(stack, _WARM)
        before = settle(pid)
        hold(stack, count)
        return (settle(pid).resident - before.resident) / count / 1024
