"""Rules for the training loss: a spike, a rise, an oscillation, a plateau.

Each rule is a class that is given one log entry after the other and says what it sees. The losses of steps differ
because their rows differ, so every rule measures that noise, and asks for so much more that noise alone is reported in
one training of many, however often the rule looks (`evidence.py`). Rows may come in an order: by source, or the easy
ones first. So a level by itself is not evidence, unless it is above that of the first entries, before any training.
A spike is three high losses in a row, or one seven times as high as the highest of the window: a hard row is not.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from statistics import fmean, median
from typing import NamedTuple

from framework.api import Step
from framework_plugins.monitor.evidence import FALSE_ALARMS, Symptom, deviations, few_runs, spent

HARDER_ROWS = "harder_rows"
NO_GRADIENT = "no_gradient"
NOTHING_LEFT = "nothing_left"

MAD_TO_DEVIATION = 1.4826
"""The standard deviation of a normal distribution by its median absolute deviation, which outliers do not move."""
BEST_JUMP, FEWEST, LEAST_PART = 1.1, 20, 3
"""How much farther from values a line may be than the best of all jumps, the fewest values, and those beside one."""
MIN_LOSS = 1e-3
"""Losses below are taken for this where logarithms are compared: 0 has none."""
LEARNED_LOSS = 0.1
"""Nats a token below which a loss is low enough that its level says nothing."""


class Spike:
    """Losses far above all recent ones: three in a row, or one that no row explains.

    A batch of one hard row is high once, and no spike. Losses are compared as logarithms, since their noise grows with
    them: a spike is `DEVIATIONS` deviations above the median of those before, half as high again as the highest of
    them, and higher by a minimum.
    """

    WINDOW, MIN_ENTRIES = 30, 8
    """Entries that it is compared with, and those without which it is not known how far apart they lie."""
    HIGH_ENTRIES = 3
    """Entries in a row that have to be high."""
    DEVIATIONS = 5.0
    """Deviations above the median: of noise that is normal, one step in three million is."""
    FACTOR, MIN_NATS = 1.5, 0.5
    """How far above the highest loss of the window: a batch that is hard in every epoch is not a spike."""
    SINGLE_FACTOR, FIRST_ENTRIES = 7.0, 5
    """How many times the highest loss of the window a single one has to be. It also has to be above the first ones: a
    row that is not learned yet may have their loss."""
    MIN_DEVIATION = 0.05
    """The least deviation taken for noise, of the logarithm: 5%."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=self.WINDOW + self.HIGH_ENTRIES)
        self.first: list[float] = []

    def check(self, step: Step) -> Symptom | None:
        """Say whether the loss is a spike."""
        self.losses.append(max(step.loss, MIN_LOSS))
        if len(self.first) < self.FIRST_ENTRIES:
            self.first.append(step.loss)
        for entries, times, least in ((1, self.SINGLE_FACTOR, max(self.first)), (self.HIGH_ENTRIES, self.FACTOR, 0.0)):
            before, now = list(self.losses)[:-entries], min(list(self.losses)[-entries:])
            if len(before) < self.MIN_ENTRIES or now <= max(times * max(before), max(before) + self.MIN_NATS, least):
                continue
            logs = [math.log(loss) for loss in before]
            level = median(logs)
            # The larger of the two: of two kinds of rows the median sees one, and outliers move only the deviation.
            noise = max(spread(logs), deviation(logs), self.MIN_DEVIATION)
            if math.log(now) - level > self.DEVIATIONS * noise:
                return Symptom(f"the loss jumped to {now:.3g} from about {math.exp(level):.3g}")
        return None

    def reset(self) -> None:
        self.losses.clear()


class RisingLoss:
    """A loss that has risen and stays high.

    Trimmed means of logarithms are compared, which a few odd batches hardly move: the last entries with the first ones,
    which no rows of the same kind exceed, and with the lowest mean, which rows of another source may. Before there are
    entries for a mean, a rise is seen if it is steady, or if all entries after a step are above all before.
    """

    WINDOWS, STRIDE, REMEMBERED = (20, 60), 5, 160
    """Entries of a mean, made whenever `STRIDE` are new: fewer would take a few hard batches for a rise, and more show
    a smaller one; and those that show how it rises."""
    FIRST_ENTRIES = 5
    """Those of the first mean."""
    START_FACTOR, LOWEST_FACTOR, CREEP_FACTOR = 1.05, 1.3, 1.15
    """How far above the first entries and above the lowest mean the loss is at least, in addition to the noise. A
    warm-up can raise it by some percent, and sources differ by half. The last is for a loss that rises step by step
    after it was flat: neither an order of the rows nor blocks of them look like that."""
    EARLY_ENTRIES, MIN_CORRELATION = 12, 0.85
    """Entries from which a steady rise is seen, and the rank correlation with time that makes it one (Spearman): of
    twelve losses without a trend, one series in 2,600 has it."""
    EARLY_FACTOR, HIGH_ENTRIES = 1.4, 9
    """How much higher the last entries are than the first, and how many have to be: fewer can be a block of rows."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=max(self.WINDOWS))
        self.history: deque[float] = deque(maxlen=self.REMEMBERED)
        self.count = self.lowest_at = 0
        self.first: list[Mean] = []
        self.untrained = True
        """Whether the first entries are those of the training."""

    def check(self, step: Step) -> Symptom | None:
        """Say whether the loss has risen."""
        self.losses.append(math.log(max(step.loss, MIN_LOSS)))
        self.history.append(self.losses[-1])
        self.count += 1
        shortest = min(self.WINDOWS)
        recent = list(self.losses)[-shortest:]
        if self.count == self.FIRST_ENTRIES:
            self.lowest = mean_of(recent)
            self.first = [self.lowest] if self.untrained else []
        if self.count < shortest:
            return self._check_early_rise(recent) or self._check_jump(recent)
        now = mean_of(recent)
        if self.count == shortest and self.untrained:
            # A loss that has not fallen yet is better known from more entries; that it falls is not their noise.
            noise = deviation(without_trend(recent))
            self.first.append(Mean(max(now.level, self.first[0].level), noise, shortest))
        if now.level < self.lowest.level:
            self.lowest, self.lowest_at = now, self.count
        symptom = self._check_jump(list(self.losses)) if self.count <= max(self.WINDOWS) else None
        return symptom or (None if self.count % self.STRIDE else self._check_rise())

    def _check_rise(self) -> Symptom | None:
        """Return the symptom if the last entries are above the first or the lowest, by more than the noise of both."""
        noise = deviations(spent(self.count // self.STRIDE, tests=3 * len(self.WINDOWS)))
        if symptom := self._check_slow_rise(noise):
            return symptom
        # Rows in an order, such as by length, raise a loss step by step.
        since = list(self.history)[-(self.count - self.lowest_at + min(self.WINDOWS)) :]
        steady = rises_steadily(since)
        factor, cause = (self.LOWEST_FACTOR, HARDER_ROWS) if steady else (self.START_FACTOR, "")
        references = [(reference, factor, cause) for reference in self.first]
        references.append((self.lowest, self.LOWEST_FACTOR, HARDER_ROWS))
        latest = mean_of(list(self.losses)[-min(self.WINDOWS) :])
        for window in self.WINDOWS:
            if len(self.losses) < window:
                continue
            now = mean_of(list(self.losses)[-window:])
            for before, factor, cause in references:
                was, level = math.exp(before.level), math.exp(now.level)
                if latest.level <= before.level:  # it has fallen since, in one jump
                    continue
                if now.above(before, factor, noise) and level > was + LEARNED_LOSS:
                    if before is self.lowest and not self._is_lasting(before, noise):
                        continue
                    text = f"the loss rose to {level:.3g} over {window} log entries, and was {was:.3g} before"
                    return Symptom(text, cause)
        return None

    def _check_slow_rise(self, noise: float) -> Symptom | None:
        """Return the symptom if a loss that was flat rises step by step."""
        window = min(self.WINDOWS)
        losses = list(self.history)[-5 * window :]
        if len(losses) < 5 * window or not rises_steadily(losses[2 * window :]):
            return None
        before = [mean_of(losses[start : start + window]).level for start in range(0, window + 1, self.STRIDE)]
        oldest, middle, latest = (
            mean_of(losses[start : start + window]) for start in range(2 * window, 5 * window, window)
        )
        # Blocks of rows rise again and again: it was as high before.
        if (
            oldest.level > fmean(before)
            or not max(before) < middle.level < latest.level
            or middle.level <= oldest.level
        ):
            return None
        was, level = math.exp(oldest.level), math.exp(latest.level)
        if level <= max(self.CREEP_FACTOR * was, was + LEARNED_LOSS) or not latest.above(oldest, 1.0, noise):
            return None
        return Symptom(
            f"the loss rose step by step from {was:.3g} to {level:.3g} in {3 * window} log entries", HARDER_ROWS
        )

    def _is_lasting(self, lowest: Mean, noise: float) -> bool:
        """Whether the entries before the last ones were above the lowest too: a block of rows is not a rise."""
        window = min(self.WINDOWS)
        earlier = list(self.losses)[-2 * window : -window]
        return len(earlier) == window and mean_of(earlier).above(lowest, self.START_FACTOR, noise)

    def _check_early_rise(self, losses: Sequence[float]) -> Symptom | None:
        """Return the symptom if the first entries rise one after the other."""
        count = len(losses)
        if count < self.EARLY_ENTRIES:
            return None
        loss_ranks, third = ranks(losses), count // 3
        squared_distance = sum((rank - index) ** 2 for index, rank in enumerate(loss_ranks))
        early, late = (median(losses[part]) for part in (slice(third), slice(-third, None)))
        correlation = 1 - 6 * squared_distance / (count * (count**2 - 1))
        if correlation < self.MIN_CORRELATION or not self._is_far_above(early, late):
            return None
        return Symptom(f"the loss rose from {math.exp(early):.3g} to {math.exp(late):.3g} in {count} log entries")

    def _check_jump(self, losses: Sequence[float]) -> Symptom | None:
        """Return the symptom if all entries from one on are far above all earlier ones, which is rare by chance."""
        count = len(losses)
        for split in range(1, count - self.HIGH_ENTRIES + 1):
            highest, lowest = max(losses[:split]), min(losses[split:])
            if self._is_far_above(highest, lowest) and math.comb(count, split) * FALSE_ALARMS >= 1:
                level, before = math.exp(median(losses[split:])), math.exp(median(losses[:split]))
                return Symptom(f"the loss rose to {level:.3g} after {split} log entries, and was {before:.3g}")
        return None

    def _is_far_above(self, before: float, now: float) -> bool:
        return now > before + math.log(self.EARLY_FACTOR) and math.exp(now) > math.exp(before) + LEARNED_LOSS

    def reset(self) -> None:
        self.losses.clear()
        self.history.clear()
        self.count, self.lowest_at, self.untrained = 0, 0, False


class Oscillation:
    """A loss that jumps up again and again, or that goes up and down in waves and does not fall.

    After a rate that is too high, the weights take several steps to recover, so neighbouring losses are similar; the
    noise of rows is not, or it alternates if an epoch has few steps. Sources that take turns in blocks give similar
    neighbours too. So it is a jump only if most entries are at one level, a floor, and a wave only if changes continue
    from entry to entry, which those between blocks do not.
    """

    WINDOWS, STRIDE = (40, 80), 5
    """Entries of one check, made whenever this many are new; more entries can distinguish flatter waves from noise."""
    FLOOR, LOW = 0.6, 0.1
    """The share of the entries at the floor or below, and the quantile that shows how far those scatter."""
    MIN_JUMPS, MIN_GAP, JUMP_FACTOR, JUMP_SCATTER = 3, 3, 1.4, 1.5
    """How often it jumps, after how many entries at the floor, how far above it, and how many times as far as that
    quantile is below."""
    MIN_SWING = 0.15
    """Deviation from the trend, as a share of the level, from which it is a swing."""
    MAX_FALL = 0.05
    """A loss that falls by this share from one half of the window to the other is learning all the same."""
    OUTLIER_DEVIATIONS = 4.0
    """Deviations from the median beyond which a loss is taken for one that far."""
    MIN_TURNS = 4
    """How often the loss goes from above its trend to below it and back: a single wave comes from a spike."""
    CHANGE_DEVIATIONS = 2.0
    """Standard errors by which one change resembles the one before."""

    def __init__(self, warmup: Callable[[int], int]) -> None:
        self.warmup = warmup
        self.losses: deque[float] = deque(maxlen=max(self.WINDOWS))
        self.count = 0

    def check(self, step: Step) -> Symptom | None:
        """Say whether the loss oscillates; the warm-up is left out."""
        if step.step <= self.warmup(step.total_steps):
            return None
        self.losses.append(step.loss)
        self.count += 1
        if self.count % self.STRIDE:
            return None
        chance = spent(self.count // self.STRIDE, tests=2 * len(self.WINDOWS))
        for count in self.WINDOWS:
            recent = list(self.losses)[-count:]
            if len(recent) < count or median(recent) < LEARNED_LOSS:
                continue
            low, high = min(recent), max(recent)
            if self._has_jumps(recent, chance):
                return Symptom(f"the loss jumped from about {median(recent):.3g} to {high:.3g} again and again")
            if self._has_waves(recent, chance):
                return Symptom(
                    f"the loss swung between {low:.3g} and {high:.3g} in {count} log entries and did not fall"
                )
        return None

    def _has_jumps(self, losses: Sequence[float], chance: float) -> bool:
        """Whether high losses come in fewer runs than by chance (Wald and Wolfowitz)."""
        ordered = sorted(max(loss, MIN_LOSS) for loss in losses)
        floor, low = (math.log(ordered[int(part * len(ordered))]) for part in (self.FLOOR, self.LOW))
        above = floor + max(math.log(self.JUMP_FACTOR), self.JUMP_SCATTER * (floor - low))
        high = [math.log(max(loss, MIN_LOSS)) > above for loss in losses]
        half = len(losses) // 2
        # The first ones of a loss that falls are high too.
        if median(losses[:half]) > math.sqrt(self.JUMP_FACTOR) * median(losses[half:]):
            return False
        runs = high[0] + sum(after and not before for before, after in pairwise(high))
        jumps = sum(high[at] and not any(high[at - self.MIN_GAP : at]) for at in range(self.MIN_GAP, len(high)))
        return jumps >= self.MIN_JUMPS and few_runs(runs, sum(high), len(high)) < chance

    def _has_waves(self, losses: Sequence[float], chance: float) -> bool:
        count, level = len(losses), median(losses)
        half = count // 2
        # Medians: a few hard rows in one half would hide that the loss falls, and its curve is a wave then.
        if median(losses[half:]) < (1 - self.MAX_FALL) * median(losses[:half]):
            return False
        # A few hard rows would tilt the line, and what is left would be a trend.
        reach = self.OUTLIER_DEVIATIONS * spread(losses)
        off = without_trend([min(max(loss, level - reach), level + reach) for loss in losses])
        if spread(off) < self.MIN_SWING * level:
            return False
        # 2 if the losses are independent, more if they alternate, less in waves (Bartels 1982).
        loss_ranks = ranks(off)
        ratio = sum((earlier - later) ** 2 for earlier, later in pairwise(loss_ranks)) / (count * (count**2 - 1) / 12)
        if ratio > 2 - deviations(chance) * 2 / math.sqrt(count):
            return False
        if self._change_correlation(off) < self.CHANGE_DEVIATIONS / math.sqrt(count):
            return False
        sides = [rank > half for rank in loss_ranks if abs(rank - half) > count / 4]
        return sum(earlier != later for earlier, later in pairwise(sides)) >= self.MIN_TURNS

    @staticmethod
    def _change_correlation(losses: Sequence[float]) -> float:
        """Return the correlation of one change with the next: -0.5 for noise, also in blocks; above 0 in waves."""
        changes = [after - before for before, after in pairwise(losses)]
        reach = 3 * MAD_TO_DEVIATION * median(abs(change) for change in changes)
        changes = [min(max(change, -reach), reach) for change in changes]
        squares = sum(change**2 for change in changes)
        return sum(earlier * later for earlier, later in pairwise(changes)) / squares if squares else 0.0

    def reset(self) -> None:
        self.losses.clear()


class Plateau:
    """A loss that stays where it began, or a training that changes nothing any more.

    Looked at after 40 entries, then after half as many again and so on, and at the end. A straight line through all of
    them would fall or rise by less than `MIN_FALL` until the end of the training, even if its slope is `SIGMAS`
    standard errors steeper than it looks. A good base whose loss falls by a few percent is learning, so if the noise
    could hide such a fall nothing is said: with a noise of 5% it takes some 500 entries, with 15% some 5,000. Nothing
    is said either if the loss was lower in any part, the first entries among them: then it has risen, and needs the
    opposite.
    """

    FIRST_CHECK = 40
    """Entries before the first check."""
    GROWTH = 1.5
    """Factor by which the entries have grown at the next check."""
    MIN_FALL = 0.03
    """The share of the loss by which it has to fall."""
    SIGMAS = 3.0
    """Standard errors of the slope in favour of the training."""
    FIRST_ENTRIES, PART = (1, 5), 20
    """Entries of the parts that may be lower: those at the beginning, and all."""
    IDLE_ENTRIES = 10
    """Entries in a row that show that nothing changes any more."""
    NOTHING = 1e-5
    """Nats a token below which nothing is left to learn."""

    def __init__(self, warmup: Callable[[int], int]) -> None:
        self.warmup = warmup
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.at = self.FIRST_CHECK
        self.still = self.learned = 0
        """Entries in a row without a gradient, and without a loss."""

    def check(self, step: Step) -> Symptom | None:
        """Say whether the loss stays where it began."""
        self.steps.append(step.step)
        self.losses.append(step.loss)
        self.still = self.still + 1 if step.grad_norm == 0 else 0
        self.learned = self.learned + 1 if step.loss < self.NOTHING else 0
        if self.still >= self.IDLE_ENTRIES:
            return Symptom(f"all gradients were 0 in {self.still} log entries in a row", NO_GRADIENT)
        if self.learned >= self.IDLE_ENTRIES:
            return Symptom(f"the loss was below {self.NOTHING:g} in {self.learned} log entries in a row", NOTHING_LEFT)
        count = len(self.losses)
        if count < self.at and not (step.step == step.total_steps and count >= self.FIRST_CHECK):
            return None
        self.at = math.ceil(self.GROWTH * count)
        half = count // 2
        initial, level = fmean(self.losses[:half]), fmean(self.losses[half:])
        if level < LEARNED_LOSS or self.steps[half] <= self.warmup(step.total_steps):
            return None
        noise = deviation(without_trend(self.losses))
        # The standard error of a slope over equally spaced entries.
        error = noise * math.sqrt(12 / count**3)
        entries, trend = count * step.total_steps / step.step, slope(self.losses)
        # One that rises is the matter of another rule, which recommends the opposite.
        if (self.SIGMAS * error + abs(trend)) * entries > self.MIN_FALL * initial or self._was_lower(level):
            return None
        return Symptom(
            f"the loss is {level:.3g} after {count} log entries, and was {initial:.3g} in the first half of them"
        )

    def _was_lower(self, level: float) -> bool:
        """Whether a part of the losses is below their level, by more than they scatter."""
        noise = spread(self.losses[len(self.losses) // 2 :])
        return any(
            fmean(part) < (1 - self.MIN_FALL) * level - self.SIGMAS * noise / math.sqrt(len(part))
            for part in self._parts()
        )

    def _parts(self) -> Iterator[Sequence[float]]:
        for count in self.FIRST_ENTRIES:
            yield self.losses[:count]
        for start in range(0, len(self.losses) - self.PART + 1, self.PART):
            yield self.losses[start : start + self.PART]

    def reset(self) -> None:
        """Forget nothing: it is about the training as a whole, and reported once."""


class Mean(NamedTuple):
    """The mean of losses, as logarithms, and how far they lie apart."""

    level: float
    noise: float
    entries: int

    def above(self, reference: Mean, factor: float, deviations: float) -> bool:
        """Whether it is `factor` times the reference, and `deviations` standard errors of the difference above that."""
        error = max(self.noise, reference.noise) * math.sqrt(1 / self.entries + 1 / reference.entries)
        return self.level > reference.level + math.log(factor) + deviations * error


def mean_of(losses: Sequence[float]) -> Mean:
    """Return the mean of losses that are logarithms."""
    return Mean(trimmed(losses), deviation(losses), len(losses))


def spread(values: Sequence[float] | deque[float]) -> float:
    """Return the standard deviation of values, by the median of their distances from the median."""
    middle = median(values)
    return MAD_TO_DEVIATION * median(abs(value - middle) for value in values)


def trimmed(values: Sequence[float] | deque[float]) -> float:
    """Return the mean of values without the lowest and the highest tenth, at least one on each side."""
    cut = max(1, len(values) // 10)
    return fmean(sorted(values)[cut:-cut])


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value: the count of smaller ones, and half of the others that are equal."""
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 for value in values]


def rises_steadily(values: Sequence[float]) -> bool:
    """Whether values rise along a line rather than in one jump: the line is nearer to them."""
    total, squares = sum(values), sum(value**2 for value in values)
    if len(values) < FEWEST or slope(values) <= 0:
        return False
    before = list(accumulate(values))
    explained = (
        before[at - 1] ** 2 / at + (total - before[at - 1]) ** 2 / (len(values) - at)
        for at in range(LEAST_PART, len(values) - LEAST_PART + 1)
    )
    # The best of many jumps is nearer than one of them by chance.
    return sum(off**2 for off in without_trend(values)) < BEST_JUMP * (squares - max(explained))


def deviation(values: Sequence[float] | deque[float]) -> float:
    """Return the standard deviation of values."""
    level = fmean(values)
    return math.sqrt(fmean((value - level) ** 2 for value in values))


def slope(values: Sequence[float]) -> float:
    """Return by how much the straight line through values rises from one to the next."""
    count = len(values)
    middle, level = (count - 1) / 2, fmean(values)
    return sum((index - middle) * (value - level) for index, value in enumerate(values)) / (count * (count**2 - 1) / 12)


def without_trend(values: Sequence[float]) -> list[float]:
    """Return the distances of values from the straight line through them."""
    middle, level, rise = (len(values) - 1) / 2, fmean(values), slope(values)
    return [value - level - rise * (index - middle) for index, value in enumerate(values)]
