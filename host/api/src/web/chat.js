// The chat page. It talks only to the node it came from, with the same API as everybody else: messages
// come by long poll with a cursor, and are sent under a key, so that trying again is safe. Whatever
// somebody wrote becomes text, never markup.

const WAIT_S = 25; // of one long poll; a node allows 30
const SEND_TRIES = 8; // under one key, before the person is asked
const PAUSE_MS_MAX = 5000; // between two tries
const FACTS_EVERY_MS = 5000; // who is in the chat, who leads it

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

async function ask(method, path, { body, key, signal } = {}) {
  const headers = {};
  const bearer = sessionStorage.getItem(BEARER);
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
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
    $("leave").addEventListener("click", () => this.leave());
    $("end").addEventListener("click", () => this.end());
    $("text").focus();
    this.follow();
    this.watch();
  }

  /** Reads what comes, for ever. */
  async follow() {
    let cursor = "";
    for (let failures = 0; ; ) {
      // At once after a failure: nobody should wait to hear that the node is back.
      const waits = cursor && failures === 0 ? WAIT_S : 0;
      const query = new URLSearchParams({ ...said({ as: this.name }), wait: waits, limit: 200 });
      if (cursor) query.set("after", cursor);
      try {
        const page = await ask("GET", `${this.path}/messages?${query}`);
        failures = 0;
        cursor = page.cursor;
        state("connected", "good");
        this.notice("");
        for (const message of page.messages) this.show(message);
        if (page.messages.length) this.facts();
      } catch (problem) {
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
    list.insertBefore(this.render(message), onItsWay);
    if (atEnd || message.sender === this.name) list.scrollTop = list.scrollHeight;
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
    if (chat) {
      $("status").textContent = chat.status;
      $("people").replaceChildren(...chat.participants.map((person) => this.person(person)));
      if (chat.status === "ended") this.finish();
    }
    if (owners) {
      $("leader").textContent = owners.primary ? `${owners.primary}, epoch ${owners.epoch}` : "nobody now";
      $("holders").textContent = owners.ensemble.join(", ");
    }
    if (ring) $("nodes").replaceChildren(...ring.nodes.map((node) => this.node(node)));
  }

  person(person) {
    const item = make("li", "", person.id === this.name ? `${person.id} (you)` : person.id);
    const more = [person.role, person.status === "connected" ? "" : person.status].filter(Boolean);
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
  if (message.text !== undefined) return make("p", "text", message.text);
  if ("json" in message) return make("pre", "text", JSON.stringify(message.json, null, 2));
  return make("p", "text", `${message.media_type}, ${Math.floor((message.base64.length * 3) / 4)} bytes`);
}

/** What a message of the system says, in words. */
function describe(message) {
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
