"""Reading and talking: questions over a given text, hearth's FAQ, small talk."""

from zlib import crc32

import lexicon as L
from facts import Facts
from words import COMMANDS, FACTS, RELATIONS, SMALLTALK, alts, cap

UNKNOWN = "I don't know based on the given context."


class Reading(Facts):
    """Contexts with questions, answered from the text or by UNKNOWN, and plain conversation."""

    def missing(self, facts):
        """A question the facts do not answer."""
        asked = {q for f in facts for q, _ in f.qs}
        related = [f for f in facts if f.kind]
        for _ in range(30):
            k = self.r.random()
            if related and k < 0.85:
                f = self.pick(related)
                if k < 0.45:
                    g = self.related(
                        next(r for r in RELATIONS if (r.subject, r.key) == (f.kind, f.key)),
                        self.subject(f.kind),
                    )
                else:
                    g = self.related(
                        self.pick([r for r in RELATIONS if r.subject == f.kind]), f.subject
                    )
                    g.qs = [(q, a) for q, a in g.qs if a != g.subject]
            else:
                g = self.fact()
            if (
                g.qs
                and not any(g.clashes(f) for f in facts)
                and not any(g.value and g.value in f.text for f in facts)
            ):
                q = self.pick(g.qs)[0]
                if q not in asked and not any(f.subject == g.subject and k < 0.45 for f in facts):
                    return q
        return f"What is the name of {self.thing()}?"

    def chunks(self, facts):
        """Facts joined to passages; a subject that was just named becomes a pronoun or shares its sentence."""
        out, last = [], None
        size = self.pick([1, 1, 1, 2, 3, 4])
        for i, f in enumerate(facts):
            fresh = i % size == 0
            text = f.text
            if not fresh and f.pronoun and f.subject == last and self.chance(0.7):
                text = f.pronoun
                if text.startswith(("He ", "She ", "It ")) and self.chance(
                    0.3
                ):  # "... and closes at noon."
                    out[-1], text = out[-1][:-1], "and " + text.split(" ", 1)[1]
            elif self.chance(0.04):
                text = self.pick(["Note: ", "Please note: ", "Reminder: ", "News: "]) + text
            if fresh and self.chance(0.03):
                text = f"# {cap(self.pick(L.NOUN))}\n{text}"
            last = f.subject
            out = out + [text] if fresh else out[:-1] + [out[-1] + " " + text]
            f.chunk = len(out)
        return out

    def reword(self, q):
        """Small changes to a question over a text."""
        if self.chance(0.12):
            q = q[0].lower() + q[1:]
        if self.chance(0.06):
            q = q.rstrip("?.")
        elif q.startswith("What is ") and self.chance(0.1):
            q = "Tell me " + q[8:-1] + "."
        elif self.chance(0.05):
            q = (
                self.pick(
                    [
                        "Please tell me: ",
                        "I want to know: ",
                        "Quick question: ",
                        "According to the text: ",
                        "One more thing: ",
                    ]
                )
                + q
            )
        return q

    def ask(self, facts):
        """One question with its answer: (question, answer, check)."""
        k = self.r.random()
        if k < 0.16:
            return self.reword(self.missing(facts)), UNKNOWN, ("has", ["don't know"])
        f = self.pick(facts)
        if k < 0.24:  # true or not
            truth = f.text
            claim = truth
            if f.kind and self.chance(0.5):
                rel = next(r for r in RELATIONS if (r.subject, r.key) == (f.kind, f.key))
                other = self.value(rel.kind)
                claim = truth.replace(f.value, other)
            q = self.pick(
                [
                    "Is it true that {0}?",
                    "True or false: {1}.",
                    "Is this correct: {1}?",
                    "Is this right? {1}.",
                ]
            )
            low = (
                claim[0].lower() + claim[1:]
                if claim.startswith(("The ", "A ", "To ", "If ", "You ", "We ", "In "))
                else claim
            )
            yes = "Yes." if claim == truth else "No."
            return q.format(low.rstrip("."), claim.rstrip(".")), f"{yes} {truth}", ("start", yes)
        about = [x for x in facts if x.subject == f.subject]
        if k < 0.28 and f.kind and len(about) < 4:
            who = f.subject
            q = self.pick(
                [
                    "What do you know about {}?",
                    "Tell me about {}.",
                    "What does the context say about {}?",
                    "What does the text say about {}?",
                ]
                + ["Who is {}?"] * 2 * (f.kind == "person")
            )
            return q.format(who), " ".join(x.text for x in about), ("has", [x.value for x in about])
        q, short = self.pick(f.qs)
        q = self.reword(q)
        if k < 0.42:
            tail = self.pick(
                [
                    "Answer with only the value.",
                    "Reply with just the answer.",
                    "Only give the answer, no sentence.",
                    "Answer in as few words as possible.",
                    "Just the answer, please.",
                ]
            )
            return f"{q} {tail}", short, ("same", short)
        if k < 0.47:
            tail = self.pick(
                [
                    "Cite the source.",
                    "Give the number of the source.",
                    "Name the source as [n].",
                    "Cite your source.",
                ]
            )
            return f"{q} {tail}", f"{f.text} [{f.chunk}]", ("has", [short, f"[{f.chunk}]"])
        return q, f.text, ("has", [short])

    def qa(self, long=None):
        """A text with one or more questions, in one of fourteen layouts."""
        long = self.chance(0.07) if long is None else long
        facts = self.facts(self.n(9, 26) if long else self.pick([1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8]))
        chunks = self.chunks(facts)
        q, a, check = self.ask(facts)
        if "ource" in q or self.chance(0.5):
            name = (
                lambda: self.pick([f"({self.filename()}) ", f"{self.filename()}: ", ""])
                if sourced
                else ""
            )
            sourced = self.chance(0.2)
            body = "\n".join(f"[{i}] {name()}{c}" for i, c in enumerate(chunks, 1))
        else:
            body = self.pick([" ", " ", "\n", "\n- "]).join(chunks)
            body = "- " + body if "\n- " in body else body
        system = None
        form = self.n(0, 13)
        if form < 5:
            user = f"Use the context to answer.\n\nContext:\n{body}\n\nQuestion: {{}}"
        elif form == 5:
            user = f"{self.pick(['Context', 'Text', 'Facts', 'Notes', 'Document'])}:\n{body}\n\n{self.pick(['Question: ', 'Q: ', ''])}{{}}"
        elif form == 6:
            user = f"{body}\n\n{{}}"
        elif form == 7:
            user = f"{self.pick(['Read this', 'Here are some facts', 'Read the text', 'Given this', 'Here is what I know'])}: {body}\n{{}}"
        elif form == 8:
            user = (
                f"{{}}\n\n{self.pick(['Context', 'Text', 'Use this text', 'Look here'])}:\n{body}"
            )
        elif form == 9:
            user = f"Answer the question from the text.\nText: {body}\nQuestion: {{}}" + self.pick(
                ["", "\nAnswer:"]
            )
        elif form == 10:
            system, user = (
                self.pick(
                    [
                        "Use this context to answer:\n{}",
                        "Answer only from these passages.\n\n{}",
                        "You answer from the context.\nContext:\n{}",
                    ]
                ).format(body),
                "{}",
            )
        elif form == 11:
            user = f"{self.pick(['Use only these passages to answer.', 'Answer with the help of the context. If it does not help, say so.'])}\n\n<context>\n{body}\n</context>\n\n{{}}"
        elif form == 12:
            user = f"{body} {{}}"
        else:
            user = f"I have some documents.\n\n{body}\n\nMy question: {{}}"
        system = system or self.system()
        if self.chance(0.04):
            user = self.pick(
                [
                    "Here is a text.\n{}",
                    "Read this:\n{}",
                    "{}",
                    "I will ask you about this text:\n{}",
                    "Remember this: {}",
                ]
            ).format(body)
            msgs = self.chat(
                user, "Okay. What would you like to know?", system=self.system()
            ) + self.chat(q, a, check=check)
        else:
            msgs = self.chat(user.replace("{}", q), a, system=system, check=check)
        while self.chance(0.25):
            q, a, check = self.ask(facts)
            if "ource" not in q:
                msgs += self.chat(q, a, check=check)
        return msgs

    # ---- chat helpers ---------------------------------------------------------------------------------
    def system(self):
        """A system prompt, or none."""
        return self.pick(L.SYSTEM) if self.chance(0.35) else None

    def chat(self, user, answer, system=None, check=None):
        """A user message and its answer; `check` says how eval.py judges it."""
        head = [{"role": "system", "content": system}] if system else []
        return head + [
            {"role": "user", "content": user},
            {"role": "assistant", "content": answer, "check": check},
        ]

    def casual(self, text):
        """Small changes to a user's line: case, final mark, politeness."""
        if self.chance(0.3):
            text = text.lower()
        if self.chance(0.35):
            text = text.rstrip(".?!")
        elif self.chance(0.05):
            text += self.pick(["?", "!", " ", "."])
        if self.chance(0.06):
            text = (
                self.pick(["Hi, ", "Hello, ", "Please, ", "Hey, ", "So, ", "Okay, ", "Tell me, "])
                + text
            )
        return text

    def kept(self, text):
        """Hold out longer questions only: short ones belong in the product."""
        return len(text.split()) < 5 or (crc32(text.lower().encode()) % 10 == 0) == self.held

    def turn(self, kind=None):
        """One question and answer of hearth's FAQ, small talk or a question beyond the model."""
        while True:
            k = kind or self.pick(["faq"] * 5 + ["smalltalk"] * 3 + ["fallback"])
            if k == "faq" and self.chance(0.45):
                cmd, does, wants = self.pick(COMMANDS)
                if self.chance(0.6):
                    q, a = self.pick(L.WANT).format(self.pick(alts(wants))), does
                else:
                    q, a = self.pick(L.ABOUT).format(cmd), does
                check = ("same", a)
            elif k == "faq":
                a, qs = self.pick(FACTS)
                q, check = self.pick(alts(qs)), ("same", a)
            elif k == "smalltalk":
                if self.chance(0.06):
                    return self.casual(self.pick(L.ASK_JOKE)), self.pick(L.JOKES), None
                answers, qs = self.pick(SMALLTALK)
                q, a = self.pick(alts(qs)), self.pick(alts(answers))
                check = ("any", alts(answers))
                if "{" in q:
                    return q.format(name=self.name(), word=self.word()), a, check
            else:
                q, a = self.pick(L.ASK_HARD).format(t=self.pick(L.TOPIC)), self.pick(L.HARD)
                if self.chance(0.12):
                    q = self.pick(
                        [
                            "What is a {}?",
                            "What does {} mean?",
                            "Explain {}.",
                            "Do you know what {} is?",
                            "Tell me about {}.",
                        ]
                    ).format(self.word())
                check = ("same", a)
            if self.kept(q) and (not self.held or len(q.split()) >= 5 or k == "smalltalk"):
                return self.casual(q), a, check

    def faq(self):
        """Questions about hearth."""
        msgs = []
        for _ in range(self.pick([1, 1, 1, 2, 3])):
            q, a, check = self.turn("faq")
            msgs += self.chat(q, a, system=self.system() if not msgs else None, check=check)
        return msgs

    def talk(self):
        """Small talk, with a sum or a bit of knowledge between."""
        msgs = []
        for _ in range(self.pick([1, 1, 2, 3, 4])):
            if self.chance(0.3):
                q, a, check = self.pick([self.math, self.know])()
            else:
                q, a, check = self.turn(self.pick(["smalltalk", "smalltalk", "fallback", None]))
            msgs += self.chat(q, a, system=self.system() if not msgs else None, check=check)
        return msgs
