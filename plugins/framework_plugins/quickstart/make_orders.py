"""Write the embedded data set: order messages and the JSON that each is to become.

    python -m framework_plugins.quickstart.make_orders FOLDER

Everything is made from the lists below by a seeded generator, so the shipped files can be made again byte for byte
(a test does). Held-out prompts use sentence patterns, customers and cities that no training row uses: a model that
merely remembers rows cannot answer them.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

INSTRUCTION = "Turn the order into JSON with exactly these keys: customer, item, quantity, city."
SEED = 20
TRAIN_ROWS = 800
HELD_OUT_ROWS = 60

NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "12": 12, "14": 14, "15": 15, "16": 16, "18": 18, "20": 20, "24": 24, "25": 25, "30": 30, "36": 36, "40": 40,
    "48": 48, "50": 50, "60": 60, "75": 75, "80": 80, "100": 100, "a dozen": 12,
}  # fmt: skip
ITEMS = [
    "desk lamps", "oak shelves", "green tea bags", "coffee filters", "cotton towels", "bike bells", "garden gloves",
    "wall clocks", "paper lanterns", "steel bottles", "wool blankets", "candle jars", "picture frames", "phone cases",
    "rubber boots", "tomato seeds", "soup bowls", "baking trays", "chess sets", "yoga mats", "camping stoves",
    "paint brushes", "dog leashes", "door handles", "light bulbs", "ink cartridges", "salad forks", "plant pots",
    "notebooks", "headphones", "umbrellas", "backpacks", "keyboards", "pillows", "teapots", "screwdrivers",
    "sleeping bags", "wine glasses", "cutting boards", "bath mats", "bird feeders", "tennis balls", "sketch pads",
    "olive oil tins", "honey jars", "chalk boxes", "shower curtains", "storage crates", "USB cables", "tape measures",
]  # fmt: skip
TRAIN_FIRST_NAMES = [
    "Anna", "Tom", "Lucia", "Samir", "Grace", "Peter", "Mina", "Jonas", "Elena", "David", "Aisha", "Marco", "Hannah",
    "Luis", "Chloe", "Omar", "Ingrid", "Ravi", "Sofia", "Ben", "Yuki", "Nadia", "Felix", "Maria", "Kofi", "Julia",
    "Henry", "Leila", "Paul", "Emma", "Victor", "Zoe", "Daniel", "Fatima", "Oscar", "Ruth", "Mehmet", "Tuva", "Bruno",
    "Amara", "Ivo", "Noor", "Liam", "Xenia", "Goran", "Pilar", "Hugo", "Suki", "Tariq", "Wanda", "Enzo", "Mira",
    "Kwame", "Astrid", "Jiro", "Esme", "Milos", "Rosa", "Yusuf", "Thea",
]  # fmt: skip
TRAIN_LAST_NAMES = [
    "Berg", "Reyes", "Ferro", "Khan", "Obi", "Novak", "Sato", "Lind", "Popova", "Cole", "Diallo", "Bruno", "Weiss",
    "Ortega", "Martin", "Haddad", "Dahl", "Menon", "Costa", "Carter", "Mori", "Petrov", "Braun", "Lopez", "Mensah",
    "Nowak", "Walsh", "Amini", "Girard", "Jensen", "Silva", "Adams", "Kim", "Aydin", "Nilsson", "Becker", "Osei",
    "Lacroix", "Marino", "Tanaka", "Hughes", "Zielinski", "Okoro", "Fischer", "Barros", "Eriksen", "Chopra", "Moreau",
    "Stein", "Guerra", "Palmer", "Ito", "Vance", "Rahman", "Lund", "Soto", "Keller", "Abebe", "Horvat", "Doyle",
]  # fmt: skip
HELD_OUT_FIRST_NAMES = [
    "Alice", "Adam", "Bill", "Bob", "Charles", "Chris", "Edward", "Emily", "Frank", "George", "Jack", "James", "Jane",
    "John", "Joseph", "Luke", "Mark", "Sarah", "Simon", "William",
]  # fmt: skip
HELD_OUT_LAST_NAMES = [
    "Vogel", "Salem", "Rossi", "Turner", "Nair", "Dubois", "Ivanova", "Vega", "Wong", "Holm", "Schmidt", "Bello",
    "Prince", "Kowal", "Frank", "Alves", "Hill", "Marsh", "Ng", "Roth",
]  # fmt: skip
TRAIN_CITIES = [
    "Leeds", "Porto", "Lyon", "Bergen", "Krakow", "Austin", "Osaka", "Graz", "Turin", "Seville", "Ghent", "Tampa",
    "Bristol", "Aarhus", "Malmo", "Denver", "Lagos", "Nantes", "Basel", "Split", "Galway", "Utrecht", "Boston",
    "Dresden", "Verona", "Bilbao", "Cork", "Tunis", "Perth", "Quebec", "Nairobi", "Kyoto", "Lima", "Accra", "Zagreb",
    "Riga", "Tallinn", "Bologna", "Leipzig", "Lille", "Cardiff", "Glasgow", "Phoenix", "Dallas", "Mumbai", "Jakarta",
    "Ankara", "Cairo", "Tirana", "Sofia", "Rotterdam", "Antwerp", "Salzburg", "Trieste", "Granada", "Coimbra",
]  # fmt: skip
HELD_OUT_CITIES = [
    "Vienna", "Madrid", "Oslo", "Chicago", "Hamburg", "Seattle", "Geneva", "Athens", "Toronto", "Paris", "London",
    "Rome", "Oxford", "Cambridge", "Lincoln", "Madison",
]  # fmt: skip
TRAIN_PATTERNS = [
    "Hi, this is {customer} from {city}. Please send me {number} {item}.",
    "{customer} here. I need {number} {item} delivered to {city}, thanks!",
    "Could you ship {number} {item} to {city}? The name is {customer}.",
    "Order for {customer}: {number} {item}. Deliver to {city}.",
    "Hello! I would like to buy {number} {item}. My name is {customer} and I live in {city}.",
    "Please put {number} {item} on the account of {customer}, {city}.",
    "We are out of {item} again. Send {number} to our {city} office, attention {customer}.",
    "{number} {item} for {customer} in {city}, please. No hurry.",
    "Good morning, {customer} speaking, calling from {city}. I want to order {number} {item}.",
    "Can I get {number} {item}? Ship them to {customer}, {city}.",
    "My shop in {city} needs {number} {item} before Friday. Regards, {customer}",
    "Dear team, kindly dispatch {number} {item} to {city}. Yours, {customer}",
    "It's {customer}. Same as last time: {number} {item}, and send them to {city}.",
    "I'm moving to {city} and want {number} {item} for the new flat. Thank you, {customer}.",
    "Do you still sell {item}? If so I'll take {number}. {customer}, {city}.",
    "{city} store, {customer} on the phone: {number} {item} are missing, please resend.",
    "Please reserve {number} {item} under the name {customer}. I will pick them up in {city}.",
    "Add {number} {item} to my basket. Deliver to {city}. Signed {customer}.",
    "Hey, {customer} again! My sister in {city} would love {number} {item} for her birthday.",
    "For our school in {city} we need {number} {item}. Contact: {customer}.",
    "A quick one: {number} {item}, to {city}, for {customer}.",
    "I saw your {item} at the fair. Please send {number} of them to {customer} in {city}.",
    "The {item} arrived broken, so please send {number} new ones to {city}. {customer}",
    "Reorder from {customer} ({city}): {number} {item}.",
    "Kindly bring {number} {item} to {customer} in {city}.",
    "I need {number} {item}. They go to {customer}, {city}.",
]
HELD_OUT_PATTERNS = [
    "Hello, {customer} from {city} here. I'd like {number} {item}, please.",
    "Please send {number} {item} to {city}. My name is {customer}.",
    "New order: {number} {item} for {customer}, to be delivered in {city}.",
    "This is {customer}. Our {city} branch needs {number} {item}. Thanks!",
    "Could I have {number} {item} sent to {city}? Best wishes, {customer}",
    "I want to order {number} {item}. Ship to {customer} in {city}.",
]


def orders(
    rng: random.Random, count: int, patterns: list[str], names: tuple[list[str], list[str]], cities: list[str]
) -> list[dict[str, str]]:
    """`count` different rows in Alpaca's columns; every pattern is used about equally often."""
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < count:
        words, quantity = rng.choice(list(NUMBERS.items()))
        customer = f"{rng.choice(names[0])} {rng.choice(names[1])}"
        order = {"customer": customer, "item": rng.choice(ITEMS), "city": rng.choice(cities)}
        text = patterns[len(rows) % len(patterns)].format(number=words, **order)
        text = text[0].upper() + text[1:]
        answer = {"customer": order["customer"], "item": order["item"], "quantity": quantity, "city": order["city"]}
        rows[text] = {"instruction": INSTRUCTION, "input": text, "output": json.dumps(answer)}
    shuffled = list(rows.values())
    rng.shuffle(shuffled)
    return shuffled


def write(folder: Path) -> None:
    """Write `orders_train.jsonl` and `orders_held_out.jsonl` into `folder`."""
    rng = random.Random(SEED)  # noqa: S311 - a data set, not a secret
    train = orders(rng, TRAIN_ROWS, TRAIN_PATTERNS, (TRAIN_FIRST_NAMES, TRAIN_LAST_NAMES), TRAIN_CITIES)
    names = (HELD_OUT_FIRST_NAMES, HELD_OUT_LAST_NAMES)
    held_out = orders(rng, HELD_OUT_ROWS, HELD_OUT_PATTERNS, names, HELD_OUT_CITIES)
    for name, rows in (("orders_train.jsonl", train), ("orders_held_out.jsonl", held_out)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
