// Who comes is greeted, and asked after a while whether they are there.
import * as kv from 'carillon:plugin/kv@0.1.0';
import { send } from 'carillon:plugin/post@0.1.0';
import * as settings from 'carillon:plugin/settings@0.1.0';
import * as timers from 'carillon:plugin/timers@0.1.0';

// QuickJS has no TextEncoder: a string becomes bytes by hand.
const encode = (text) =>
  Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));

// How long after somebody came it is asked whether they are there.
const patienceS = () => JSON.parse(settings.one('patience_s') ?? 'null');

const say = (route, text) => {
  const content = { mediaType: 'text/plain', body: encode(text) };
  send({ kind: 'text', route, content, attrs: [] });
};

const welcome = (who) => {
  const key = `greeted/${who}`;
  if (!kv.get(key)) {
    kv.set(key, encode('yes'));
    say({ tag: 'only', val: [who] }, settings.text('greeting'));
  }
  // A timer of the same name that runs already starts anew.
  timers.start('patience', patienceS() * 1000);
};

export const lifecycle = {
  checkConfig(config) {
    const problems = [];
    if (!settings.text('greeting')) {
      problems.push({ path: 'greeting', detail: 'missing or empty: write greeting = "welcome"' });
    }
    if (!Number.isInteger(patienceS())) {
      problems.push({ path: 'patience_s', detail: 'missing or no number: write patience_s = 60' });
    }
    return problems;
  },
};

export const chatEvents = {
  // What the WIT calls ok is to return; err(e) is `throw e`, and so is a power that says no.
  onEvent(context, event) {
    if (event.name === 'member.joined') {
      welcome(event.subject.id);
    } else if (event.name === 'timer.fired') {
      say({ tag: 'everyone' }, 'is anybody there?');
    }
    // There are more, and may be more one day: chat.started, chat.ended, member.left …
  },
};
