// Who comes is greeted, and asked after a while whether they are there.
//
// The arguments of an export and the results of an import are ours to free; what an export returns is
// allocated here (plugin_string_dup) and freed by the caller.
#include "plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef exports_carillon_plugin_chat_events_context_t context_t;
typedef exports_carillon_plugin_chat_events_event_t event_t;
typedef exports_carillon_plugin_chat_events_failure_t failure_t;
typedef carillon_plugin_types_cap_error_t cap_error_t;

static plugin_string_t text(const char *c) { return (plugin_string_t){(uint8_t *)c, strlen(c)}; }

static bool is(plugin_string_t a, const char *b) {
  return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0;
}

// How long after somebody came it is asked whether they are there; -1 when the setting is missing or no number.
static long patience_s(void) {
  plugin_string_t key = text("patience_s"), json;
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
  plugin_string_t key = text("greeting"), greeting = {NULL, 0};
  if (!carillon_plugin_settings_text(&key, &greeting) || greeting.len == 0)
    problem(problems, "greeting", "missing or empty: write greeting = \"welcome\"");
  plugin_string_free(&greeting);
  if (patience_s() < 0) problem(problems, "patience_s", "missing or no number: write patience_s = 60");
}

static bool say(carillon_plugin_types_route_t route, plugin_string_t words, cap_error_t *error) {
  carillon_plugin_types_draft_t draft = {
      text("text"), route, {text("text/plain"), {words.ptr, words.len}}, {NULL, 0}};
  plugin_string_t id;
  if (!carillon_plugin_post_send(&draft, &id, error)) return false;
  plugin_string_free(&id);
  return true;
}

// Greets somebody unless that was done before.
static bool greet(plugin_string_t who, cap_error_t *error) {
  char name[512];
  snprintf(name, sizeof name, "greeted/%.*s", (int)who.len, (char *)who.ptr);
  plugin_string_t key = text(name), setting = text("greeting"), greeting;
  plugin_option_list_u8_t before;
  if (!carillon_plugin_kv_get(&key, &before, error)) return false;
  if (before.is_some) {
    plugin_list_u8_free(&before.val);
    return true;
  }
  plugin_list_u8_t yes = {(uint8_t *)"yes", 3};
  if (!carillon_plugin_kv_set(&key, &yes, error)) return false;
  if (!carillon_plugin_settings_text(&setting, &greeting)) return true;
  carillon_plugin_types_route_t only = {CARILLON_PLUGIN_TYPES_ROUTE_ONLY, {.only = {&who, 1}}};
  bool done = say(only, greeting, error);
  plugin_string_free(&greeting);
  return done;
}

static bool handle(event_t *event, cap_error_t *error) {
  if (is(event->name, "member.joined") && event->subject.is_some) {
    // A timer of the same name that runs already starts anew.
    plugin_string_t patience = text("patience");
    return greet(event->subject.val.id, error) &&
           carillon_plugin_timers_start(&patience, patience_s() * 1000, error);
  }
  if (is(event->name, "timer.fired"))
    return say((carillon_plugin_types_route_t){CARILLON_PLUGIN_TYPES_ROUTE_EVERYONE, {}},
               text("is anybody there?"), error);
  // There are more, and may be more one day: chat.started, chat.ended, member.left …
  return true;
}

bool exports_carillon_plugin_chat_events_on_event(context_t *context, event_t *event,
                                                  failure_t *failure) {
  cap_error_t error;
  bool done = handle(event, &error);
  // A power said no: nothing of this call happens.
  if (!done) *failure = (failure_t){error.code, error.detail, false};
  exports_carillon_plugin_chat_events_context_free(context);
  exports_carillon_plugin_chat_events_event_free(event);
  return done;
}
