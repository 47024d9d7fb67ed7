"""LangChain's ChatOpenAI: invoke and stream.

pip install langchain-openai
python langchain_chat.py
"""

import os

from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    model="meta-model",
    base_url=os.environ.get("OPENAI_BASE_URL") or "http://127.0.0.1:8000/v1",
    # RELAY_API_KEY's value if the gateway has one; any other text will do if it has none.
    api_key=os.environ.get("OPENAI_API_KEY") or "any",
)

print("--- invoke")
answer = llm.invoke("Why is the sky blue?")
print(answer.content)
print(f"answered by {answer.response_metadata['model_name']}")

print("--- stream")
for chunk in llm.stream([("system", "Be brief."), ("human", "Why is the sea salty?")]):
    print(chunk.content, end="", flush=True)
print()
