"""What the bridge publishes for agents, as it is read here.

Messages of these two topics carry no headers (those of `biometric-events` do): the topic and the shape say what they
are. No error text repeats a user's id or a reading.
"""

from __future__ import annotations

import json
from typing import Any, Literal, TypedDict, cast, get_args

from client import Message
from consumer import Delivery, Unreadable

MODE_SWITCHES = "neuros-mode-switches"
USER_STATE = "neuros-user-state"

Mode = Literal["REFLEX", "GUARDIAN", "PATTERN", "HYPOTHESIS"]


class ModeSwitch(TypedDict):
    """A change of a user's mode. `explanation` has the readings that the decision rests on."""

    switch_id: str
    user_id: str
    from_mode: Mode
    to_mode: Mode
    reason: str
    rule: str
    confidence: float
    timestamp: str
    event_id: str
    state_seq: int
    explanation: dict[str, Any]


def read(message: Message) -> Delivery | None:
    """A message of either topic; `None` for an erased user's switch and for topics that are not ours."""
    value = message.value()
    match message.topic():
        case "neuros-mode-switches":
            return None if value is None else _read_switch(value)
        case "neuros-user-state":
            return _read_state(message.key(), value)
        case _:
            return None


def as_switch(delivery: Delivery) -> ModeSwitch:
    """The payload of a delivery of `neuros-mode-switches`, which `read` has looked at."""
    return cast(ModeSwitch, delivery.payload)


def _read_switch(value: bytes) -> Delivery:
    switch = _object(value)
    for name in ("switch_id", "user_id", "event_id", "reason", "timestamp"):
        _text(switch, name)
    for name in ("from_mode", "to_mode"):
        if switch.get(name) not in get_args(Mode):
            raise Unreadable(f"`{name}` is no mode")
    return Delivery(MODE_SWITCHES, switch["user_id"], switch["event_id"], switch)


def _read_state(key: bytes | None, value: bytes | None) -> Delivery:
    if value is not None:
        state = _object(value)
        if not isinstance(state.get("state_seq"), int):
            raise Unreadable("`state_seq` is no number")
        # Its `state_seq` says which of two is newer, so it needs no id to be known by.
        return Delivery(USER_STATE, _text(state, "user_id"), None, state)
    try:
        user_id = (key or b"").decode()
    except UnicodeDecodeError:
        raise Unreadable("the key is no text") from None
    if not user_id:
        raise Unreadable("a tombstone without a key")
    return Delivery(USER_STATE, user_id, None, None)


def _object(value: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(value)
    except ValueError:
        raise Unreadable("the value is no JSON") from None
    if not isinstance(parsed, dict):
        raise Unreadable("the value is no JSON object")
    return parsed


def _text(record: dict[str, Any], name: str) -> str:
    found = record.get(name)
    if not isinstance(found, str) or not found:
        raise Unreadable(f"`{name}` is no text")
    return found
