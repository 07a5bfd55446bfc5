// A word is not said here: it is replaced, and after a few times the message is rejected.
import * as kv from 'carillon:plugin/kv@0.1.0';
import { emit } from 'carillon:plugin/log@0.1.0';
import * as settings from 'carillon:plugin/settings@0.1.0';

// QuickJS has no TextEncoder and no TextDecoder: bytes become a string and back by hand.
const decode = (bytes) =>
  decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')));
const encode = (text) =>
  Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));

// How often everybody may be rude.
const most = () => JSON.parse(settings.one('most') ?? 'null');

export const lifecycle = {
  checkConfig(config) {
    const problems = [];
    if (!settings.text('word')) {
      problems.push({ path: 'word', detail: 'missing or empty: write word = "darn"' });
    }
    if (!Number.isInteger(most())) {
      problems.push({ path: 'most', detail: 'missing or no number: write most = 2' });
    }
    return problems;
  },
};

export const messageHandler = {
  // What the WIT calls ok(x) is `return x`; err(e) is `throw e`, and so is a power that says no.
  onMessage(context, message) {
    const word = settings.text('word');
    const { mediaType, body } = message.content;
    const text = mediaType === 'text/plain' ? decode(body) : '';
    if (!text.includes(word)) {
      return { verdict: { tag: 'pass' }, notes: [] };
    }

    const sender = message.sender.id;
    const key = `rude/${sender}`;
    const before = kv.get(key);
    const count = (before ? Number(decode(before)) : 0) + 1;
    kv.set(key, encode(String(count)));
    emit('info', 'rude', [['sender', sender], ['count', String(count)]]);

    const verdict =
      count > most()
        ? { tag: 'reject', val: { code: 'rude', reason: `"${word}" is not said here` } }
        : { tag: 'rewrite', val: { mediaType, body: encode(text.split(word).join('***')) } };
    return { verdict, notes: [['rude', String(count)]] };
  },
};
