"""Write the embedded pairs: answers of the quickstart's own model, the shorter one chosen, and held-out questions.

    python -m framework_plugins.quickstart.make_pairs FOLDER ADAPTER

ADAPTER is the folder `adapter/` of a run of `+experiment=quickstart`. The model answers each question four times, drawn
from its whole distribution, and the shortest and the longest complete answer are the pair. Two pairs were taken out by
hand, since their nonsense could hurt. All questions are made from the lists below; held-out ones are of other kinds, so
a model that merely remembers answers cannot answer them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

SEED = 20
SAMPLES = 4
MAX_NEW_TOKENS = 64
BATCH = 24
"""Questions that are answered at once."""
LEAST_WORDS = 2
"""Words of an answer; a single one is mostly noise at this size of a model."""

QUESTIONS = {
    "What is the capital of {}?": (
        "Peru, Norway, Kenya, Ghana, Japan, Egypt, France, Italy, Spain, Greece, Cuba, China, Austria, Poland, "
        "Ireland, Portugal, Chile, Finland, Sweden, Hungary, Thailand, Canada"
    ),
    "What is the opposite of {}?": (
        "hot, big, fast, old, rich, early, dry, full, hard, light, loud, near, open, up, strong, thick, true, "
        "happy, clean, cheap, tall, wide, deep, sharp, first, left"
    ),
    "What colour is {}?": (
        "grass, snow, coal, a banana, blood, the sky, a carrot, chocolate, a lemon, milk, an elephant, a "
        "strawberry, a polar bear, a crow, a flamingo, an emerald, a ruby, the sea, a cucumber, salt"
    ),
    "What is a young {} called?": (
        "dog, cat, cow, horse, sheep, goat, lion, duck, goose, pig, bear, deer, frog, swan, kangaroo, hen"
    ),
    "Which language do people speak in {}?": (
        "Brazil, Mexico, Germany, Austria, Egypt, Turkey, Japan, Italy, Russia, Australia, France, Greece, "
        "Argentina, Poland, Sweden, Iran, Vietnam, Hungary, Denmark, Chile"
    ),
    "Who {}?": (
        "bakes bread, flies a plane, teaches children, repairs teeth, puts out fires, cuts hair, grows crops, "
        "builds houses, treats sick animals, paints pictures, cooks in a restaurant, sells meat, catches fish, "
        "writes books, drives a bus, delivers letters, repairs pipes, plans buildings, takes photographs, plays "
        "the piano, digs for coal, makes clothes, guards the goal, looks after books in a library"
    ),
    "What do you use to {}?": (
        "cut paper, drive in a nail, dry your hands, eat soup, tell the time, sweep the floor, open a lock, cut "
        "wood, write a letter, comb your hair, dig a hole, see far away, measure the temperature, weigh flour, "
        "stay dry in the rain, brush your teeth, sew a button on, light a candle, tighten a screw, find north, "
        "boil water, drink tea, climb onto a roof, water the garden"
    ),
    "How many {}?": (
        "days are in a week, months are in a year, legs does a spider have, legs does a dog have, wheels does a "
        "bicycle have, minutes are in an hour, sides does a triangle have, eggs are in a dozen, fingers are on "
        "a hand, legs does an insect have, hours are in a day, seasons are in a year, years are in a century, "
        "strings does a violin have, arms does an octopus have, colours are in a rainbow"
    ),
}
"""What the pairs ask, and about what, with a comma between."""
HELD_OUT = {
    ("Where does a {} live?", "A {} lives {}."): (
        "bee: in a hive, fish: in water, bird: in a nest, camel: in the desert, spider: in a web, horse: in a "
        "stable, monkey: in the jungle, polar bear: in the Arctic, rabbit: in a burrow, whale: in the sea, dog: "
        "in a kennel, king: in a palace, monk: in a monastery, mole: under ground, penguin: in the Antarctic"
    ),
    ("What is {} made of?", "{} is made of {}."): (
        "glass: sand, paper: wood, butter: milk, a tyre: rubber, a sweater: wool, wine: grapes, bread: flour, a "
        "candle: wax, a coin: metal, a book: paper, an omelette: eggs, cheese: milk, an igloo: snow, a shoe: "
        "leather, a brick: clay"
    ),
    ("Which animal {}?", "The {1} {0}."): (
        "gives us milk: cow, barks: dog, lays eggs: hen, makes honey: bee, has a trunk: elephant, has a long "
        "neck: giraffe, hops: kangaroo, purrs: cat, spins a web: spider, gives us wool: sheep, has black and "
        "white stripes: zebra, carries a shell: snail, has a mane: lion, builds dams: beaver, turns into a "
        "butterfly: caterpillar"
    ),
    ("What do you wear on your {}?", "You wear {1} on your {0}."): (
        "head: a hat, feet: shoes, hands: gloves, finger: a ring, wrist: a watch, neck: a scarf, legs: "
        "trousers, nose: glasses, ears: earrings, back: a rucksack, waist: a belt, shoulders: a shawl, face: a "
        "mask, eyes: goggles, toes: socks"
    ),
}
"""What the prompts ask, and a short answer."""


def train_questions() -> list[str]:
    """Return the questions of the pairs."""
    return [text.format(topic) for text, topics in QUESTIONS.items() for topic in topics.split(", ")]


def held_out() -> Iterator[dict[str, str]]:
    """Yield the prompts, one of each kind in turn."""
    kinds = [[(*texts, *topic.split(": ")) for topic in topics.split(", ")] for texts, topics in HELD_OUT.items()]
    for question, answer, about, so in (parts for kinds_in_turn in zip(*kinds, strict=True) for parts in kinds_in_turn):
        text = answer.format(about, so)
        yield {"prompt": question.format(about), "completion": text[0].upper() + text[1:]}


def draw(adapter: Path, questions: Sequence[str]) -> Iterator[list[str]]:
    """Yield the complete answers to each question."""
    import torch  # noqa: PLC0415 - not for the questions
    from peft import AutoPeftModelForCausalLM  # noqa: PLC0415
    from transformers import AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(adapter, padding_side="left")
    model = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.bfloat16).merge_and_unload().eval()
    settings = {"max_new_tokens": MAX_NEW_TOKENS, "do_sample": True, "temperature": 1.0, "top_p": None, "top_k": 0}
    torch.manual_seed(SEED)
    for start in range(0, len(questions), BATCH):
        chats = [[{"role": "user", "content": question}] for question in questions[start : start + BATCH]]
        texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            output = model.generate(**inputs, num_return_sequences=SAMPLES, **settings)
        output = output[:, inputs.input_ids.shape[1] :]
        for of_one in output.split(SAMPLES):
            complete = of_one[(of_one == tokenizer.eos_token_id).any(1)]
            yield [answer.strip() for answer in tokenizer.batch_decode(complete, skip_special_tokens=True)]


def pairs(questions: Sequence[str], samples: Iterable[Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield the shortest answer to each question beside the longest, if they differ in length."""
    for question, answers in zip(questions, samples, strict=True):
        candidates = sorted((answer for answer in answers if _length(answer) >= LEAST_WORDS), key=_length)
        if candidates and _length(candidates[0]) < _length(candidates[-1]):
            yield {"prompt": question, "chosen": candidates[0], "rejected": candidates[-1]}


def _length(text: str) -> int:
    return len(text.split())


def write(folder: Path, adapter: Path) -> None:
    """Write `answers_train.jsonl` and `questions_held_out.jsonl` into `folder`."""
    questions = train_questions()
    for name, rows in (
        ("answers_train.jsonl", pairs(questions, draw(adapter, questions))),
        ("questions_held_out.jsonl", held_out()),
    ):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
