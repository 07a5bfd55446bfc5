// Checks [plugins.polite.config] before the plugin is used.
package export_carillon_plugin_lifecycle

import (
	"strconv"

	. "wit_component/carillon_plugin_lifecycle"
	settings "wit_component/carillon_plugin_settings"
)

func CheckConfig(config string) []Problem {
	var problems []Problem
	if settings.Text("word").SomeOr("") == "" {
		problems = append(problems, Problem{Path: "word", Detail: "missing or empty: write word = \"darn\""})
	}
	if _, err := strconv.ParseUint(settings.One("most").SomeOr(""), 10, 32); err != nil {
		problems = append(problems, Problem{Path: "most", Detail: "missing or no number: write most = 2"})
	}
	return problems
}
