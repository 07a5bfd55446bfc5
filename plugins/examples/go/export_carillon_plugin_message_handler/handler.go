// A word is not said here: it is replaced, and after a few times the message is rejected.
package export_carillon_plugin_message_handler

import (
	"bytes"
	"strconv"

	kv "wit_component/carillon_plugin_kv"
	log "wit_component/carillon_plugin_log"
	. "wit_component/carillon_plugin_message_handler"
	settings "wit_component/carillon_plugin_settings"
	types "wit_component/carillon_plugin_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

type answer = wit.Result[Decision, Failure]

func decided(verdict types.Verdict, notes []types.Attr) answer {
	return wit.Ok[Decision, Failure](Decision{Verdict: verdict, Notes: notes})
}

// A power said no: the operator decides what that means for the message.
func failed(e types.CapError) answer {
	return wit.Err[Decision, Failure](Failure{Code: e.Code, Detail: e.Detail})
}

func OnMessage(context Context, message Message) answer {
	word := settings.Text("word").SomeOr("")
	content := message.Content
	if content.MediaType != "text/plain" || !bytes.Contains(content.Body, []byte(word)) {
		return decided(types.MakeVerdictPass(), nil)
	}

	sender := message.Sender.Id
	key := "rude/" + sender
	before := kv.Get(key)
	if before.IsErr() {
		return failed(before.Err())
	}
	number, _ := strconv.Atoi(string(before.Ok().SomeOr(nil)))
	count := strconv.Itoa(number + 1)
	if set := kv.Set(key, []byte(count)); set.IsErr() {
		return failed(set.Err())
	}
	log.Emit(log.LevelInfo, "rude", []types.Attr{{F0: "sender", F1: sender}, {F0: "count", F1: count}})

	most, _ := strconv.Atoi(settings.One("most").SomeOr("0"))
	notes := []types.Attr{{F0: "rude", F1: count}}
	if number+1 > most {
		return decided(types.MakeVerdictReject(types.Rejection{
			Code:         "rude",
			Reason:       "\"" + word + "\" is not said here",
			RetryAfterMs: wit.None[uint32](),
		}), notes)
	}
	body := bytes.ReplaceAll(content.Body, []byte(word), []byte("***"))
	return decided(types.MakeVerdictRewrite(types.Content{MediaType: "text/plain", Body: body}), notes)
}
