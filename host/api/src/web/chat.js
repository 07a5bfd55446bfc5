// The chat page. It talks only to the node it came from, with the same API as everybody else: messages come as
// `reading.js` finds a way for them, from a cursor; they are sent under a key, so that trying again is safe. Whatever
// somebody wrote becomes text, never markup.

import { ask, authorized, freshKey, insist, said, setBearer, subject, wait } from "./asking.js";
import { Reading } from "./reading.js";

const SEND_TRIES = 8; // under one key, before the person is asked
const FACTS_EVERY_MS = 5000; // who is in the chat, who leads it
const TYPING_EVERY_MS = 3000; // said again; a node forgets it after 6 s
const READ_EVERY_MS = 1000; // how far this person has read

const $ = (id) => document.getElementById(id);

/** An element with text in it. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

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
  if (bearer) setBearer(bearer);
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

/** What it is called how messages come. */
const WAYS = {
  socket: "connected",
  events: "connected, by server-sent events",
  poll: "connected, by long poll",
};

class Room {
  /** Ids of messages that are shown. */
  shown = new Set();
  /** Elements of own messages that were stored and have not come back yet, by id. */
  stored = new Map();
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
    new Reading(this.token, this.name, this).follow();
    this.watch();
  }

  /** Something gets through. What was told while nobody listened is looked up. */
  begun(way) {
    state(WAYS[way], "good");
    this.notice("");
    if (way === "poll") return;
    this.typing([]); // who types is told at the beginning
    this.facts();
  }

  message(message, way) {
    this.show(message);
    // A poll brings messages only.
    if (way === "poll") this.facts();
  }

  /** The node takes its leave; the page comes back to it, or to another behind the same name. */
  leaving() {
    state("connecting again", "bad");
  }

  troubled(problem, failures) {
    state("connecting again", "bad");
    if (failures < 2) return;
    const elsewhere = $("nodes").querySelector("a") ? " The other nodes have this chat, too." : "";
    this.notice(`${problem.message}. What was said meanwhile comes when it does.${elsewhere}`);
  }

  stopped(problem) {
    state("stopped", "bad");
    this.notice(explain(problem));
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
