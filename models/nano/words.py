"""Words and values: names, places, codes, times, and the helpers that bend words.

Values is the root of the generator (data.Gen): it holds the random source, so every draw of every
category goes through one seeded stream, and two runs with a seed give the same corpus.
"""

import random
import re
from zlib import crc32

import lexicon as L


def rows(text):
    """The lines of a table as lists of cells."""
    return [[c.strip() for c in line.split(" | ")] for line in text.strip().splitlines()]


def alts(cell):
    """The alternatives of a cell."""
    return [x.strip() for x in cell.split(" / ")]


class Relation:
    """A relation of a subject to a value: how it is stated and asked, both ways."""

    def __init__(self, head, statements, questions, inverse):
        self.subject, self.key, self.kind = head.split()
        self.statements, self.questions, self.inverse = (
            alts(statements),
            alts(questions),
            alts(inverse),
        )


class Tool:
    """A tool of the lexicon: names, parameters, how it is asked for, what it gives."""

    def __init__(self, names, descriptions, params, asks, result, answer):
        self.names, self.descriptions, self.asks, self.answer = (
            names.split(","),
            alts(descriptions),
            alts(asks),
            answer,
        )
        self.params = [
            (n.split(","), k, d) for n, k, d in (p.split(":") for p in params.split("; "))
        ]
        self.result = [f.strip().split(":") for f in result.split(",")]


RELATIONS = [Relation(*r) for r in rows(L.RELATIONS)]
KINDS = sorted({r.subject for r in RELATIONS})
TOOLS = [Tool(*r) for r in rows(L.TOOLS)]
COMMANDS, FACTS, SMALLTALK, TRIVIA = map(rows, (L.COMMANDS, L.FACTS, L.SMALLTALK, L.TRIVIA))


def cap(s):
    """With a capital first letter."""
    return s[:1].upper() + s[1:]


def article(s):
    """ "a" before a vowel becomes "an"."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", s)


def plural(s):
    """The regular plural, and the two irregular ones the lexicon has."""
    return (
        s[:-3] + "men"
        if s.endswith("man")
        else "children"
        if s == "child"
        else s + "es"
        if s.endswith(("s", "ch", "sh", "x"))
        else s[:-1] + "ies"
        if s.endswith("y") and s[-2] not in "aeo"
        else s + "s"
    )


def same(a, b):
    """Answers compared without case, quotes and final punctuation."""
    norm = lambda s: " ".join(s.lower().strip().strip(".!?\"'").split())
    return norm(a) == norm(b)


class Values:
    """Draws of single values. `held` chooses the tenth of names that training never sees."""

    def __init__(self, seed, held=False):
        self.r, self.held = random.Random(seed), held
        self.pick, self.chance = self.r.choice, lambda p: self.r.random() < p

    def split(self, make):
        """Draw until the string lies in this generator's half of the train / held-out split."""
        while True:
            x = make()
            if (crc32(x.lower().encode()) % 10 == 0) == self.held:
                return x

    def n(self, a, b):
        """A whole number from a to b."""
        return self.r.randint(a, b)

    def syllables(self, a, b):
        return "".join(
            self.pick(L.ONSET) + self.pick(L.VOWEL) + self.pick(L.CODA) for _ in range(self.n(a, b))
        )

    def pseudo(self):
        w = self.syllables(1, 2) + self.pick(["", "", "a", "o", "en", "er", "is", "ix", "us", "ek"])
        return w if len(w) > 3 else self.pseudo()

    def name(self):
        return self.split(lambda: self.pick(L.FIRST) if self.chance(0.5) else cap(self.pseudo()))

    def surname(self):
        return self.split(lambda: self.pick(L.LAST) if self.chance(0.4) else cap(self.pseudo()))

    def fullname(self):
        return f"{self.name()} {self.surname()}"

    def word(self):
        return self.split(self.pseudo)

    def newcity(self):
        base = cap(self.syllables(1, 2)) + self.pick(L.CITY_END)
        return (
            self.pick(["Port ", "New ", "Upper ", "San ", "Lake "]) + base
            if self.chance(0.1)
            else base
        )

    def city(self):
        return self.split(lambda: self.pick(L.CITY) if self.chance(0.35) else self.newcity())

    def country(self):
        return self.split(lambda: cap(self.syllables(1, 2)) + self.pick(L.COUNTRY_END))

    def org(self):
        return self.split(
            lambda: f"{self.pick(L.LAST)} & Sons"
            if self.chance(0.1)
            else f"{cap(self.pseudo())} {self.pick(L.ORG_END)}"
        )

    def code(self):
        """An access code, licence plate or the like; never the same twice, so it can only be copied."""
        pattern = self.pick(
            [
                "AA-9999",
                "A9A9",
                "AAA999",
                "9999",
                "99999",
                "99-99-99",
                "aa9-aaa-99",
                "A99-A99",
                "AA 999",
                "AAAA-9999-AA",
                "aaaa99",
                "9A9A9A",
                "A-999",
                "AA9",
                "999-AAA",
                "a99aa9",
                "AA-99-AA",
                "A9-99",
                "aaa_999",
                "AAA-AAA",
            ]
        )
        return "".join(
            self.pick("ABCDEFGHJKLMNPQRSTUVWXYZ")
            if c == "A"
            else self.pick("abcdefghijkmnpqrstuvwxyz")
            if c == "a"
            else self.pick("0123456789")
            if c == "9"
            else c
            for c in pattern
        )

    def time(self):
        h, m = self.n(0, 23), self.pick(["00", "15", "30", "45", "10", "20", "05", "50"])
        return self.pick(
            [
                f"{h}:{m}",
                f"{h % 12 + 1} {self.pick(['am', 'pm'])}",
                f"{h % 12 + 1}:{m} {self.pick(['am', 'pm'])}",
            ]
        )

    def date(self):
        m, d = self.pick(L.MONTH), self.n(1, 28)
        return self.pick(
            [
                f"{d} {m}",
                f"{m} {d}",
                f"{d} {m} {self.n(1950, 2035)}",
                f"{self.n(2020, 2035)}-{self.n(1, 12):02}-{d:02}",
            ]
        )

    def price(self):
        whole, cents = self.pick([self.n(1, 20), self.n(10, 99), self.n(100, 2000)]), self.pick(
            ["", "", ".50", ".99", ".20", ".75"]
        )
        return self.pick(
            [
                f"${whole}{cents}",
                f"{whole}{cents} euros",
                f"{whole} dollars",
                f"{whole} crowns",
                f"{whole}{cents} EUR",
            ]
        )

    def slug(self):
        return self.pick([self.word(), self.pick(L.NOUN).replace(" ", "-"), self.name().lower()])

    def filename(self):
        return f"{self.slug()}{self.pick(['', '', '-' + str(self.n(1, 99)), '_' + self.pick(L.NOUN).split()[0]])}.{self.pick(['txt', 'md', 'csv', 'json', 'pdf', 'toml', 'log', 'png'])}"

    def dirpath(self):
        return self.pick(["/", "/etc/", "/home/", "/var/", "/data/", "~/"]) + "/".join(
            self.slug() for _ in range(self.n(1, 2))
        )

    def expr(self):
        a, b, c = self.n(1, 200), self.n(1, 99), self.n(1, 20)
        return self.pick(
            [
                f"{a} + {b}",
                f"{a} - {b}",
                f"{a} * {b}",
                f"{a} / {b}",
                f"({a} + {b}) * {c}",
                f"{a} * {b} + {c}",
                f"{a}.5 * {b}",
            ]
        )

    def thing(self):
        return f"the {self.pick(L.ADJ)} {self.pick(L.NOUN)}"

    def title(self):
        return self.pick(
            [
                f"The {cap(self.pick(L.ADJ))} {cap(self.pick(L.NOUN))}",
                f"{cap(self.pick(L.NOUN))} of {self.city()}",
                f"A {cap(self.pick(L.NOUN))} for {self.name()}",
                f"{cap(self.pick(L.ADJ))} {plural(cap(self.pick(L.NOUN)))}",
            ]
        )

    def phrase(self):
        v = self.pick(L.VERB)[0]
        return self.pick(
            [
                f"buy {self.pick(L.FOOD)}",
                f"call {self.name()}",
                f"{v} the {self.pick(L.NOUN)}",
                f"meet {self.name()} in {self.city()}",
                f"{v} the {self.pick(L.ADJ)} {self.pick(L.NOUN)}",
                f"the {self.pick(L.NOUN)} is {self.pick(L.ADJ)}",
                f"bring the {self.pick(L.NOUN)} to {self.name()}",
                f"pay the {self.pick(L.NOUN)} bill",
                f"see you at {self.time()}",
                f"my {self.pick(L.NOUN)} needs {self.pick(L.MATERIAL)}",
                f"{self.pick(L.NOUN)} number {self.code()}",
                self.word() + " " + self.word(),
            ]
        )

    def query(self):
        return self.pick(
            [
                f"{plural(self.pick(L.ADJ) + ' ' + self.pick(L.NOUN))} in {self.city()}",
                f"the history of the {self.pick(L.NOUN)}",
                f"{self.name()} {self.surname()}",
                f"how to {self.pick(L.VERB)[0]} a {self.pick(L.NOUN)}",
                f"{self.word()} {self.pick(L.NOUN)}",
                f"cheap hotels in {self.city()}",
                f"{self.pick(L.ADJ)} {self.pick(L.MATERIAL)} {self.pick(L.NOUN)}",
                f"{self.pick(L.TOPIC)}",
                f"recipes with {self.pick(L.FOOD)}",
            ]
        )

    def value(self, kind):
        """A value of a kind that relations and tools name."""
        n, pick = self.n, self.pick
        v = {
            "age": lambda: str(n(5, 99)),
            "year": lambda: str(n(1800, 2030)),
            "number": lambda: str(pick([n(2, 20), n(20, 99), n(100, 9999)])),
            "num": lambda: str(pick([n(2, 12), n(2, 60), n(10, 500)])),
            "bignum": lambda: str(n(50, 9999) * pick([1, 1, 100])),
            "float": lambda: f"{n(1, 900)}.{n(1, 99)}",
            "temp_c": lambda: str(n(-15, 38)),
            "port": lambda: str(n(1024, 65000)),
            "colour": lambda: pick(L.COLOUR),
            "food": lambda: pick(L.FOOD),
            "drink": lambda: pick(L.DRINK),
            "job": lambda: pick(L.JOBS),
            "pet": lambda: pick(L.PET),
            "animal": lambda: pick(L.ANIMAL),
            "sport": lambda: pick(L.SPORT),
            "hobby": lambda: pick(L.HOBBY),
            "instrument": lambda: pick(L.INSTRUMENT),
            "language": lambda: pick(L.LANGUAGE),
            "material": lambda: pick(L.MATERIAL),
            "day": lambda: pick(L.DAY),
            "weather": lambda: pick(L.WEATHER),
            "spot": lambda: pick(L.SPOT),
            "proglang": lambda: pick(L.PROGLANG),
            "topic": lambda: pick(L.TOPIC),
            "homeroom": lambda: pick(
                [
                    "kitchen",
                    "bedroom",
                    "bathroom",
                    "living room",
                    "office",
                    "hall",
                    "garage",
                    "cellar",
                    "attic",
                    "nursery",
                    "garden",
                ]
            ),
            "phone": lambda: pick(
                [
                    f"{n(100, 999)}-{n(1000, 9999)}",
                    f"+{n(1, 99)} {n(100, 999)} {n(1000, 99999)}",
                    f"0{n(10, 99)} {n(100000, 999999)}",
                ]
            ),
            "email": lambda: f"{self.slug()}@{self.word()}.{pick(['com', 'org', 'net', 'io', 'eu'])}",
            "url": lambda: f"https://{self.word()}.{pick(['com', 'org', 'net'])}{pick(['', '/' + self.slug()])}",
            "host": lambda: pick(
                [
                    f"{self.word()}.{pick(['com', 'org', 'local'])}",
                    f"{n(1, 223)}.{n(0, 255)}.{n(0, 255)}.{n(1, 254)}",
                ]
            ),
            "path": lambda: f"{pick([self.dirpath() + '/', ''])}{self.filename()}",
            "version": lambda: f"{n(0, 12)}.{n(0, 30)}{pick(['', '.' + str(n(0, 9))])}",
            "speed": lambda: f"{n(5, 900)} {pick(['km/h', 'kilometres an hour', 'miles an hour'])}",
            "percent": lambda: f"{n(2, 90)} percent",
            "size": lambda: f"{n(2, 900)} {pick(['MB', 'GB', 'KB'])}",
            "temp": lambda: f"{n(80, 260)} degrees",
            "duration": lambda: f"{n(2, 90)} {pick(L.UNIT_TIME)}",
            "length": lambda: f"{n(2, 900)} {pick(L.UNIT_LEN)}",
            "weight": lambda: f"{n(2, 900)} {pick(L.UNIT_WEIGHT)}",
            "hours": lambda: f"{self.time()} to {self.time()}",
            "freq": lambda: pick(
                [
                    f"every {n(2, 12)} {pick(L.UNIT_TIME)}",
                    "once a week",
                    "twice a day",
                    "once a month",
                    "every morning",
                    f"every {pick(L.DAY)}",
                ]
            ),
            "street": lambda: pick(
                [
                    f"{n(1, 199)} {self.surname()} Street",
                    f"{self.surname()} Road {n(1, 99)}",
                    f"{n(1, 99)} {cap(pick(L.NOUN))} Lane",
                ]
            ),
            "placename": lambda: pick(
                [
                    f"room {self.code()}",
                    f"the {pick(L.PLACE)}",
                    self.city(),
                    f"the {self.city()} {pick(L.PLACE)}",
                ]
            ),
            "car": lambda: f"{pick(L.COLOUR)} {cap(self.word())}",
            "team": lambda: f"{self.city()} {cap(pick(L.ANIMAL))}s",
            "newword": lambda: cap(self.word()) + pick(["ian", "ish", "ese", "i"]),
            "plural": lambda: pick(
                [
                    "lamps",
                    "boats",
                    "toys",
                    "shoes",
                    "pumps",
                    "robots",
                    "cameras",
                    "tents",
                    "chairs",
                    "kettles",
                    "bicycles",
                    "drones",
                    "games",
                    "maps",
                    "filters",
                    "cables",
                ]
            ),
            "thingname": lambda: plural(
                pick(["", pick(L.ADJ) + " ", self.word() + " "]) + pick(L.NOUN)
            ),
            "command": lambda: pick(
                [
                    f"{self.word()} start",
                    f"{self.word()} --port {n(1000, 9999)}",
                    f"make {self.slug()}",
                    f"{self.word()} {pick(['run', 'up', 'init', 'list', 'status'])} {self.slug()}",
                    f"./{self.word()}.sh",
                ]
            ),
            "symbol": lambda: "".join(pick("ABCDEFGHIKLMNOPRSTUVWXYZ") for _ in range(n(3, 4))),
            "cur": lambda: pick(
                ["USD", "EUR", "GBP", "JPY", "CHF", "SEK", "NOK", "INR", "CAD", "AUD"]
            ),
            "unit": lambda: pick(L.UNIT_LEN + ["inches", "yards"]),
            "prio": lambda: pick(["low", "high", "normal", "urgent"]),
            "status": lambda: "ok",
            "ok": lambda: "ok",
            "sent": lambda: "sent",
            "ordstat": lambda: pick(
                [
                    "on its way",
                    "delivered",
                    "packed",
                    "waiting for payment",
                    "delayed",
                    "ready for pickup",
                ]
            ),
            "doorname": lambda: f"{pick(['front', 'back', 'garage', 'cellar', 'main', 'garden', 'office', 'side'])} {pick(['door', 'gate'])}",
            "problem": lambda: f"the {pick(L.NOUN)} is {pick(['broken', 'missing', 'too loud', 'stuck', 'leaking', 'too slow', 'not working'])}",
            "evname": lambda: pick(
                [
                    pick(L.EVENT),
                    f"lunch with {self.name()}",
                    f"meeting with {self.name()}",
                    f"call with {self.name()}",
                ]
            ),
            "dish": lambda: f"{pick(L.FOOD)} with {pick(L.FOOD)}",
            "defn": lambda: f"a {pick(L.ADJ)} {pick(L.NOUN)}",
            "words": lambda: " ".join(self.word() for _ in range(n(1, 4))),
            "place_name": lambda: cap(self.subject("place")[4:]),
            "soft": lambda: self.subject("software"),
            "product": lambda: self.subject("product"),
            "fact": lambda: self.fact().text.rstrip("."),
        }.get(kind)
        return v() if v else getattr(self, kind)()

    def subject(self, kind):
        """A subject of a kind that relations name."""
        pick, n = self.pick, self.n
        return {
            "person": lambda: self.fullname()
            if self.chance(0.2)
            else pick([f"Mr {self.surname()}", f"Dr {self.surname()}", f"Mrs {self.surname()}"])
            if self.chance(0.08)
            else self.name(),
            "place": lambda: pick(
                [
                    f"the {pick(L.PLACE)}",
                    f"the {self.city()} {pick(L.PLACE)}",
                    f"the {pick(L.ADJ)} {pick(L.PLACE)}",
                    f"the {pick(L.PLACE)} {cap(self.word())}",
                ]
            ),
            "product": lambda: pick(
                [
                    f"the {cap(self.word())} {n(2, 900)}",
                    f"the {cap(self.word())} {pick(L.DEVICE)}",
                    f"the {pick(L.ADJ)} {pick(L.DEVICE)}",
                    f"the {self.code()} {pick(L.DEVICE)}",
                    f"the {pick(L.DEVICE)}",
                ]
            ),
            "country": self.country,
            "software": lambda: pick(
                [
                    cap(self.word()),
                    self.word(),
                    f"{self.word()}-{pick(['db', 'server', 'tool', 'api', 'cli', 'sync', 'proxy'])}",
                    f"the {self.word()} service",
                ]
            ),
            "event": lambda: pick(
                [
                    f"the {pick(L.EVENT)}",
                    f"the {self.city()} {pick(L.EVENT)}",
                    f"the {pick(L.EVENT)} of {self.name()}",
                ]
            ),
            "ride": lambda: pick(
                [
                    f"{pick(L.RIDE)} {n(1, 9999)}",
                    f"the {pick(L.RIDE)} {self.code()}",
                    f"{pick(L.RIDE)} {self.code()}",
                    f"the {pick(['first', 'last', 'morning', 'evening', 'express'])} {pick(L.RIDE)}",
                ]
            ),
            "org": self.org,
            "item": lambda: pick(
                [
                    self.thing(),
                    f"the {pick(L.NOUN)}",
                    f"the {pick(L.NOUN)} of {self.name()}",
                    f"the {pick(L.MATERIAL)} {pick(L.NOUN)}",
                    f"{self.name()}'s {pick(L.NOUN)}",
                ]
            ),
            "star": lambda: pick(
                [
                    f"the star {cap(self.word())}",
                    f"the planet {cap(self.word())}",
                    f"{cap(self.word())}-{n(1, 99)}",
                    f"the comet {self.code()}",
                ]
            ),
            "recipe": lambda: pick(
                [
                    f"the {pick(L.FOOD)}",
                    f"{self.name()}'s {pick(L.FOOD)}",
                    f"the {pick(L.ADJ)} {pick(L.FOOD)}",
                    f"the {cap(self.word())} {pick(['cake', 'soup', 'stew', 'pie', 'bread'])}",
                ]
            ),
        }[kind]()
