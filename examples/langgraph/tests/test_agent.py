"""What is read from the bridge's topics, the way through the graph, and what the store keeps."""

from __future__ import annotations

import io
import json
import unittest
from dataclasses import dataclass
from typing import Any
from unittest import mock

import psycopg
from langgraph.store.memory import InMemoryStore

import graph
import messages
import store
from app import Agent
from consumer import Unavailable, Unreadable

SWITCH: dict[str, Any] = {
    "switch_id": "s-1",
    "user_id": "ada",
    "from_mode": "PATTERN",
    "to_mode": "REFLEX",
    "reason": "reflex.hrv_drop",
    "rule": "reflex.hrv_drop",
    "confidence": 0.95,
    "timestamp": "2026-09-10T06:00:00Z",
    "event_id": "e-1",
    "state_seq": 7,
    "explanation": {},
}


@dataclass
class Record:
    """A message as the reader sees it."""

    name: str
    body: bytes | None
    user: bytes | None = b"ada"

    def topic(self) -> str:
        return self.name

    def value(self) -> bytes | None:
        return self.body

    def key(self) -> bytes | None:
        return self.user

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def headers(self) -> None:
        return None

    def error(self) -> None:
        return None


def switch(**changes: Any) -> Record:
    return Record(messages.MODE_SWITCHES, json.dumps(SWITCH | changes).encode())


def state(seq: int, user: str = "ada") -> Record:
    body = {"user_id": user, "mode": "REFLEX", "state_seq": seq}
    return Record(messages.USER_STATE, json.dumps(body).encode())


class Reading(unittest.TestCase):
    def test_a_switch_is_known_by_its_event(self) -> None:
        delivery = messages.read(switch())
        assert delivery is not None
        self.assertEqual((delivery.user_id, delivery.event_id, delivery.payload), ("ada", "e-1", SWITCH))

    def test_what_is_no_switch_is_unreadable_and_the_error_repeats_nothing_of_it(self) -> None:
        bodies = [b"secret", b"[]", b'"secret"', b"\xff", b"{}"]
        broken = [Record(messages.MODE_SWITCHES, body) for body in bodies]
        broken += [switch(to_mode="secret"), switch(event_id=7), switch(user_id=""), switch(reason=None)]
        for record in broken:
            with self.assertRaises(Unreadable) as caught:
                messages.read(record)
            self.assertNotIn("secret", str(caught.exception))

    def test_other_topics_and_empty_switches_are_not_for_us(self) -> None:
        self.assertIsNone(messages.read(Record("biometric-events", b"{}")))
        self.assertIsNone(messages.read(Record(messages.MODE_SWITCHES, None)))

    def test_a_tombstone_is_of_its_keys_user(self) -> None:
        delivery = messages.read(Record(messages.USER_STATE, None))
        assert delivery is not None
        self.assertEqual((delivery.user_id, delivery.payload), ("ada", None))
        with self.assertRaises(Unreadable):
            messages.read(Record(messages.USER_STATE, None, user=None))


class Graph(unittest.TestCase):
    def plan(self, **changes: Any) -> dict[str, Any]:
        output = io.StringIO()
        delivery = messages.read(switch(**changes))
        assert delivery is not None
        Agent(output, None).handle(delivery)
        record: dict[str, Any] = json.loads(output.getvalue())
        return record

    def test_each_mode_goes_its_way(self) -> None:
        for mode, node in graph.ROUTES.items():
            record = self.plan(to_mode=mode)
            self.assertEqual(record["path"], ["recall", node])
            self.assertEqual((record["mode"], record["plan"]["protocol"]), (mode, node))

    def test_a_stress_that_is_not_certain_is_asked_about_first(self) -> None:
        for confidence, urgency in ((0.79, "ask_first"), (0.8, "now")):
            self.assertEqual(self.plan(confidence=confidence)["plan"]["urgency"], urgency)


class Store(unittest.TestCase):
    def setUp(self) -> None:
        self.store = InMemoryStore()
        self.output = io.StringIO()
        self.agent = Agent(self.output, self.store)

    def handle(self, *records: Record) -> None:
        for record in records:
            delivery = messages.read(record)
            assert delivery is not None
            self.agent.handle(delivery)

    def kept(self, user: str = "ada") -> int | None:
        known = store.newest_state(self.store, user)
        return None if known is None else known["state_seq"]

    def test_the_newest_state_of_each_user_is_kept_whatever_comes_again(self) -> None:
        self.handle(state(1), state(3), state(3), state(2), state(9, "bob"))
        self.assertEqual((self.kept(), self.kept("bob")), (3, 9))

    def test_an_erased_user_is_erased_here_too(self) -> None:
        self.handle(state(3), Record(messages.USER_STATE, None))
        self.assertIsNone(self.kept())
        self.handle(state(1))
        self.assertEqual(self.kept(), 1)

    def test_the_graph_knows_the_newest_state(self) -> None:
        self.handle(state(3), switch())
        self.assertEqual(json.loads(self.output.getvalue())["state_seq"], 3)

    def test_a_store_that_is_away_is_no_fault_of_the_message(self) -> None:
        away = psycopg.OperationalError("ada")
        with (
            mock.patch.object(InMemoryStore, "get", side_effect=away),
            mock.patch.object(InMemoryStore, "delete", side_effect=away),
        ):
            for record in (state(3), switch(), Record(messages.USER_STATE, None)):
                with self.assertRaises(Unavailable):
                    self.handle(record)

    def test_states_are_asked_for_only_with_a_store(self) -> None:
        self.assertEqual(self.agent.topics, [messages.MODE_SWITCHES, messages.USER_STATE])
        self.assertEqual(Agent(self.output, None).topics, [messages.MODE_SWITCHES])
