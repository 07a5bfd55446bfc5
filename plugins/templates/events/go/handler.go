// Who comes is greeted, and asked after a while whether they are there.
package export_carillon_plugin_chat_events

import (
	"strconv"

	. "wit_component/carillon_plugin_chat_events"
	kv "wit_component/carillon_plugin_kv"
	post "wit_component/carillon_plugin_post"
	settings "wit_component/carillon_plugin_settings"
	timers "wit_component/carillon_plugin_timers"
	types "wit_component/carillon_plugin_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

type answer = wit.Result[wit.Unit, Failure]

func OnEvent(context Context, event Event) answer {
	switch event.Name {
	case "member.joined":
		if event.Subject.IsSome() {
			return welcome(event.Subject.Some().Id)
		}
	case "timer.fired":
		return say(types.MakeRouteEveryone(), "is anybody there?")
	}
	// There are more, and may be more one day: chat.started, chat.ended, member.left …
	return done()
}

func welcome(who string) answer {
	key := "greeted/" + who
	before := kv.Get(key)
	if before.IsErr() {
		return failed(before.Err())
	}
	if before.Ok().IsNone() {
		if set := kv.Set(key, []byte("yes")); set.IsErr() {
			return failed(set.Err())
		}
		said := say(types.MakeRouteOnly([]string{who}), settings.Text("greeting").SomeOr(""))
		if said.IsErr() {
			return said
		}
	}
	// A timer of the same name that runs already starts anew.
	patience, _ := strconv.ParseUint(settings.One("patience_s").SomeOr("60"), 10, 32)
	if started := timers.Start("patience", uint32(patience*1000)); started.IsErr() {
		return failed(started.Err())
	}
	return done()
}

func say(route types.Route, text string) answer {
	content := types.Content{MediaType: "text/plain", Body: []byte(text)}
	sent := post.Send(types.Draft{Kind: "text", Route: route, Content: content})
	if sent.IsErr() {
		return failed(sent.Err())
	}
	return done()
}

func done() answer {
	return wit.Ok[wit.Unit, Failure](wit.Unit{})
}

// A power said no: nothing of this call happens.
func failed(e types.CapError) answer {
	return wit.Err[wit.Unit, Failure](Failure{Code: e.Code, Detail: e.Detail})
}
