"""Longer tasks: memory over a chat, JSON, summaries, stories and poems, plain text."""

import json

import lexicon as L
from calls import Calls
from facts import CONFLICTS
from words import KINDS, RELATIONS, article, cap

NUMERIC = {"age", "year", "number", "port"}


class Tasks(Calls):
    """Answers of several sentences or of a given form."""

    def memory(self):
        """Facts the user tells, asked for later in the chat."""
        pick = self.pick
        city, pet, pet_name = self.city(), pick(L.PET), self.name()
        slots = {
            "name": (
                self.name(),
                [
                    "My name is {}.",
                    "I am {}.",
                    "Call me {}.",
                    "Hi, I'm {}.",
                    "Hello, my name is {}.",
                ],
                "Nice to meet you, {}!",
                [
                    "What is my name?",
                    "Do you know my name?",
                    "Who am I?",
                    "What am I called?",
                    "Do you remember my name?",
                ],
                "Your name is {}.",
            ),
            "city": (
                city,
                ["I live in {}.", "My home is in {}.", "I am living in {}.", "My city is {}."],
                "{} sounds like a nice place.",
                ["Where do I live?", "Which city do I live in?", "In which city is my home?"],
                "You live in {}.",
            ),
            "age": (
                str(self.n(5, 99)),
                ["I am {} years old.", "My age is {}.", "I turned {} this year."],
                None,
                ["How old am I?", "What is my age?"],
                "You are {} years old.",
            ),
            "job": (
                pick(L.JOBS),
                ["I work as a {}.", "I am a {}.", "My job is {}."],
                None,
                ["What is my job?", "What do I do for a living?", "What do I work as?"],
                "You work as a {}.",
            ),
            "pet": (
                f"{pet} named {pet_name}",
                ["I have a {}.", "I own a {}."],
                None,
                ["What pet do I have?", "Which pet do I own?", "Tell me about my pet."],
                "You have a {}.",
            ),
            "favourite colour": (
                pick(L.COLOUR),
                ["My favourite colour is {}.", "The colour I like best is {}."],
                None,
                ["What is my favourite colour?", "Which colour do I like best?"],
                "Your favourite colour is {}.",
            ),
            "favourite food": (
                pick(L.FOOD),
                ["My favourite food is {}.", "I love {}."],
                None,
                ["What is my favourite food?", "Which food do I love?"],
                "Your favourite food is {}.",
            ),
            "code": (
                self.code(),
                [
                    "Remember the code {}.",
                    "The code is {}.",
                    "My code is {}.",
                    "Please remember this code: {}",
                ],
                None,
                [
                    "What is the code?",
                    "What was the code?",
                    "Which code did I give you?",
                    "Tell me the code.",
                ],
                "The code is {}.",
            ),
            "sister": (
                self.name(),
                ["My sister is called {}.", "My sister's name is {}."],
                None,
                ["What is my sister's name?", "What is my sister called?", "Who is my sister?"],
                "Your sister is called {}.",
            ),
            "brother": (
                self.name(),
                ["My brother is called {}.", "My brother's name is {}."],
                None,
                ["What is my brother's name?", "What is my brother called?", "Who is my brother?"],
                "Your brother is called {}.",
            ),
            "birthday": (
                self.date(),
                ["My birthday is on {}.", "I was born on {}."],
                None,
                ["When is my birthday?", "On which day is my birthday?"],
                "Your birthday is on {}.",
            ),
            "number": (
                str(self.n(1, 999)),
                ["My lucky number is {}.", "Remember the number {}."],
                None,
                ["What is my number?", "Which number did I tell you?", "What was the number?"],
                "Your number is {}.",
            ),
            "car": (
                self.value("car"),
                ["I drive a {}.", "My car is a {}."],
                None,
                ["What car do I drive?", "What do I drive?"],
                "You drive a {}.",
            ),
        }
        known = self.r.sample(list(slots), self.pick([0, 1, 1, 1, 2, 2, 2, 3, 4]))
        msgs, i = [], 0
        while i < len(known):
            group = known[i : i + self.pick([1, 1, 2])]
            i += len(group)
            text = " ".join(article(pick(slots[s][1]).format(slots[s][0])) for s in group)
            ack = slots[group[0]][2]
            ack = ack.format(slots[group[0]][0]) if ack else pick(["Okay, I will remember that."])
            msgs += self.chat(text, ack, system=self.system() if not msgs else None)
            if self.chance(0.25):
                q, a, _ = self.turn() if self.chance(0.7) else self.math()
                msgs += self.chat(q, a)
        if self.chance(0.3):
            rel = pick([r for r in RELATIONS if r.subject == "person"])
            f = self.related(rel, self.subject("person"))
            q, short = pick(f.qs)
            msgs += self.chat(f.text, "Okay, I will remember that.") + self.chat(
                q, f.text, check=("has", [short])
            )
        for s in self.r.sample(known, min(len(known), self.pick([1, 1, 2]))):
            msgs += self.chat(
                pick(slots[s][3]),
                article(slots[s][4].format(slots[s][0])),
                check=("has", [slots[s][0]]),
            )
        if not known or self.chance(0.15):
            s = pick([x for x in slots if x not in known])
            check = ("same", f"You have not told me your {s} yet.")
            msgs += self.chat(
                pick(slots[s][3]), check[1], system=None if msgs else self.system(), check=check
            )
        return msgs

    def js(self):
        """A text to be written as JSON, or a value to be read from JSON."""
        pick = self.pick
        k = self.r.random()
        compactable = lambda o: json.dumps(o, ensure_ascii=False)
        if k < 0.72:
            kind = pick(["person"] * 5 + KINDS)
            rels = [r for r in RELATIONS if r.subject == kind]
            many = self.chance(0.15)
            chosen = []
            for r in self.r.sample(rels, min(len(rels), self.n(1, 4))):
                if not any({r.key, c.key} <= x for c in chosen for x in CONFLICTS):
                    chosen.append(r)
            self.he = pick([("He", "His"), ("She", "Her")])
            objs, texts = [], []
            for _ in range(self.n(2, 3) if many else 1):
                s = self.subject(kind)
                fs = [self.related(r, s) for r in chosen]
                num = lambda f, r: int(f.value) if r.kind in NUMERIC else f.value
                obj = {
                    "name": s[4:] if s.startswith("the ") else s,
                    **{r.key: num(f, r) for f, r in zip(fs, chosen)},
                }
                order = self.r.sample(fs, len(fs))
                texts.append(
                    " ".join(
                        f.text if i == 0 or not f.pronoun or self.chance(0.4) else f.pronoun
                        for i, f in enumerate(order)
                    )
                )
                if (
                    kind == "person"
                    and not many
                    and self.chance(0.25)
                    and {"age", "city"} & {r.key for r in chosen}
                ):
                    age, city = obj.get("age", self.n(5, 99)), obj.get("city", self.city())
                    obj = {"name": s, "age": age, "city": city}
                    texts = [
                        pick(
                            [
                                "{s} is {a} years old and lives in {c}.",
                                "{s}, {a}, lives in {c}.",
                                "{s} from {c} is {a} years old.",
                                "{s} ({a}) lives in {c}.",
                                "Meet {s}, {a} years old, from {c}.",
                                "My name is {s}, I am {a} and I live in {c}.",
                            ]
                        ).format(s=s, a=age, c=city)
                    ]
                objs.append(obj)
            keys = list(objs[0])
            self.r.shuffle(keys)
            if "name" in keys and self.chance(0.6):
                keys.remove("name")
                keys = ["name"] + keys
            if len(keys) > 2 and self.chance(0.3):
                keys.pop()
            if self.chance(0.1) and not many:
                extra = pick(
                    [r.key for r in RELATIONS if r.subject == kind and r.key not in objs[0]]
                    or ["colour"]
                )
                keys.insert(self.n(1, len(keys)), extra)
            alias = {k: pick(a) for k, a in L.ALIASES.items()} if self.chance(0.2) else {}
            out = [{alias.get(key, key): o.get(key) for key in keys} for o in objs]
            keys = list(out[0])
            out = out if many else out[0]
            text, klist = " ".join(texts), pick(
                [
                    ", ".join(keys),
                    " and ".join([", ".join(keys[:-1]), keys[-1]]) if len(keys) > 1 else keys[0],
                ]
            )
            head = (
                "Return a JSON array of objects with the keys"
                if many
                else pick(
                    [
                        "Return JSON with keys",
                        "Return JSON with the keys",
                        "Extract",
                        "Give me JSON with",
                        "Write JSON with the fields",
                        "Answer as JSON with the keys",
                        "Make a JSON object with the keys",
                    ]
                )
            )
            tail = " as JSON" if head == "Extract" else ""
            user = pick(
                [
                    f"{head} {klist}{tail}.\n\nText: {text}",
                    f"{head} {klist}{tail}: {text}",
                    f"{text}\n\n{head} {klist}{tail}.",
                    f"{head} {klist}{tail} from this text: {text}",
                    f"{head} {klist}{tail} from:\n{text}",
                ]
            )
            system = (
                self.system()
                if self.chance(0.8)
                else pick(["Answer only in JSON.", "You extract data as JSON.", "Reply with JSON."])
            )
        elif k < 0.88:
            label, pool = pick(
                [
                    ("colours", L.COLOUR),
                    ("animals", L.ANIMAL),
                    ("foods", L.FOOD),
                    ("names", None),
                    ("cities", None),
                    ("days", L.DAY),
                    ("numbers", None),
                    ("instruments", L.INSTRUMENT),
                ]
            )
            xs = [
                self.name()
                if label == "names"
                else self.city()
                if label == "cities"
                else self.n(1, 999)
                if label == "numbers"
                else pick(pool)
                for _ in range(self.n(2, 5))
            ]
            xs = list(dict.fromkeys(xs))
            listed = ", ".join(map(str, xs[:-1])) + f" and {xs[-1]}" if len(xs) > 1 else str(xs[0])
            text = pick(
                [
                    "I saw {} today.",
                    "The list has {}.",
                    "We talked about {}.",
                    "There were {} in the book.",
                    "{} are on my list.",
                ]
            ).format(listed)
            text, out, system = cap(text) if label not in ("names",) else text, xs, self.system()
            user = pick(
                [
                    f"List the {label} as a JSON array: {text}",
                    f"Return a JSON array of the {label} in this text: {text}",
                    f"{text}\nGive me the {label} as a JSON array.",
                    f"Extract the {label} as a JSON list: {text}",
                ]
            )
        else:
            good, noun = self.chance(0.5), pick(L.NOUN + L.FOOD)
            out, system = {"sentiment": "positive" if good else "negative"}, self.system()
            text = pick(
                ["The {n} was {w}.", "I think the {n} is {w}.", "This {n} is really {w}."]
            ).format(n=noun, w=pick(L.POSITIVE if good else L.NEGATIVE))
            user = pick(
                [
                    "Return JSON with the key sentiment (positive or negative): {}",
                    "Classify as JSON with key sentiment: {}",
                    "Give the sentiment as JSON. Text: {}",
                ]
            ).format(text)
        return self.chat(user, compactable(out), system=system, check=("json", out))

    def summary(self):
        """A few facts put in one sentence."""
        pick = self.pick
        if self.chance(0.6):
            s, job, city = self.subject("person"), pick(L.JOBS), self.city()
            like = pick([pick(L.HOBBY), pick(L.FOOD), pick(L.SPORT), pick(L.DRINK)])
            facts = [
                pick([f"{s} lives in {city}.", f"{s}'s home is in {city}."]),
                pick([f"{s} works as a {job}.", f"{s} is a {job}."]),
                pick([f"{s} likes {like}.", f"{s} loves {like}.", f"{s} enjoys {like}."]),
            ]
            a, keys = f"{s} is a {job} from {city} who likes {like}.", [s, job, city, like]
        else:
            s = self.subject(pick(["place", "event"]))
            city, day, price = self.city(), pick(L.DAY), self.price()
            facts = [
                f"{cap(s)} is in {city}.",
                pick([f"{cap(s)} opens on {day}.", f"It opens on {day}."]),
                pick([f"A ticket costs {price}.", f"Entry costs {price}."]),
            ]
            a, keys = f"{cap(s)} in {city} opens on {day} and costs {price}.", [city, day, price]
            return self.chat(
                pick(
                    [
                        "Summarize in one sentence: {}",
                        "Give me a one-sentence summary:\n\n{}",
                        "Summarise this text in one sentence.\n{}",
                        "Sum up: {}",
                        "{}\n\nSummarize this.",
                    ]
                ).format(" ".join(facts)),
                a,
                system=self.system(),
                check=("has", keys),
            )
        self.r.shuffle(facts)
        he = pick(["He", "She"])
        text = article(
            " ".join(
                [facts[0]]
                + [
                    f.replace(f"{s}'s", "His" if he == "He" else "Her", 1).replace(s, he, 1)
                    if self.chance(0.5)
                    else f
                    for f in facts[1:]
                ]
            )
        )
        return self.chat(
            pick(
                [
                    "Summarize in one sentence: {}",
                    "Give me a one-sentence summary:\n\n{}",
                    "Summarise this text in one sentence.\n{}",
                    "Sum up: {}",
                    "{}\n\nSummarize this.",
                    "Summarize: {}",
                    "Make one sentence out of this: {}",
                ]
            ).format(text),
            article(a),
            system=self.system(),
            check=("has", keys),
        )

    def story(self, topic):
        """A short tale: hero, wish, trouble, helper, solution, end."""
        pick, n = self.pick, self.name()
        m = self.name()
        adj, adj2, place = (
            pick(L.ADJ),
            pick(["kind", "wise", "clever", "gentle", "brave", "patient"]),
            pick(L.STORY_PLACE),
        )
        wish, trouble, plan, luck = pick(L.STORY_PLOT)
        helper = pick(L.ANIMAL)
        if topic in L.ANIMAL:
            lines = [
                pick(
                    [
                        f"Once a {adj} {topic} named {n} lived near {place}.",
                        f"At {place} there was a {topic} called {n}.",
                        f"{n} was a {adj} {topic} who lived close to {place}.",
                        f"Long ago a {topic} named {n} lived at {place}.",
                    ]
                )
            ]
        else:
            lines = [
                pick(
                    [
                        f"{n} found a {adj} {topic} near {place}.",
                        f"At {place} {n} kept a {adj} {topic}.",
                        f"{n} loved the old {topic} at {place}.",
                        f"Once upon a time {n} had a {topic} at {place}.",
                        f"Every day {n} looked at the {adj} {topic} near {place}.",
                    ]
                )
            ]
        lines.append(
            pick(
                [
                    f"{n} wanted to {wish}.",
                    f"One {pick(['morning', 'evening', 'day', 'night', 'winter'])} {n} decided to {wish}.",
                    f"More than anything {n} wished to {wish}.",
                ]
            )
        )
        lines.append(
            pick([f"But {trouble}.", f"Sadly {trouble}.", f"There was a problem: {trouble}."])
        )
        if self.chance(0.75):
            lines.append(
                pick(
                    [
                        f"Then {n} met {m}, a {adj2} {helper}.",
                        f"A {adj2} {helper} called {m} came by.",
                        f"{m}, a {helper} with {pick(['bright eyes', 'a red hat', 'a soft voice', 'a long tail', 'a small bag'])}, heard about it.",
                        f"That night {n} asked {m} the {helper} for help.",
                    ]
                )
            )
            if self.chance(0.7):
                lines.append(
                    pick(
                        [
                            f'"We can do it together," said {m}.',
                            f'"Do not give up," said {m}.',
                            f'"I have an idea," {m} whispered.',
                            f'"Let us start right now," said {m} with a smile.',
                            f'"Every problem has a door," said {m}.',
                        ]
                    )
                )
            lines.append(
                pick([f"So they {plan}.", f"Together they {plan}.", f"Step by step they {plan}."])
            )
        else:
            lines.append(
                pick(
                    [
                        f"So {n} {plan}.",
                        f"After a long rest {n} {plan}.",
                        f"{n} took a deep breath and {plan}.",
                    ]
                )
            )
        lines.append(
            pick(
                [
                    f"In the end {luck}.",
                    f"When the sun came up, {luck}.",
                    f"Soon {luck}.",
                    f"After a while {luck}.",
                ]
            )
        )
        if self.chance(0.8):
            lines.append(
                pick(
                    [
                        f"Since that day {n} is never {pick(['sad', 'afraid', 'alone', 'bored', 'lost'])}.",
                        f"{n} smiled and went home.",
                        f"And {n} still tells everyone about the {topic}.",
                        f"{n} fell asleep, happy and warm.",
                        f"From then on {place} felt like home.",
                        f"{n} never forgot that day.",
                    ]
                )
            )
        return article(" ".join(lines))

    def poem(self, topic):
        """Four lines, two rhymes."""
        pairs = self.r.sample(L.RHYMES, 2)
        lines = []
        for a, b in pairs:
            lines += [a, b]
        return "\n".join(
            cap(article(x.format(t=topic, adj=self.pick(L.ADJ), adj2=self.pick(L.ADJ))))
            for x in lines
        )

    def topic(self):
        """What a story or poem may be about."""
        return self.pick(
            [
                self.pick(L.ANIMAL),
                self.pick(L.ANIMAL),
                self.pick(L.NOUN),
                self.pick(L.NOUN),
                self.pick(L.DEVICE),
            ]
        )

    def tale(self):
        """A story or poem on request."""
        t = self.topic()
        if self.chance(0.8):
            q = self.pick(
                [
                    "Tell me a story about a {}.",
                    "Write a short story about a {}.",
                    "Tell me a short story about a {}.",
                    "A story about a {} please.",
                    "Write a story about a {}.",
                    "Can you tell a story about a {}?",
                    "Make up a tale about a {}.",
                    "Story about a {}",
                ]
            ).format(t)
            if self.chance(0.08):
                q = self.pick(
                    [
                        "Tell me a story.",
                        "Write a story.",
                        "Tell a short story please.",
                        "Do you know a story?",
                    ]
                )
            return self.chat(
                self.casual(article(q)), self.story(t), system=self.system(), check=("has", [t])
            )
        q = self.pick(
            [
                "Write a poem about a {}.",
                "Write a short poem about a {}.",
                "A poem about a {} please.",
                "Make a rhyme about a {}.",
                "Write four lines about a {}.",
            ]
        ).format(t)
        return self.chat(
            self.casual(article(q)), self.poem(t), system=self.system(), check=("has", [t])
        )

    def raw(self):
        """Plain text without chat markup."""
        k = self.n(0, 6)
        if k <= 1:
            return self.story(self.topic())
        if k == 2:
            return " ".join(self.chunks(self.facts(self.n(3, 9))))
        if k == 3:
            return "\n".join(
                f"Q: {q}\nA: {a}"
                for q, a, _ in (
                    self.pick([self.turn, self.know, self.math])() for _ in range(self.n(2, 5))
                )
            )
        if k == 4:
            facts = self.facts(self.n(2, 5))
            text = " ".join(self.chunks(facts))
            q, a, _ = self.ask(facts)
            return f"Context: {text}\nQuestion: {q}\nAnswer: {a}"
        if k == 5:
            return "\n".join(
                a for _, a, _ in (self.know() for _ in range(self.n(3, 6))) if "sentiment" not in a
            )
        if self.chance(0.5):
            return "\n".join(self.turn("faq")[1] for _ in range(self.n(2, 4)))
        return self.poem(self.topic())
