"""Owns the forecaster's network: given the past of a series, how likely is what came?

Input: [batch, 64] float32, one window of a series, oldest first, each centred on its first value.
Output: [batch, 3] float32, deviations from what was to be expected (0 is usual, unit about 1):
  step   the newest value, forecast from the 63 before it
  level  the mean of the last 16 values, forecast from the 48 before them
  rough  the log of the mean step between the last 17 values, forecast from the first 49: below 0 is stuck, above noisy

Each is (what came - forecast mean) / forecast deviation, in units of the past's own deviation: normalisation is
inside the graph. Refuses to decide what an anomaly is.
"""

import torch
from torch import nn

LENGTH = 64
PAST = 48
TAIL = LENGTH - PAST
CLIP = 3.0
LIMIT = 8.0
FLAT = 1e-3
TINY = 1e-24  # keeps the square root of a flat past differentiable; far below any deviation worth scoring

# Every sum runs over 16, 48 or 64 values: rows then stand equally aligned in memory, so the runtime's vector kernels
# add each row in the same order, and a window's answer does not depend on its place in a batch.


def normalise(values, weights):
    """Mean and deviation of `values`, the second time without what lay beyond CLIP deviations: one spike must not blind.

    `weights` add up to 1; a value of weight 0 is not looked at.
    """
    mean = (values * weights).sum(dim=1, keepdim=True)
    deviation = ((values - mean) ** 2 * weights).sum(dim=1, keepdim=True).add(TINY).sqrt()
    clipped = mean + deviation * torch.clamp((values - mean) / deviation, -CLIP, CLIP)
    mean = (clipped * weights).sum(dim=1, keepdim=True)
    deviation = ((clipped - mean) ** 2 * weights).sum(dim=1, keepdim=True).add(TINY).sqrt()
    return mean, deviation


class Expectation(nn.Module):
    """Mean and deviation of one number, from `inputs` numbers."""

    def __init__(self, inputs, wide, narrow, floor):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, wide), nn.Tanh(), nn.Linear(wide, narrow), nn.Tanh(), nn.Linear(narrow, 2)
        )
        self.direct = nn.Linear(inputs, 1, bias=False)
        self.floor = floor

    def forward(self, inputs):
        both = self.body(inputs)
        mean = both[:, :1] + self.direct(inputs)
        return mean, nn.functional.softplus(both[:, 1:]) + self.floor


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = Expectation(LENGTH, 48, 24, 0.01)
        self.level = Expectation(PAST, 64, 32, 0.02)
        self.rough = Expectation(2 * PAST + 1, 24, 12, 0.1)
        before = torch.ones(1, LENGTH)
        before[0, -1] = 0.0
        self.register_buffer("before", before)
        self.register_buffer("before_weights", before / (LENGTH - 1))
        self.register_buffer("past_weights", torch.full((1, PAST), 1.0 / PAST))

    def parts(self, window):
        """(deviations from the expected, expected deviation) of step, level and rough."""
        mean, deviation = normalise(window, self.before_weights)
        seen = torch.clamp((window - mean) / deviation, -LIMIT, LIMIT) * self.before
        expected, spread = self.step(seen)
        yield ((window[:, LENGTH - 1 :] - mean) / deviation - expected) / spread, spread

        past = window[:, :PAST]
        mean, deviation = normalise(past, self.past_weights)
        seen = torch.clamp((past - mean) / deviation, -LIMIT, LIMIT)
        expected, spread = self.level(seen)
        came = (window[:, PAST:].mean(dim=1, keepdim=True) - mean) / deviation
        yield (came - expected) / spread, spread

        jumps = torch.clamp((window[:, 1 : PAST + 1] - past).abs() / deviation, 0.0, LIMIT)
        usual = jumps.mean(dim=1, keepdim=True) + 1e-6
        newest = ((window[:, PAST:] - window[:, PAST - 1 : LENGTH - 1]).abs() / deviation).mean(dim=1, keepdim=True)
        expected, spread = self.rough(torch.cat([seen, jumps / usual, usual.log()], dim=1))
        yield ((newest / usual + FLAT).log() - expected) / spread, spread

    def forward(self, window):
        return torch.cat([deviations for deviations, _ in self.parts(window)], dim=1)
