"""Trains the forecaster and writes model, sidecar and test vectors. Same packages, same CPU features: same bytes.

Run from the project's root; see README.md beside this file.
"""

import os

# One thread and no CPU-specific kernels where that can be chosen: sums are then added in one order.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default"})

import argparse
import hashlib
import json
import pathlib
import re

import numpy as np
import torch

import series
from forecaster import LENGTH, Forecaster

NAME = "forecaster-64"
VERSION = "1.0.0"
SEED = 20261120
BATCH = 512
# Of Student's t, for step, level and rough: few let rare disturbances not widen what is expected of every other
# window, many make the forecast own up to how far a wandering series can go.
FREEDOM = (4.0, 16.0, 6.0)


def loss_of(model, window):
    losses = []
    for (deviations, spread), freedom in zip(model.parts(window), FREEDOM):
        tail = torch.log1p(deviations * deviations / freedom) * (freedom + 1) / 2
        losses.append((tail + spread.log()).mean())
    return sum(losses)


def train(steps):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    model = Forecaster()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    smooth = None
    for at in range(steps):
        window = torch.from_numpy(series.windows(rng, BATCH).astype(np.float32))
        optimiser.zero_grad()
        loss = loss_of(model, window)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.99 * smooth + 0.01 * loss.item()
        if at % 500 == 499:
            print(f"step {at + 1} loss {smooth:.4f}", flush=True)
    return model.eval()


def spread_of(model):
    """Usual size of each output on unseen normal windows: 1.4826 times the median of |output|."""
    window = torch.from_numpy(series.windows(np.random.default_rng(SEED + 1), 20_000).astype(np.float32))
    with torch.no_grad():
        sizes = model(window).abs().numpy()
    for share in (0.5, 0.9, 0.99, 0.999):
        print(f"|output| quantile {share}: {np.quantile(sizes, share, axis=0).round(2)}")
    return [round(float(value), 3) for value in 1.4826 * np.median(sizes, axis=0)]


def write_model(model, folder):
    path = folder / f"{NAME}.onnx"
    torch.onnx.export(
        model,
        torch.zeros(1, LENGTH),
        str(path),
        opset_version=14,
        input_names=["window"],
        output_names=["deviations"],
        dynamic_axes={"window": {0: "batch"}, "deviations": {0: "batch"}},
    )
    sidecar = {
        "name": NAME,
        "version": VERSION,
        "kind": "forecaster",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input": {"name": "window", "shape": ["batch", LENGTH], "type": "float32"},
        "output": {"name": "deviations", "shape": ["batch", 3], "type": "float32"},
        "seriesLength": LENGTH,
        "channels": ["step", "level", "rough"],
        "spread": spread_of(model),
        "threshold": 11,
        "trainedWith": f"torch {torch.__version__}, numpy {np.__version__}, seed {SEED}",
        "licence": "Apache-2.0",
    }
    # Lists on one line, as the repository's formatter has them.
    text = re.sub(r"\[\s+([^\]]*?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(sidecar, indent=2))
    (folder / f"{NAME}.json").write_text(text + "\n")
    print(f"{path} {path.stat().st_size} bytes sha256 {sidecar['sha256']}")


def write_vectors(model, path):
    """Windows and what torch makes of them, so that every other runtime can be held against it."""
    window = series.windows(np.random.default_rng(SEED + 2), 16).astype(np.float32)
    window[1, -1] += 20 * window[1].std()  # a spike
    window[2, -14:] = window[2, -15]  # stuck
    window[3, -10:] += 5 * window[3].std()  # a shift
    with torch.no_grad():
        outputs = model(torch.from_numpy(window)).numpy()
    cases = [{"window": [float(v) for v in w], "deviations": [float(v) for v in o]} for w, o in zip(window, outputs)]
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"model":"{NAME}","version":"{VERSION}","cases":[\n{lines}\n]}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--onnx", type=pathlib.Path, default=pathlib.Path("models/onnx"))
    parser.add_argument("--vectors", type=pathlib.Path, default=pathlib.Path(f"test/vectors/models/{NAME}.json"))
    options = parser.parse_args()
    model = train(options.steps)
    options.onnx.mkdir(parents=True, exist_ok=True)
    write_model(model, options.onnx)
    write_vectors(model, options.vectors)


if __name__ == "__main__":
    main()
