"""Owns the synthetic windows the models are trained on: normal plant telemetry of many kinds, no faults.

Every window is made of parts that real measurements are made of (noise, slow wandering, rhythms, thermostats, ramps,
disturbances that fade, quantisation) in random proportions and scales. Refuses to know any model.
"""

import numpy as np

LENGTH = 64
PAST = 48
SETTLE = 40
DISTINCT = 5


def _wander(rng, count, length, memory):
    """Stationary AR(1) of deviation 1; `memory` is its time constant in steps, one per window."""
    keep = np.exp(-1.0 / memory)
    step = np.sqrt(1.0 - keep * keep)
    noise = rng.standard_normal((count, length))
    values = np.empty((count, length))
    values[:, 0] = noise[:, 0]
    for at in range(1, length):
        values[:, at] = keep * values[:, at - 1] + step * noise[:, at]
    return values


def _smoothed(values, memory):
    """First-order low pass of time constant `memory` (one per window), scaled back to deviation 1 or so."""
    share = 1.0 / (1.0 + memory)
    out = np.empty_like(values)
    out[:, 0] = values[:, 0]
    for at in range(1, values.shape[1]):
        out[:, at] = out[:, at - 1] + share * (values[:, at] - out[:, at - 1])
    return out


def _log_uniform(rng, low, high, count):
    return np.exp(rng.uniform(np.log(low), np.log(high), count))


def _present(rng, share, count):
    return (rng.random(count) < share)[:, None]


def _thermostat(rng, count, time):
    """Two-point control: rises and falls at different rates, slightly bent, as of a compressor."""
    period = _log_uniform(rng, 12, 400, count)[:, None]
    duty = rng.uniform(0.1, 0.9, count)[:, None]
    phase = (time / period + rng.random(count)[:, None]) % 1.0
    up = phase / duty
    down = (1.0 - phase) / (1.0 - duty)
    shape = np.where(phase < duty, up, down)
    bend = rng.uniform(0.6, 1.6, count)[:, None]
    return shape**bend - 0.5


def _fading(rng, count, time):
    """A disturbance (a door, a cloud, a change of load) that sets in somewhere and relaxes."""
    start = rng.uniform(-40, LENGTH, count)[:, None]
    memory = _log_uniform(rng, 3, 200, count)[:, None]
    since = np.maximum(time - start, 0.0)
    rise = _log_uniform(rng, 0.5, 20, count)[:, None]
    return np.where(time >= start, np.exp(-since / memory) * (1.0 - np.exp(-since / rise)), 0.0) * rng.choice(
        [-1.0, 1.0], count
    )[:, None]


def _drawn(rng, count):
    time = np.arange(LENGTH)[None, :]
    noise = rng.standard_normal((count, LENGTH))
    heavy = rng.standard_t(3.0, (count, LENGTH))
    noise = np.where(_present(rng, 0.15, count), heavy, noise)
    signal = np.zeros((count, LENGTH))

    # Most series only wander, some smoothly; the others have rhythms and disturbances on top.
    lively = ~_present(rng, 0.4, count)
    slow = _log_uniform(rng, 0.1, 30, count)[:, None]
    wander = _wander(rng, count, SETTLE + LENGTH, _log_uniform(rng, 1, 400, count))
    wander = np.where(_present(rng, 0.4, count), _smoothed(wander, _log_uniform(rng, 1, 20, count)), wander)[:, SETTLE:]
    signal += _present(rng, 0.75, count) * slow * wander
    wave = _log_uniform(rng, 0.1, 30, count)[:, None]
    period = _log_uniform(rng, 6, 4000, count)[:, None]
    phase = 2 * np.pi * rng.random(count)[:, None]
    angle = 2 * np.pi * time / period + phase
    signal += lively * _present(rng, 0.5, count) * wave * (np.sin(angle) + 0.3 * rng.random(count)[:, None] * np.sin(2 * angle))
    signal += lively * _present(rng, 0.3, count) * _log_uniform(rng, 0.5, 30, count)[:, None] * _thermostat(rng, count, time)
    slope = _log_uniform(rng, 0.003, 1.0, count)[:, None] * rng.choice([-1.0, 1.0], count)[:, None]
    signal += lively * _present(rng, 0.4, count) * slope * time
    signal += lively * _present(rng, 0.12, count) * _log_uniform(rng, 2, 30, count)[:, None] * _fading(rng, count, time)

    # Noise in proportion to the level, as of vibration, where there is a level.
    level = rng.uniform(3, 30, count)[:, None]
    grows = 1.0 + np.where(_present(rng, 0.3, count), signal / level, 0.0)
    values = signal + noise * np.abs(grows) * np.where(_present(rng, 0.05, count), 0.02, 1.0)

    # What has a floor (power at night, flow of a closed valve) has often just left it.
    floor = np.quantile(values[:, :PAST], rng.random(), axis=1)[:, None]
    on_floor = _present(rng, 0.1, count) & (values[:, PAST:] > floor).all(axis=1, keepdims=True)
    values = np.where(on_floor, np.maximum(values, floor), values)

    # Sensors report in steps.
    deviation = values.std(axis=1, keepdims=True)
    grain = deviation * _log_uniform(rng, 0.005, 1.2, count)[:, None]
    values = np.where(_present(rng, 0.5, count), np.round(values / grain) * grain, values)

    values = values * _log_uniform(rng, 1e-3, 1e4, count)[:, None]
    return values - values[:, :1]


def windows(rng, count):
    """`count` windows of LENGTH float64 values, each centred on its first value.

    None whose first PAST values take fewer than DISTINCT values: that is a state, not a measurement, and is not scored.
    """
    kept = np.empty((0, LENGTH))
    while len(kept) < count:
        drawn = _drawn(rng, count)
        past = np.sort(drawn[:, :PAST], axis=1)
        kept = np.concatenate([kept, drawn[(np.diff(past, axis=1) != 0).sum(axis=1) >= DISTINCT - 1]])
    return kept[:count]
