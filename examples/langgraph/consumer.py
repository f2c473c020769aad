"""A Kafka consumer that keeps each user's order, counts a fact once, and commits only what is done.

Different users are worked on at once, one user's messages one after the other. A message that keeps failing is handed
to a dead-letter function and holds up nothing. It knows nothing of modes and graphs: it is given what reads a message
and what handles it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from client import Kafka, Message

log = logging.getLogger("agent.consumer")

POLL_S = 0.2
"""How long one poll waits: what bounds how late a stop or a due commit is noticed."""


WAIT_DOUBLINGS_MAX = 16
"""Keeps the wait a number: any base is at its limit by then."""


class Unreadable(Exception):
    """A message that no second try makes better. Its text repeats nothing of the message."""


class Unavailable(Exception):
    """What the work needs is away. That is waited for, however long it takes, and counts as no try."""


@dataclass(frozen=True)
class Delivery:
    """A message that was read."""

    topic: str
    user_id: str
    event_id: str | None
    """What it is known by when it comes again; `None` for what may be handled any number of times."""
    payload: dict[str, Any] | None
    """The message's JSON; `None` for a tombstone."""


Read = Callable[[Message], Delivery | None]
"""Reads a message. `None`: not for us. What it raises, `Unreadable` as a rule, makes the message a dead letter."""
Handle = Callable[[Delivery], None]
"""Does the work. Raising anything means that it was not done; `Unavailable`, that it is not to blame."""
DeadLetter = Callable[[Message, Exception, int], None]
"""Takes what failed for good, why, and after how many tries. Raising stops the consumer, the message uncommitted."""


@dataclass(frozen=True)
class Limits:
    """Every bound of the consumer."""

    workers: int = 8
    """Users worked on at once."""
    in_hand_max: int = 256
    """Messages taken and not done; past them the partitions are paused."""
    attempts: int = 3
    """Tries of one message before it is a dead letter."""
    retry_base_s: float = 0.5
    """Wait after the first failed try; it doubles with each one."""
    retry_max_s: float = 30.0
    remembered_max: int = 100_000
    """Ids of done messages kept for deduplication; the oldest are forgotten."""
    commit_interval_s: float = 1.0
    drain_s: float = 30.0
    """How long a revoked partition or a stop waits for what is being handled. Less than `max.poll.interval.ms`."""

    def wait_s(self, waits_before: int) -> float:
        """How long to wait before the next try."""
        return min(self.retry_base_s * (1 << min(waits_before, WAIT_DOUBLINGS_MAX)), self.retry_max_s)


class Claim:
    """A partition while it is ours: which of its offsets are done. Guarded by the consumer's lock."""

    def __init__(self) -> None:
        # In the order in which they came, which is that of the partition.
        self._open: dict[int, None] = {}
        self._read_to: int | None = None
        self.committed: int | None = None
        self.running = 0
        self.is_given_up = False

    def begin(self, offset: int) -> None:
        if self.committed is None:
            # The group's position is here already.
            self.committed = offset
        self._open[offset] = None
        self._read_to = offset + 1

    def finish(self, offset: int) -> None:
        self._open.pop(offset, None)

    def position(self) -> int | None:
        """What may be committed: never beyond a message that is not done."""
        return next(iter(self._open), self._read_to)


@dataclass
class Job:
    """A message on its way through a user's lane."""

    message: Message
    claim: Claim
    offset: int


@dataclass
class Lanes:
    """Each user's waiting messages, in order. A user has a lane only while there is something in it."""

    waiting: dict[bytes, deque[Job]] = field(default_factory=dict)

    def add(self, user: bytes, job: Job) -> bool:
        """Whether the lane is new, so that somebody must begin to work on it."""
        is_new = user not in self.waiting
        self.waiting.setdefault(user, deque()).append(job)
        return is_new

    def is_left(self, user: bytes) -> bool:
        """Takes the first one off, which is done; whether there is another."""
        lane = self.waiting[user]
        lane.popleft()
        if not lane:
            del self.waiting[user]
        return bool(lane)


class UserOrderedConsumer:
    """See the module. `run` belongs to one thread; `stop` may be called from anywhere, a signal handler too."""

    def __init__(
        self,
        kafka: Kafka,
        topics: Sequence[str],
        read: Read,
        handle: Handle,
        dead_letter: DeadLetter,
        limits: Limits = Limits(),
    ) -> None:
        self._kafka = kafka
        self._topics = list(topics)
        self._read = read
        self._handle = handle
        self._dead_letter = dead_letter
        self._limits = limits
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        # Guarded by `_changed`, all of them.
        self._claims: dict[tuple[str, int], Claim] = {}
        self._lanes = Lanes()
        self._in_hand = 0
        self._done_ids: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._failure: Exception | None = None
        self._paused: set[tuple[str, int]] = set()
        self._workers = ThreadPoolExecutor(limits.workers, thread_name_prefix="agent")
        self.counts: Counter[str] = Counter()
        """How many were `handled`, `duplicate`, `skipped`, `retried` and `dead_lettered`."""

    def stop(self) -> None:
        """Finish what is being handled, commit, and return from `run`."""
        self._stopping.set()

    def run(self) -> None:
        """Consumes until `stop`. Raises what stopped it otherwise; what was not done then stays uncommitted."""
        self._kafka.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        commit_due = time.monotonic() + self._limits.commit_interval_s
        try:
            while not self._stopping.is_set():
                self._take(self._kafka.poll(POLL_S))
                self._hold_back()
                if time.monotonic() >= commit_due:
                    self._commit(self._all_claims())
                    commit_due = time.monotonic() + self._limits.commit_interval_s
        finally:
            self._stopping.set()
            self._give_up(list(self._all_claims()), is_ours=True)
            self._workers.shutdown(wait=False, cancel_futures=True)
            self._kafka.close()
        if self._failure is not None:
            raise self._failure

    # Partitions.

    def _on_assign(self, _: Any, partitions: list[TopicPartition]) -> None:
        with self._changed:
            for partition in partitions:
                self._claims.setdefault((partition.topic, partition.partition), Claim())

    def _on_revoke(self, _: Any, partitions: list[TopicPartition]) -> None:
        # The next owner begins when this returns: by then nothing of ours may still be at work on its users.
        self._give_up([(partition.topic, partition.partition) for partition in partitions], is_ours=True)

    def _on_lost(self, _: Any, partitions: list[TopicPartition]) -> None:
        self._give_up([(partition.topic, partition.partition) for partition in partitions], is_ours=False)

    def _give_up(self, places: list[tuple[str, int]], *, is_ours: bool) -> None:
        """Waits for what is being handled, drops what only waits, and commits what is done if that still counts."""
        with self._changed:
            given_up = {place: self._claims.pop(place) for place in places if place in self._claims}
            self._paused.difference_update(places)
            for claim in given_up.values():
                claim.is_given_up = True
            self._changed.notify_all()
            is_idle = self._changed.wait_for(
                lambda: all(claim.running == 0 for claim in given_up.values()), self._limits.drain_s
            )
        if not is_idle:
            log.warning("a handler did not finish in time: its message will come again")
        if is_ours:
            self._commit(given_up)

    def _all_claims(self) -> dict[tuple[str, int], Claim]:
        with self._changed:
            return dict(self._claims)

    def _commit(self, claims: dict[tuple[str, int], Claim]) -> None:
        with self._changed:
            positions = {place: claim.position() for place, claim in claims.items()}
        offsets = [
            TopicPartition(topic, partition, position)
            for (topic, partition), position in positions.items()
            if position is not None and position != claims[topic, partition].committed
        ]
        if not offsets:
            return
        try:
            taken = self._kafka.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # Nothing is lost: the next commit says it again, or the messages come again and are known.
            log.warning("offsets were not committed: %s", error.args[0].name())
            return
        for partition in taken:
            if partition.error is None:
                claims[partition.topic, partition.partition].committed = partition.offset
            else:
                log.warning("an offset was not committed: %s", partition.error.name())

    def _hold_back(self) -> None:
        """Pauses the partitions while too much is in hand. Polling goes on: it is what keeps us in the group."""
        with self._changed:
            owned = set(self._claims)
            if self._in_hand >= self._limits.in_hand_max:
                pause, resume = owned - self._paused, set[tuple[str, int]]()
            elif self._in_hand <= self._limits.in_hand_max // 2:
                pause, resume = set[tuple[str, int]](), self._paused & owned
            else:
                return
            self._paused = (self._paused | pause) - resume
        if pause:
            self._kafka.pause([TopicPartition(*place) for place in sorted(pause)])
        if resume:
            self._kafka.resume([TopicPartition(*place) for place in sorted(resume)])

    # Messages.

    def _take(self, message: Message | None) -> None:
        if message is None:
            return
        if (error := message.error()) is not None:
            if error.fatal():
                raise KafkaException(error)
            log.warning("Kafka: %s", error.name())
            return
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None, "a message has a place"
        # The key is the user; what has none is kept in its partition's order.
        user = message.key() or f"{topic}:{partition}".encode()
        with self._changed:
            claim = self._claims.get((topic, partition))
            if claim is None:
                return
            claim.begin(offset)
            self._in_hand += 1
            is_new = self._lanes.add(user, Job(message, claim, offset))
        if is_new:
            self._workers.submit(self._work, user)

    def _work(self, user: bytes) -> None:
        """One message of a user; the next one only then, and behind other users' turns."""
        with self._changed:
            job = self._lanes.waiting[user][0]
            is_wanted = not job.claim.is_given_up
            job.claim.running += is_wanted
        try:
            if is_wanted and self._settle(job):
                with self._changed:
                    job.claim.finish(job.offset)
        except Exception as error:  # whatever it was, the consumer must not go on as if it were done
            self._fail(error)
        finally:
            with self._changed:
                job.claim.running -= is_wanted
                self._in_hand -= 1
                is_left = self._lanes.is_left(user)
                self._changed.notify_all()
        if is_left and not self._stopping.is_set():
            self._workers.submit(self._work, user)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = self._failure or error
            # Nothing of this partition, and no later message of this user, may pass it.
            for claim in self._claims.values():
                claim.is_given_up = True
            self._changed.notify_all()
        self._stopping.set()

    def _settle(self, job: Job) -> bool:
        """Whether the message is done, by its handler or as a dead letter; not if we were told to let go of it."""
        try:
            delivery = self._read(job.message)
        except Exception as error:  # what cannot be read may fail in any way, and will again
            self._set_aside(job.message, error, attempts=1)
            return True
        if delivery is None:
            self._count("skipped")
            return True
        if self._is_done_already(delivery):
            self._count("duplicate")
            return True
        if not self._handle_in_the_end(delivery, job):
            return False
        # Only now: an id that is known before its work is done would lose the work.
        self._remember(delivery)
        return True

    def _handle_in_the_end(self, delivery: Delivery, job: Job) -> bool:
        """Tries until it is handled or a dead letter; not done if we were told to let go of it in between."""
        tries, waits = 0, 0
        while True:
            try:
                self._handle(delivery)
                self._count("handled")
                return True
            except Unavailable:
                pass
            except Exception as error:  # a handler may fail in any way
                tries += 1
                if tries == self._limits.attempts:
                    self._set_aside(job.message, error, attempts=tries)
                    return True
            if self._is_let_go_within(job.claim, self._limits.wait_s(waits)):
                return False
            waits += 1
            self._count("retried")

    def _set_aside(self, message: Message, error: Exception, attempts: int) -> None:
        self._dead_letter(message, error, attempts)
        self._count("dead_lettered")

    def _is_let_go_within(self, claim: Claim, delay_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: claim.is_given_up, delay_s)

    def _is_done_already(self, delivery: Delivery) -> bool:
        with self._changed:
            return _identity(delivery) in self._done_ids

    def _remember(self, delivery: Delivery) -> None:
        if (identity := _identity(delivery)) is None:
            return
        with self._changed:
            self._done_ids[identity] = None
            if len(self._done_ids) > self._limits.remembered_max:
                self._done_ids.popitem(last=False)

    def _count(self, what: str) -> None:
        with self._changed:
            self.counts[what] += 1


def _identity(delivery: Delivery) -> tuple[str, str, str] | None:
    if delivery.event_id is None:
        return None
    # One event makes messages on several topics, and one account's past moves to its user when it is linked.
    return delivery.topic, delivery.user_id, delivery.event_id
