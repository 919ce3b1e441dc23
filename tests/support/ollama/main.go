// Renders Go templates as Ollama's server renders a TEMPLATE for /api/chat: neighbours of one role are merged, all system
// prompts are joined in .System, and the turns are .Messages.
//
// Reads [{"template": …, "system": …, "messages": [{"role": …, "content": …}]}] and writes [{"text": …, "error": …}].
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type job struct {
	Template string    `json:"template"`
	System   string    `json:"system"`
	Messages []Message `json:"messages"`
}

type result struct {
	Text  string `json:"text"`
	Error string `json:"error"`
}

// given adds the SYSTEM of the Modelfile where the conversation begins without a system prompt.
func given(system string, messages []Message) []Message {
	if system == "" || (len(messages) > 0 && messages[0].Role == "system") {
		return messages
	}
	return append([]Message{{"system", system}}, messages...)
}

func merged(messages []Message) (string, []*Message) {
	var systems []string
	var turns []*Message
	for _, message := range messages {
		if message.Role == "system" {
			systems = append(systems, message.Content)
		}
		if last := len(turns) - 1; last >= 0 && turns[last].Role == message.Role && message.Role != "tool" {
			turns[last].Content += "\n\n" + message.Content
			continue
		}
		turns = append(turns, &Message{message.Role, message.Content})
	}
	return strings.Join(systems, "\n\n"), turns
}

func render(asked job) result {
	parsed, err := template.New("").Option("missingkey=zero").Parse(asked.Template)
	if err != nil {
		return result{Error: err.Error()}
	}
	system, turns := merged(given(asked.System, asked.Messages))
	values := map[string]any{"System": system, "Messages": turns, "Tools": []string(nil), "Response": ""}
	var text strings.Builder
	if err := parsed.Execute(&text, values); err != nil {
		return result{Error: err.Error()}
	}
	return result{Text: text.String()}
}

func main() {
	var jobs []job
	if err := json.NewDecoder(os.Stdin).Decode(&jobs); err != nil {
		panic(err)
	}
	results := make([]result, 0, len(jobs))
	for _, asked := range jobs {
		results = append(results, render(asked))
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}
