"""Runs the agent on a bridge's Kafka: each change of mode goes through the graph, and its plan to standard output.

Settings are the bridge's own variables: KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM,
KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SSL_CA_LOCATION; and AGENT_STORE_URL, the PostgreSQL of LangGraph's
store. The plans are health data; the log on standard error has none, and no user ids.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, TextIO

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import BaseStore

import graph
import messages
import store
from client import Message
from consumer import DeadLetter, Delivery, Limits, Unreadable, UserOrderedConsumer

log = logging.getLogger("agent")

KAFKA_VARIABLES = {
    "KAFKA_SECURITY_PROTOCOL": "security.protocol",
    "KAFKA_SASL_MECHANISM": "sasl.mechanism",
    "KAFKA_SASL_USERNAME": "sasl.username",
    "KAFKA_SASL_PASSWORD": "sasl.password",
    "KAFKA_SSL_CA_LOCATION": "ssl.ca.location",
}
DELIVERY_TIMEOUT_S = 30


class Agent:
    """Handles what the consumer hands on: switches by the graph, states by the store."""

    def __init__(self, output: TextIO, kept_in: BaseStore | None) -> None:
        self._graph: CompiledStateGraph[graph.Turn, None, graph.Turn, graph.Turn] = graph.build(kept_in)
        self._store = kept_in
        self._output = output
        self._writing = threading.Lock()

    @property
    def topics(self) -> list[str]:
        """What it asks for: states only if there is where to keep them."""
        return [messages.MODE_SWITCHES] if self._store is None else [messages.MODE_SWITCHES, messages.USER_STATE]

    def handle(self, delivery: Delivery) -> None:
        """Raises whatever goes wrong: the consumer tries again."""
        if delivery.topic == messages.USER_STATE:
            assert self._store is not None, "states are asked for only with a store"
            store.keep(self._store, delivery.user_id, delivery.payload)
            return
        switch = messages.as_switch(delivery)
        turn = self._graph.invoke({"switch": switch, "path": []})
        self._write(
            {
                "event_id": switch["event_id"],
                "user_id": switch["user_id"],
                "mode": switch["to_mode"],
                "reason": switch["reason"],
                "path": turn["path"],
                "plan": turn["plan"],
                "state_seq": (turn["known"] or {}).get("state_seq"),
            }
        )

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":"))
        with self._writing:
            print(line, file=self._output, flush=True)


def kafka_settings() -> dict[str, str | bool]:
    """What both clients are told, from the environment."""
    given = {name: os.environ[variable] for variable, name in KAFKA_VARIABLES.items() if os.environ.get(variable)}
    return {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"], **given}


def to_log(message: Message, error: Exception, attempts: int) -> None:
    """Without a topic for dead letters: where the message is on the log. What it says stays there."""
    log.error(
        "given up: %s partition %s offset %s after %d tries: %s",
        message.topic(),
        message.partition(),
        message.offset(),
        attempts,
        _told(error),
    )


def to_topic(topic: str) -> DeadLetter:
    """Dead letters as the bridge has them: the original message, and why in headers."""
    timeout_ms = DELIVERY_TIMEOUT_S * 1000
    producer = Producer({**kafka_settings(), "enable.idempotence": True, "message.timeout.ms": timeout_ms})

    def send(message: Message, error: Exception, attempts: int) -> None:
        why = {
            "original_topic": message.topic() or "",
            "error_message": _told(error),
            "error_type": "validation_error" if isinstance(error, Unreadable) else "processing_error",
            "failed_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "retry_count": str(attempts),
        }
        outcome: list[KafkaError | None] = []
        producer.produce(
            topic,
            key=message.key(),
            value=message.value(),
            headers=[*(message.headers() or []), *why.items()],
            on_delivery=lambda failed, _: outcome.append(failed),
        )
        # Other workers' flushes may run the callback, but none returns before its own message is settled.
        producer.flush(DELIVERY_TIMEOUT_S + 1)
        if outcome != [None]:
            raise RuntimeError(f"a dead letter was not taken by {topic}")
        to_log(message, error, attempts)

    return send


def _told(error: Exception) -> str:
    # The text of a foreign exception may repeat what it was working on.
    return str(error) if isinstance(error, Unreadable) else type(error).__name__


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--group-id", default="biometric-agents", help="Kafka's consumer group (%(default)s)")
    parser.add_argument("--workers", type=int, default=Limits.workers, help="users at once (%(default)s)")
    parser.add_argument("--dead-letter-topic", help="where messages go that keep failing; without it, the log says")
    return parser.parse_args()


def main() -> int:
    """Exit codes as the bridge's: 0 stopped, 1 failed, 2 settings."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    given = arguments()
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        print("KAFKA_BOOTSTRAP_SERVERS is not set: host:port of the bridge's Kafka", file=sys.stderr)
        return 2
    with ExitStack() as open_until_the_end:
        url = os.environ.get("AGENT_STORE_URL")
        agent = Agent(sys.stdout, open_until_the_end.enter_context(store.opened(url)) if url else None)
        kafka = Consumer(
            {
                **kafka_settings(),
                "group.id": given.group_id,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )
        dead_letter = to_topic(given.dead_letter_topic) if given.dead_letter_topic else to_log
        consumer = UserOrderedConsumer(
            kafka, agent.topics, messages.read, agent.handle, dead_letter, Limits(workers=given.workers)
        )

        def stop(number: int, _: object) -> None:
            consumer.stop()
            # A second one ends the process at once; what was in hand comes again.
            signal.signal(number, signal.SIG_DFL)

        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, stop)
        log.info("consuming %s", ", ".join(agent.topics))
        try:
            consumer.run()
        except (KafkaException, RuntimeError) as error:
            log.error("stopped: %s", error)
            return 1
        finally:
            log.info("done: %s", ", ".join(f"{what} {count}" for what, count in sorted(consumer.counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
