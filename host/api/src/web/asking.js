// What the chat page asks of the node it came from: with the access token if this tab has one, and again where that is safe.

const PAUSE_MS_MAX = 5000; // between two tries
const PAUSE_MS_FIRST = 200;
const ANSWER_MS_MAX = 30000; // of a node that takes a request and then says nothing, beside what it was asked to wait

const BEARER = "carillon-bearer"; // where the access token is kept, for as long as this tab is open

export const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** The pause after so many failures: random, so that many pages do not come back at once. */
export const pause = (failures) => wait(Math.random() * Math.min(PAUSE_MS_MAX, PAUSE_MS_FIRST * 2 ** failures));

/** What a node said when it did not do something; `status` 0 is a node that did not answer. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.reason || problem.detail || problem.title || "no answer");
    Object.assign(this, { status, code: problem.code, plugin: problem.plugin });
    // What has no code is from something in between: what that cannot do now, it may be able to later.
    const between = problem.code === undefined && (status === 0 || status >= 500);
    this.retryable = between || problem.retryable === true;
    this.pauseMs = problem.retry_after_ms ?? 0;
  }
}

/** A node that did not answer, or something between that did not let it. */
export const unanswered = () => new Problem(0, { detail: "the node does not answer" });

/** The access token of this tab, if there is one. */
export const bearer = () => sessionStorage.getItem(BEARER);

export const setBearer = (token) => sessionStorage.setItem(BEARER, token);

export function authorized() {
  return bearer() ? { Authorization: `Bearer ${bearer()}` } : {};
}

/** Whom the access token names; undefined without one, or with one that cannot be read. */
export function subject() {
  try {
    const claims = bearer().split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(claims), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)).sub;
  } catch {
    return undefined;
  }
}

/** What only those say who have no token to say it for them. */
export const said = (fields) => (subject() === undefined ? fields : {});

/** Asks once. `waitMs` is how long the node was asked to wait. */
export async function ask(method, path, { body, key, waitMs = 0 } = {}) {
  const headers = authorized();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), waitMs + ANSWER_MS_MAX);
  try {
    const answer = await fetch(path, { method, headers, signal: stop.signal, body: body && JSON.stringify(body) });
    const text = await answer.text();
    const value = parse(text);
    if (!answer.ok) throw new Problem(answer.status, value ?? { detail: text.slice(0, 200) });
    if (value === undefined) throw unanswered();
    return value;
  } catch (error) {
    // What was cut off on its way is no answer either.
    throw error instanceof Problem ? error : unanswered();
  } finally {
    clearTimeout(timer);
  }
}

/** JSON; nothing is an object without fields, and undefined is what is no JSON. */
function parse(text) {
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    return undefined;
  }
}

/** Tries until it is answered for good. */
export async function insist(tries, call) {
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

export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
