// Reading a chat for as long as the page is open: over a WebSocket; where that does not get through, by server-sent events;
// and where those do not either, by long poll. All three go on after the same cursor, so that a change from one to
// another loses nothing and shows nothing twice. Nothing here touches the page: who listens is told what comes.

import { Problem, ask, authorized, bearer, pause, said, unanswered, wait } from "./asking.js";

const PROTOCOL = 1; // of what is said over the socket
const BEGINS_MS_MAX = 8000; // what has said nothing by then does not get through
const LASTS_MS_MIN = 10000; // of what gets through: what ends sooner than this is broken off
const BROKEN_MAX = 3; // so often one after the other, and it does not get through
const SILENT_MS_MAX = 40000; // a node says something every 15 s
const SIGN_EVERY_MS = 15000; // over the socket it is asked to; a page that nobody sees may ask once a minute only,
const SIGN_MS_MAX = 8000; // which is why it is asked once more before it is left, and has so long to answer
const AGAIN_MS = 500; // after a stream that has ended; one that has lasted longer than this goes on at once when the node says so
const REST_MS_FIRST = 30000; // of a way that did not get through where another did; doubled each time, up to
const REST_MS_MAX = 600000; // ten minutes: perhaps the node was only slow, or the network is another now
const POLL_WAIT_S = 25; // of one long poll; a node allows 30
const POLL_LIMIT = 200;

/** Nothing came at all: the node is away, or something between keeps this way back. */
class Silent extends Problem {
  constructor() {
    super(0, { detail: "the node does not answer" });
  }
}

/** What `begins` answers to a way that was only to show whether it gets through. */
const ENOUGH = "enough";

/** The ways, the best first. The last gets through wherever anything does. */
const WAYS = [
  { name: "socket", read: bySocket },
  { name: "events", read: byEvents },
  { name: "poll", read: byPoll },
];

/** One reader of one chat.
 *
 *  `listener` is told: `begun(way)` when something gets through, `message(message, way)`, `gap(after)`, `typing(names)`, `read(marks)`,
 *  `present(people)`; `leaving()` when the node takes its leave, `troubled(problem, failures)` before each pause, and
 *  `stopped(problem)` when no trying again helps, after which nothing more comes. */
export class Reading {
  /** After which message the reader stands. */
  cursor = "";
  failures = 0;
  /** How it reads; nothing while nothing gets through. */
  way = "";
  /** By way, until when it is not tried, and for how long that was. `found` is one that was tried beside polls, and gets through. */
  rests = new Map();
  /** By way, how often it was broken off, since it lasted. */
  broken = new Map();

  constructor(token, name, listener) {
    Object.assign(this, { token, name, listener });
    this.path = `/v1/chats/${encodeURIComponent(token)}`;
  }

  /** Reads what comes, for ever. */
  async follow() {
    for (;;) {
      try {
        const since = Date.now();
        const ended = await this.turn();
        if (ended === "leaving") this.listener.leaving();
        if (ended === "over" || (ended === "leaving" && Date.now() - since < AGAIN_MS)) await wait(AGAIN_MS);
      } catch (problem) {
        if (!problem.retryable) return this.listener.stopped(problem);
        this.way = "";
        this.listener.troubled(problem, this.failures);
        await wait(problem.pauseMs ?? 0);
        await pause(this.failures++);
      }
    }
  }

  /** Reads by the best way that gets through, until it ends. */
  async turn() {
    const silent = [];
    for (const way of WAYS) {
      const last = way === WAYS.at(-1);
      if (!last && this.passes(way)) continue;
      let since;
      const begins = () => {
        if (since !== undefined) return;
        since = Date.now();
        // What is broken off each time is no success.
        if (!this.broken.has(way)) this.failures = 0;
        silent.forEach((other) => this.rest(other));
        this.way = way.name;
        this.listener.begun(way.name);
      };
      let ended;
      try {
        ended = await way.read(this, begins);
      } catch (problem) {
        ended = problem;
      }
      const through = since === undefined ? !(ended instanceof Silent) : this.lasted(way, since, ended);
      if (!through && !last) silent.push(way);
      else if (ended instanceof Error) throw ended;
      else return ended;
    }
  }

  /** Whether a way is not to be read by now. While polls read, what has rested is tried beside them: they need not wait for that. */
  passes(way) {
    const rest = this.rests.get(way);
    if (!rest || rest.found) return false;
    const over = Date.now() >= rest.until;
    if (this.way !== WAYS.at(-1).name) return !over;
    if (over) this.probe(way);
    return true;
  }

  /** Finds out whether a way gets through, and reads nothing by it. */
  async probe(way) {
    const rest = this.rests.get(way);
    rest.until = Infinity; // one at a time
    const begins = () => {
      rest.found = true;
      return ENOUGH;
    };
    await way.read(this, begins).catch(() => undefined);
    // Where not even polls get through it may be the node.
    if (!rest.found && this.way === WAYS.at(-1).name) this.rest(way);
    else rest.until = 0;
  }

  /** What becomes of a way that got through at `since` and has ended: whether it counts as one that gets through. */
  lasted(way, since, ended) {
    if (Date.now() - since >= LASTS_MS_MIN) {
      this.rests.delete(way);
      this.broken.delete(way);
      this.failures = 0;
      return true;
    }
    // What the node says for itself is not broken off.
    if (ended !== "over" && ended.status !== 0) return true;
    this.broken.set(way, (this.broken.get(way) ?? 0) + 1);
    return this.broken.get(way) < BROKEN_MAX;
  }

  /** A way did not get through and another did: it is not the node. */
  rest(way) {
    const ms = Math.min(REST_MS_MAX, 2 * (this.rests.get(way)?.ms ?? REST_MS_FIRST / 2));
    this.rests.set(way, { ms, until: Date.now() + ms, found: false });
  }

  /** From where it goes on, as a question. */
  query(more) {
    const query = new URLSearchParams({ ...said({ as: this.name }), ...more });
    if (this.cursor) query.set("after", this.cursor);
    return query;
  }

  /** Something came. Whatever its name, it may move the cursor. What cannot be shown is not asked for for ever. */
  hear(way, name, data, cursor) {
    if (cursor) this.cursor = cursor;
    try {
      if (name === "message" && data) this.listener.message(data, way);
      else if (name === "gap") this.listener.gap(data.after);
      else if (name === "typing") this.listener.typing(data.typing);
      else if (name === "read") this.listener.read(data.read);
      else if (name === "presence") this.listener.present(data);
    } catch (error) {
      console.error(error);
    }
  }
}

/** Over a WebSocket, until it ends. */
function bySocket(reading, begins) {
  return new Promise((done, fail) => {
    const socket = open();
    if (!socket) return fail(new Silent());
    let begun = false;
    let timer = setTimeout(() => end(fail, new Silent()), BEGINS_MS_MAX);
    const signs = setInterval(() => socket.readyState === 1 && say({ type: "ping" }), SIGN_EVERY_MS);
    const say = (frame) => socket.send(JSON.stringify(frame));
    const follow = () => {
      const after = reading.cursor ? { after: reading.cursor } : {};
      say({ type: "sub", chat: reading.token, ...said({ as: reading.name }), ...after });
    };
    /** Only the first end counts. */
    const end = (how, value) => {
      clearTimeout(timer);
      clearInterval(signs);
      socket.onmessage = socket.onclose = socket.onerror = null;
      socket.close();
      how(value);
    };
    const heard = (frame) => {
      if (frame.type === "hello") {
        if (frame.protocol !== PROTOCOL) return end(fail, new Silent());
        return bearer() ? say({ type: "auth", token: bearer() }) : follow();
      }
      if (frame.type === "authed") return follow();
      if (frame.type === "drain") return begun ? end(done, "leaving") : end(fail, unanswered());
      if (frame.type === "error") {
        const problem = frame.problem ?? frame;
        return end(fail, new Problem(problem.status ?? 400, problem));
      }
      if (frame.type === "subbed") {
        begun = true;
        return begins() === ENOUGH ? end(done, "over") : undefined;
      }
      if (frame.type === "msg") return reading.hear("socket", "message", frame.message, frame.message.cursor);
      reading.hear("socket", frame.type, frame, frame.type === "gap" ? frame.after : frame.cursor);
    };
    socket.onmessage = ({ data }) => {
      try {
        heard(JSON.parse(data));
      } catch {
        return end(fail, begun ? unanswered() : new Silent()); // no frame of ours
      }
      if (!begun || !socket.onmessage) return;
      clearTimeout(timer);
      timer = setTimeout(falls, SILENT_MS_MAX);
    };
    /** Nothing came for long. It is not left without being asked. */
    const falls = () => {
      timer = setTimeout(() => end(fail, unanswered()), SIGN_MS_MAX);
      if (socket.readyState === 1) say({ type: "ping" });
    };
    socket.onerror = socket.onclose = () => (begun ? end(done, "over") : end(fail, new Silent()));
  });
}

/** A socket on its way; nothing where the browser refuses to try. */
function open() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  try {
    return new WebSocket(`${scheme}//${location.host}/v1/ws`);
  } catch {
    return undefined;
  }
}

/** By server-sent events, until they end. A browser's own EventSource could not bring an access token. */
async function byEvents(reading, begins) {
  const stop = new AbortController();
  let begun = false;
  let timer = setTimeout(() => stop.abort(), BEGINS_MS_MAX);
  try {
    const path = `${reading.path}/events?${reading.query()}`;
    const answer = await fetch(path, { headers: authorized(), signal: stop.signal });
    if (!answer.ok) throw refused(answer.status, await answer.json().catch(() => ({})));
    if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new Silent();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      begun = true;
      if (begins() === ENOUGH) return "over";
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENT_MS_MAX);
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const { event: name = "message", data, id } = fields(event);
        if (name === "drain") return "leaving";
        if (name === "problem") throw new Problem(data.status, data);
        reading.hear("events", name, data, id);
      }
    }
    if (!begun) throw new Silent();
    return "over";
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw begun ? unanswered() : new Silent();
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

/** What is answered in place of events. Without a code it is no node that refuses them: something in between does not let them through. */
const refused = (status, problem) => (typeof problem?.code === "string" ? new Problem(status, problem) : new Silent());

/** The fields of one event, its data read; a comment has none. */
function fields(event) {
  const found = {};
  for (const line of event.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) found[line.slice(0, at)] = line.slice(at + 2);
  }
  if (found.data !== undefined) found.data = JSON.parse(found.data);
  return found;
}

/** By one long poll. The first does not wait: nobody should, to hear that it gets through. */
async function byPoll(reading, begins) {
  const waits = reading.way === "poll" ? POLL_WAIT_S : 0;
  const query = reading.query({ wait: waits, limit: POLL_LIMIT });
  const page = await ask("GET", `${reading.path}/messages?${query}`, { waitMs: waits * 1000 });
  begins();
  if (page.gap) reading.hear("poll", "gap", { after: page.gap });
  for (const message of page.messages) reading.hear("poll", "message", message, message.cursor);
  reading.cursor = page.cursor;
  return "page";
}
