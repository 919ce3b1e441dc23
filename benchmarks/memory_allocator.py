"""How much torch's caching allocator holds where every batch has another length, beside one pass of the longest rows.

    python -m benchmarks.memory_allocator

Large blocks of the allocator, followed from reading c10's CUDACachingAllocator: a segment is made as large as what is
asked for, a free block is split and given again if it is large enough, and freed neighbours in a segment are joined.
Here memory never runs out; where it does, torch gives back what is free. `expandable_segments`, which `trainer=hf` sets
on Linux, avoids the growth.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.common import OUT, command_line, table_head, table_row
from framework.memory import Shape

MIB = 2**20
STEPS, SEEDS, LONGEST = 150, 8, 2048
SHAPES = {
    "Qwen-7B": Shape(4096, 32, 32, 32, 128, 11008, 151936, tied=False),
    "Yi-6B": Shape(4096, 32, 32, 4, 128, 11008, 64000, tied=False),
    "SmolLM2-135M": Shape(576, 30, 9, 3, 64, 1536, 49152, tied=True),
}
LENGTHS: dict[str, Callable[[random.Random], int]] = {
    "even, from a fifth of the longest": lambda draw: draw.randint(LONGEST // 5, LONGEST),
    "even, from a twentieth": lambda draw: draw.randint(LONGEST // 20, LONGEST),
    "mostly short": lambda draw: min(LONGEST, max(LONGEST // 20, int(draw.expovariate(4 / LONGEST)))),
}


@dataclass(eq=False)
class Block:
    """A part of a segment."""

    size: int
    free: bool = True


@dataclass
class Allocator:
    """Segments, each the blocks that it is cut into."""

    segments: list[list[Block]] = field(default_factory=list)

    @property
    def held(self) -> int:
        """Bytes of all segments."""
        return sum(block.size for segment in self.segments for block in segment)

    def take(self, size: float) -> tuple[list[Block], Block]:
        """Return a block, the smallest free one that is large enough, and its segment."""
        wanted = -(-int(size) // 512) * 512
        fitting = [(segment, one) for segment in self.segments for one in segment if one.free and one.size >= wanted]
        if not fitting:
            block = Block(20 * MIB if wanted < 10 * MIB else -(-wanted // (2 * MIB)) * 2 * MIB)
            self.segments.append([block])
            fitting = [(self.segments[-1], block)]
        segment, block = min(fitting, key=lambda each: each[1].size)
        if block.size - wanted > MIB:
            segment.insert(segment.index(block) + 1, Block(block.size - wanted))
            block.size = wanted
        block.free = False
        return segment, block

    def give(self, *taken: tuple[list[Block], Block]) -> None:
        """Free blocks, and join them with free neighbours."""
        for segment, block in taken:
            block.free = True
            at = segment.index(block)
            if at + 1 < len(segment) and segment[at + 1].free:
                block.size += segment.pop(at + 1).size
            if at and segment[at - 1].free:
                segment[at - 1].size += segment.pop(at).size


def step(memory: Allocator, shape: Shape, tokens: int) -> None:
    """Take the large tensors of a step with checkpointing and a plain loss, in their order."""
    features = (2 * shape.hidden, *[2 * shape.q] * 3, *[4 * shape.hidden] * 2, *[2 * shape.intermediate] * 3)
    kept = []
    for _ in range(shape.layers):
        kept.append(memory.take(2 * shape.hidden * tokens))
        memory.give(*[memory.take(size * tokens) for size in features])
    size = shape.vocab * tokens
    logits, wide, softmax = memory.take(2 * size), memory.take(4 * size), memory.take(4 * size)
    memory.give(wide)
    gradients = memory.take(4 * size), memory.take(4 * size)
    memory.give(gradients[0], softmax)
    narrow = memory.take(2 * size)
    memory.give(gradients[1], narrow)
    for state in reversed(kept):
        memory.give(*[memory.take(each * tokens) for each in (*features, *[2 * shape.intermediate] * 2)], state)
    memory.give(logits)


def regrown(shape: Shape, draw: Callable[[random.Random], int], seed: int) -> float:
    """Return how many times the workspace of the longest pass is held after steps of drawn lengths."""
    numbers, one, many = random.Random(seed), Allocator(), Allocator()  # noqa: S311 - no secret
    step(one, shape, LONGEST)
    for _ in range(STEPS):
        step(many, shape, draw(numbers))
    kept = shape.layers * 2 * shape.hidden * LONGEST
    return (many.held - kept) / (one.held - kept)


def main() -> None:
    """Print the table."""
    command_line(__doc__).parse_args()
    OUT.print(table_head("model", "lengths", "least", "mean", "most"))
    for name, shape in SHAPES.items():
        for lengths, draw in LENGTHS.items():
            found = [regrown(shape, draw, seed) for seed in range(SEEDS)]
            sizes = (f"{size:.1f}" for size in (min(found), statistics.mean(found), max(found)))
            OUT.print(table_row(name, lengths, *sizes))


if __name__ == "__main__":
    main()
