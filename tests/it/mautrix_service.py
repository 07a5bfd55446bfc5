"""An application service as mautrix has it: notes each event in a file, a line each, before it takes the transaction."""

import asyncio
import json
import sys

from mautrix.appservice import AppService


async def main(port: int, notes: str) -> None:
    service = AppService(
        server="http://127.0.0.1:9",
        domain="carillon",
        as_token="as-token",
        hs_token="hs-token",
        bot_localpart="bot",
        id="crm",
    )
    # Otherwise it answers first, and what it had not handled by then dies with it.
    service.synchronous_handlers = True
    with open(notes, "a", encoding="utf-8") as out:

        @service.matrix_event_handler
        async def heard(event) -> None:
            body = getattr(event.content, "body", None)
            text = body if isinstance(body, str) else None
            line = [event.event_id, event.room_id, event.sender, str(event.type), text]
            out.write(json.dumps(line) + "\n")
            out.flush()

        await service.start("127.0.0.1", port)
        print(service.runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
