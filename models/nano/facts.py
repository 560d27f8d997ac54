"""Facts: single sentences with the questions they answer, and groups of facts that compete."""

import lexicon as L
from words import KINDS, RELATIONS, Values, article, cap, plural

# Questions that two relations of one subject could both answer: never in one context.
CONFLICTS = [
    {"born", "birthday", "age"},
    {"opens", "hours", "closes", "closed_day"},
    {"street", "city"},
    {"day", "date", "time"},
    {"sport", "instrument"},
    {"food", "drink"},
    {"code", "badge"},
    {"where", "owner"},
    {"room", "city"},
]


class Fact:
    """A sentence, and the questions it answers as (question, short answer)."""

    chunk = 0

    def __init__(self, text, qs, subject="", key="", kind="", value="", pronoun=None):
        self.text, self.qs = article(text), [(article(cap(q)), s) for q, s in qs]
        self.subject, self.key, self.kind, self.value, self.pronoun = (
            subject,
            key,
            kind,
            value,
            pronoun,
        )

    def clashes(self, other):
        """Whether both answer the same question, so that they may not share a context."""
        return self.subject == other.subject and (
            self.key == other.key or any({self.key, other.key} <= c for c in CONFLICTS)
        )


class Facts(Values):
    """Sentences drawn from relations, from verbs and from other shapes."""

    def related(self, rel, subject, value=None):
        """A fact stating a relation of a subject."""
        v = value or self.value(rel.kind)
        st = self.pick(rel.statements)
        fill = lambda t: t.format(s=subject, S=cap(subject), v=v)
        pron = None
        if st.startswith("{S}"):
            he = ("It", "Its") if rel.subject != "person" else getattr(self, "he", ("He", "His"))
            pron = article(
                cap(he[1] + fill(st[5:]) if st.startswith("{S}'s") else he[0] + fill(st[3:]))
            )
        return Fact(
            cap(fill(st)),
            [(fill(q), v) for q in rel.questions]
            + [(fill(q), subject) for q in rel.inverse if self.chance(0.6)],
            subject,
            rel.key,
            rel.subject,
            v,
            pron,
        )

    def svo(self):
        """A fact of subject, verb, object, and perhaps place, time or reason."""
        verb = self.pick(L.VERB)
        who = (
            self.name()
            if self.chance(0.4)
            else f"the {self.pick([self.pick(L.ADJ) + ' ', '', ''])}{self.pick(L.AGENT)}"
        )
        noun = f"{self.pick([self.pick(L.ADJ) + ' ', ''])}{self.pick([self.pick(L.NOUN), self.pick(L.NOUN), self.word()])}"
        obj, tail = f"{self.pick(['the', 'the', 'a'])} {noun}", self.n(0, 3)
        qs = [
            (f"who {verb[1]} the {noun}?", who),
            (f"what did {who} {verb[0]}?", obj),
            (f"what was {verb[4]} by {who}?", obj),
        ]
        text = f"{cap(who)} {verb[1]} {obj}"
        if tail == 1:
            place = f"{self.pick(L.PREP)} the {self.pick([self.pick(L.ADJ) + ' ', ''])}{self.pick(L.NOUN)}"
            text, qs = (
                f"{text} {place}",
                qs + [(f"where did {who} {verb[0]} the {noun}?", place)] * 3,
            )
        elif tail == 2:
            when = self.pick(
                [
                    self.pick(L.WHEN),
                    f"in {self.n(1850, 2030)}",
                    f"at {self.time()}",
                    f"on {self.date()}",
                ]
            )
            text, qs = f"{text} {when}", qs + [(f"when did {who} {verb[0]} the {noun}?", when)] * 3
        elif tail == 3:
            why = "because " + self.pick(L.REASON)
            text, qs = f"{text} {why}", qs + [(f"why did {who} {verb[0]} the {noun}?", why)] * 3
        return Fact(text + ".", qs, who, verb[0])

    def generic(self):
        """Facts of other shapes: how-to, conditions, definitions, error codes, settings."""
        pick, v, w = self.pick, self.pick(L.VERB), self.pick(L.VERB)
        noun, other = (
            self.pick([pick(L.NOUN), f"{pick(L.ADJ)} {pick(L.NOUN)}", self.word()]),
            f"{pick(L.ADJ)} {pick(L.NOUN)}",
        )
        how = pick(
            [
                f"{w[0]} the {other}",
                f"hold the {pick(L.COLOUR)} button for {self.n(2, 30)} seconds",
                f"press {self.code()}",
                f"enter the code {self.code()}",
                f"turn the {pick(L.NOUN)} {pick(['left', 'right', 'twice', 'slowly', 'off and on'])}",
                f"ask {self.name()}",
                f"type `{self.value('command')}`",
                f"call {self.value('phone')}",
            ]
        )
        k = self.n(0, 21)
        if k == 0:
            return Fact(
                f"To {v[0]} the {noun}, {how}.",
                [
                    (q.format(v[0], noun, v[4]), how)
                    for q in (
                        "how do I {} the {}?",
                        "how can I {} the {}?",
                        "what do I do to {} the {}?",
                        "how is the {1} {2}?",
                        "how do you {} the {}?",
                    )
                ],
                noun,
                v[0],
            )
        if k == 1:
            cond = pick(L.CONDITION)
            return Fact(
                f"If {cond}, {how}.",
                [
                    (q.format(cond), how)
                    for q in (
                        "what should I do if {}?",
                        "what do I do when {}?",
                        "what if {}?",
                        "what must be done if {}?",
                    )
                ],
                cond,
                "if",
            )
        if k == 2:
            word, use = self.word(), pick(L.PURPOSE)
            kind = f"a {pick(L.ADJ)} {pick(['tool', 'machine', 'device', 'thing'])}"
            return Fact(
                f"A {word} is {kind} used to {use}.",
                [
                    (f"what is a {word}?", kind),
                    (f"what is a {word} used for?", "to " + use),
                    (f"what do people use a {word} for?", "to " + use),
                    (f"which tool is used to {use}?", "a " + word),
                ],
                word,
                "is",
            )
        if k == 3:
            code, why = self.code(), pick(L.CONDITION + L.REASON)
            return Fact(
                f"{pick(['Error', 'Code', 'Warning', 'Signal'])} {code} means that {why}.",
                [
                    (f"what does {code} mean?", why),
                    (f"what is the meaning of {code}?", why),
                    (f"what does error {code} mean?", why),
                    (f"which code means that {why}?", code),
                ],
                code,
                "means",
            )
        if k == 4:
            key, val = pick(
                [
                    f"{self.word()}_{pick(L.NOUN).split()[0]}",
                    f"max_{self.word()}",
                    f"{pick(L.NOUN).split()[0]}.{self.word()}",
                ]
            ), pick([str(self.n(1, 5000)), self.word(), "true", "false"])
            return Fact(
                pick(
                    [
                        f"The default of {key} is {val}.",
                        f"The setting {key} has the value {val}.",
                        f"Set {key} to {val}.",
                    ]
                ),
                [
                    (f"what is the default of {key}?", val),
                    (f"what is {key} set to?", val),
                    (f"which value has {key}?", val),
                    (f"what is the value of {key}?", val),
                ],
                key,
                "set",
            )
        if k == 5:
            val = pick(
                [
                    pick(L.MATERIAL),
                    pick(L.COLOUR),
                    pick(L.ADJ),
                    self.value("number"),
                    self.value("length"),
                    self.value("weight"),
                    self.value("price"),
                    self.code(),
                ]
            )
            part, whole = (
                pick(
                    [
                        "number",
                        "colour",
                        "size",
                        "price",
                        "name",
                        "state",
                        "cover",
                        "handle",
                        "weight",
                        "label",
                        "symbol",
                        "secret",
                        "password",
                        "roof",
                        "door",
                    ]
                ),
                f"the {noun}",
            )
            return Fact(
                f"The {part} of {whole} is {val}.",
                [(f"what is the {part} of {whole}?", val), (f"tell me the {part} of {whole}", val)],
                whole,
                part,
            )
        if k == 6:
            org, num, year = self.org(), self.value("number"), self.n(1900, 2030)
            return Fact(
                f"In {year} {org} {v[1]} {num} {(ns := plural(noun))}.",
                [
                    (f"how many {ns} did {org} {v[0]} in {year}?", num),
                    (f"how many {ns} did {org} {v[0]}?", num),
                    (f"what did {org} {v[0]} in {year}?", f"{num} {ns}"),
                    (f"when did {org} {v[0]} {num} {ns}?", str(year)),
                ],
                org,
                v[0],
            )
        if k == 7:
            role = pick(
                [
                    "captain",
                    "owner",
                    "manager",
                    "head",
                    "editor",
                    "keeper",
                    "leader",
                    "winner",
                    "coach",
                    "chairman",
                    "treasurer",
                    "secretary",
                ]
            )
            of, who = (
                pick(
                    [
                        self.org(),
                        f"the {noun}",
                        f"the {self.city()} {pick(['club', 'choir', 'council', 'team'])}",
                    ]
                ),
                self.fullname() if self.chance(0.5) else self.name(),
            )
            return Fact(
                pick([f"The {role} of {of} is {who}.", f"{who} is the {role} of {of}."]),
                [
                    (f"who is the {role} of {of}?", who),
                    (f"what is the name of the {role} of {of}?", who),
                    (f"what is the role of {who}?", f"the {role} of {of}"),
                ],
                of,
                role,
            )
        if k == 8:
            agent, limit = (
                pick(L.AGENT + ["member", "guest", "employee", "student"]),
                f"{self.n(2, 60)} {pick(L.UNIT_TIME)}",
            )
            agent = plural(agent)
            return Fact(
                f"{cap(agent)} may {v[0]} the {noun} for {limit}.",
                [
                    (f"how long may {agent} {v[0]} the {noun}?", limit),
                    (f"who may {v[0]} the {noun}?", agent),
                    (f"what may {agent} {v[0]}?", f"the {noun}"),
                ],
                agent,
                v[0],
            )
        if k == 9:
            flag = f"--{self.slug()}"
            return Fact(
                f"The option {flag} {v[2]} the {noun}.",
                [
                    (f"what does {flag} do?", f"{v[2]} the {noun}"),
                    (f"which option {v[2]} the {noun}?", flag),
                    (f"what is the option {flag} for?", f"{v[2]} the {noun}"),
                ],
                flag,
                "option",
            )
        one, two, three = self.r.sample(
            L.COLOUR
            if self.chance(0.3)
            else L.MATERIAL
            if self.chance(0.4)
            else [plural(x) for x in self.r.sample(L.NOUN, 6)],
            3,
        )
        if k == 10:
            return Fact(
                f"The {noun} {(vb := pick(['consists of', 'comes with', 'contains', 'is available in', 'includes']))} {one}, {two} and {three}.",
                [
                    (
                        f"what {'is' if vb.startswith('is') else 'does'} the {noun} {({'consists of': 'consist of', 'comes with': 'come with', 'contains': 'contain', 'includes': 'include'}).get(vb, vb[3:])}?",
                        f"{one}, {two} and {three}",
                    )
                ],
                noun,
                "parts",
            )
        who, n1, n2 = (
            self.name() if self.chance(0.6) else f"the {pick(L.AGENT)}",
            self.n(2, 99),
            self.n(2, 99),
        )
        if k == 11:
            return Fact(
                f"{cap(who)} {v[1]} {n1} {one} and {n2} {two}.",
                [
                    (f"how many {one} did {who} {v[0]}?", str(n1)),
                    (f"how many {two} did {who} {v[0]}?", str(n2)),
                    (f"who {v[1]} {n2} {two}?", who),
                ],
                who,
                v[0],
            )
        if k == 12:
            y, city = self.n(1850, 2000), self.city()
            did, do = pick(
                [("lived", "live"), ("worked", "work"), ("studied", "study"), ("taught", "teach")]
            )
            return Fact(
                pick(
                    [
                        f"Between {y} and {y + n1} {who} {did} in {city}.",
                        f"{cap(who)} {did} in {city} from {y} to {y + n1}.",
                    ]
                ),
                [
                    (f"where did {who} {do}?", city),
                    (f"where did {who} {do} from {y} to {y + n1}?", city),
                    (f"when did {who} {do} in {city}?", f"from {y} to {y + n1}"),
                    (f"who {did} in {city}?", who),
                ],
                who,
                do,
            )
        if k == 13:
            day, new, ev = pick(L.DAY), pick(L.DAY), self.subject("event")
            return Fact(
                f"{cap(ev)} was moved from {day} to {new}.",
                [
                    (f"to which day was {ev} moved?", new),
                    (f"from which day was {ev} moved?", day),
                    (f"when is {ev} now?", new),
                    (f"what was moved to {new}?", ev),
                ],
                ev,
                "day",
            )
        if k == 14:
            x, y, d = self.city(), self.city(), f"{n1} kilometres"
            return Fact(
                pick([f"{x} is {d} from {y}.", f"It is {d} from {x} to {y}."]),
                [
                    (f"how far is {x} from {y}?", d),
                    (f"how far is it from {x} to {y}?", d),
                    (f"what is the distance between {x} and {y}?", d),
                ],
                x,
                "far",
            )
        if k == 15:
            x, y = self.r.sample(
                [
                    "members",
                    "guests",
                    "children",
                    "students",
                    "adults",
                    "visitors",
                    "teachers",
                    "seniors",
                ],
                2,
            )
            px, py = self.price(), self.price()
            return Fact(
                f"{cap(x)} pay {px}, {y} pay {py}.",
                [
                    (f"how much do {x} pay?", px),
                    (f"how much do {y} pay?", py),
                    (f"what do {y} pay?", py),
                    (f"who pays {px}?", x),
                ],
                x,
                "pay",
            )
        if k == 16:
            who, mail = self.name(), self.value(pick(["email", "phone"]))
            return Fact(
                pick(
                    [
                        f"Contact {who} at {mail} for questions about the {noun}.",
                        f"For questions about the {noun}, ask {who} at {mail}.",
                    ]
                ),
                [
                    (f"who answers questions about the {noun}?", who),
                    (f"who do I contact about the {noun}?", who),
                    (f"how do I contact {who}?", mail),
                    (f"whom can I ask about the {noun}?", who),
                ],
                noun,
                "contact",
            )
        if k == 17:
            title, who, y = self.title(), self.fullname(), self.n(1850, 2030)
            kind = pick(["book", "film", "song", "painting", "play", "poem", "game"])
            return Fact(
                f"{title} is a {kind} by {who} from {y}.",
                [
                    (f"who made {title}?", who),
                    (f"when did {title} appear?", str(y)),
                    (f"what is {title}?", f"a {kind} by {who}"),
                    (f"which {kind} is by {who}?", title),
                    (f"what kind of work is {title}?", f"a {kind}"),
                ],
                title,
                "work",
            )
        if k == 18:
            x, y = self.r.sample(L.FOOD[:24], 2)
            unit = pick(["grams", "cups", "spoons", "kilograms", "pieces"])
            return Fact(
                f"You need {n1} {unit} of {x} and {n2} {unit} of {y}.",
                [
                    (f"how much {x} do I need?", f"{n1} {unit}"),
                    (f"how much {y} do I need?", f"{n2} {unit}"),
                    (f"how many {unit} of {y} do I need?", f"{n2} {unit}"),
                    ("what do I need?", f"{n1} {unit} of {x} and {n2} {unit} of {y}"),
                ],
                x,
                "need",
            )
        if k == 19:
            x, y, comp = (
                self.name(),
                self.name(),
                pick(["taller", "older", "younger", "faster", "stronger", "richer", "smaller"]),
            )
            return Fact(
                f"{x} is {comp} than {y}.",
                [
                    (f"who is {comp}, {x} or {y}?", x),
                    (f"who is {comp}, {y} or {x}?", x),
                    (f"who is {comp} than {y}?", x),
                    (f"than whom is {x} {comp}?", y),
                ],
                x,
                comp,
            )
        if k == 20:
            x, y, p, year = self.org(), self.org(), self.price(), self.n(1950, 2030)
            return Fact(
                f"{x} bought {y} for {p} in {year}.",
                [
                    (f"who bought {y}?", x),
                    (f"what did {x} buy?", y),
                    (f"how much did {x} pay for {y}?", p),
                    (f"when did {x} buy {y}?", f"in {year}"),
                ],
                x,
                "buy",
            )
        who2 = self.name()
        return Fact(
            f"{cap(who)} gave {who2} the {noun}.",
            [
                (f"who gave {who2} the {noun}?", who),
                (f"what did {who} give {who2}?", f"the {noun}"),
                (f"to whom did {who} give the {noun}?", who2),
                (f"who got the {noun}?", who2),
                (f"who got the {noun} from {who}?", who2),
            ],
            who,
            "give",
        )

    def fact(self):
        """One fact of any shape."""
        k = self.r.random()
        if k < 0.55:
            rel = self.pick(RELATIONS)
            return self.related(rel, self.subject(rel.subject))
        return self.svo() if k < 0.75 else self.generic()

    def facts(self, count):
        """Facts that compete with each other: shared subjects, shared relations, strangers."""
        out, tries = [], 0
        kind = self.pick(KINDS + ["person"] * 4)
        rels = [r for r in RELATIONS if r.subject == kind]
        subjects = [self.subject(kind) for _ in range(self.n(1, 3))]
        mode = self.r.random()
        self.he = self.pick([("He", "His"), ("She", "Her")])
        while len(out) < count and tries < 60:
            tries += 1
            if mode < 0.75 and self.chance(0.8):
                if (
                    mode < 0.3 and out and out[0].key in {r.key for r in rels}
                ):  # one relation, many subjects
                    rel = (
                        next(r for r in rels if r.key == out[0].key)
                        if self.chance(0.8)
                        else self.pick(rels)
                    )
                    f = self.related(rel, self.subject(kind))
                else:  # few subjects, many relations
                    f = self.related(self.pick(rels), self.pick(subjects))
            else:
                f = self.fact()
            asked = {q for q, _ in f.qs}
            if not any(
                f.clashes(o) or f.text == o.text or asked & {q for q, _ in o.qs} for o in out
            ):
                out.append(f)
        if mode >= 0.3 and self.chance(0.7):
            out.sort(key=lambda f: f.subject)  # a paragraph per subject
        elif self.chance(0.5):
            self.r.shuffle(out)
        return out
