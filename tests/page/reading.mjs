// What the chat page's reader does when this or that gets through and the rest does not. Time is moved, and the network is
// a table here: `node reading.mjs FOLDER`, where the folder has the page's modules.

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const CHAT = "0123456789abcdef0123456789abcdef";

// --------------------------------------------------------------------------------------- time, and the network

/** A clock that goes on when everybody waits. */
const clock = { now: 0, number: 0, timers: new Map() };
globalThis.setTimeout = (call, ms = 0) => {
  clock.timers.set(++clock.number, { at: clock.now + ms, call });
  return clock.number;
};
globalThis.setInterval = (call, ms) => {
  const number = ++clock.number;
  // Of a page that nobody sees a browser calls what repeats itself once a minute.
  const next = () => clock.now + Math.max(ms, net.hidden ? 60000 : 0);
  const again = () => {
    clock.timers.set(number, { at: next(), call: again });
    call();
  };
  clock.timers.set(number, { at: next(), call: again });
  return number;
};
globalThis.clearTimeout = globalThis.clearInterval = (number) => clock.timers.delete(number);
Date.now = () => clock.now;
Math.random = () => 1; // every pause is as long as it may be

/** Everything that can happen without time going on. */
const settle = async () => {
  for (let turn = 0; turn < 50; turn++) await new Promise((done) => setImmediate(done));
};

/** Lets so many milliseconds go by. */
async function pass(ms) {
  const end = clock.now + ms;
  await settle();
  for (;;) {
    const next = [...clock.timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
    if (!next) break;
    clock.timers.delete(next[0]);
    clock.now = Math.max(clock.now, next[1].at);
    next[1].call();
    await settle();
  }
  clock.now = end;
}

/** What the network lets through, and what was tried. */
const net = {};

globalThis.location = { protocol: "https:", host: "node.test" };
globalThis.sessionStorage = { getItem: () => net.bearer ?? null };

globalThis.WebSocket = class {
  readyState = 0;
  sent = [];
  constructor(url) {
    net.tried.push("socket");
    net.socket = this;
    this.url = url;
    if (net.sockets === "refused") queueMicrotask(() => this.onclose?.());
    if (net.sockets !== "open") return;
    queueMicrotask(() => {
      this.readyState = 1;
      this.tell({ type: "hello", protocol: net.protocol ?? 1 });
    });
  }
  tell(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  send(text) {
    const frame = JSON.parse(text);
    this.sent.push(frame);
    queueMicrotask(() => net.answers?.[frame.type]?.(this));
  }
  close() {
    this.readyState = 3;
  }
  /** What it was told beside signs of life. */
  get told() {
    return this.sent.filter(({ type }) => type !== "ping");
  }
};

globalThis.fetch = async (path, { headers, signal }) => {
  const events = path.includes("/events?");
  net.tried.push(events ? "events" : "poll");
  net.headers = headers;
  const query = Object.fromEntries(new URLSearchParams(path.split("?")[1]));
  (events ? net.eventQueries : net.pollQueries).push(query);
  const aborted = new Promise((_, fail) => signal.addEventListener("abort", () => fail(signal.reason)));
  aborted.catch(() => undefined);
  const way = events ? net.events : net.polls;
  if (way === "refused") throw new TypeError("fetch failed");
  if (way === "silent") return aborted;
  if (typeof way === "number") return new Response(net.between, { status: way });
  if (!events) return Promise.race([aborted, poll(query)]);
  const body = new ReadableStream({
    start(control) {
      const say = (text) => control.enqueue(new TextEncoder().encode(text));
      net.stream = { say, end: () => signal.aborted || control.close() };
      net.streams.add(signal);
      signal.addEventListener("abort", () => {
        net.streams.delete(signal);
        control.error(signal.reason);
      });
    },
  });
  if (way !== "held") net.stream.say("retry: 1000\n\n");
  if (way === "cut") setTimeout(net.stream.end, 100);
  if (way === "babble") net.stream.say("data: {\n\n");
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
};

/** A page that is there, or the wait for one. */
async function poll(query) {
  const page = net.pages.shift();
  if (page) return typeof page === "number" ? Response.json(net.problem, { status: page }) : Response.json(page);
  if (query.wait === "0") return Response.json({ messages: [], cursor: query.after ?? "1-0" });
  return new Promise((done) => {
    const answer = (value) => done(Response.json(value));
    net.answer = answer;
    setTimeout(() => answer({ messages: [], cursor: query.after }), query.wait * 1000);
  });
}

const message = (seq) => ({ id: `m${seq}`, cursor: `1-${seq}`, text: `text ${seq}` });
const msg = (seq) => ({ type: "msg", chat: CHAT, message: message(seq) });
const event = (seq) => `id: 1-${seq}\ndata: ${JSON.stringify(message(seq))}\n\n`;

const { Reading } = await import(pathToFileURL(`${process.argv[2]}/reading.js`));

/** A reader that has begun, what it was told, and what it is told from now on. */
async function read(given) {
  clock.timers.clear();
  for (const key of Object.keys(net)) delete net[key];
  Object.assign(net, { sockets: "open", events: "open", polls: "open", tried: [], eventQueries: [], pollQueries: [] });
  Object.assign(net, { pages: [], streams: new Set() }, given);
  const told = [];
  const listener = {
    begun: (way) => told.push(`begun ${way}`),
    message: ({ id }) => told.push(id),
    gap: (after) => told.push(`gap ${after}`),
    typing: (names) => told.push(`typing ${names}`),
    read: (marks) => told.push(`read ${Object.keys(marks)}`),
    present: ({ participants }) => told.push(`present ${participants.map(({ id }) => id)}`),
    leaving: () => told.push("leaving"),
    troubled: ({ message }, failures) => told.push(`troubled ${failures}`),
    stopped: ({ code }) => told.push(`stopped ${code}`),
  };
  const reading = new Reading(CHAT, "alice", listener);
  const following = reading.follow();
  await settle();
  const since = () => told.splice(0);
  return { reading, following, since };
}

/** A reader whose socket is followed. */
async function readBySocket(given) {
  const reader = await read(given);
  net.socket.tell({ type: "subbed", chat: CHAT, head: "1-0" });
  assert.deepEqual(reader.since(), ["begun socket"]);
  return reader;
}

// ------------------------------------------------------------------------------------------------- the stories

const stories = {
  async "a socket comes first, and brings everything"() {
    const { reading, since } = await readBySocket();
    assert.equal(net.socket.url, "wss://node.test/v1/ws");
    assert.deepEqual(net.socket.told, [{ type: "sub", chat: CHAT, as: "alice" }]);
    for (const frame of [
      msg(1),
      { type: "typing", chat: CHAT, typing: ["bob"] },
      { type: "read", chat: CHAT, read: { bob: "1-1" } },
      { type: "presence", chat: CHAT, status: "started", participants: [{ id: "bob" }] },
      { type: "passed", chat: CHAT, cursor: "1-4" },
    ]) net.socket.tell(frame);
    assert.deepEqual(since(), ["m1", "typing bob", "read bob", "present bob"]);
    assert.equal(reading.cursor, "1-4");
    assert.deepEqual(net.tried, ["socket"]);
  },

  async "a socket says who asks before it follows"() {
    const { since } = await read({ bearer: `a.${btoa('{"sub":"alice"}')}.c` });
    assert.deepEqual(net.socket.told, [{ type: "auth", token: net.bearer }]);
    net.socket.tell({ type: "authed" });
    assert.deepEqual(net.socket.told[1], { type: "sub", chat: CHAT });
    assert.deepEqual(since(), []);
  },

  async "a socket that is refused is followed by events at once, then by polls, from the same cursor"() {
    const { since } = await read({ sockets: "refused" });
    assert.deepEqual(since(), ["begun events"]);
    net.stream.say(event(1) + event(2).slice(0, 20));
    await settle();
    net.stream.say(event(2).slice(20));
    await settle();
    assert.deepEqual(since(), ["m1", "m2"]);
    net.events = "refused";
    net.stream.end();
    await pass(500);
    assert.deepEqual(since(), ["begun poll"]);
    assert.deepEqual(net.tried, ["socket", "events", "events", "poll", "poll"], "the socket rests");
    assert.equal(net.pollQueries[0].wait, "0");
    assert.deepEqual(net.pollQueries[1], { as: "alice", wait: "25", limit: "200", after: "1-2" });
    net.answer({ messages: [message(3)], cursor: "1-3" });
    await settle();
    assert.deepEqual(since(), ["begun poll", "m3"]);
    assert.equal(net.pollQueries[2].after, "1-3");
  },

  async "what says nothing for eight seconds does not get through, and is tried again later, each time later"() {
    const { since } = await read({ sockets: "silent", events: "silent" });
    await pass(7999);
    assert.deepEqual(since(), [], "perhaps it is only slow");
    await pass(8001);
    assert.deepEqual(since(), ["begun poll"]);
    const tries = [];
    for (let minute = 0; minute < 60; minute++) {
      net.tried.length = 0;
      await pass(60000);
      tries.push(net.tried.filter((way) => way === "socket").length);
      assert(net.tried.includes("poll"), "it reads on all the time");
    }
    const early = tries.slice(0, 10).reduce((a, b) => a + b);
    const late = tries.slice(30).reduce((a, b) => a + b);
    assert(early >= 3 && late >= 2 && late <= 4, `${tries}`);
    net.sockets = "open";
    for (let second = 0; second < 660 && net.socket.told.length === 0; second++) await pass(1000);
    const tried = net.socket;
    tried.tell({ type: "subbed", chat: CHAT, head: "1-0" });
    assert.equal(tried.readyState, 3, "it gets through: that was all");
    for (let second = 0; second < 26 && net.socket === tried; second++) await pass(1000);
    since();
    net.socket.tell({ type: "subbed", chat: CHAT, head: "1-0" });
    assert.deepEqual(since(), ["begun socket"], "it recovers");
  },

  async "what is better is tried beside the polls, which read on meanwhile"() {
    const { since } = await read({ sockets: "silent", events: "held" });
    await pass(16000);
    since();
    let seq = 0;
    for (let second = 0; second < 180; second++) {
      net.answer({ messages: [message(++seq)], cursor: `1-${seq}` });
      await settle();
      assert.deepEqual(since(), ["begun poll", `m${seq}`], `second ${second}`);
      await pass(1000);
    }
    const tries = (way) => net.tried.filter((other) => other === way).length;
    assert(tries("socket") >= 3 && tries("events") >= 3, `${net.tried}`);
    // Events get through now: nothing is lost or shown twice between the two.
    net.events = "open";
    for (let second = 0; second < 300 && net.eventQueries.at(-1).after !== `1-${seq}`; second++) await pass(1000);
    await pass(26000);
    assert.equal(since().at(-1), "begun events");
    assert.equal(net.streams.size, 1, "the one that found out is over");
    net.stream.say(event(seq + 1));
    await settle();
    assert.deepEqual(since(), [`m${seq + 1}`]);
  },

  async "a node that is away puts no way to rest"() {
    const { since } = await read({ sockets: "refused", events: "refused", polls: "refused" });
    assert.deepEqual(since(), ["troubled 0"]);
    await pass(60000);
    const troubles = since();
    // Pauses double from 200 ms and end at 5 s.
    assert(troubles.length >= 12 && troubles.length <= 20, `${troubles.length}`);
    Object.assign(net, { sockets: "open", tried: [] });
    await pass(5000);
    assert.deepEqual(net.tried, ["socket"]);
  },

  async "a node that takes its leave is asked again at once, from the cursor"() {
    const { since } = await readBySocket();
    net.socket.tell(msg(1));
    await pass(1000);
    const before = net.socket;
    net.socket.tell({ type: "drain", by_ms: 5000 });
    await settle();
    assert.deepEqual(since(), ["m1", "leaving"]);
    assert.notEqual(net.socket, before, "no time went by");
    assert.equal(before.readyState, 3);
    assert.equal(net.socket.told[0].after, "1-1");
    // One that does nothing but take its leave is not asked all the time.
    net.socket.tell({ type: "subbed", chat: CHAT, head: "1-1" });
    const second = net.socket;
    net.socket.tell({ type: "drain", by_ms: 5000 });
    await pass(499);
    assert.equal(net.socket, second);
    await pass(1);
    assert.notEqual(net.socket, second);
  },

  async "events that take their leave are asked again at once"() {
    const { since } = await read({ sockets: "refused" });
    net.stream.say(event(1));
    await pass(1000);
    net.stream.say("event: drain\ndata: {}\n\n");
    await settle();
    assert.deepEqual(since(), ["begun events", "m1", "leaving", "begun events"]);
    assert.equal(net.eventQueries[1].after, "1-1");
  },

  async "a gap is told whichever way it comes, and moves the cursor back"() {
    const socket = await readBySocket();
    net.socket.tell(msg(7));
    net.socket.tell({ type: "gap", chat: CHAT, after: "1-5" });
    assert.deepEqual(socket.since(), ["m7", "gap 1-5"]);
    assert.equal(socket.reading.cursor, "1-5");
    const events = await read({ sockets: "refused" });
    net.stream.say('id: 1-5\nevent: gap\ndata: {"after":"1-5"}\n\n');
    await settle();
    assert.deepEqual(events.since(), ["begun events", "gap 1-5"]);
    assert.equal(events.reading.cursor, "1-5");
    const pages = [{ messages: [message(6)], cursor: "1-6", gap: "1-5" }];
    const polls = await read({ sockets: "refused", events: "refused", pages });
    assert.deepEqual(polls.since().slice(0, 3), ["begun poll", "gap 1-5", "m6"]);
    assert.equal(polls.reading.cursor, "1-6");
  },

  async "a socket that falls silent is left, and is asked for signs of life before"() {
    const { since } = await readBySocket();
    const first = net.socket;
    for (let quarter = 0; quarter < 20; quarter++) {
      await pass(15000);
      assert.equal(net.socket, first, "what answers is kept");
      assert.deepEqual(first.sent.at(-1), { type: "ping" });
      net.socket.tell({ type: "pong" });
    }
    await pass(47999);
    assert.equal(net.socket, first);
    await pass(201);
    assert.notEqual(net.socket, first);
    assert.deepEqual(since(), ["troubled 0"]);
  },

  async "a socket of a page that nobody sees is asked before it is left"() {
    const { since } = await readBySocket({ hidden: true, answers: { ping: (socket) => socket.tell({ type: "pong" }) } });
    const first = net.socket;
    await pass(3600000);
    assert.equal(net.socket, first, "it answers each time");
    assert.deepEqual(since(), []);
    net.answers = {};
    await pass(120000);
    assert.notEqual(net.socket, first);
    assert.equal(since()[0], "troubled 0");
  },

  async "a way that is broken off at once three times does not get through, and the next one does"() {
    const subbed = (then) => (socket) => {
      socket.tell({ type: "subbed", chat: CHAT, head: "1-0" });
      setTimeout(() => then(socket), 100);
    };
    const ends = [(socket) => socket.onclose?.(), (socket) => socket.onmessage?.({ data: "<html>" })];
    for (const end of ends) {
      const { since } = await read({ answers: { sub: subbed(end) } });
      await pass(5000);
      assert.equal(net.tried.filter((way) => way === "socket").length, 3);
      assert.deepEqual(since().filter((told) => told.startsWith("begun")), [...Array(3).fill("begun socket"), "begun events"]);
    }
    for (const events of ["cut", "babble"]) {
      const { since } = await read({ sockets: "refused", events });
      await pass(5000);
      assert.deepEqual(net.tried.filter((way) => way !== "socket").slice(0, 5), [...Array(3).fill("events"), "poll", "poll"]);
      assert.equal(since().at(-1), "begun poll");
      // One that was found and is broken off again rests for longer each time.
      net.tried.length = 0;
      await pass(3600000);
      const tries = net.tried.filter((way) => way === "events").length;
      assert(tries >= 12 && tries <= 24, `${tries} in an hour: each time one to find out, and one to read`);
    }
  },

  async "a way that lasts is one that gets through, however often it ends"() {
    const { since } = await readBySocket();
    for (let minute = 0; minute < 10; minute++) {
      await pass(minute % 3 ? 10000 : 9000);
      net.socket.onclose();
      await pass(500);
      net.socket.tell({ type: "subbed", chat: CHAT, head: "1-0" });
    }
    assert.deepEqual(since(), Array(10).fill("begun socket"));
  },

  async "what is broken off at once when nothing else gets through is tried with longer and longer pauses"() {
    const broken = (socket) => {
      socket.tell({ type: "subbed", chat: CHAT, head: "1-0" });
      socket.onclose?.();
    };
    const { since } = await read({ events: "refused", polls: "refused", answers: { sub: broken } });
    await pass(60000);
    assert(net.tried.filter((way) => way === "socket").length <= 20, `${net.tried.length}`);
    net.answers = {};
    await pass(5000);
    since();
    net.socket.tell({ type: "subbed", chat: CHAT, head: "1-0" });
    assert.deepEqual(since(), ["begun socket"], "no way rests");
  },

  async "a socket that breaks is opened again after a moment, and what does not open for long is not tried without a pause"() {
    const { since } = await readBySocket();
    net.sockets = net.events = net.polls = "refused";
    net.socket.onclose();
    net.tried.length = 0;
    await pass(60000);
    assert(net.tried.length < 3 * 20, `${net.tried.length} tries in a minute`);
    assert.equal(since().at(0), "troubled 0");
  },

  async "what no trying again mends ends it, and says why"() {
    const problem = { status: 404, code: "unknown-chat", detail: "no chat has this token" };
    const socket = await read();
    net.socket.tell({ type: "error", chat: CHAT, code: "unknown-chat", detail: "", problem });
    await pass(60000);
    assert.deepEqual(socket.since(), ["stopped unknown-chat"]);
    assert.deepEqual(net.tried, ["socket"], "there is nothing else to try");
    const events = await read({ sockets: "refused" });
    net.stream.say(`event: problem\ndata: ${JSON.stringify(problem)}\n\n`);
    await pass(60000);
    assert.deepEqual(events.since(), ["begun events", "stopped unknown-chat"]);
    const polls = await read({ sockets: "refused", events: "refused", pages: [404], problem });
    await pass(60000);
    assert.deepEqual(polls.since(), ["stopped unknown-chat"]);
  },

  async "a refusal for now is followed by a pause and the same way"() {
    const problem = { status: 503, code: "not-ready", retryable: true, detail: "nobody leads it" };
    const { since } = await readBySocket();
    net.socket.tell({ type: "error", chat: CHAT, code: "not-ready", detail: "", problem });
    await pass(200);
    assert.deepEqual(since(), ["troubled 0"]);
    assert.deepEqual(net.tried, ["socket", "socket"]);
  },

  async "what something in between answers is no refusal of the node"() {
    const polls = await read({ sockets: "refused", events: "refused", pages: [502], problem: {} });
    assert.deepEqual(polls.since(), ["troubled 0"]);
    await pass(200);
    assert.deepEqual(polls.since(), ["begun poll"]);
    for (const events of [403, 404, 405, 429, 502, 504]) {
      for (const between of ["<html>", "null", '{"code":7}']) {
        const { since } = await read({ sockets: "refused", events, between });
        assert.deepEqual(since(), ["begun poll"], `${events} ${between}`);
      }
    }
    const { since } = await read({ sockets: "refused", events: 403, between: '{"code":"forbidden"}' });
    assert.deepEqual(since(), ["stopped forbidden"], "the node says so itself");
    const babble = await read({ sockets: "silent" });
    net.socket.onmessage({ data: "<html>" });
    await settle();
    assert.deepEqual(babble.since(), ["begun events"]);
  },

  async "a socket of another protocol is none"() {
    const { since } = await read({ protocol: 2 });
    assert.deepEqual(since(), ["begun events"]);
  },
};

for (const [name, story] of Object.entries(stories)) {
  try {
    await story();
    console.log(`ok: ${name}`);
  } catch (error) {
    console.log(`FAILED: ${name}\n${error.stack}`);
    process.exitCode = 1;
  }
}
process.exit();
