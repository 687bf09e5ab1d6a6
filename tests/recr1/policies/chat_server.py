"""A server with OpenAI's API in a process of its own, on loopback, that misbehaves when told to, as `loopback` does.

It writes the words of the last message backwards; a seed turns them, so that samples differ. Each word has the
log-probability of its number of letters, negated, unless the model is called "mute".
"""

from __future__ import annotations

from tests.retrievers.remote.loopback import Handler, serve


class Chat(Handler):
    def search(self, path, asked):
        with self.lock:
            self.log.append({"path": path, "headers": dict(self.headers), "asked": asked})
            fault = self.faults.pop(0) if self.faults else {}
        words = asked["messages"][-1]["content"].split()[::-1]
        turn = asked.get("seed", 0) % max(len(words), 1) if asked["temperature"] else 0
        words = (words[turn:] + words[:turn])[: asked["max_tokens"]]
        choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(words)}, "finish_reason": "stop"}
        if asked.get("logprobs") and asked["model"] != "mute":
            choice["logprobs"] = {"content": [{"token": word, "logprob": -float(len(word))} for word in words]}
        read = sum(len(message["content"].split()) for message in asked["messages"])
        self.answer({"choices": [choice], "usage": {"prompt_tokens": read, "completion_tokens": len(words)}}, fault)


if __name__ == "__main__":
    serve(Chat)
