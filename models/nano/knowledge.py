"""Common knowledge, arithmetic, and work on strings."""

from zlib import crc32

import lexicon as L
from reading import Reading
from words import TRIVIA, alts, article, cap


class Knowledge(Reading):
    """Questions that need no text: what a small model may know by heart, or can compute."""

    def know(self):
        """A question of common knowledge: (question, answer, check)."""
        pick = self.pick
        while True:
            k = self.n(0, 13)
            if k == 13:
                group, pool = pick(
                    [
                        ("animals", L.ANIMAL),
                        ("colours", L.COLOUR),
                        (
                            "fruits",
                            ["apples", "pears", "mango", "grapes", "peaches", "plums", "cherries"],
                        ),
                        ("sports", L.SPORT),
                        ("countries", list(L.CAPITAL)),
                        ("cities", L.CITY),
                        ("jobs", L.JOBS),
                        ("names", L.FIRST),
                        ("instruments", L.INSTRUMENT),
                        ("languages", L.LANGUAGE),
                        ("foods", L.FOOD),
                        ("drinks", L.DRINK),
                        ("pets", L.PET),
                        ("materials", L.MATERIAL),
                    ]
                )
                m = self.n(2, 5)
                xs = self.r.sample(pool, m)
                q = pick(["Name {} {}.", "Tell me {} {}.", "List {} {}.", "Give me {} {}."]).format(
                    pick([str(m), ["two", "three", "four", "five"][m - 2]]), group
                )
                return self.casual(q), ", ".join(xs), None
            if k <= 2:
                country, city = pick(list(L.CAPITAL.items()))
                q = pick(
                    [
                        "What is the capital of {}?",
                        "Capital of {}?",
                        "Which city is the capital of {}?",
                        "Name the capital of {}.",
                        "Tell me the capital of {}.",
                        "Do you know the capital of {}?",
                        "What's the capital city of {}?",
                    ]
                ).format(country)
                a, key = f"The capital of {country} is {city}.", city
                if self.chance(0.2):
                    q, a, key = (
                        pick(
                            [
                                "{} is the capital of which country?",
                                "Which country has the capital {}?",
                                "Of which country is {} the capital?",
                            ]
                        ).format(city),
                        f"{city} is the capital of {country}.",
                        country,
                    )
            elif k == 3:
                x, y = pick(L.OPPOSITE)
                q, a, key = (
                    pick(
                        [
                            "What is the opposite of {}?",
                            "Opposite of {}?",
                            "What is the opposite of the word {}?",
                            "Give me the opposite of {}.",
                            "What is the contrary of {}?",
                        ]
                    ).format(x),
                    f"The opposite of {x} is {y}.",
                    y,
                )
            elif k == 4:
                x, y = pick(L.PLURAL)
                q, a, key = (
                    pick(
                        [
                            "What is the plural of {}?",
                            "Plural of {}?",
                            "Give me the plural of {}.",
                            "What is the plural form of {}?",
                        ]
                    ).format(x),
                    f"The plural of {x} is {y}.",
                    y,
                )
            elif k == 5:
                x, y = pick(L.SOUND)
                q, a, key = (
                    pick(
                        [
                            "What sound does a {} make?",
                            "What does a {} say?",
                            "Which sound does a {} make?",
                            "How does a {} sound?",
                            "What noise does a {} make?",
                        ]
                    ).format(x),
                    f"A {x} says {y}.",
                    y,
                )
            elif k <= 7:
                x, y = pick(L.DEFINE)
                q, a, key = (
                    pick(
                        [
                            "What is a {}?",
                            "Define {}.",
                            "What does {} mean?",
                            "What is meant by {}?",
                            "Explain the word {}.",
                            "Give me a definition of {}.",
                            "Tell me what a {} is.",
                        ]
                    ).format(x),
                    f"A {x} is {y}.",
                    y,
                )
                a = (
                    a.replace("A snow", "Snow")
                    .replace("A wind ", "Wind ")
                    .replace("A sun ", "The sun ")
                    .replace("A moon ", "The moon ")
                )
            elif k == 8:
                a, qs = pick(TRIVIA)
                q, key = pick(alts(qs)), a.rstrip(".")
            elif k == 9:
                seq, unit = pick([(L.DAY, "day"), (L.MONTH, "month")])
                i = self.n(0, len(seq) - 1)
                nxt, prev = seq[(i + 1) % len(seq)], seq[i - 1]
                q, a, key = pick(
                    [
                        (
                            f"Which {unit} comes after {seq[i]}?",
                            f"{nxt} comes after {seq[i]}.",
                            nxt,
                        ),
                        (
                            f"Which {unit} comes before {seq[i]}?",
                            f"{prev} comes before {seq[i]}.",
                            prev,
                        ),
                        (f"What {unit} follows {seq[i]}?", f"{nxt} comes after {seq[i]}.", nxt),
                        (f"What comes after {seq[i]}?", f"{nxt} comes after {seq[i]}.", nxt),
                        (
                            f"What is the {unit} before {seq[i]}?",
                            f"{prev} comes before {seq[i]}.",
                            prev,
                        ),
                    ]
                )
            elif k == 10:
                good = self.chance(0.5)
                w, noun = pick(L.POSITIVE if good else L.NEGATIVE), pick(L.NOUN + L.FOOD)
                text = pick(
                    [
                        "The {n} was {w}.",
                        "I think the {n} is {w}.",
                        "What a {w} {n}!",
                        "This {n} is really {w}.",
                        "We had a {w} time with the {n}.",
                    ]
                ).format(n=noun, w=w)
                key = "positive" if good else "negative"
                q = pick(
                    [
                        "Is this positive or negative: {}",
                        "What is the sentiment of this text? {}",
                        "Positive or negative? {}",
                        "Classify the sentiment: {}",
                        "Is this review positive or negative? {}",
                    ]
                ).format(article(text))
                a = f"The sentiment is {key}."
            elif k == 11:
                groups = {
                    "an animal": L.ANIMAL,
                    "a colour": L.COLOUR[:12],
                    "a day": L.DAY,
                    "a month": L.MONTH,
                    "a sport": L.SPORT,
                    "an instrument": L.INSTRUMENT,
                    "a job": L.JOBS,
                }
                real, claim = pick(list(groups)), pick(list(groups))
                claim = real if self.chance(0.5) else claim
                x = pick(groups[real])
                yes = x in groups[claim]
                verb = "is" if x[0].isupper() or real == "a colour" or real == "a sport" else "A"
                subj = cap(article(f"a {x}")) if verb == "A" else cap(x)
                q, a, key = (
                    f"Is {subj if x[0].isupper() else subj[0].lower() + subj[1:]} {claim}?",
                    f"{'Yes' if yes else 'No'}, {subj if x[0].isupper() else subj[0].lower() + subj[1:]} is {real}.",
                    "Yes" if yes else "No",
                )
            else:
                a1, _ = self.n(0, 200), self.n(0, 200)  # two draws, as the weights saw
                key = str(a1 + 1)
                q, a = (
                    pick(
                        [
                            f"Which number comes after {a1}?",
                            f"What comes after {a1}?",
                            f"What number follows {a1}?",
                        ]
                    ),
                    f"{a1 + 1} comes after {a1}.",
                )
            q, a = article(q), article(a)
            if self.kept(q):
                return self.casual(q) if k not in (10,) else q, a, ("has", [key])

    def math(self):
        """A sum, an order or a comparison: (question, answer, check)."""
        pick, n = self.pick, self.n
        while True:
            k = n(0, 9)
            if k <= 5:
                op, word = pick([("+", "plus"), ("+", "plus"), ("-", "minus"), ("*", "times")])
                a, b = (n(0, 99), n(0, 99)) if self.chance(0.6) else (n(0, 20), n(0, 20))
                if op == "*":
                    a, b = n(0, 12), n(0, 12)
                if op == "-" and a < b:
                    a, b = b, a
                res = {"+": a + b, "-": a - b, "*": a * b}[op]
                key = f"{a}{op}{b}"
                q = pick(
                    [
                        f"What is {a} {op} {b}?",
                        f"What is {a} {word} {b}?",
                        f"{a} {op} {b}",
                        f"{a}{op}{b}",
                        f"Calculate {a} {op} {b}.",
                        f"How much is {a} {op} {b}?",
                        f"{a} {word} {b}?",
                        f"{a} {op} {b} = ?",
                    ]
                )
                ans, check = f"{a} {op} {b} = {res}.", f"= {res}."
            elif k == 6:
                b, c = n(1, 10), n(1, 10)
                key = f"{b * c}/{b}"
                q, ans, check = (
                    pick(
                        [
                            f"What is {b * c} / {b}?",
                            f"What is {b * c} divided by {b}?",
                            f"{b * c} / {b}",
                            f"Divide {b * c} by {b}.",
                        ]
                    ),
                    f"{b * c} / {b} = {c}.",
                    f"= {c}.",
                )
            elif k == 7:
                xs = self.r.sample(
                    range(0, 100 if self.chance(0.7) else 1000), pick([3, 3, 3, 4, 5])
                )
                down = self.chance(0.3)
                key = str(xs)
                q = pick(
                    [
                        "Sort these numbers: {}.",
                        "Sort {}.",
                        "Put these numbers in order: {}.",
                        "Order the numbers {}.",
                        "Sort the list {}.",
                    ]
                ).format(", ".join(map(str, xs)))
                q = (
                    q + pick([" Largest first.", " In descending order."])
                    if down
                    else q + pick(["", " Smallest first.", ""])
                )
                check = ans = ", ".join(map(str, sorted(xs, reverse=down)))
            elif k == 8:
                a, b = self.r.sample(range(0, 100 if self.chance(0.6) else 1000), 2)
                big = self.chance(0.6)
                key = f"{a} {b}"
                w = pick(["larger", "bigger", "greater"]) if big else "smaller"
                ans, q = f"{max(a, b) if big else min(a, b)} is {w}.", pick(
                    [
                        f"Which is {w}, {a} or {b}?",
                        f"Which number is {w}: {a} or {b}?",
                        f"What is {w}, {a} or {b}?",
                    ]
                )
                check = ans
            else:
                a = n(0, 199)
                key = f"even{a}"
                even = a % 2 == 0
                q, ans = (
                    pick(
                        [
                            f"Is {a} even or odd?",
                            f"Is the number {a} even or odd?",
                            f"Even or odd: {a}?",
                        ]
                    ),
                    f"{a} is {'even' if even else 'odd'}.",
                )
                check = ans
            if (crc32(key.encode()) % 10 == 0) == self.held:
                return q, ans, ("has", [check])

    def knowledge(self):
        """A few questions of knowledge and arithmetic."""
        msgs = []
        for _ in range(self.pick([1, 1, 2, 3])):
            q, a, check = self.pick([self.know, self.know, self.math])()
            msgs += self.chat(q, a, system=self.system() if not msgs else None, check=check)
        return msgs

    def string(self):
        """Copying and small string work: (question, answer, check)."""
        pick = self.pick
        k = self.n(0, 9)
        w = pick([self.word(), pick(L.NOUN).split()[0], self.name().lower(), pick(L.ADJ)])
        if k <= 3:
            x = pick(
                [
                    self.fact().text.rstrip("."),
                    self.code(),
                    self.value("words"),
                    self.phrase(),
                    self.name(),
                    self.value("path"),
                    self.title(),
                    self.value("email"),
                ]
            )
            q = pick(
                [
                    "Repeat after me: {}",
                    "Say {}",
                    "Repeat: {}",
                    "Echo this: {}",
                    "Copy this text: {}",
                    "Write exactly this: {}",
                    'Say "{}"',
                    "Please repeat: {}",
                    "Repeat this back to me: {}",
                ]
            ).format(x)
            return q, x, ("exact", x)
        if k == 4:
            x = pick([w, w, f"{w} {pick(L.NOUN)}"])
            q, a = (
                (
                    pick(
                        [
                            "Write {} in uppercase.",
                            "Uppercase: {}",
                            "Put {} in capital letters.",
                            "Convert {} to uppercase.",
                        ]
                    ).format(x),
                    x.upper(),
                )
                if self.chance(0.6)
                else (
                    pick(
                        ["Write {} in lowercase.", "Lowercase: {}", "Convert {} to lowercase."]
                    ).format(x.upper()),
                    x,
                )
            )
            return q, a, ("exact", a)
        if k == 5:
            xs = [
                pick([self.word(), pick(L.NOUN).split()[0], pick(L.ADJ), self.name()])
                for _ in range(self.n(2, 6))
            ]
            first, s = self.chance(0.5), " ".join(xs)
            which = "first" if first else "last"
            return (
                pick(
                    [
                        f"What is the {which} word of: {s}",
                        f'Give me the {which} word of "{s}".',
                        f"Which word is {which} in: {s}",
                    ]
                ),
                xs[0 if first else -1],
                ("exact", xs[0 if first else -1]),
            )
        if k == 6:
            a = "-".join(w)
            return (
                pick(
                    ["Spell {}.", "Spell the word {}.", "How do you spell {}?", "Spell out {}."]
                ).format(w),
                a,
                ("exact", a),
            )
        if k == 7:
            xs = [
                pick([self.word(), pick(L.NOUN).split()[0], self.name(), str(self.n(1, 99))])
                for _ in range(self.n(2, 5))
            ]
            a = ", ".join(xs[::-1])
            return (
                pick(
                    [
                        "Reverse the list: {}",
                        "Reverse this list: {}",
                        "Say these in reverse order: {}",
                    ]
                ).format(", ".join(xs)),
                a,
                ("exact", a),
            )
        if k == 8:
            n = self.n(2, 5)
            return (
                pick(
                    [
                        f"Say {w} {n} times.",
                        f"Repeat the word {w} {n} times.",
                        f"Write {w} {n} times.",
                    ]
                ),
                " ".join([w] * n),
                ("exact", " ".join([w] * n)),
            )
        n = self.n(3, 20)
        return (
            pick([f"Count to {n}.", f"Count from 1 to {n}."]),
            (a := ", ".join(map(str, range(1, n + 1)))),
            ("exact", a),
        )

    def copy(self):
        """A few tasks on strings."""
        msgs = []
        for _ in range(self.pick([1, 1, 2])):
            q, a, check = self.string()
            msgs += self.chat(q, a, system=self.system() if not msgs else None, check=check)
        return msgs
