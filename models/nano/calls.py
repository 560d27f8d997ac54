"""Tool calls: schemas, requests, the call as JSON, and the answer from the result."""

import json
import re

import lexicon as L
from knowledge import Knowledge
from words import TOOLS, article, cap

TOOL_TEXT = [
    (
        "You can call these tools:\n<tools>\n",
        '\n</tools>\nTo call a tool, answer with:\n<tool_call>\n{"name": TOOL_NAME, "arguments": ARGUMENTS}\n</tool_call>',
    ),
    (
        "# Tools\n\nThe following functions are available:\n<tools>\n",
        '\n</tools>\n\nReturn a call as JSON inside <tool_call></tool_call>:\n<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>',
    ),
    (
        "You have access to functions. Use one when it helps.\n<tools>\n",
        '\n</tools>\nA call looks like this: <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>',
    ),
    (
        "Available tools: <tools>\n",
        "\n</tools> Write calls between <tool_call> and </tool_call> as JSON with name and arguments.",
    ),
]


def tool_system(system, listing, style=0):
    """The system message that offers tools; style 0 is what the chat template writes."""
    head, tail = TOOL_TEXT[style]
    return (system + "\n\n" if system else "") + head + "\n".join(listing) + tail


class Calls(Knowledge):
    """Conversations in which tools are offered; most are used, some rightly left alone."""

    def schema(self, names, kinds, descriptions, name, description):
        """The JSON Schema of a tool, with the variety that real clients show."""
        typed = (
            lambda k: "integer"
            if k in ("num", "bignum", "age", "year")
            else "number"
            if k == "float"
            else "string"
        )
        props = {
            n: {"type": typed(k), "description": d} for n, k, d in zip(names, kinds, descriptions)
        }
        required = list(names)
        if self.chance(0.25):
            for p in props.values():
                p.pop("description")
        elif self.chance(0.2):
            for (n, p), k in zip(props.items(), kinds):
                p["description"] += f", e.g. {self.value(k)}"
        if self.chance(0.12):  # an optional parameter that stays unused
            n, d = self.pick(
                [
                    ("unit", "Unit of the result"),
                    ("limit", "Number of results"),
                    ("verbose", "More output"),
                    ("lang", "Language of the result"),
                    ("format", "Output format"),
                ]
            )
            if n not in props:
                props[n] = {"type": self.pick(["string", "integer"]), "description": d}
        elif self.chance(0.06):
            props["unit"] = {
                "type": "string",
                "enum": self.pick(
                    [["celsius", "fahrenheit"], ["metric", "imperial"], ["short", "long"]]
                ),
            }
        params = {"type": "object", "properties": props}
        if self.chance(0.9):
            params["required"] = required
        fn = {"name": name, "description": description, "parameters": params}
        return fn

    def tool(self):
        """A tool and one use of it: (schema, request, arguments, result, answer)."""
        if self.chance(0.72):
            t = self.pick(TOOLS)
            names, kinds = [self.pick(n) for n, _, _ in t.params], [k for _, k, _ in t.params]
            vals = [self.value(k) for k in kinds]
            name = self.pick(t.names)
            if self.chance(0.15):
                name = re.sub(r"_(\w)", lambda m: m[1].upper(), name)
            fn = self.schema(
                names, kinds, [d for _, _, d in t.params], name, self.pick(t.descriptions)
            )
            request = self.pick(t.asks).format(*vals)
            result = {k: self.value(v) for k, v in t.result}
            answer = t.answer.format(*vals, **result)
            kinds_out = dict(t.result)
        else:  # an invented one
            verb, noun = self.pick(L.TOOL_VERB), self.pick([self.pick(L.TOOL_NOUN), self.word()])
            kind = self.pick(
                ["code", "name", "city", "num", "word", "date", "email", "day", "path"]
            )
            label = {
                "code": "id",
                "num": "number",
                "word": "name",
                "date": "date",
                "email": "email",
                "day": "day",
                "path": "file",
            }.get(kind, kind)
            param = self.pick([label, f"{noun}_{label}", label])
            vals, names, kinds = [self.value(kind)], [param], [kind]
            descs = [self.pick([f"{cap(label)} of the {noun}", f"The {label}", f"Which {noun}"])]
            request = self.pick(
                [
                    "{v} the {n} {x}.",
                    "Please {v} the {n} {x}.",
                    "{v} {n} {x}.",
                    "I want to {v} the {n} {x}.",
                    "Can you {v} the {n} {x}?",
                    "Use the tool to {v} {n} {x}.",
                ]
            ).format(v=verb, n=noun, x=vals[0])
            if self.chance(0.35):
                k2 = self.pick(["num", "time", "colour", "name", "phrase", "price"])
                p2 = {
                    "num": "amount",
                    "time": "time",
                    "colour": "colour",
                    "name": "owner",
                    "phrase": "comment",
                    "price": "price",
                }[k2]
                v2 = self.value(k2)
                names, kinds, vals, descs = (
                    names + [p2],
                    kinds + [k2],
                    vals + [v2],
                    descs + [f"The {p2}"],
                )
                request = request.rstrip(".?") + self.pick(
                    [f" with the {p2} {v2}.", f", {p2} {v2}."]
                )
            fn = self.schema(
                names,
                kinds,
                descs,
                self.pick([f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}"]),
                self.pick(
                    [
                        f"{cap(verb)} a {noun}.",
                        f"{cap(verb)} the given {noun}.",
                        f"Tool to {verb} a {noun}.",
                    ]
                ),
            )
            key = self.pick(
                ["state", "price", "owner", "code", "date", "result", "count", "colour", "place"]
            )
            kinds_out = {
                key: {
                    "state": "ordstat",
                    "price": "price",
                    "owner": "name",
                    "date": "date",
                    "result": "word",
                    "count": "num",
                    "colour": "colour",
                    "place": "city",
                }.get(key, key)
            }
            result = {key: self.value(kinds_out[key])}
            answer = f"The {key} is {result[key]}."
            if self.chance(0.4):
                result, answer, kinds_out = (
                    {"status": "ok"},
                    f"Done. I used the tool to {verb} the {noun}.",
                    {},
                )
        number = (
            lambda v, k: int(v)
            if k in ("num", "bignum", "temp_c")
            else float(v)
            if k == "float"
            else v
        )
        args = {n: number(v, k) for n, v, k in zip(names, vals, kinds)}
        result = {n: number(v, kinds_out.get(n)) for n, v in result.items()}
        if self.chance(0.06):
            error = self.pick(
                [
                    "not found",
                    "no permission",
                    "service is down",
                    "timeout",
                    "unknown " + names[0],
                    "invalid " + names[-1],
                ]
            )
            result, answer = {"error": error}, f"The tool reported an error: {error}."
        if not answer.endswith((".", "!", "?")):
            answer += "."
        if request[0].isalpha() and self.chance(0.12):
            request = (
                self.pick(["Please help: ", "Hi, ", "Hello! ", "Next: ", "Now this: "]) + request
            )
        return article(fn["description"]) and fn, cap(article(request)), args, result, cap(answer)

    def tools(self, multi=None):
        """A conversation with one to four tools on offer."""
        uses = []
        for _ in range(self.pick([1, 2, 2, 3, 3, 4])):
            u = self.tool()
            if u[0]["name"] not in {x[0]["name"] for x in uses} and u[0]["description"] not in {
                x[0]["description"] for x in uses
            }:
                uses.append(u)
        compact, wrap = self.chance(0.2), self.chance(0.75)
        dump = lambda o: json.dumps(
            o, ensure_ascii=False, separators=(",", ":") if compact else None
        )
        listing = [dump({"type": "function", "function": u[0]} if wrap else u[0]) for u in uses]
        system = tool_system(self.system(), listing, self.n(1, 3) if self.chance(0.25) else 0)
        msgs = [{"role": "system", "content": system}]
        order = self.r.sample(uses, len(uses))
        k = self.r.random()
        if k < 0.10:  # no tool needed
            q, a, check = self.turn() if self.chance(0.7) else self.know()
            msgs += self.chat(q, a, check=check)
            if self.chance(0.5):
                return msgs
        elif k < 0.15:  # no fitting tool
            while True:
                fn, q, _, _, _ = self.tool()
                words = set(re.findall(r"[a-z]+", fn["name"].lower()))
                if not any(words & set(re.findall(r"[a-z]+", u[0]["name"].lower())) for u in uses):
                    break
            return msgs + self.chat(
                q, "I don't have a tool for that.", check=("same", "I don't have a tool for that.")
            )
        role = "user" if self.chance(0.2) else "tool"
        for fn, request, args, result, answer in order[: 2 if self.chance(0.3) else 1]:
            call = f"<tool_call>\n{json.dumps({'name': fn['name'], 'arguments': args}, ensure_ascii=False)}\n</tool_call>"
            msgs += self.chat(request, call, check=("tool", fn["name"], args))
            text, keys = dump(result), [str(v) for v in result.values() if v not in ("ok", "sent")]
            if self.chance(0.08) and keys and "error" not in result:  # plain text instead of JSON
                text, answer = ", ".join(keys), f"The result is: {', '.join(keys)}."
            msgs += [
                {"role": role, "content": f"<tool_response>\n{text}\n</tool_response>"},
                {"role": "assistant", "content": answer, "check": ("has", keys) if keys else None},
            ]
        return msgs
