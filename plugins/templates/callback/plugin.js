// What is asked with a question mark in front is asked of a service, and its answer is said.
import { queue } from 'carillon:plugin/outcall@0.1.0';
import { send } from 'carillon:plugin/post@0.1.0';
import * as settings from 'carillon:plugin/settings@0.1.0';

// QuickJS has no TextEncoder and no TextDecoder: bytes become a string and back by hand.
const decode = (bytes) =>
  decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')));
const encode = (text) =>
  Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));

export const lifecycle = {
  checkConfig(config) {
    const detail = 'missing or empty: write sorry = "nobody knows"';
    return settings.text('sorry') ? [] : [{ path: 'sorry', detail }];
  },
};

export const messageHandler = {
  // The call is made when the message is committed, and tried until it is answered. {{secret:NAME}} in a header would be
  // filled in by the node.
  onMessage(context, message) {
    const { mediaType, body } = message.content;
    const text = mediaType === 'text/plain' ? decode(body) : '';
    if (text.startsWith('?')) {
      // What comes back with the answer: here, who asked.
      queue('facts', '/answers', [], encode(text.slice(1)), message.sender.id);
    }
    return { verdict: { tag: 'pass' }, notes: [] };
  },
};

export const callbackHandler = {
  onReply(context, reply) {
    const answer = reply.status === 200 ? decode(reply.body) : settings.text('sorry');
    const content = { mediaType: 'text/plain', body: encode(`${reply.correlation}, ${answer}`) };
    send({ kind: 'text', route: { tag: 'everyone' }, content, attrs: [] });
  },
};
