// The official OpenAI client for Node: whole and streamed.
//
// npm install openai
// node node_openai.mjs

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL || "http://127.0.0.1:8000/v1",
  // RELAY_API_KEY's value if the gateway has one; any other text will do if it has none.
  apiKey: process.env.OPENAI_API_KEY || "any",
});

console.log("--- whole");
const answer = await client.chat.completions.create({
  model: "meta-model",
  messages: [{ role: "user", content: "Why is the sky blue?" }],
});
console.log(answer.choices[0].message.content);
console.log(`answered by ${answer.model}`);

console.log("--- streamed");
const chunks = await client.chat.completions.create({
  model: "free-fast",
  messages: [{ role: "user", content: "Why is the sea salty?" }],
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of chunks) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  if (chunk.usage) {
    console.log(`\n${chunk.usage.completion_tokens} tokens by ${chunk.model}`);
  }
}
