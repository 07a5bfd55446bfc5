// A word is not said here: it is replaced, and after a few times the message is rejected.
//
// The arguments of an export and the results of an import are ours to free; what an export returns is
// allocated here (plugin_string_dup) and freed by the caller.
#include "plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef exports_carillon_plugin_message_handler_context_t context_t;
typedef exports_carillon_plugin_message_handler_message_t message_t;
typedef exports_carillon_plugin_message_handler_decision_t decision_t;
typedef exports_carillon_plugin_message_handler_failure_t failure_t;

static plugin_string_t text(const char *c) { return (plugin_string_t){(uint8_t *)c, strlen(c)}; }

// How often everybody may be rude; -1 when the setting is missing or no number.
static long most(void) {
  plugin_string_t key = text("most"), json;
  if (!carillon_plugin_settings_one(&key, &json)) return -1;
  char digits[12], *end;
  snprintf(digits, sizeof digits, "%.*s", (int)json.len, (char *)json.ptr);
  long number = strtol(digits, &end, 10);
  bool whole = end != digits && *end == 0 && json.len < sizeof digits;
  plugin_string_free(&json);
  return whole ? number : -1;
}

static void problem(exports_carillon_plugin_lifecycle_list_problem_t *all, const char *path,
                    const char *detail) {
  all->ptr = realloc(all->ptr, (all->len + 1) * sizeof *all->ptr);
  plugin_string_dup(&all->ptr[all->len].path, path);
  plugin_string_dup(&all->ptr[all->len].detail, detail);
  all->len++;
}

void exports_carillon_plugin_lifecycle_check_config(
    plugin_string_t *config, exports_carillon_plugin_lifecycle_list_problem_t *problems) {
  plugin_string_free(config);  // `settings` tells the same
  *problems = (exports_carillon_plugin_lifecycle_list_problem_t){NULL, 0};
  plugin_string_t key = text("word"), word = {NULL, 0};
  if (!carillon_plugin_settings_text(&key, &word) || word.len == 0)
    problem(problems, "word", "missing or empty: write word = \"darn\"");
  plugin_string_free(&word);
  if (most() < 0) problem(problems, "most", "missing or no number: write most = 2");
}

// A power said no: the operator decides what that means for the message.
static bool failed(carillon_plugin_kv_cap_error_t *error, failure_t *failure) {
  *failure = (failure_t){error->code, error->detail, false};
  return false;
}

// Counts what the sender said; false when that cannot be kept.
static bool count(plugin_string_t sender, char *digits, size_t room, failure_t *failure) {
  char name[512];
  snprintf(name, sizeof name, "rude/%.*s", (int)sender.len, (char *)sender.ptr);
  plugin_string_t key = text(name);
  carillon_plugin_kv_cap_error_t error;
  plugin_option_list_u8_t before;
  if (!carillon_plugin_kv_get(&key, &before, &error)) return failed(&error, failure);
  digits[0] = 0;
  if (before.is_some) {
    snprintf(digits, room, "%.*s", (int)before.val.len, (char *)before.val.ptr);
    plugin_list_u8_free(&before.val);
  }
  snprintf(digits, room, "%lu", strtoul(digits, NULL, 10) + 1);
  plugin_list_u8_t after = {(uint8_t *)digits, strlen(digits)};
  return carillon_plugin_kv_set(&key, &after, &error) || failed(&error, failure);
}

static const uint8_t *find(const uint8_t *in, const uint8_t *end, plugin_string_t word) {
  for (; word.len && in + word.len <= end; in++)
    if (memcmp(in, word.ptr, word.len) == 0) return in;
  return NULL;
}

// The body with *** instead of the word.
static plugin_list_u8_t starred(plugin_list_u8_t body, plugin_string_t word) {
  const uint8_t *at = body.ptr, *end = body.ptr + body.len, *found;
  uint8_t *out = malloc(body.len * 3 + 1), *to = out;  // a word has at least one byte, stars are three
  while ((found = find(at, end, word))) {
    memcpy(to, at, found - at);
    memcpy(to + (found - at), "***", 3);
    to += found - at + 3;
    at = found + word.len;
  }
  memcpy(to, at, end - at);
  return (plugin_list_u8_t){out, to + (end - at) - out};
}

static bool judge(message_t *message, plugin_string_t word, decision_t *decision, failure_t *failure) {
  plugin_string_t type = message->content.media_type, sender = message->sender.id;
  plugin_list_u8_t body = message->content.body;
  if (type.len != 10 || memcmp(type.ptr, "text/plain", 10) != 0) return true;
  if (!find(body.ptr, body.ptr + body.len, word)) return true;

  char digits[24];
  if (!count(sender, digits, sizeof digits, failure)) return false;
  plugin_tuple2_string_string_t pairs[] = {{text("sender"), sender}, {text("count"), text(digits)}};
  plugin_list_tuple2_string_string_t fields = {pairs, 2};
  plugin_string_t say = text("rude");
  carillon_plugin_log_emit(CARILLON_PLUGIN_LOG_LEVEL_INFO, &say, &fields);

  if (strtol(digits, NULL, 10) > most()) {
    size_t room = word.len + 32;
    char *reason = malloc(room);
    snprintf(reason, room, "\"%.*s\" is not said here", (int)word.len, (char *)word.ptr);
    decision->verdict.tag = CARILLON_PLUGIN_TYPES_VERDICT_REJECT;
    plugin_string_dup(&decision->verdict.val.reject.code, "rude");
    plugin_string_set(&decision->verdict.val.reject.reason, reason);
  } else {
    decision->verdict.tag = CARILLON_PLUGIN_TYPES_VERDICT_REWRITE;
    plugin_string_dup(&decision->verdict.val.rewrite.media_type, "text/plain");
    decision->verdict.val.rewrite.body = starred(body, word);
  }
  decision->notes.ptr = malloc(sizeof *decision->notes.ptr);
  decision->notes.len = 1;
  plugin_string_dup(&decision->notes.ptr->f0, "rude");
  plugin_string_dup(&decision->notes.ptr->f1, digits);
  return true;
}

bool exports_carillon_plugin_message_handler_on_message(context_t *context, message_t *message,
                                                        decision_t *decision, failure_t *failure) {
  memset(decision, 0, sizeof *decision);  // pass, without notes
  plugin_string_t key = text("word"), word = {NULL, 0};
  bool decided = true;
  if (carillon_plugin_settings_text(&key, &word)) decided = judge(message, word, decision, failure);
  plugin_string_free(&word);
  exports_carillon_plugin_message_handler_context_free(context);
  exports_carillon_plugin_message_handler_message_free(message);
  return decided;
}
