// Who calls is greeted and may ask for a person.
import * as settings from 'carillon:plugin/settings@0.1.0';

const say = (val) => ({ tag: 'say', val });
const hangUp = [{ tag: 'prompt', val: say('goodbye') }, { tag: 'hangup' }];

export const lifecycle = {
  checkConfig(config) {
    const missing = ['greeting', 'person'].filter((key) => !settings.text(key));
    return missing.map((path) => ({ path, detail: 'missing or empty' }));
  },
};

export const twilioHandler = {
  // What is to be done, in order. Whatever it says is escaped by the host.
  onRequest(context, request) {
    const greeting = settings.text('greeting');
    if (request.channel === 'sms') {
      return [{ tag: 'message', val: greeting }];
    }
    if (request.channel !== 'voice') {
      return [];
    }
    if (request.path === '') {
      const prompts = [say(greeting), say('press 1 for a person')];
      const gather = { prompts, digits: 1, timeoutS: 5, action: 'choice' };
      return [{ tag: 'gather', val: gather }, ...hangUp];
    }
    const pressed = request.params.find(([name]) => name === 'Digits');
    if (request.path === 'choice' && pressed && pressed[1] === '1') {
      return [{ tag: 'dial', val: settings.text('person') }];
    }
    return hangUp;
  },
};
