"""The newest state of each user in LangGraph's own PostgreSQL table `store`, for any agent to read.

Only that table, and only through LangGraph's `PostgresStore`. An agent's threads (its checkpoints) are never written:
what a graph does not know of in them disappears, and takes channels of the agent with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from langgraph.store.base import BaseStore
from langgraph.store.postgres import PoolConfig, PostgresStore

from consumer import Unavailable

log = logging.getLogger("agent.store")

NAMESPACE = ("biometric_bridge", "state")
"""With the user's id as the key, where agents find a state."""

COLUMNS_NEEDED = {"prefix", "key", "value", "created_at", "updated_at", "expires_at", "ttl_minutes"}
COLUMNS_QUERY = """
    SELECT attname::text FROM pg_attribute
    WHERE attrelid = to_regclass('store') AND attnum > 0 AND NOT attisdropped
"""
CONNECTIONS_MAX = 4
CONNECTION_WAIT_S = 5
"""For a connection while PostgreSQL is away. Short, since a stop waits for it."""


@contextmanager
def opened(url: str) -> Iterator[BaseStore | None]:
    """LangGraph's store at `url`; `None` where its table is not. It is never made here: it is the agents' own."""
    with psycopg.connect(url, autocommit=True) as connection:
        columns = {name for (name,) in connection.execute(COLUMNS_QUERY)}
    if missing := COLUMNS_NEEDED - columns:
        log.warning(
            "no states are kept: LangGraph's table `store` %s",
            "is not there" if not columns else f"lacks {', '.join(sorted(missing))}",
        )
        yield None
        return
    pool = PoolConfig(min_size=1, max_size=CONNECTIONS_MAX, timeout=CONNECTION_WAIT_S)  # type: ignore[typeddict-unknown-key]
    with PostgresStore.from_conn_string(url, pool_config=pool) as store:
        yield store


def keep(store: BaseStore, user_id: str, state: dict[str, Any] | None) -> bool:
    """Puts a user's state there unless a newer one is; `None` takes it away. Whether anything was changed.

    One user's states are kept one after the other (see `consumer`), so nothing comes between the look and the write.
    """
    with _outages_told():
        if state is None:
            store.delete(NAMESPACE, user_id)
            return True
        known = newest_state(store, user_id)
        if known is not None and known["state_seq"] > state["state_seq"]:
            return False
        store.put(NAMESPACE, user_id, state, index=False)
        return True


def newest_state(store: BaseStore | None, user_id: str) -> dict[str, Any] | None:
    """A user's newest state, as on the topic `neuros-user-state`."""
    with _outages_told():
        item = None if store is None else store.get(NAMESPACE, user_id, refresh_ttl=False)
        return None if item is None else item.value


@contextmanager
def _outages_told() -> Iterator[None]:
    """PostgreSQL that is away is no fault of the message."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise Unavailable(type(error).__name__) from error
