"""A word is not said here: it is replaced, and after a few times the message is rejected."""

import json

import wit_world.exports
from wit_world.exports.lifecycle import Problem
from wit_world.imports import kv, log, settings
from wit_world.imports.types import (
    Content,
    Decision,
    Rejection,
    Verdict_Pass,
    Verdict_Reject,
    Verdict_Rewrite,
)


class Lifecycle(wit_world.exports.Lifecycle):
    def check_config(self, config):
        problems = []
        if not settings.text("word"):
            problems.append(Problem("word", 'missing or empty: write word = "darn"'))
        if not isinstance(most(), int):
            problems.append(Problem("most", "missing or no number: write most = 2"))
        return problems


def most():
    """How often everybody may be rude."""
    return json.loads(settings.one("most") or "null")


class MessageHandler(wit_world.exports.MessageHandler):
    # What the WIT calls ok(x) is `return x`; err(e) is `raise Err(e)`, and so is a power that says no.
    def on_message(self, ctx, message):
        word = settings.text("word").encode()
        content = message.content
        if content.media_type != "text/plain" or word not in content.body:
            return Decision(Verdict_Pass(), [])

        sender = message.sender.id
        key = f"rude/{sender}"
        count = int(kv.get(key) or b"0") + 1
        kv.set(key, str(count).encode())
        log.emit(log.Level.INFO, "rude", [("sender", sender), ("count", str(count))])

        if count > most():
            reason = f'"{word.decode()}" is not said here'
            verdict = Verdict_Reject(Rejection("rude", reason, None))
        else:
            verdict = Verdict_Rewrite(Content(content.media_type, content.body.replace(word, b"***")))
        return Decision(verdict, [("rude", str(count))])
