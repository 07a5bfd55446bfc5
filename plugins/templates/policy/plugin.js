// What was said is archived when the chat ends.
import * as settings from 'carillon:plugin/settings@0.1.0';

const HOUR_MS = 3_600_000;

// How long a chat is kept after it has ended.
const keepDays = () => JSON.parse(settings.one('keep_days') ?? 'null');

export const lifecycle = {
  checkConfig(config) {
    const detail = 'missing or no number: write keep_days = 30';
    return Number.isInteger(keepDays()) ? [] : [{ path: 'keep_days', detail }];
  },
};

export const persistencePolicy = {
  // The node's own rules win where they are stronger.
  planFor(context, moment, stats) {
    const usual = { durability: 'quorum', dropKinds: [], archiveNow: false, options: [] };
    if (moment !== 'ended') {
      return usual;
    }
    if (Number(stats.messages) === 0) {
      return { ...usual, keepMs: HOUR_MS };
    }
    return {
      durability: 'archive',
      keepMs: keepDays() * 24 * HOUR_MS,
      dropKinds: ['typing'],
      archiveNow: true,
      options: [],
    };
  },
};
