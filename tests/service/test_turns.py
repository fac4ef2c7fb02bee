"""Who reads when many ask at once: first come, first served, and nobody is read for whom no one waits any more."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.web import study_store as studies_module
from carpal.web.study_store import AT_ONCE
from carpal.web.turns import Turns

PATIENCE = 60.0
"""Seconds: the machine that runs the tests may be busy."""


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_first_come_first_served_and_never_more_than_may() -> None:
    turns, order, inside, most, lock = Turns(2), [], 0, 0, threading.Lock()

    def visit(number: int) -> None:
        nonlocal inside, most
        with turns.turn():
            with lock:
                order.append(number)
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    with turns.turn():
        with turns.turn():
            visitors = []
            for number in range(12):
                visitors.append(threading.Thread(target=visit, args=(number,)))
                visitors[-1].start()
                until(lambda: turns.waiting == len(visitors))
        visitors[0].join(PATIENCE)  # one place is free, so one after the other
        for visitor in visitors:
            visitor.join(PATIENCE)
        assert order == list(range(12))
    assert most <= 2


def test_a_newcomer_passes_nobody() -> None:
    turns, stay = Turns(1), threading.Event()

    def visit() -> None:
        with turns.turn():
            stay.wait(PATIENCE)

    with turns.turn():
        waiting = threading.Thread(target=visit)
        waiting.start()
        until(lambda: turns.waiting == 1)
    with pytest.raises(TimeoutError), turns.turn(0):  # given on already, whether the thread has woken or not
        raise AssertionError("it passed the one who waits")
    assert turns.waiting == 0
    stay.set()
    waiting.join(PATIENCE)
    with turns.turn(0):
        pass


def test_an_error_gives_the_turn_on() -> None:
    turns = Turns(1)
    with pytest.raises(ValueError, match="mine"), turns.turn():
        raise ValueError("mine")
    with turns.turn(0):
        pass


def test_while_many_assess_others_are_answered_and_nobody_is_read_for_nothing(
    build: Callable[..., TestClient], engine: Any, png: bytes, problem: Callable[..., bool], monkeypatch: Any
) -> None:
    client, go, runs, ended = build(assess_timeout=0.05), threading.Event(), [], []
    studies = client.app.app.state.desk.studies  # type: ignore[attr-defined]
    studies.read_now(io.BytesIO(png), "h.png", "female")
    a_reading, run, read = engine.asked, engine.run, studies.read_now
    begun = []

    def counted(*args: Any) -> Any:
        begun.append(1)
        try:
            return read(*args)
        finally:
            ended.append(1)

    monkeypatch.setattr(studies, "read_now", counted)
    monkeypatch.setattr(engine, "run", lambda *args: (runs.append(1), go.wait(PATIENCE), run(*args))[2])
    for _ in range(AT_ONCE + 4):
        sent = {"files": {"file": ("h.png", png)}, "data": {"sex": "female"}}
        assert problem(client.post("/api/v1/assess", **sent), 504, "timeout")
    assert client.get("/api/v1/version").status_code == 200
    until(lambda: len(begun) - len(ended) <= AT_ONCE and studies._turns.waiting == 0)
    stuck = len(begun) - len(ended)
    go.set()
    until(lambda: len(begun) == len(ended))
    assert len(runs) == stuck * a_reading, "who no longer waited was not read"


def test_who_waits_is_neither_decoded_nor_in_memory(
    build: Callable[..., TestClient], png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a picture that is quickly decoded would pass one that came earlier."""
    studies = build().app.app.state.desk.studies  # type: ignore[attr-defined]
    turns, decoded, read = Turns(1), [], studies_module.read_radiograph
    monkeypatch.setattr(studies, "_turns", turns)
    monkeypatch.setattr(studies_module, "read_radiograph", lambda *args: (decoded.append(1), read(*args))[1])
    order: list[int] = []

    def ask(number: int) -> None:
        studies.read_now(io.BytesIO(png), "h.png", "female")
        order.append(number)

    with turns.turn():
        askers = []
        for number in range(3):
            askers.append(threading.Thread(target=ask, args=(number,)))
            askers[-1].start()
            until(lambda: turns.waiting == len(askers))
        assert decoded == []
    for asker in askers:
        asker.join(PATIENCE)
    assert order == [0, 1, 2]
    assert len(decoded) == 3
