// The chat page. It talks only to the node it came from, with the same API as everybody else: messages
// come as server-sent events, or by long poll where those do not get through, from a cursor on either way; they
// are sent under a key, so that trying again is safe. Whatever somebody wrote becomes text, never markup.

const WAIT_S = 25; // of one long poll; a node allows 30
const SEND_TRIES = 8; // under one key, before the person is asked
const PAUSE_MS_MAX = 5000; // between two tries
const FACTS_EVERY_MS = 5000; // who is in the chat, who leads it
const STREAM_BEGINS_MS = 8000; // a stream that has said nothing by then is kept back by something in between
const POLL_FOR_MS = 300000; // after such a stream; then it is tried again: perhaps the node was only slow
const STREAM_AGAIN_MS = 500; // after one that has ended
const STREAM_SILENT_MS = 40000; // a node says something every 15 s
const TYPING_EVERY_MS = 3000; // said again; a node forgets it after 6 s
const READ_EVERY_MS = 1000; // how far this person has read

const BEARER = "carillon-bearer"; // where the access token is kept, for as long as this tab is open

const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const pause = (attempt) => wait(Math.random() * Math.min(PAUSE_MS_MAX, 200 * 2 ** attempt));

/** An element with text in it. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// ------------------------------------------------------------------------------------------- the API

/** What a node said when it did not do something; `status` 0 is a node that did not answer. */
class Problem extends Error {
  constructor(status, problem) {
    super(problem.reason || problem.detail || problem.title || "no answer");
    Object.assign(this, { status, code: problem.code, plugin: problem.plugin });
    this.retryable = status === 0 || problem.retryable === true;
    this.pauseMs = problem.retry_after_ms ?? 0;
  }
}

function authorized() {
  const bearer = sessionStorage.getItem(BEARER);
  return bearer ? { Authorization: `Bearer ${bearer}` } : {};
}

async function ask(method, path, { body, key, signal } = {}) {
  const headers = authorized();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the node does not answer" });
  }
  const text = await answer.text().catch(() => "");
  let value = {};
  try {
    value = text ? JSON.parse(text) : {};
  } catch {
    value = { detail: text.slice(0, 200) };
  }
  if (!answer.ok) throw new Problem(answer.status, value);
  return value;
}

/** Tries until it is answered for good. */
async function insist(tries, call) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (!error.retryable || attempt + 1 >= tries) throw error;
      await wait(error.pauseMs);
      await pause(attempt);
    }
  }
}

/** Reads server-sent events and gives each to `heard(name, data, id)`; ends when the stream does. A browser's own
 *  EventSource could not bring an access token. Throws "blocked" if nothing ever arrives. */
async function listen(path, heard) {
  const stop = new AbortController();
  let begun = false;
  let timer = setTimeout(() => stop.abort(), STREAM_BEGINS_MS);
  try {
    const answer = await fetch(path, { headers: authorized(), signal: stop.signal });
    if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
    if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new Error("blocked");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      begun = true;
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), STREAM_SILENT_MS);
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) hand(event, heard);
    }
  } catch (error) {
    if (error instanceof Problem || error.message === "blocked") throw error;
    if (!begun && error.name === "AbortError") throw new Error("blocked");
    throw new Problem(0, { detail: "the node does not answer" });
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

/** One event of a stream. */
function hand(event, heard) {
  const fields = {};
  for (const line of event.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
  }
  if (fields.id === undefined && fields.data === undefined) return;
  heard(fields.event ?? "message", fields.data && JSON.parse(fields.data), fields.id);
}

function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whom the access token names; undefined without one, or with one that cannot be read. */
function subject() {
  try {
    const claims = sessionStorage.getItem(BEARER).split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(claims), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)).sub;
  } catch {
    return undefined;
  }
}

/** What only those say who have no token to say it for them. */
const said = (fields) => (subject() === undefined ? fields : {});

// ------------------------------------------------------------------------------------------ the door

const address = new URLSearchParams(location.search);
$("node").textContent = location.host;

function state(text, kind) {
  $("state").textContent = text;
  $("state").className = `state ${kind}`;
}

function openDoor(problem, code) {
  if (code === "unauthenticated") $("proof").hidden = false;
  $("name").required = $("proof").hidden; // with a token, the token says it
  $("door").hidden = false;
  $("room").hidden = true;
  $("name").value = address.get("as") ?? localStorage.getItem("carillon-name") ?? "";
  $("token").value = address.get("chat") ?? "";
  $("door-problem").hidden = !problem;
  $("door-problem").textContent = problem ?? "";
  state("ready", "");
  const first = $("proof").hidden ? $("name") : $("bearer");
  (first.value ? $("token") : first).focus();
}

$("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("enter").querySelector("button");
  const bearer = $("bearer").value.trim();
  if (bearer) sessionStorage.setItem(BEARER, bearer);
  const name = subject() ?? $("name").value.trim();
  button.disabled = true;
  try {
    const token = $("token").value.trim() || (await insist(4, () => ask("POST", "/v1/chats", { body: {} }))).token;
    localStorage.setItem("carillon-name", name);
    history.pushState(null, "", `/?chat=${encodeURIComponent(token)}&as=${encodeURIComponent(name)}`);
    address.set("chat", token);
    address.set("as", name);
    await enter(token, name);
  } catch (problem) {
    openDoor(explain(problem), problem.code);
  } finally {
    button.disabled = false;
  }
});

addEventListener("popstate", () => location.reload());

function explain(problem) {
  const words = {
    "unknown-chat": "There is no such chat.",
    "chat-full": "This chat is full.",
    "chat-ended": "This chat is over.",
    unauthenticated: "This node needs a valid access token. carillon token makes one for development.",
    forbidden: "The access token does not allow this.",
  };
  const who = problem.plugin ? `${problem.plugin}: ` : "";
  return words[problem.code] ?? `${who}${problem.message}`;
}

// ------------------------------------------------------------------------------------------ the room

async function enter(token, name) {
  const path = `/v1/chats/${encodeURIComponent(token)}`;
  let chat = await insist(4, () => ask("GET", path));
  if (chat.status !== "ended") {
    await insist(4, () => ask("PUT", `${path}/members/${encodeURIComponent(name)}`, { body: {} }));
  }
  $("door").hidden = true;
  $("room").hidden = false;
  $("shown-token").textContent = token;
  document.title = `${name} · Carillon`;
  const room = new Room(path, token, name);
  room.open();
}

class Room {
  /** Ids of messages that are shown. */
  shown = new Set();
  /** Elements of own messages that were stored and have not come back yet, by id. */
  stored = new Map();
  /** After which message this page stands. */
  cursor = "";
  /** Server-sent events do not get through: until when they are not tried again. */
  pollsUntil = 0;
  /** Who was here while this page was open, by id. */
  known = new Map();
  /** Who has read up to which message. */
  marks = {};
  over = false;

  constructor(path, token, name) {
    Object.assign(this, { path, token, name });
  }

  open() {
    $("compose").addEventListener("submit", (event) => {
      event.preventDefault();
      this.compose();
    });
    $("text").addEventListener("keydown", (event) => {
      // While a composed letter is being chosen, Enter belongs to that.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.compose();
    });
    $("text").addEventListener("input", grow);
    $("text").addEventListener("input", () => this.types());
    $("messages").addEventListener("scroll", () => this.reads());
    document.addEventListener("visibilitychange", () => this.reads());
    $("leave").addEventListener("click", () => this.leave());
    $("end").addEventListener("click", () => this.end());
    $("text").focus();
    this.follow();
    this.watch();
  }

  /** Reads what comes, for ever. */
  async follow() {
    for (let failures = 0; ; ) {
      try {
        if (this.polls()) await this.poll(failures === 0);
        else await this.stream(() => (failures = 0));
        failures = 0;
      } catch (problem) {
        if (problem.message === "blocked") {
          this.pollsUntil = Date.now() + POLL_FOR_MS;
          continue;
        }
        if (!problem.retryable) {
          state("stopped", "bad");
          this.notice(explain(problem));
          return;
        }
        state("connecting again", "bad");
        if (failures > 1) this.notice(`${problem.message}. What was said meanwhile comes when it does.`);
        await pause(failures++);
      }
    }
  }

  polls() {
    return Date.now() < this.pollsUntil;
  }

  /** From where this page goes on. */
  query(more) {
    const query = new URLSearchParams({ ...said({ as: this.name }), ...more });
    if (this.cursor) query.set("after", this.cursor);
    return query;
  }

  connected() {
    state(this.polls() ? "connected, by long poll" : "connected", "good");
    this.notice("");
  }

  /** Reads once. At once after a failure: nobody should wait to hear that the node is back. */
  async poll(waits) {
    const wait = this.cursor && waits ? WAIT_S : 0;
    const page = await ask("GET", `${this.path}/messages?${this.query({ wait, limit: 200 })}`);
    this.cursor = page.cursor;
    this.connected();
    if (page.gap) this.gap(page.gap);
    for (const message of page.messages) this.show(message);
    if (page.messages.length) this.facts();
  }

  /** Reads until the stream ends. */
  async stream(begun) {
    let first = true;
    await listen(`${this.path}/events?${this.query()}`, (name, data, id) => {
      if (first) {
        first = false;
        begun();
        this.connected();
        this.typing([]); // who types is told at the beginning
        // What was told while nobody listened is looked up.
        this.facts();
      }
      if (id) this.cursor = id;
      if (name === "gap") this.gap(data.after);
      else if (name === "message" && data) this.show(data);
      else if (name === "typing") this.typing(data.typing);
      else if (name === "read") this.read(data.read);
      else if (name === "presence") this.present(data);
      else if (name === "problem") throw new Problem(data.status, data);
    });
    await wait(STREAM_AGAIN_MS);
  }

  /** What was shown after a message was withdrawn: it stays on the page, and looks like it. */
  gap(after) {
    const items = [...$("messages").children].filter((item) => item.dataset.cursor);
    const last = items.findIndex((item) => item.dataset.cursor === after);
    // Nothing is known of an `after` that was not for this person, or is before everything.
    const gone = last < 0 ? [] : items.slice(last + 1);
    for (const item of gone) item.classList.add("withdrawn");
    const words = "The cluster lost what was said last. What follows takes its place.";
    $("messages").insertBefore(make("li", "message note gap", words), $("messages").querySelector(".waiting, .unknown"));
  }

  /** Shows a message where it belongs: behind all that came before, before what is still on its way. */
  show(message) {
    if (this.shown.has(message.id)) return;
    this.shown.add(message.id);
    this.stored.get(message.id)?.remove();
    this.stored.delete(message.id);
    $("empty").hidden = true;
    const list = $("messages");
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    const onItsWay = list.querySelector(".waiting, .unknown");
    const item = this.render(message);
    item.dataset.cursor = message.cursor;
    list.insertBefore(item, onItsWay);
    if (atEnd || message.sender === this.name) list.scrollTop = list.scrollHeight;
    this.reads();
    this.read(this.marks);
    if (message.kind === "chat.status" && message.json?.status === "ended") this.finish();
  }

  render(message) {
    const note = message.sender === "system" || message.kind.endsWith(".status");
    if (note) return make("li", "message note", describe(message));
    const item = make("li", `message${message.sender === this.name ? " mine" : ""}`);
    item.append(heading(message.sender, message.time_ms, message.route));
    item.append(content(message));
    const rewriting = message.stamps.filter((stamp) => stamp.verdict === "rewrite");
    if (rewriting.length) {
      const names = rewriting.map((stamp) => stamp.plugin).join(", ");
      item.append(make("div", "foot", `rewritten by ${names}`));
    }
    return item;
  }

  compose() {
    const text = $("text").value;
    if (!text.trim() || this.over) return;
    $("text").value = "";
    this.typed = 0; // the message ends it
    grow();
    const item = make("li", "message mine waiting");
    item.append(heading(this.name, Date.now()));
    item.append(make("p", "text", text));
    item.append(make("div", "foot", "sending"));
    $("empty").hidden = true;
    $("messages").append(item);
    $("messages").scrollTop = $("messages").scrollHeight;
    this.send(item, text, freshKey());
  }

  /** Sends under `key` until it is known what became of it. */
  async send(item, text, key) {
    const foot = item.querySelector(".foot");
    item.className = "message mine waiting";
    foot.replaceChildren("sending");
    const body = { ...said({ sender: this.name }), text, sent_ms: Date.now() };
    try {
      const sent = await insist(SEND_TRIES, () => ask("POST", `${this.path}/messages`, { body, key }));
      if (sent.held) {
        foot.replaceChildren("held back for a decision");
      } else if (this.shown.has(sent.id)) {
        item.remove();
      } else {
        foot.replaceChildren("stored");
        this.stored.set(sent.id, item);
      }
    } catch (problem) {
      if (problem.retryable) this.offerAgain(item, foot, problem, () => this.send(item, text, key));
      else this.refuse(item, foot, problem, text);
    }
  }

  offerAgain(item, foot, problem, again) {
    item.className = "message mine unknown";
    const button = make("button", "quiet", "Try again");
    button.type = "button";
    button.addEventListener("click", again);
    foot.replaceChildren(`not known whether it arrived (${problem.message})`, button);
  }

  refuse(item, foot, problem, text) {
    item.className = "message mine refused";
    const edit = make("button", "quiet", "Edit");
    edit.type = "button";
    edit.addEventListener("click", () => {
      item.remove();
      $("text").value = text;
      grow();
      $("text").focus();
    });
    foot.replaceChildren(`refused: ${explain(problem)}`, edit);
    if (problem.code === "chat-ended") this.finish();
  }

  /** Says that this person types, not with every letter. */
  types() {
    const now = Date.now();
    const typing = $("text").value.trim() !== "";
    if (this.over || (typing ? now - (this.typed ?? 0) < TYPING_EVERY_MS : !this.typed)) return;
    this.typed = typing ? now : 0;
    this.sign("typing", { ...said({ sender: this.name }), typing });
  }

  /** Says how far this person has read: what is at the end of what is on the screen. */
  reads() {
    const list = $("messages");
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
    if (document.hidden || !atEnd || this.reading) return;
    this.reading = setTimeout(() => {
      this.reading = 0;
      const upto = [...list.children].map((item) => item.dataset.cursor).filter(Boolean).at(-1);
      if (!upto || upto === this.upto) return;
      this.upto = upto;
      this.sign("read", { ...said({ sender: this.name }), upto });
    }, READ_EVERY_MS);
  }

  /** Nothing is lost when it does not arrive. */
  sign(what, body) {
    ask("POST", `${this.path}/${what}`, { body }).catch(() => undefined);
  }

  typing(names) {
    const others = names.filter((name) => name !== this.name);
    const verb = others.length === 1 ? "types" : "type";
    $("typing").textContent = others.length ? `${others.join(", ")} ${verb} …` : "";
  }

  /** Who has read up to where, below the messages. */
  read(marks) {
    this.marks = marks;
    document.querySelectorAll("#messages .seen").forEach((element) => element.remove());
    const others = Object.keys(marks).filter((who) => who !== this.name);
    for (const item of $("messages").children) {
      const names = others.filter((who) => marks[who] === item.dataset.cursor);
      if (names.length) item.append(make("div", "foot seen", `read by ${names.join(", ")}`));
    }
  }

  /** Who is here, who was, and how far the chat has come. */
  present({ status, participants }) {
    $("status").textContent = status;
    for (const person of this.known.values()) person.left = true;
    for (const person of participants) this.known.set(person.id, person);
    $("people").replaceChildren(...[...this.known.values()].map((person) => this.person(person)));
    if (status === "ended") this.finish();
  }

  /** Looks at the facts again and again, while somebody looks at the page. */
  async watch() {
    for (;;) {
      if (!document.hidden) await this.facts();
      await wait(FACTS_EVERY_MS);
    }
  }

  async facts() {
    if (this.asking) return;
    this.asking = true;
    const or = (promise) => promise.catch(() => undefined);
    const [chat, owners, ring] = await Promise.all([
      or(ask("GET", this.path)),
      or(ask("GET", `${this.path}/owners`)),
      or(ask("GET", "/v1/ring")),
    ]);
    this.asking = false;
    if (chat) this.present(chat);
    if (owners) {
      $("leader").textContent = owners.primary ? `${owners.primary}, epoch ${owners.epoch}` : "nobody now";
      $("holders").textContent = owners.ensemble.join(", ");
    }
    if (ring) $("nodes").replaceChildren(...ring.nodes.map((node) => this.node(node)));
  }

  person(person) {
    const here = !person.left && person.status === "connected";
    const item = make("li", here ? "here" : "gone", person.id === this.name ? `${person.id} (you)` : person.id);
    const since = new Date(person.heard_ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const stands = person.left ? "left" : here ? "" : `${person.status}, heard at ${since}`;
    const more = [person.role, stands].filter(Boolean);
    if (more.length) item.append(" ", make("small", "", more.join(", ")));
    return item;
  }

  node(node) {
    const item = make("li");
    const url = URL.canParse(node.http) ? new URL(node.http) : null;
    if (node.state !== "up" || url?.protocol !== "http:" || url.host === location.host) {
      item.append(node.id, " ", make("small", "", node.state === "up" ? "here" : node.state));
      return item;
    }
    const link = make("a", "", node.id);
    link.href = `${url.origin}/?chat=${encodeURIComponent(this.token)}`;
    link.target = "_blank";
    link.rel = "noopener";
    item.append(link, " ", make("small", "", url.host));
    return item;
  }

  async leave() {
    await ask("DELETE", `${this.path}/members/${encodeURIComponent(this.name)}`).catch(() => undefined);
    location.assign("/");
  }

  async end() {
    if (!confirm("End this chat for everybody? It can still be read afterwards.")) return;
    try {
      await insist(4, () => ask("POST", `${this.path}/end`, { body: said({ sender: this.name }) }));
      this.finish();
    } catch (problem) {
      this.notice(explain(problem));
    }
  }

  /** Nothing can be sent any more. */
  finish() {
    if (this.over) return;
    this.over = true;
    $("text").disabled = true;
    $("text").placeholder = "This chat is over";
    $("compose").querySelector("button").disabled = true;
    $("end").disabled = true;
    this.facts();
  }

  notice(text) {
    $("notice").textContent = text;
    $("notice").hidden = !text;
  }
}

// ------------------------------------------------------------------------------------------ messages

function heading(sender, timeMs, route) {
  const head = make("div", "head");
  head.append(make("strong", "", sender));
  const time = make("time", "", new Date(timeMs).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = new Date(timeMs).toISOString();
  head.append(time);
  if (route?.only) head.append(make("span", "", `to ${route.only.join(", ")}`));
  return head;
}

function content(message) {
  if (message.redacted) return make("p", "text taken", takenBack(message.redacted));
  if (message.archive) return attached(message);
  return body(message);
}

/** What a message says, with a link to what it refers to. */
function attached({ archive, ...rest }) {
  const part = make("div", "");
  if (rest.text !== "") part.append(body(rest));
  const name = archive.key.split("/").pop();
  const link = make("a", "text", name);
  const key = archive.key.split("/").map(encodeURIComponent).join("/");
  link.href = `/v1/archive/${encodeURIComponent(archive.collection)}/${key}?version=${archive.version}`;
  link.download = name;
  link.addEventListener("click", (event) => {
    if (!authorized().Authorization) return;
    event.preventDefault();
    fetchFile(link.href, name).catch((problem) => link.replaceChildren(`${name} (${problem.message})`));
  });
  part.append(link);
  return part;
}

/** Saves what only somebody with a token is given. */
async function fetchFile(path, name) {
  const answer = await fetch(path, { headers: authorized() });
  if (!answer.ok) throw new Error(answer.status === 404 ? "it is gone" : "it cannot be read");
  const saving = make("a", "");
  saving.href = URL.createObjectURL(await answer.blob());
  saving.download = name;
  saving.click();
  URL.revokeObjectURL(saving.href);
}

function body(message) {
  if (message.text !== undefined) return make("p", "text", message.text);
  if ("json" in message) return make("pre", "text", JSON.stringify(message.json, null, 2));
  return make("p", "text", `${message.media_type}, ${Math.floor((message.base64.length * 3) / 4)} bytes`);
}

/** Why a message says nothing any more. */
function takenBack({ by, reason }) {
  return `Taken back${by ? ` by ${by}` : ""}${reason ? `: ${reason}` : "."}`;
}

/** What a message of the system says, in words. */
function describe(message) {
  if (message.redacted) return takenBack(message.redacted);
  const what = message.json ?? {};
  if (message.kind === "chat.status") return `The chat has ${what.status}.`;
  if (message.kind === "user.status") return `${what.first_name ?? what.user} is ${what.status}.`;
  return message.text ?? JSON.stringify(what);
}

/** Gives the field the height of what is in it. */
function grow() {
  $("text").rows = Math.min(6, $("text").value.split("\n").length);
}

// ------------------------------------------------------------------------------------------ begin

const [chatGiven, nameGiven] = [address.get("chat"), address.get("as")];
if (chatGiven && nameGiven) {
  const name = subject() ?? nameGiven;
  enter(chatGiven, name).catch((problem) => openDoor(explain(problem), problem.code));
} else openDoor();
