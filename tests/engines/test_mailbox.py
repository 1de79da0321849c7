"""The box between workers and the thread that folds: everything arrives in order, nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gpustats.engines.mailbox import Mailbox

PATIENCE = 30.0  # seconds that no passing test waits


def running(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ends(thread: threading.Thread) -> bool:
    thread.join(PATIENCE)
    return not thread.is_alive()


def test_items_of_a_sender_arrive_whole_and_in_order() -> None:
    box: Mailbox[tuple[int, int]] = Mailbox(senders=3, limit=4)

    def send(sender: int) -> None:
        for number in range(50):
            box.send((sender, number))
        box.leave()

    threads = [running(lambda sender=sender: send(sender)) for sender in range(3)]  # type: ignore[misc]
    received = list(box.receive())
    assert all(map(ends, threads))
    for sender in range(3):
        assert [number for who, number in received if who == sender] == list(range(50))
    assert len(received) == 150


def test_what_was_sent_before_the_last_sender_left_is_received() -> None:
    box: Mailbox[int] = Mailbox(senders=2, limit=10)
    box.send(1)
    box.leave()
    box.send(2)
    box.leave()
    assert list(box.receive()) == [1, 2]


def test_the_reader_waits_for_every_sender() -> None:
    box: Mailbox[str] = Mailbox(senders=2, limit=10)
    received: list[str] = []
    first = threading.Event()

    def read() -> None:
        for item in box.receive():
            received.append(item)
            first.set()

    reader = running(read)
    box.send("first")
    box.leave()
    assert first.wait(PATIENCE)
    assert reader.is_alive()
    box.send("last")
    box.leave()
    assert ends(reader)
    assert received == ["first", "last"]


def test_a_full_box_holds_its_limit_and_lets_go_on_when_one_is_taken() -> None:
    box: Mailbox[int] = Mailbox(senders=1, limit=2)
    held: list[int] = []
    real = box._closed.wait

    def wait(seconds: float) -> bool:
        held.append(len(box._items))  # what the box holds while a sender waits
        return real(seconds)

    box._closed.wait = wait  # type: ignore[method-assign]
    box.send(1)
    box.send(2)
    assert held == [], "there was room"
    sender = running(lambda: (box.send(3), box.leave()))
    while not held:
        real(0.001)
    assert list(box.receive()) == [1, 2, 3]
    assert ends(sender)
    assert set(held) == {2}


def test_close_lets_a_waiting_sender_go_on() -> None:
    box: Mailbox[int] = Mailbox(senders=1, limit=1)
    box.send(1)
    sender = running(lambda: box.send(2))
    box.close()
    assert ends(sender)
    assert ends(running(lambda: box.send(3))), "nor does a later one wait"
