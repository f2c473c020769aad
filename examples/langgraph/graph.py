"""The agent: a LangGraph graph that a change of mode goes through.

`recall` reads what the store knows of the user, then the mode chooses the node. Each node here answers with a fixed
plan, so that the graph runs without a model: put your own model's or tools' calls in their place.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from messages import ModeSwitch
from store import newest_state


class Plan(TypedDict):
    """What is to be done for the user."""

    protocol: str
    urgency: str
    steps: list[str]


class Turn(TypedDict, total=False):
    """One pass through the graph. It is kept nowhere: what happened before is in the store."""

    switch: ModeSwitch
    known: dict[str, Any] | None
    path: Annotated[list[str], operator.add]
    plan: Plan


FIRST_STEPS = {
    "reflex.hrv_drop": "breathe out slowly, six breaths a minute, for five minutes",
    "reflex.heart_rate": "sit down and put away what you are doing for ten minutes",
    "reflex.stress": "leave the room or the screen for ten minutes",
    "guardian.recovery": "keep today's load light",
    "guardian.indicators": "put off what can wait until tomorrow",
}
"""By the switch's `reason`, which says what the decision rests on."""

CERTAIN = 0.8
"""From this confidence on a REFLEX is acted on without asking first."""


def recall(state: Turn, runtime: Runtime[None]) -> Turn:
    """What the bridge last said of the user, if a store is there that keeps it."""
    return {"known": newest_state(runtime.store, state["switch"]["user_id"]), "path": ["recall"]}


def stress_intervention(state: Turn) -> Turn:
    """REFLEX: the body is under stress now."""
    switch = state["switch"]
    is_certain = switch["confidence"] >= CERTAIN
    steps = [FIRST_STEPS.get(switch["reason"], "pause for ten minutes"), "look again when the next readings are in"]
    plan = Plan(
        protocol="stress_intervention",
        urgency="now" if is_certain else "ask_first",
        steps=steps if is_certain else ["ask how the user feels", *steps],
    )
    return {"plan": plan, "path": ["stress_intervention"]}


def recovery_protocol(state: Turn) -> Turn:
    """GUARDIAN: the body has not recovered."""
    first = FIRST_STEPS.get(state["switch"]["reason"], "keep today's load light")
    plan = Plan(protocol="recovery_protocol", urgency="today", steps=[first, "go to bed an hour earlier"])
    return {"plan": plan, "path": ["recovery_protocol"]}


def pattern_review(state: Turn) -> Turn:
    """PATTERN: a habit of the hour or the weekday, or all is normal again."""
    is_normal = state["switch"]["reason"] == "pattern.normal"
    steps = ["end what was begun for an earlier mode"] if is_normal else ["look for what this time of the week brings"]
    return {"plan": Plan(protocol="pattern_review", urgency="none", steps=steps), "path": ["pattern_review"]}


def hypothesis_test(state: Turn) -> Turn:
    """HYPOTHESIS: readings contradict each other."""
    plan = Plan(
        protocol="hypothesis_test",
        urgency="when_convenient",
        steps=["ask how the devices are worn", "take one more reading at rest"],
    )
    return {"plan": plan, "path": ["hypothesis_test"]}


ROUTES = {
    "REFLEX": "stress_intervention",
    "GUARDIAN": "recovery_protocol",
    "PATTERN": "pattern_review",
    "HYPOTHESIS": "hypothesis_test",
}


def by_mode(state: Turn) -> str:
    """The node of the mode that the user is in now."""
    return ROUTES[state["switch"]["to_mode"]]


def build(store: BaseStore | None = None) -> CompiledStateGraph[Turn, None, Turn, Turn]:
    """The graph. It has no checkpointer: a user's threads belong to the agents that talk with the user."""
    graph = StateGraph(Turn)
    graph.add_node("recall", recall)
    graph.add_node("stress_intervention", stress_intervention)
    graph.add_node("recovery_protocol", recovery_protocol)
    graph.add_node("pattern_review", pattern_review)
    graph.add_node("hypothesis_test", hypothesis_test)
    graph.add_edge(START, "recall")
    graph.add_conditional_edges("recall", by_mode, list(ROUTES.values()))
    for node in ROUTES.values():
        graph.add_edge(node, END)
    return graph.compile(store=store)
