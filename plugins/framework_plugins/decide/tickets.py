"""`data=tickets`: made-up messages to a shop, and what each is about.

Everything is made from the lists below by a seeded generator. Held-out messages say what they are about in sentences
that no training row has, and one in six messages also mentions a second matter: only the first one counts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from framework.api import RawData, Row, Source
from framework_plugins.decide.config import TicketsConfig

SEED = 65
TRAIN_ROWS, HELD_OUT_ROWS = 480, 600
SECOND = 1 / 6
"""How many of the messages mention a second matter."""
LABELS = ("delivery", "damage", "wrong item", "money back", "question before buying")
SAID: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "delivery": (
        (
            "My {item} has not arrived yet.", "The courier never came with the {item}.",
            "Where is the {item} I ordered?", "Tracking for the {item} has not moved since {day}.",
            "You promised the {item} for {day}, and it is not here.",
            "I have been waiting for the {item} since {day}.", "The parcel with the {item} seems to be stuck.",
            "When will my {item} be delivered?", "The {item} was sent on {day} and is still on its way.",
        ),
        (
            "Nobody has brought the {item} so far.", "Still no sign of the {item} at my door.",
            "It said the {item} comes on {day}, but the postman had nothing.",
            "How long does the {item} take to get here?", "The {item} should have been here by {day}.",
            "Is the {item} lost on the way?",
        ),
    ),
    "damage": (
        (
            "The {item} arrived broken.", "There is a crack in the {item}.", "My {item} stopped working on {day}.",
            "The {item} came with a big scratch.", "One part of the {item} is bent.",
            "The {item} fell apart in my hands.", "The {item} does not switch on.",
            "The box was crushed, and so is the {item}.", "The {item} leaks.",
        ),
        (
            "The {item} is in pieces.", "A corner of the {item} is chipped.", "Since {day} the {item} is dead.",
            "The {item} is torn along one side.", "I unpacked the {item} and found it smashed.",
            "The {item} makes a burning smell and shuts down.",
        ),
    ),
    "wrong item": (
        (
            "I ordered the {item} and got something else.", "This is not the {item} that I chose.",
            "You sent me the {item} of another customer.", "The {item} is in the wrong colour.",
            "The {item} is two sizes too small, I chose large.",
            "Instead of the {item} there was another thing in the box.",
            "The number on the {item} is not the one of my order.", "I received one {item} and had ordered two.",
            "The {item} in the parcel is a different model.",
        ),
        (
            "The {item} you packed is not mine.", "I wanted the blue {item}, and this one is red.",
            "Somebody mixed up my {item} with another order.",
            "The {item} does not match what I picked on your site.", "A different {item} was in the parcel on {day}.",
            "That is the old version of the {item}, not the one I paid for.",
        ),
    ),
    "money back": (
        (
            "I returned the {item} and have seen no money yet.", "Please refund the {item}.",
            "I was charged twice for the {item}.", "I want to send the {item} back and get my money.",
            "When do I get the refund for the {item}?",
            "You took the money for the {item} although I cancelled on {day}.",
            "The price of the {item} on the invoice is too high.", "Cancel the {item} and pay me back.",
            "My refund for the {item} is missing since {day}.",
        ),
        (
            "The amount for the {item} has not come back to my account.",
            "I sent the {item} back on {day}: where is my money?", "My card shows two payments for the {item}.",
            "I would like to be reimbursed for the {item}.", "Please transfer what I paid for the {item}.",
            "I no longer need the {item}, so return the payment.",
        ),
    ),
    "question before buying": (
        (
            "Does the {item} come in green?", "How heavy is the {item}?",
            "Will you have the {item} in stock on {day}?", "Is there a guarantee on the {item}?",
            "Which {item} do you recommend for a child?", "Can I use the {item} outdoors?",
            "Do you sell spare parts for the {item}?", "Is the {item} made of wood?",
            "Could I order fifty of the {item} at a discount?",
        ),
        (
            "What are the measures of the {item}?", "Would the {item} suit a small flat?",
            "Is the {item} available in other colours?", "I am thinking of the {item}: is it easy to clean?",
            "Do you also offer the {item} as a set?", "Can the {item} be gift-wrapped if I order on {day}?",
        ),
    ),
}  # fmt: skip
"""What a message of each label says: in training, and in held-out rows."""
OPENINGS = (
    "Hello,", "Hi there,", "Good morning,", "Dear team,", "Hello from {city}.", "This is {name}.", "{name} here.",
    "Order {order}.", "About order {order}:", "I am a customer in {city}.", "My name is {name}, order {order}.", "",
    "I wrote to you on {day} already.", "We are a small office in {city}.",
)  # fmt: skip
CLOSINGS = (
    "Thanks, {name}", "Regards from {city}", "Please answer soon.", "Can you help?", "Thank you in advance.",
    "Best, {name}", "You can reach me after {day}.", "The order number is {order}.", "I hope to hear from you.",
    "Kind regards", "", "It is for my sister in {city}.", "I need to know by {day}.", "My number is {order}{order}.",
)  # fmt: skip
SECONDS = "By the way, last year it was different: {said}", "That is not about my other message. ({said})"
ITEMS = (
    "lamp", "chair", "kettle", "backpack", "bicycle lock", "raincoat", "printer", "coffee grinder", "tent", "mirror",
    "garden hose", "keyboard", "sofa table", "blender", "clock", "drill", "pair of boots", "tea set", "bookshelf",
    "fan", "camera bag", "toaster", "carpet", "desk", "vacuum cleaner", "pillow", "headset", "ladder", "suitcase",
    "flower pot",
)  # fmt: skip
NAMES = (
    "Anna", "Tom", "Lucia", "Samir", "Grace", "Peter", "Mina", "Jonas", "Elena", "David", "Aisha", "Marco", "Hannah",
    "Luis", "Chloe", "Omar", "Ingrid", "Ravi", "Sofia", "Ben", "Yuki", "Nadia", "Felix", "Kofi", "Henry", "Leila",
)  # fmt: skip
CITIES = (
    "Leeds", "Porto", "Lyon", "Bergen", "Krakow", "Austin", "Osaka", "Graz", "Turin", "Seville", "Ghent", "Tampa",
    "Cork", "Bristol", "Aarhus", "Malmo", "Denver", "Lagos", "Nantes", "Basel", "Split", "Galway", "Utrecht",
    "Boston", "Riga",
)  # fmt: skip
DAYS = "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "the 3rd", "the 12th", "the 20th", "the 28th"


class Tickets(Source):
    """Training rows, and held-out ones to calibrate and to measure by."""

    def __init__(self, config: TicketsConfig) -> None:
        self.config = config

    def check(self) -> RawData:
        """Return the same: the rows are made at once."""
        return self.load()

    def load(self) -> RawData:
        return RawData(train=[*_rows("train", TRAIN_ROWS, 0)], prompts=[*_rows("held out", HELD_OUT_ROWS, 1)])


def _rows(name: str, count: int, part: int) -> Iterator[Row]:
    draw = random.Random(SEED + part)  # noqa: S311 - which messages, not a secret
    for number in range(1, count + 1):
        label = LABELS[number % len(LABELS)]
        parts = [draw.choice(OPENINGS), draw.choice(SAID[label][part])]
        if draw.random() < SECOND:
            other = draw.choice([name for name in LABELS if name != label])
            parts.append(draw.choice(SECONDS).replace("{said}", draw.choice(SAID[other][part])))
        parts += draw.sample(CLOSINGS, 2)
        text = " ".join(filter(None, parts))
        for slot, values in (("{name}", NAMES), ("{city}", CITIES), ("{item}", ITEMS), ("{day}", DAYS)):
            text = text.replace(slot, draw.choice(values))
        text = text.replace("{order}", str(draw.randrange(1000, 10_000)))
        yield Row({"text": text, "label": label}, f"tickets, {name}:{number}")
