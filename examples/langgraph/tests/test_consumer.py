"""The laws of the consumer."""

from __future__ import annotations

import threading
from collections import defaultdict

from confluent_kafka import TopicPartition

from consumer import Delivery, Limits, Unavailable
from fakes import TOPIC, ConsumerTest, FakeMessage
from client import Message


class Order(ConsumerTest):
    def test_one_users_messages_are_handled_in_order_and_never_two_at_once(self) -> None:
        handled: dict[str, list[str]] = defaultdict(list)
        at_work: set[str] = set()
        clashes: list[str] = []

        def handle(delivery: Delivery) -> None:
            if delivery.user_id in at_work:
                clashes.append(delivery.user_id)
            at_work.add(delivery.user_id)
            handled[delivery.user_id].append(delivery.event_id or "")
            at_work.discard(delivery.user_id)

        self.start(handle)
        users = [f"user-{number}" for number in range(10)]
        for number in range(500):
            user = users[number * 7 % len(users)]
            self.send(FakeMessage(user, f"{number:03}", number))
        self.until_committed(0, 500)
        self.assertEqual(clashes, [])
        self.assertEqual(sum(map(len, handled.values())), 500)
        for events in handled.values():
            self.assertEqual(events, sorted(events))

    def test_different_users_are_handled_at_once(self) -> None:
        # Each waits for the other: one after the other, neither would come to its end.
        meeting = threading.Barrier(2, timeout=30)
        self.start(lambda _: void(meeting.wait()))
        self.send(FakeMessage("ada", "1", 0), FakeMessage("bob", "2", 1))
        self.until_committed(0, 2)


class Deduplication(ConsumerTest):
    def test_an_event_that_comes_again_is_handled_once(self) -> None:
        handled: list[str] = []
        self.start(lambda delivery: handled.append(delivery.event_id or ""))
        self.send(FakeMessage("ada", "1", 0), FakeMessage("ada", "2", 1), FakeMessage("ada", "1", 2))
        self.until_committed(0, 3)
        self.assertEqual(handled, ["1", "2"])
        self.assertEqual(self.consumer.counts["duplicate"], 1)

    def test_what_failed_is_not_known_as_done(self) -> None:
        tries: list[str] = []

        def handle(delivery: Delivery) -> None:
            tries.append(delivery.event_id or "")
            if len(tries) == 1:
                raise OSError

        self.start(handle)
        self.send(FakeMessage("ada", "1", 0))
        self.until_committed(0, 1)
        self.assertEqual(tries, ["1", "1"])

    def test_the_oldest_ids_are_forgotten(self) -> None:
        handled: list[str] = []
        self.start(lambda delivery: handled.append(delivery.event_id or ""), remembered_max=2)
        ids = ["1", "2", "3", "3", "1"]
        self.send(*(FakeMessage("ada", event_id, offset) for offset, event_id in enumerate(ids)))
        self.until_committed(0, 5)
        self.assertEqual(handled, ["1", "2", "3", "1"])


class Commits(ConsumerTest):
    def test_nothing_is_committed_beyond_a_message_that_is_not_done(self) -> None:
        go_on = threading.Event()

        def handle(delivery: Delivery) -> None:
            if delivery.event_id == "slow":
                self.wait(go_on)

        self.start(handle)
        self.addCleanup(go_on.set)
        self.send(FakeMessage("ada", "1", 0), FakeMessage("ada", "slow", 1))
        self.send(*(FakeMessage("bob", f"b{offset}", offset) for offset in range(2, 9)))
        self.send(FakeMessage("bob", "elsewhere", 0, partition_=1))
        # It is bob's last, so the others on partition 0 are done by now.
        self.until_committed(1, 1)
        self.until_committed(0, 1)
        go_on.set()
        self.until_committed(0, 9)

    def test_a_commit_that_is_refused_is_said_again(self) -> None:
        kafka = self.start(lambda _: None)
        kafka.refusals = 3
        self.send(FakeMessage("ada", "1", 0))
        self.until_committed(0, 1)
        self.assertEqual(kafka.refusals, 0)

    def test_what_is_not_for_us_is_passed_over(self) -> None:
        self.start(lambda _: None)
        self.send(FakeMessage("ada", "foreign", 0))
        self.until_committed(0, 1)
        self.assertEqual(self.consumer.counts, {"skipped": 1})


class Poison(ConsumerTest):
    def test_what_keeps_failing_is_a_dead_letter_and_holds_up_nobody(self) -> None:
        handled: list[str] = []
        letters: list[tuple[int, str, int]] = []

        def handle(delivery: Delivery) -> None:
            if delivery.event_id == "poison":
                raise ValueError("it hurts")
            handled.append(delivery.event_id or "")

        def dead_letter(message: Message, error: Exception, attempts: int) -> None:
            letters.append((message.offset() or 0, str(error), attempts))

        self.start(handle, dead_letter, attempts=4)
        self.send(FakeMessage("ada", "poison", 0), FakeMessage("ada", "next", 1), FakeMessage("bob", "other", 2))
        self.until_committed(0, 3)
        self.assertEqual(letters, [(0, "it hurts", 4)])
        self.assertEqual(sorted(handled), ["next", "other"])

    def test_what_cannot_be_read_is_a_dead_letter_at_once(self) -> None:
        letters: list[int] = []
        self.start(lambda _: None, lambda _, __, attempts: letters.append(attempts))
        self.send(FakeMessage("ada", "broken", 0))
        self.until_committed(0, 1)
        self.assertEqual(letters, [1])

    def test_a_dead_letter_that_nobody_takes_stops_the_consumer_uncommitted(self) -> None:
        handled: list[str] = []

        def handle(delivery: Delivery) -> None:
            if delivery.event_id == "poison":
                raise ValueError
            handled.append(delivery.event_id or "")

        def dead_letter(*_: object) -> None:
            raise RuntimeError("no topic")

        kafka = self.start(handle, dead_letter)
        self.send(FakeMessage("ada", "1", 0), FakeMessage("ada", "poison", 1), FakeMessage("ada", "2", 2))
        self.ended()
        self.assertEqual(str(self.failure), "no topic")
        self.assertEqual(kafka.committed, {0: 1})
        self.assertEqual(handled, ["1"])


class Outages(ConsumerTest):
    def test_what_is_away_is_waited_for_and_makes_no_dead_letter(self) -> None:
        tries: list[str] = []

        def handle(delivery: Delivery) -> None:
            tries.append(delivery.event_id or "")
            if len(tries) < 20:
                raise Unavailable

        self.start(handle, attempts=2, retry_max_s=0.001)
        self.send(FakeMessage("ada", "1", 0))
        self.until_committed(0, 1)
        self.assertEqual(len(tries), 20)

    def test_waits_double_up_to_their_limit(self) -> None:
        limits = Limits(retry_base_s=1, retry_max_s=5)
        self.assertEqual([limits.wait_s(waits) for waits in (0, 1, 2, 3, 10**9)], [1, 2, 4, 5, 5])


class Rebalance(ConsumerTest):
    """The handler waits in here until the test lets it go on."""

    def setUp(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        self.handled: list[str] = []

    def handle(self, delivery: Delivery) -> None:
        if delivery.event_id == "slow":
            self.began.set()
            self.wait(self.go_on)
        self.handled.append(delivery.event_id or "")

    def send_slow_and_next(self) -> None:
        # Before the consumer is stopped, which waits for it.
        self.addCleanup(self.go_on.set)
        self.send(FakeMessage("ada", "slow", 0), FakeMessage("ada", "next", 1))
        # The poll comes to this after both messages were taken.
        taken = threading.Event()
        self.kafka.script.put(taken.set)
        self.wait(taken)
        self.wait(self.began)

    def test_a_revoked_partition_is_given_up_when_what_is_in_hand_is_done_and_committed(self) -> None:
        kafka = self.start(self.handle)
        self.send_slow_and_next()
        returned = kafka.rebalance("revoke")
        self.assertFalse(returned.wait(0.2), "the next owner would work beside us")
        self.assertEqual(kafka.committed, {})
        self.go_on.set()
        self.wait(returned)
        self.assertEqual(kafka.committed, {0: 1})
        # The other partition goes on; what only waited is the next owner's.
        self.send(FakeMessage("ada", "elsewhere", 0, partition_=1))
        self.until_committed(1, 1)
        self.assertEqual(self.handled, ["slow", "elsewhere"])

    def test_a_partition_that_comes_back_is_read_on_in_order(self) -> None:
        kafka = self.start(self.handle)
        self.send_slow_and_next()
        returned = kafka.rebalance("revoke")
        self.go_on.set()
        self.wait(returned)
        kafka.script.put(lambda: self.consumer._on_assign(None, [TopicPartition(TOPIC, 0)]))
        self.send(FakeMessage("ada", "next", 1), FakeMessage("ada", "last", 2))
        self.until_committed(0, 3)
        self.assertEqual(self.handled, ["slow", "next", "last"])

    def test_of_a_lost_partition_nothing_is_committed(self) -> None:
        kafka = self.start(self.handle)
        self.send_slow_and_next()
        returned = kafka.rebalance("lost")
        self.go_on.set()
        self.wait(returned)
        self.send(FakeMessage("ada", "elsewhere", 0, partition_=1))
        self.until_committed(1, 1)
        self.assertEqual(kafka.committed, {1: 1})

    def test_a_handler_that_hangs_holds_up_a_revoke_for_a_limited_time(self) -> None:
        kafka = self.start(self.handle, drain_s=0.05)
        self.send_slow_and_next()
        self.wait(kafka.rebalance("revoke"))
        self.assertEqual(kafka.committed, {})

    def test_who_waits_for_its_next_try_lets_go_at_once_and_is_tried_when_it_comes_again(self) -> None:
        tries: list[str] = []
        failed = threading.Event()

        def handle(delivery: Delivery) -> None:
            tries.append(delivery.event_id or "")
            if len(tries) == 1:
                failed.set()
                raise OSError

        kafka = self.start(handle, retry_base_s=1e6, retry_max_s=1e6)
        self.send(FakeMessage("ada", "1", 0))
        self.wait(failed)
        self.wait(kafka.rebalance("revoke"))
        self.assertEqual(kafka.committed, {})
        kafka.script.put(lambda: self.consumer._on_assign(None, [TopicPartition(TOPIC, 0)]))
        self.send(FakeMessage("ada", "1", 0))
        self.until_committed(0, 1)
        self.assertEqual(tries, ["1", "1"])

    def test_a_stop_finishes_what_is_in_hand_and_begins_nothing(self) -> None:
        kafka = self.start(self.handle)
        self.send_slow_and_next()
        self.consumer.stop()
        self.assertTrue(self.thread.is_alive())
        self.go_on.set()
        self.ended()
        self.assertIsNone(self.failure)
        self.assertEqual((self.handled, kafka.committed), (["slow"], {0: 1}))
        self.assertTrue(kafka.is_closed)


class BackPressure(ConsumerTest):
    def test_partitions_are_paused_while_too_much_is_in_hand(self) -> None:
        go_on = threading.Event()
        kafka = self.start(lambda _: self.wait(go_on), in_hand_max=4)
        self.addCleanup(go_on.set)
        self.send(*(FakeMessage("ada", str(offset), offset) for offset in range(4)))
        kafka.until(lambda: kafka.paused == {0, 1})
        go_on.set()
        kafka.until(lambda: kafka.paused == set())
        self.until_committed(0, 4)


def void(_: object) -> None:
    """For a handler of one expression."""
