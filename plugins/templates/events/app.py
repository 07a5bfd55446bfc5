"""Who comes is greeted, and asked after a while whether they are there."""

import json

import wit_world.exports
from wit_world.exports.lifecycle import Problem
from wit_world.imports import kv, post, settings, timers
from wit_world.imports.types import Content, Draft, Route_Everyone, Route_Only


class Lifecycle(wit_world.exports.Lifecycle):
    def check_config(self, config):
        problems = []
        if not settings.text("greeting"):
            problems.append(Problem("greeting", 'missing or empty: write greeting = "welcome"'))
        if not isinstance(patience_s(), int):
            problems.append(Problem("patience_s", "missing or no number: write patience_s = 60"))
        return problems


def patience_s():
    """How long after somebody came it is asked whether they are there."""
    return json.loads(settings.one("patience_s") or "null")


class ChatEvents(wit_world.exports.ChatEvents):
    # What the WIT calls ok is to return; err(e) is `raise Err(e)`, and so is a power that says no.
    def on_event(self, ctx, event):
        if event.name == "member.joined":
            welcome(event.subject.id)
        elif event.name == "timer.fired":
            say(Route_Everyone(), "is anybody there?")
        # There are more, and may be more one day: chat.started, chat.ended, member.left …


def welcome(who):
    key = f"greeted/{who}"
    if kv.get(key) is None:
        kv.set(key, b"yes")
        say(Route_Only([who]), settings.text("greeting"))
    # A timer of the same name that runs already starts anew.
    timers.start("patience", patience_s() * 1000)


def say(route, text):
    post.send(Draft("text", route, Content("text/plain", text.encode()), []))
