#!/usr/bin/python3
"""Times one training step of a network in PyTorch, as the associated-learning scripts train it.

usage: twins.py --model vgg|resnet18|lstm|transformer --mode bp|sequential|threads [--cores N] [--batch B]
                [--length T] [--steps S] [--warm-up W] [--encoders E]

Prints one line of JSON: seconds of a step (median), PyTorch's version, threads and BLAS. Written from the published
descriptions (Wu et al., ICLR 2022, and the pipeline's readme); shares no code with them.

Modes: bp, end to end with one Adam. sequential: each stage forward, both losses backward, two Adams, one after another.
threads: the original's pipeline: the main thread sends a batch forward stage by stage and starts a thread for each
stage's backward passes and updates; all are joined before the next batch.
"""
import argparse
import json
import statistics
import sys
import threading
import time

import torch
from torch import nn
from torch.nn import functional as F


class Encoder(nn.Module):
    """Pre-norm transformer encoder with a norm behind it; unbiased standard deviation, eps outside the root."""

    class Norm(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

        def forward(self, x):
            return self.a * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.b

    def __init__(self, width=300, heads=6, hidden=256, dropout=0.3):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norms = nn.ModuleList([self.Norm(width) for _ in range(3)])
        self.drop = nn.Dropout(dropout)

    def attention(self, x, mask):
        b, t, d = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5
        p = self.drop(scores.masked_fill(mask[:, None, None, :] == 0, -1e9).softmax(-1))
        return self.o((p @ v).transpose(1, 2).reshape(b, t, d))

    def forward(self, s):
        x, mask = s
        x = x + self.drop(self.attention(self.norms[0](x), mask))
        x = x + self.drop(self.down(self.drop(F.relu(self.up(self.norms[1](x))))))
        return self.norms[2](x), mask


class Embed(nn.Module):
    def __init__(self, vocabulary=30000, width=300, masked=True):
        super().__init__()
        self.table, self.masked = nn.Embedding(vocabulary, width), masked

    def forward(self, ids):
        return (self.table(ids), (ids != 0).float()) if self.masked else (self.table(ids), None)


class Lstm(nn.Module):
    def __init__(self, width, hidden=256):
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, s):
        y, state = self.lstm(s[0], s[1])
        return y, state


class Block(nn.Module):
    """Two 3x3 convolutions and a 3x3 shortcut where the stride is 2."""

    def __init__(self, a, b, stride):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                                  nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b))
        self.short = nn.Identity() if stride == 1 else nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False),
                                                                     nn.BatchNorm2d(b))

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x))


def conv(a, b):
    return [nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]


def image_slices(model):
    """(f, side of its map, channels)"""
    if model == "vgg":
        pool = nn.MaxPool2d(2)
        return [(nn.Sequential(*conv(3, 128), *conv(128, 256), pool), 16, 256),
                (nn.Sequential(*conv(256, 256), *conv(256, 512), pool), 8, 512),
                (nn.Sequential(*conv(512, 512), pool), 4, 512), (nn.Sequential(*conv(512, 512), pool), 2, 512)]
    pairs = [(64, 64, 1, 32), (64, 128, 2, 16), (128, 256, 2, 8), (256, 512, 2, 4)]
    return [(nn.Sequential(*conv(3, 64)), 32, 64)] + [
        (nn.Sequential(Block(a, b, s), Block(b, b, 1)), side, b) for a, b, s, side in pairs]


def image_head(model):
    if model == "vgg":
        return nn.Sequential(nn.Flatten(), nn.Linear(2048, 2500), nn.Sigmoid(), nn.Linear(2500, 10))
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def masked_mean(s):
    x, mask = s
    return (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def text_slices(model, encoders):
    """(f, reduce, width of what reduce gives)"""
    if model == "transformer":
        return [(Embed(), masked_mean, 300)] + [(Encoder(), masked_mean, 300) for _ in range(encoders)]
    return [(Embed(masked=False), lambda s: s[0].mean(1), 300)] + [
        (Lstm(300 if i == 0 else 512), lambda s: s[1][0].sum(0), 256) for i in range(encoders)]


def detach(s):
    if isinstance(s, tuple):
        return tuple(detach(v) for v in s)
    return s.detach() if isinstance(s, torch.Tensor) else s


class Stage:
    """f and bridge, label encoder and decoder, and an Adam for each pair."""

    def __init__(self, f, reduce, bridge, label_in, code, act, first):
        self.f, self.reduce, self.bridge, self.first = f, reduce, bridge, first
        self.g = nn.Sequential(nn.Linear(label_in, code), act())
        self.h = nn.Sequential(nn.Linear(code, label_in)) if first else nn.Sequential(nn.Linear(code, label_in), act())
        self.encoder = torch.optim.Adam([*f.parameters(), *bridge.parameters()], lr=1e-4)
        self.labels = torch.optim.Adam([*self.g.parameters(), *self.h.parameters()], lr=1e-3)

    def forward(self, s, t):
        code = self.g(t)
        decoded = self.h(code)
        ae = F.cross_entropy(decoded, t.argmax(1)) if self.first else F.mse_loss(decoded, t)
        s = self.f(s)
        associated = F.mse_loss(self.bridge(self.reduce(s)), code.detach())
        return detach(s), code.detach(), ae, associated

    def learn(self, ae, associated):
        ae.backward()
        associated.backward()
        self.labels.step()
        self.encoder.step()
        self.labels.zero_grad()
        self.encoder.zero_grad()


def associated_stages(model, encoders):
    stages = []
    if model in ("vgg", "resnet18"):
        for i, (f, side, channels) in enumerate(image_slices(model)):
            small = min(side, 4)  # as in Sluice: the bridge sees 4x4 averages
            bridge = nn.Sequential(nn.AvgPool2d(side // small), nn.Flatten(), nn.Linear(small * small * channels, 1000),
                                   nn.Sigmoid(), nn.Linear(1000, 700), nn.Sigmoid())
            stages.append(Stage(f, lambda s: s, bridge, 10 if i == 0 else 700, 700, nn.Sigmoid, i == 0))
        return stages
    for i, (f, reduce, width) in enumerate(text_slices(model, encoders)):
        bridge = nn.Sequential(nn.Linear(width, 128), nn.Tanh())
        stages.append(Stage(f, reduce, bridge, 4 if i == 0 else 128, 128, nn.Tanh, i == 0))
    return stages


def backprop_step(model, encoders):
    if model in ("vgg", "resnet18"):
        net = nn.Sequential(*[f for f, _, _ in image_slices(model)], image_head(model))
    else:
        blocks = [f for f, _, _ in text_slices(model, encoders)]
        width = 300 if model == "transformer" else 512
        head = nn.Linear(width, 4)
        net = nn.ModuleList([*blocks, head])
    adam = torch.optim.Adam(net.parameters(), lr=1e-4)

    def logits(x):
        if isinstance(net, nn.Sequential):
            return net(x)
        s = x
        for f in net[:-1]:
            s = f(s)
        return net[-1](masked_mean(s) if model == "transformer" else s[0][:, -1])

    def step(x, labels):
        F.cross_entropy(logits(x), labels).backward()
        adam.step()
        adam.zero_grad()

    return step


def associated_step(model, encoders, threads):
    stages = associated_stages(model, encoders)
    classes = 10 if model in ("vgg", "resnet18") else 4

    def step(x, labels):
        s, t, running = x, F.one_hot(labels, classes).float(), []
        for stage in stages:
            s, t, ae, associated = stage.forward(s, t)
            if threads:
                running.append(threading.Thread(target=stage.learn, args=(ae, associated)))
                running[-1].start()
            else:
                stage.learn(ae, associated)
        for thread in running:
            thread.join()

    return step


def blas():
    config = torch.__config__.show() + torch.__config__.parallel_info()
    for name in ("MKL", "OpenBLAS", "BLIS", "Accelerate"):
        if f"BLAS_INFO={name.lower()}" in config.lower().replace(" ", "") or name.lower() in loaded():
            return name
    return "reference" if "libblas.so" in loaded() else "unknown"


def loaded():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return maps.read().lower()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["vgg", "resnet18", "lstm", "transformer"], required=True)
    parser.add_argument("--mode", choices=["bp", "sequential", "threads"], required=True)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--encoders", type=int, default=3)
    args = parser.parse_args()
    # The threaded mode gives every thread one core, as the original gives every stage one device.
    threads = 1 if args.mode == "threads" else args.cores
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    if args.mode == "bp":
        step = backprop_step(args.model, args.encoders)
    else:
        step = associated_step(args.model, args.encoders, args.mode == "threads")
    text = args.model in ("lstm", "transformer")
    x = torch.randint(2, 30000, (args.batch, args.length)) if text else torch.randn(args.batch, 3, 32, 32)
    if not text:
        x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 4 if text else 10, (args.batch,))
    for _ in range(args.warm_up):
        step(x, labels)
    found = blas()
    if found == "reference":
        sys.exit("twins: PyTorch runs on the reference BLAS; install libopenblas0-openmp, else the comparison says nothing")
    times = []
    for _ in range(args.steps):
        begin = time.monotonic()
        step(x, labels)
        times.append(time.monotonic() - begin)
    print(json.dumps({"step_s": statistics.median(times), "torch": torch.__version__, "threads": torch.get_num_threads(),
                      "cores": args.cores, "blas": found}))


if __name__ == "__main__":
    main()
