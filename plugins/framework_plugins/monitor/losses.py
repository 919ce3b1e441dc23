"""Rules for the training loss: a spike, a rise, an oscillation, a plateau.

Each rule is a class that is given one log entry after the other and says what it sees. The losses of steps differ
because their rows differ, so every rule measures that noise and asks for several times as much.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, median

from framework.api import Step

DEVIATION = 1.4826
"""The standard deviation of a normal distribution by its median absolute deviation, which outliers do not move."""
FLOOR = 1e-3
"""Losses below are taken for this where logarithms are compared: 0 has none."""
LEARNED = 0.1
"""Nats a token below which a loss is low enough that its level says nothing."""


class Spike:
    """Losses far above all recent ones: three in a row, or one that no row explains.

    A batch of one hard row is high once, and no spike. Losses are compared as logarithms, since their noise grows with
    them: a spike is `DEVIATIONS` deviations above the median of those before, half as high again as the highest of
    them, and higher by a minimum.
    """

    WINDOW, LEAST = 30, 8
    """Entries that it is compared with, and those without which it is not known how far apart they lie."""
    LAST = 3
    """Entries in a row that have to be high."""
    DEVIATIONS = 5.0
    """Deviations above the median: of noise that is normal, one step in three million is."""
    TIMES, NATS = 1.5, 0.5
    """How far above the highest loss of the window: a batch that is hard in every epoch is no spike."""
    ALONE = 7.0
    """How many times the highest loss of the window a single one has to be."""
    SMALLEST = 0.05
    """The least deviation taken for noise, of the logarithm: 5%."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=self.WINDOW + self.LAST)

    def check(self, step: Step) -> str:
        """Say whether the loss is a spike."""
        self.losses.append(max(step.loss, FLOOR))
        for last, times in ((1, self.ALONE), (self.LAST, self.TIMES)):
            before, now = list(self.losses)[:-last], min(list(self.losses)[-last:])
            if len(before) < self.LEAST or now <= max(times * max(before), max(before) + self.NATS):
                continue
            logs = [math.log(each) for each in before]
            level = median(logs)
            noise = max(spread(logs), deviation(logs), self.SMALLEST)
            if math.log(now) - level > self.DEVIATIONS * noise:
                return f"the loss jumped to {now:.3g} from about {math.exp(level):.3g}"
        return ""

    def reset(self) -> None:
        self.losses.clear()


class RisingLoss:
    """A loss that has risen and stays high: the mean of the last entries far above the lowest that there was.

    Trimmed means of logarithms are compared, which a few odd batches hardly move. The first few entries count as a low
    too, so that a training that goes wrong at once is seen; one that rises from step to step is seen before the window
    is full.
    """

    WINDOW, FIRST = 20, 5
    """Entries of a mean: fewer would take a few hard batches for a rise. Those of the first one."""
    TIMES, DEVIATIONS = 1.25, 4.0
    """The mean is a quarter above the lowest, and by this many standard errors of the difference."""
    EARLY, STEADY = 10, 0.85
    """Entries from which a steady rise is seen, and the rank correlation with time that makes it one (Spearman): of ten
    losses without a trend one series in a thousand has it."""
    EARLY_TIMES = 1.4
    """How much higher the last third is than the first."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=self.WINDOW)
        self.reset()

    def check(self, step: Step) -> str:
        """Say whether the loss has risen."""
        self.losses.append(math.log(max(step.loss, FLOOR)))
        count = len(self.losses)
        if count == self.FIRST:
            self.lowest, self.noise = trimmed(self.losses), deviation(self.losses)
        if count < self.WINDOW:
            return self._steady()
        now, noise = trimmed(self.losses), deviation(self.losses)
        if now < self.lowest:
            self.lowest, self.noise, self.count = now, noise, self.WINDOW
        error = max(noise, self.noise) * math.sqrt(1 / self.WINDOW + 1 / self.count)
        level, before = math.exp(now), math.exp(self.lowest)
        if now > self.lowest + math.log(self.TIMES) + self.DEVIATIONS * error and level > before + LEARNED:
            return f"the loss rose to {level:.3g} over {self.WINDOW} log entries, and was {before:.3g} before"
        return ""

    def _steady(self) -> str:
        """Say whether the first entries rise one after the other."""
        count = len(self.losses)
        if count < self.EARLY:
            return ""
        places, third = ranks(list(self.losses)), count // 3
        apart = sum((place - number) ** 2 for number, place in enumerate(places))
        first, last = (median(list(self.losses)[part]) for part in (slice(third), slice(-third, None)))
        if 1 - 6 * apart / (count * (count**2 - 1)) < self.STEADY or last - first < math.log(self.EARLY_TIMES):
            return ""
        return f"the loss rose from {math.exp(first):.3g} to {math.exp(last):.3g} in {count} log entries"

    def reset(self) -> None:
        self.losses.clear()
        self.lowest, self.noise, self.count = math.inf, 0.0, self.FIRST


class Oscillation:
    """A loss that goes up and down in waves and does not fall.

    Noise of the rows fluctuates too, but each step independently, or alternating if an epoch has few steps. After a
    rate that is too high, the weights take several steps to recover, so neighbouring losses are similar. The statistic
    is the mean square of the differences of their ranks by the variance of the ranks (Bartels 1982): 2 if the losses
    are independent, more if they alternate, less in waves.
    """

    WINDOWS, STRIDE = (40, 80), 5
    """Entries of one check, made whenever this many are new; more entries can distinguish flatter waves from noise."""
    SWING = 0.15
    """Deviation from the trend, as a share of the level, from which it is a swing."""
    FALL = 0.05
    """A loss that falls by this share from one half of the window to the other is learning all the same."""
    DEVIATIONS = 4.0
    """How far below 2 that ratio has to be, in its standard deviations: 3 in 100,000 windows of noise are."""
    OUTLIER = 4.0
    """Deviations from the median beyond which a loss is taken for one that far."""
    TURNS = 4
    """How often the loss goes from above its trend to below it and back: a single wave comes from a spike."""

    def __init__(self, warmup: Callable[[int], int]) -> None:
        self.warmup = warmup
        self.losses: deque[float] = deque(maxlen=max(self.WINDOWS))
        self.count = 0

    def check(self, step: Step) -> str:
        """Say whether the loss oscillates; the warm-up is left out."""
        if step.step <= self.warmup(step.total_steps):
            return ""
        self.losses.append(step.loss)
        self.count += 1
        if self.count % self.STRIDE:
            return ""
        for count in self.WINDOWS:
            if len(self.losses) >= count and self._waves(last := list(self.losses)[-count:]):
                low, high = min(last), max(last)
                return f"the loss swung between {low:.3g} and {high:.3g} in {count} log entries and did not fall"
        return ""

    def _waves(self, losses: Sequence[float]) -> bool:
        count, level = len(losses), median(losses)
        half = count // 2
        # Medians: a few hard rows in one half would hide that the loss falls, and its curve is a wave then.
        if level < LEARNED or median(losses[half:]) < (1 - self.FALL) * median(losses[:half]):
            return False
        # A few hard rows would tilt the line, and what is left would be a trend.
        reach = self.OUTLIER * spread(losses)
        off = without_trend([min(max(loss, level - reach), level + reach) for loss in losses])
        if spread(off) < self.SWING * level:
            return False
        places = ranks(off)
        ratio = sum((one - other) ** 2 for one, other in pairwise(places)) / (count * (count**2 - 1) / 12)
        if ratio > 2 - self.DEVIATIONS * 2 / math.sqrt(count):
            return False
        sides = [place > half for place in places if abs(place - half) > count / 4]
        return sum(one != other for one, other in pairwise(sides)) >= self.TURNS

    def reset(self) -> None:
        self.losses.clear()


class Plateau:
    """A loss that stands where it began.

    Looked at after 40 entries, then after half as many again and so on, and at the end. A straight line through all of
    them would fall by less than `FALL` until the end of the training, even if its slope is `ERRORS` standard errors
    steeper than it looks. A good base whose loss falls by a few percent is learning, so where the noise could hide such
    a fall nothing is said: with a noise of 5% it takes some 500 entries, with 15% some 5,000.
    """

    FIRST = 40
    """Entries before the first check."""
    MORE = 1.5
    """Factor by which the entries have grown at the next check."""
    FALL = 0.03
    """The share of the loss by which it has to fall."""
    ERRORS = 3.0
    """Standard errors of the slope in favour of the training."""

    def __init__(self, warmup: Callable[[int], int]) -> None:
        self.warmup = warmup
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.at = self.FIRST

    def check(self, step: Step) -> str:
        """Say whether the loss stands."""
        self.steps.append(step.step)
        self.losses.append(step.loss)
        count = len(self.losses)
        if count < self.at and not (step.step == step.total_steps and count >= self.FIRST):
            return ""
        self.at = math.ceil(self.MORE * count)
        half = count // 2
        initial, level = fmean(self.losses[:half]), fmean(self.losses[half:])
        if level < LEARNED or self.steps[half] <= self.warmup(step.total_steps):
            return ""
        noise = deviation(without_trend(self.losses)) * math.sqrt(12 / count**3)
        entries, trend = count * step.total_steps / step.step, slope(self.losses)
        # One that rises is the matter of another rule, which recommends the opposite.
        if (self.ERRORS * noise - trend) * entries > self.FALL * initial or trend > self.ERRORS * noise > 0:
            return ""
        return f"the loss is {level:.3g} after {count} log entries, and was {initial:.3g} in the first half of them"

    def reset(self) -> None:
        """Forget nothing: it is about the training as a whole, and reported once."""


def spread(values: Sequence[float] | deque[float]) -> float:
    """Return the standard deviation of values, by the median of their distances from the median."""
    middle = median(values)
    return DEVIATION * median(abs(value - middle) for value in values)


def trimmed(values: Sequence[float] | deque[float]) -> float:
    """Return the mean of values without the lowest and the highest tenth, at least one on each side."""
    cut = max(1, len(values) // 10)
    return fmean(sorted(values)[cut:-cut])


def ranks(values: Sequence[float]) -> list[int]:
    """Return for each value how many are smaller."""
    places = [0] * len(values)
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        places[place] = rank
    return places


def deviation(values: Sequence[float] | deque[float]) -> float:
    """Return the standard deviation of values."""
    level = fmean(values)
    return math.sqrt(fmean((value - level) ** 2 for value in values))


def slope(values: Sequence[float]) -> float:
    """Return by how much the straight line through values rises from one to the next."""
    count = len(values)
    middle, level = (count - 1) / 2, fmean(values)
    return sum((place - middle) * (value - level) for place, value in enumerate(values)) / (count * (count**2 - 1) / 12)


def without_trend(values: Sequence[float]) -> list[float]:
    """Return the distances of values from the straight line through them."""
    middle, level, rise = (len(values) - 1) / 2, fmean(values), slope(values)
    return [value - level - rise * (place - middle) for place, value in enumerate(values)]
