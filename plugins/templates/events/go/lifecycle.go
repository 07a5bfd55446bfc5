// Checks [plugins.usher.config] before the plugin is used.
package export_carillon_plugin_lifecycle

import (
	"strconv"

	. "wit_component/carillon_plugin_lifecycle"
	settings "wit_component/carillon_plugin_settings"
)

func CheckConfig(config string) []Problem {
	var problems []Problem
	if settings.Text("greeting").SomeOr("") == "" {
		problems = append(problems, Problem{Path: "greeting", Detail: "missing or empty: write greeting = \"welcome\""})
	}
	if _, err := strconv.ParseUint(settings.One("patience_s").SomeOr(""), 10, 32); err != nil {
		problems = append(problems, Problem{Path: "patience_s", Detail: "missing or no number: write patience_s = 60"})
	}
	return problems
}
