"""A Kafka without a network: what it is told to hand out, in one order, and what it is told back."""

from __future__ import annotations

import queue
import threading
import unittest
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from client import Message
from consumer import DeadLetter, Delivery, Handle, Limits, Unreadable, UserOrderedConsumer

PATIENCE_S = 30.0
"""Longer than anything that is waited for takes on a slow machine; reaching it is a failure."""
TOPIC = "switches"


@dataclass
class FakeMessage:
    """A message of a user. Its value is its event's id."""

    user: str
    event_id: str
    offset_: int
    partition_: int = 0

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes:
        return self.user.encode()

    def value(self) -> bytes:
        return self.event_id.encode()

    def headers(self) -> None:
        return None

    def error(self) -> None:
        return None


def read(message: Message) -> Delivery | None:
    """Reads a fake message; `broken` and `foreign` are what they say."""
    event_id = (message.value() or b"").decode()
    if event_id.startswith("broken"):
        raise Unreadable("it is broken")
    if event_id.startswith("foreign"):
        return None
    return Delivery(TOPIC, (message.key() or b"").decode(), event_id, {})


@dataclass
class FakeKafka:
    """Two partitions, ours from the start. A function in the script is called by the poll that comes to it."""

    script: queue.Queue[FakeMessage | Callable[[], None]] = field(default_factory=queue.Queue)
    committed: dict[int, int] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)
    is_closed: bool = False
    refusals: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    callbacks: dict[str, Any] = field(default_factory=dict)

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.callbacks = {"revoke": on_revoke, "lost": on_lost}
        on_assign(self, [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])

    def poll(self, timeout: float) -> FakeMessage | None:
        try:
            item = self.script.get(timeout=0.01)
        except queue.Empty:
            return None
        if isinstance(item, FakeMessage):
            return item
        item()
        return None

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        with self.changed:
            if self.refusals:
                self.refusals -= 1
                raise KafkaException(_Refused())
            self.committed |= {one.partition: one.offset for one in offsets}
            self.changed.notify_all()
        return offsets

    def pause(self, partitions: list[TopicPartition]) -> None:
        with self.changed:
            self.paused |= {one.partition for one in partitions}
            self.changed.notify_all()

    def resume(self, partitions: list[TopicPartition]) -> None:
        with self.changed:
            self.paused -= {one.partition for one in partitions}
            self.changed.notify_all()

    def close(self) -> None:
        self.is_closed = True

    def rebalance(self, how: str, partition: int = 0) -> threading.Event:
        """Has the next poll take a partition away; the event tells that the callback has returned."""
        done = threading.Event()

        def take_away() -> None:
            self.callbacks[how](self, [TopicPartition(TOPIC, partition)])
            done.set()

        self.script.put(take_away)
        return done

    def until(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            if not self.changed.wait_for(holds, PATIENCE_S):
                raise AssertionError("it did not come to pass")


class _Refused:
    def name(self) -> str:
        return "REFUSED"


class ConsumerTest(unittest.TestCase):
    """Runs a consumer on a fake Kafka, and stops it at the end."""

    def start(self, handle: Handle, dead_letter: DeadLetter | None = None, **limits: Any) -> FakeKafka:
        def nothing_fails(message: Message, error: Exception, attempts: int) -> None:
            raise AssertionError("a dead letter that nobody expected") from error

        self.kafka = FakeKafka()
        bounds = Limits(**{"retry_base_s": 0.001, "commit_interval_s": 0.0, "drain_s": PATIENCE_S, **limits})
        self.consumer = UserOrderedConsumer(self.kafka, [TOPIC], read, handle, dead_letter or nothing_fails, bounds)
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.addCleanup(self._end)
        return self.kafka

    def _run(self) -> None:
        try:
            self.consumer.run()
        except Exception as error:  # for the test to look at
            self.failure = error

    def _end(self) -> None:
        self.consumer.stop()
        self.ended()

    def ended(self) -> None:
        """Waits until `run` has returned."""
        self.thread.join(PATIENCE_S)
        self.assertFalse(self.thread.is_alive(), "it does not stop")

    def send(self, *messages: FakeMessage) -> None:
        for message in messages:
            self.kafka.script.put(message)

    def until_committed(self, partition: int, offset: int) -> None:
        self.kafka.until(lambda: self.kafka.committed.get(partition) == offset)

    def wait(self, event: threading.Event) -> None:
        self.assertTrue(event.wait(PATIENCE_S), "it did not come to pass")
