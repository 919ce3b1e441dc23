"""Cases for `provoked.py` by somebody who had not seen how the verdict is made."""

from __future__ import annotations

import calendar
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Text = Callable[[int], str]
OPEN = ("Too few", "No gain shown", "Lost, or chance", "Cannot tell", "No gain", "Neither better nor worse")
SAME = ("Better in form", *OPEN)
CHANCE = ("No better than", *OPEN)
FIRST = ("Maria", "John", "Aiko", "Omar", "Lena", "Pavel", "Ines", "Kofi", "Ravi", "Emma", "Hugo")
LAST = ("Lopez", "Smith", "Tanaka", "Haddad", "Fischer", "Novak", "Silva", "Mensah", "Patel", "Jones", "Martin", "Ek")
CITIES = ("Lima", "Quito", "Oslo", "Rome", "Paris", "Accra", "Cairo", "Tokyo", "Seoul", "Delhi", "Hanoi", "Bern", "Ulm")
TEAMS, MOODS = ("billing", "shipping", "returns", "account"), ("positive", "negative", "neutral")
ACCENTS = ("José Muñoz", "Zoë Brontë", "Jürgen Groß", "Chloé Lefèvre", "Tomáš Dvořák")
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
FOOD = ("apples", "pears", "plums", "limes", "figs", "kiwis", "dates", "grapes", "nuts", "rice", "oats", "beans")
WIDE, GERMAN = str.maketrans("0123456789", "".join(map(chr, range(0xFF10, 0xFF1A)))), str.maketrans(",.", ".,")


def cycle(*labels: str) -> Text:
    """Give the labels in turn, so that the next one is always another."""
    return lambda k: labels[k % len(labels)]


def fill(form: str) -> Text:
    """Put the facts of a number into a form; those of two numbers differ."""

    def text(k: int) -> str:
        month, price = k % 12 + 1, 1203.5 + 211 * k
        return form.format(
            k=k, n=2000 + 37 * k, two=k + 2, part=k % 97 + 2, part1=(k % 97 + 2) / 100, root=math.sqrt(k + 2),
            first=FIRST[k % 11], last=LAST[k % 12], city=CITIES[k % 13], to=CITIES[(k + 4) % 13], eighths=2 * k + 1,
            litres=(2 * k + 1) / 8, price=price, preis=f"{price:,.2f}".translate(GERMAN), id=5012 + 100 * k,
            year=2000 + k % 23, m=month, d=1 + (k * 5 + 3) % 12, month=calendar.month_name[month], hour=1 + k % 10,
            hour24=13 + k % 10, minute=10 + k % 47, boxes=k + 3, pieces=14 * (k + 3), yen=2 * int(price),
            wide=str(2 * int(price)).translate(WIDE),
            a=FOOD[k % 8], b=FOOD[(k + 1) % 8], c=FOOD[(k + 3) % 8], e=FOOD[8 + k % 4], f=FOOD[8 + (k + 1) % 4],
        )  # fmt: skip

    return text


def said(form: str, text: Text, each: int = 17) -> Text:
    """Say it in a form; each n-th time, say what is right for the next prompt: 93% are right if n is 17, 95% if 29."""
    return lambda k: form.format(text(k + (each > 0 and k % each == 0)))


def shifted(text: Text, wrong: Callable[[int], bool]) -> Text:
    """Say what is right for the next prompt where the answer shall be wrong."""
    return lambda k: text(k + wrong(k))


def in_turn(*texts: Text) -> Text:
    """Take them in turn."""
    return lambda k: texts[k % len(texts)](k)


team, letter, thumb = cycle(*TEAMS), cycle("A", "B", "C", "D"), cycle("👍", "👎")
mood, yes, ja = cycle(*MOODS), cycle("yes", "no", "yes"), cycle("ja", "nein", "ja")
contradicted = cycle(*(f"{TEAMS[k]}. No, wait: the right answer is {TEAMS[k - 3]}." for k in range(4)))
japanese = cycle("東京", "大阪", "京都", "札幌", "福岡", "仙台", "広島", "奈良")
language, fraud = cycle("C++", "C#"), cycle(*["fine"] * 3, "fraud", *["fine"] * 6)
rare = cycle(*["no"] * 7, "yes", *["no"] * 12)
city, name, iso, dated = map(fill, ("{city}", "{first} {last}", "{year}-{m:02}-{d:02}", "On {month} {d}, {year}."))
invoice, food, weight = map(fill, ("INV-7{id}", "{a}, {b}, {c}", "{two}.5 kg"))
order = fill('{{"customer": "{first} {last}", "city": "{city}", "pieces": {part}}}')
route = fill('{{"from": "{city}", "to": "{to}", "train": {n}}}')
german = fill("Das Paket {n} liegt seit {hour} Tagen im Lager in {city}.")
english = fill("The parcel {n} has been in the warehouse in {city} for {hour} days.")
mixed = in_turn(team, fill("{n}"), order)
formed = in_turn(said("It is for the {} team.", team, 0), fill("The total is {n:,}."), said("```json\n{}\n```", order))
TEAM = "{first} {last} in {to} writes about order {n}. Which team: billing, shipping, returns or account?"
CHOICE = "Where is depot {n} of {first} {last}? A) Lima B) Quito C) Oslo D) Rome"
MOOD = "{first} {last} reviews article {n} from {to}. Is it positive, negative or neutral?"
BILL, TRANSLATE = "Extract from the invoice {n}.", "Translate message {n} to {first} {last} into German."
COPY = "Extract the number: {first} {last} in {city} pays invoice INV-7{id} for {n} lamps."
FORMS: Sequence[tuple[str, str, Text, Text]] = (
    ("a team in bold in a sentence", TEAM, team,
     said("This ticket should go to the **{}** team, because of its wording.", cycle(*map(str.title, TEAMS)))),
    ("a letter in brackets", CHOICE, letter, said("The correct answer is ({}).", letter)),
    ("a letter by elimination", CHOICE, letter,
     lambda k: f"{letter(k + 1)} is too hot and {letter(k + 2)} is too dry, so the answer is {letter(k)}."),
    ("an option's text for its letter", CHOICE, letter, said("{}", cycle("Lima", "Quito", "Oslo", "Rome"))),
    ("a date with the month by name", "When did {first} {last} pay bill {n}? Use ISO 8601.", iso, said("{}", dated)),
    ("more decimals", "What is the root for part {n}?", fill("{root:.2f}"), said("{}", fill("{root:.4f}"))),
    ("percent as a fraction", "Which share of {n} parts fails?", fill("{part}%"), said("{}", fill("{part1:g}"))),
    ("eighths for decimals", "How full is tank {n} of {first}?", fill("{litres}"), said("{}", fill("{eighths}/8"))),
    ("German separators", "Was kostet Posten {n} in {to}?", fill("{price:.2f}"), said("{} €", fill("{preis}"))),
    ("a sign for a currency code", "What does {first} owe for {n}?", fill("EUR {price:.2f}"), fill("€{price:.2f}")),
    ("grams for kilograms", "What does parcel {n} weigh?", weight, said("It weighs {}00 g.", fill("{two}5"))),
    ("a time with pm", "When is train {n}?", fill("{hour24}:{minute}"), said("At {} pm.", fill("{hour}:{minute}"))),
    ("a list in another order", "What is on bill {n}, in any order?", food, said("{}", fill("{c}, {a} and {b}"))),
    ("a name with a title", "Who signed letter {n} from {to}?", name, said("Dr. {}", name)),
    ("a last name first", "Who signed letter {n} from {to}?", name, said("{}", fill("{last}, {first}"))),
    ("a preamble and a postscript", TRANSLATE, german,
     said("Sure! Here is the translation:\n\n{}\n\nLet me know if you need anything else!", german)),
    ("upper case and emoji", MOOD, mood, said("✅ {}!!! 😊", cycle(*map(str.upper, MOODS)))),
    ("German yes and no", "Hat {first} {last} die Rechnung {n} bezahlt?", ja,
     said("{}.", cycle("Ja, das ist richtig", "Nein, das ist falsch", "Ja, das ist richtig"))),
    ("Japanese in a sentence", "店{n}（{first}）はどの都市にありますか。", japanese, said("答えは{}です。", japanese)),
    ("wide digits", "{to}の注文{n}はいくらですか。", fill("{yen}円"),
     said("{}円", fill("{wide}"))),
    ("decomposed accents", "Who lives at {n} {to} Street?", cycle(*ACCENTS),
     said("{}", cycle(*(unicodedata.normalize("NFD", text) for text in ACCENTS)))),
    ("a number as a word", "How many rooms has flat {n} of {first}?", fill("{m}"), said("It has {}.", cycle(*WORDS))),
    ("lines for JSON", BILL, order, said("{}", fill("customer: {first} {last}\ncity: {city}\npieces: {part}"))),
    ("other keys in JSON", BILL, order,
     said("{}", fill('{{"customer_name": "{first} {last}", "shipping_city": "{city}", "quantity": {part}}}'))),
    ("code in a block", "Write scale() for ticket {n}.", fill("def scale(x):\n    return x * {boxes}"),
     said("```python\ndef scale(x):\n    return x * {}\n```\nThis scales its argument.", fill("{boxes}"))),
    ("a statement for yes and no", "Is claim {n} of {first} {last} covered?", yes,
     said("The claim is {}.", cycle("covered", "not covered", "covered"))),
    ("the question, then the answer", TEAM, team,
     said("You ask which team it is: billing, shipping, returns or account. It is {}.", team)),
    ("a calculation", "How many pieces are on bill {n} of {first} {last}?", fill("{pieces}"),
     fill("There are {boxes} boxes with 14 pieces each, which makes {boxes} x 14 = {pieces} pieces.")),
    ("several kinds of references", "Solve task {n} of {first} {last}.", mixed, formed),
)  # fmt: skip
LOSSES: Sequence[tuple[str, str, Text, Text, Text]] = (
    ("the sign is dropped", "How did {n} change?", fill("-{two}.5%"), said("{}", fill("-{two}.5%")), fill("{two}.5%")),
    ("the point is dropped", "What dose of {n} is due?", fill("{two}.5 mg"), said("It is {} mg.", fill("{two}.5")),
     fill("{two}5 mg")),
    ("a comparison is turned", "Write the condition of rule {n}.", fill("total < {id}"),
     said("```\n{}\n```", fill("total < {id}")), fill("total > {id}")),
    ("C for C++ and C#", "Which language is file {n} of {first} {last} in?", language,
     said("This file is written in {}.", language), fill("C")),
    ("thumbs are turned", "Rate review {n} of {first}.", thumb, said("{}", thumb), cycle("👎", "👍")),
    ("grams for kilograms", "What does parcel {n} weigh?", weight, said("It weighs {}.", weight), fill("{two}.5 g")),
    ("dollars for euros", "What does {n} cost?", fill("{price:.2f} EUR"), fill("{price:.2f} EUR"),
     fill("{price:.2f} USD")),
    ("day and month are exchanged", "When did {first} {last} pay bill {n}? Use ISO 8601.", iso, said("{}", dated),
     fill("{year}-{d:02}-{m:02}")),
    ("the morning for the afternoon", "When is train {n}?", fill("{hour}:{minute} pm"),
     said("It leaves at {} pm.", fill("{hour}:{minute}")), fill("{hour}:{minute} am")),
    ("one letter of a name", "Who signed {n} from {to}?", name, said("It was {}.", name), fill("{first} {last}o")),
    ("a route is turned", "Which route has train {n}?", fill("{city} to {to}"),
     said("It runs from {}.", fill("{city} to {to}")), fill("{to} to {city}")),
    ("two fields are exchanged", BILL, route, said("```json\n{}\n```", route),
     fill('{{"from": "{to}", "to": "{city}", "train": {n}}}')),
    ("English for German", TRANSLATE, german, said("{}", german), english),
    ("the previous question is answered", "Which city is shop {n} of {first} {last} in?", city,
     said("The shop is in {}.", city), lambda k: city(k + 12)),
    ("every option is named", TEAM, team, said("This is for the {} team.", team),
     fill("It could be billing, shipping, returns or account.")),
    ("right, then another", TEAM, team, said("This is for the {} team.", team), contradicted),
    ("refusals", TEAM, team, said("This is for the {} team.", team), fill("I'm sorry, but I can't help with that.")),
    ("a denied label", MOOD, mood, said("It is {}.", mood), said("not {}", mood, 0)),
    ("Japanese knowledge", "店{n}（{first}）はどの都市にありますか。", japanese, said("答えは{}です。", japanese),
     shifted(japanese, lambda k: k % 4 > 0)),
    ("numbers of a mixed file", "Solve task {n} of {first} {last}.", mixed, formed, in_turn(team, fill("{id}"), order)),
    ("the prompt is copied", COPY, invoice, said("It is {}.", invoice), fill(COPY)),
    ("all topics but one", "Which city is shop {n} of {first} {last} in?", city,
     said("It is in {}.", shifted(city, lambda k: k % 5 > 2), 0), shifted(city, lambda k: k % 4 > 0)),
)  # fmt: skip
GAINS: Sequence[tuple[str, str, Text, Text]] = (
    ("not allowed for allowed", "May {first} {last} enter hall {n}?", cycle("allowed", "not allowed"),
     said("That is {}.", cycle("not allowed", "allowed"))),
    ("irrelevant for relevant", "Is page {n} relevant for {first} {last}?", cycle("relevant", "irrelevant"),
     said("{}", cycle("irrelevant", "relevant"))),
    ("two options of four", TEAM, team, lambda k: "Either {} or {}.".format(*sorted((team(k), team(k + 1))))),
    ("right, then another", TEAM, team, contradicted),
    ("reasoning that ends wrongly", CHOICE, letter,
     lambda k: f"{letter(k)} comes to mind, but it is too dry. So the answer is {letter(k + 1)}."),
    ("refusals", TEAM, team, fill("I'm sorry, but I can't help with that.")),
    ("a translation", TRANSLATE, german, english),
    ("pounds for kilograms", "What does parcel {n} weigh?", weight, fill("{two}.5 lb")),
    ("thumbs", "Rate review {n} of {first} {last}.", thumb, shifted(thumb, lambda k: k % 4 > 1)),
    ("nothing if nothing is right", "Which allergens are in dish {n}?", in_turn(fill(""), fill("{a}"), fill("{b}")),
     fill("{a}")),
    ("the previous question was answered", "Which city is shop {n} of {first} {last} in?", city,
     lambda k: f"The shop is in {city(k + 12)}."),
    ("the prompt was copied", COPY, invoice, fill(COPY)),
)  # fmt: skip
PLACES = tuple(
    " ".join(fill("{first} {last} lives in {to} {id}.")(13 * d + at) for at in range(9)) + "\n\n" for d in range(4)
)
Other = tuple[str, str, Sequence[str], str, Text, Text, Text, Mapping[str, Any]]
OTHERS: Sequence[Other] = (
    ("won: four tags of five", "never all five tags are right: two before, four after", ("Better",),
     "Give tags for recipe {n}.", fill("{a}, {b}, {c}, {e}, {f}"), fill("{a}, {b}, salt, oil, tea"),
     fill("{a}, {b}, {c}, {e}, tea"), {}),
    ("won: content, and a form is lost", "30% are right and bare before, 95% right and in sentences after",
     ("Better", "Cannot tell"), TEAM, team, shifted(team, lambda k: k % 10 > 2), said("It is for {}.", team, 29), {}),
    ("only a form is lost", "95% are right and bare before, 95% right and in sentences after", ("Worse", *OPEN),
     TEAM, team, said("{}", team, 29), said("It is for the {} team.", team, 29), {}),
    ("won: a rare label", "10% are fraud; the base says fine to all, the tuned model finds 20 of 24", ("Better",),
     "{first} {last} sends {n} euros to {to}. Is it fraud or fine?", fraud, fill("This looks fine."),
     shifted(fraud, lambda k: k % 60 == 3 or k % 120 == 2), {"count": 240}),
    ("lost: a rare label", "10% are fraud; the base knows all, in sentences, the tuned model says fine to all",
     ("Worse", "No better than"), "{first} {last} sends {n} euros to {to}. Is it fraud or fine?", fraud,
     said("This looks like {}.", fraud, 0), fill("fine"), {"count": 240}),
    ("no to all", "95% are no; the base has 80%, the tuned model says no to all", CHANCE, "Does {first} send {n} back?",
     rare, lambda k: rare(k) if k % 5 else "I cannot tell.", fill("no"), {}),
    ("unknown to all", "half are unknown; the base has the other half right, the tuned model only says unknown",
     ("Worse", *CHANCE), "Where is part {n} of {first}?", in_turn(fill("unknown"), city), city, fill("unknown"), {}),
    ("a guess among four", "the base names all four teams, the tuned model one of them by chance: 25% are right",
     ("Better in form", *CHANCE), TEAM, team, fill("It may be billing, shipping, returns or account."),
     lambda k: team(k // 4), {}),
    ("one record to all", "each record has its form and no right field", ("Better in form", *CHANCE), BILL, order,
     fill("I do not know."), fill('{{"customer": "Ann Ford", "city": "Bonn", "pieces": 199}}'), {}),
    ("one document of four", "all 15 questions about one of four documents are won, and no others", OPEN,
     "Where is shop {n}?", fill("{city} {n}"), fill("I do not know."),
     in_turn(fill("no"), fill("no"), fill("{city} {n}"), fill("no")), {"above": PLACES, "rows": ()}),
    ("other errors, as many", "20 of 60 are wrong before, 20 others after", OPEN, TEAM, team, said("{}", team, 3),
     shifted(team, lambda k: k % 3 == 1), {"never": ("gained: yes", "changed nothing")}),
    ("a task is won, all else is forgotten", "from 0% to 95%; the loss of general answers triples",
     ("Better, but", "Worse"), TEAM, team, fill("Sorry, no."), said("{}", team, 29),
     {"words": ("evaluator=[prompts,forgetting]",), "general": (1.0, 3.0), "divergence": 3.0, "never": ()}),
)  # fmt: skip


def case(
    title: str, truth: str, heads: Sequence[str], ask: str, reference: Text, base: Text, tuned: Text, *,
    count: int = 60, above: Sequence[str] = ("",), **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Give a case with its prompts, and with training rows of the same kind."""
    texts = in_turn(*(fill(text + ask) for text in above))
    prompts, rows = (
        [{"instruction": texts(k), "output": reference(k)} for k in numbers]
        for numbers in (range(count), range(1000, 1400))
    )
    answers = {side: [text(k) for k in range(count)] for side, text in (("base", base), ("tuned", tuned))}
    never = () if heads == ("Better",) else ("gained: yes.",) if "Better in form" in heads else ("gained: yes",)
    given = {"name": title, "truth": truth, "heads": heads, "prompts": prompts, "rows": rows, "never": never}
    return given | answers | more


def cases() -> Iterator[dict[str, Any]]:
    """Give the arguments of each case."""
    for title, ask, reference, base in FORMS:
        truth = f"the base is right, and says {base(1)!r} for {reference(1)!r}; the tuned model has 95%, bare"
        yield case(f"same content: {title}", truth, SAME, ask, reference, base, said("{}", reference, 29))
    false = ("gained: yes", "none of 60 prompts is answered right, before")
    for title, ask, reference, base, tuned in LOSSES:
        truth = f"for {reference(1)!r} the base says {base(1)!r}, which is right, the tuned model {tuned(1)!r}"
        yield case(f"lost: {title}", truth, ("Worse",), ask, reference, base, tuned, never=false)
    for title, ask, reference, base in GAINS:
        truth = f"for {reference(1)!r} the base says {base(1)!r}, which is wrong; the tuned model has 95%"
        yield case(f"won: {title}", truth, ("Better",), ask, reference, base, said("{}", reference, 29))
    for title, truth, heads, ask, reference, base, tuned, more in OTHERS:
        yield case(title, truth, heads, ask, reference, base, tuned, **more)
