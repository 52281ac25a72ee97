"""The PyTorch worker of densecl-bench: does with PyTorch what bench/src/worker does with densecl.

densecl-bench starts it, writes requests to its standard input and reads the answers from its standard output,
one JSON object per line. Times are in seconds per iteration, memory is in bytes:

    {"do": "prepare", "work": {...}, "variant": "channels_last"}  ->  {"resident": 4.1e8}
    {"do": "run", "seconds": 0.3}                                 ->  {"seconds": 0.021, "iterations": 15}
    {"do": "finish"}                                              ->  {"peak": 9.3e8, "device_peak": null}

A request that fails is answered with {"error": "one line"}. To try it by hand, from the repository's root:

    echo '{"do":"prepare","work":{"what":"loss","queries":256,"keys":1024,"dim":128},"variant":"eager"}
    {"do":"run","seconds":1}' | OMP_NUM_THREADS=1 python3 bench/pytorch.py --threads 1 --device cpu
"""

import argparse
import copy
import importlib.metadata
import json
import platform
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet

DIM, TEMPERATURE, MOMENTUM = 128, 0.2, 0.999


def unit(*shape):
    return F.normalize(torch.randn(*shape, device=DEVICE), dim=-1)


def backbone(name):
    if name == "resnet10":
        return ResNet(BasicBlock, [1, 1, 1, 1])
    return getattr(torchvision.models, name)(weights=None)


class Encoder(nn.Module):
    """Backbone and both heads. Returns global, dense, pooled dense and backbone vectors, each of unit length."""

    def __init__(self, name):
        super().__init__()
        net = backbone(name)
        c = net.fc.in_features
        self.body = nn.Sequential(*list(net.children())[:-2])
        self.global_head = nn.Sequential(nn.Linear(c, c), nn.ReLU(inplace=True), nn.Linear(c, DIM))
        self.dense_head = nn.Sequential(nn.Conv2d(c, c, 1), nn.ReLU(inplace=True), nn.Conv2d(c, DIM, 1))

    def forward(self, images):
        features = self.body(images)
        q = F.normalize(self.global_head(features.mean((2, 3))), dim=1)
        dense = self.dense_head(features).flatten(2)
        pooled = F.normalize(dense.mean(2), dim=1)
        return q, F.normalize(dense, dim=1), pooled, F.normalize(features.flatten(2), dim=1)


def info_nce(query, positive, queue):
    """[N, D], [N, D], [K, D] -> mean loss, from logits [N, 1 + K] written out in memory as usual in PyTorch."""
    logits = torch.cat([(query * positive).sum(1, keepdim=True), query @ queue.T], 1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def in_view_loss(query, key, positives):
    """Cells [B, D, N] twice, indices of the positives [B, N] -> mean loss against all cells of the same picture."""
    logits = torch.bmm(query.transpose(1, 2), key) / TEMPERATURE
    return F.cross_entropy(logits.flatten(0, 1), positives.flatten())


def match_cells(query_features, key_features, key_dense):
    """The dense key of each query cell's best match: [B, C, N], [B, C, N], [B, D, N] -> [B, D, N]."""
    chosen = torch.bmm(query_features.transpose(1, 2), key_features).argmax(2)
    return key_dense.gather(2, chosen[:, None].expand(-1, key_dense.shape[1], -1))


def per_cell(dense):
    return dense.transpose(1, 2).reshape(-1, dense.shape[1])


class Variant:
    """A PyTorch configuration, written as words joined by `+`, e.g. `channels_last+compile+bf16`."""

    def __init__(self, text):
        words = set(text.split("+"))
        self.channels_last = "channels_last" in words
        self.compile = "compile" in words
        self.bf16 = "bf16" in words
        self.f16 = "f16" in words
        tf32 = "tf32" in words
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True

    def module(self, module):
        module = module.to(DEVICE)
        if self.channels_last:
            module = module.to(memory_format=torch.channels_last)
        return torch.compile(module) if self.compile else module

    def function(self, function):
        return torch.compile(function) if self.compile else function

    def images(self, batch, size):
        images = torch.randn(batch, 3, size, size, device=DEVICE)
        return images.to(memory_format=torch.channels_last) if self.channels_last else images

    def precision(self):
        half = torch.float16 if self.f16 else torch.bfloat16
        return torch.autocast(DEVICE.type, half, enabled=self.bf16 or self.f16)


class Learner:
    """One DenseCL training step (batch normalisation over the whole batch, keys shuffled)."""

    def __init__(self, work, variant):
        self.variant, self.batch = variant, work["batch"]
        query = Encoder(work["backbone"])
        key = copy.deepcopy(query)
        for parameter in key.parameters():
            parameter.requires_grad_(False)
        self.query, self.key = variant.module(query), variant.module(key)
        self.query_parameters, self.key_parameters = list(self.query.parameters()), list(self.key.parameters())
        self.info_nce = variant.function(info_nce)
        self.global_queue, self.dense_queue = unit(work["queue"], DIM), unit(work["queue"], DIM)
        self.position = 0
        self.optimizer = torch.optim.SGD(
            self.query_parameters, lr=0.03, momentum=0.9, weight_decay=1e-4, fused=True
        )
        self.views = [variant.images(self.batch, work["size"]) for _ in range(2)]

    def follow(self):
        with torch.no_grad():
            torch._foreach_mul_(self.key_parameters, MOMENTUM)
            torch._foreach_add_(self.key_parameters, self.query_parameters, alpha=1 - MOMENTUM)

    def forward_query(self):
        with self.variant.precision():
            return self.query(self.views[0])

    def forward_key(self):
        with torch.no_grad(), self.variant.precision():
            order = torch.randperm(self.batch, device=DEVICE)
            back = torch.argsort(order)
            return [t[back].float() for t in self.key(self.views[1][order])]

    def step(self):
        self.follow()
        k_global, k_dense, k_pooled, k_features = self.forward_key()
        q_global, q_dense, _, q_features = (t.float() for t in self.forward_query())
        with torch.no_grad():
            positives = match_cells(q_features, k_features, k_dense)
        dense = self.info_nce(per_cell(q_dense), per_cell(positives), self.dense_queue)
        loss = 0.5 * self.info_nce(q_global, k_global, self.global_queue) + 0.5 * dense
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for queue, keys in (self.global_queue, k_global), (self.dense_queue, k_pooled):
            queue[self.position : self.position + self.batch] = keys
        self.position = (self.position + self.batch) % len(self.global_queue)
        return loss


# Each `*_iteration` returns a function without arguments that does one iteration and returns its seconds.


def clock(action):
    def once():
        start = time.perf_counter()
        action()
        synchronize()
        return time.perf_counter() - start

    return once


def loss_iteration(function, queries, keys, dim):
    query = unit(queries, dim).requires_grad_()
    positive, queue = unit(queries, dim), unit(keys, dim)

    def action():
        query.grad = None
        function(query, positive, queue).backward()

    return clock(action)


def step_iteration(work, variant):
    learner = Learner(work["network"], variant)
    # `item` waits for the loss, as a training loop that logs the loss of every step does.
    return clock(lambda: learner.step().item())


def part_iteration(work, variant):
    network, part = work["network"], work["part"]
    learner = Learner(network, variant)
    cells = (network["size"] // 32) ** 2
    if part == "global_loss":
        return loss_iteration(learner.info_nce, learner.batch, network["queue"], DIM)
    if part == "dense_loss":
        return loss_iteration(learner.info_nce, learner.batch * cells, network["queue"], DIM)
    if part == "in_view_loss":
        query = F.normalize(torch.randn(learner.batch, DIM, cells, device=DEVICE), dim=1).requires_grad_()
        key = F.normalize(torch.randn(learner.batch, DIM, cells, device=DEVICE), dim=1)
        same_place = torch.arange(cells, device=DEVICE).expand(learner.batch, cells)
        in_view = learner.variant.function(in_view_loss)

        def action():
            query.grad = None
            in_view(query, key, same_place).backward()

        return clock(action)
    if part == "matching":
        k = learner.forward_key()
        query_features = F.normalize(torch.randn_like(k[3]), dim=1)
        return clock(lambda: match_cells(query_features, k[3], k[1]))
    if part in ("forward_query", "backward"):
        slopes = [torch.randn_like(t) for t in learner.forward_query()[:2]]

        def once():
            kept = []
            forward = clock(lambda: kept.extend(learner.forward_query()))()
            learner.optimizer.zero_grad()
            synchronize()
            backward = clock(lambda: torch.autograd.backward(kept[:2], slopes))()
            return forward if part == "forward_query" else backward

        return once
    if part == "optimizer":
        learner.step()
        return clock(learner.optimizer.step)
    return clock({"forward_key": learner.forward_key, "ema": learner.follow}[part])


def inference_iteration(work, variant, name, threads):
    batch, size = work["batch"], work["size"]
    if name == "onnxruntime":
        import onnxruntime

        if not work["onnx"]:
            raise ValueError("no ONNX file was made")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        gpu = ["CUDAExecutionProvider"] if DEVICE.type == "cuda" else []
        session = onnxruntime.InferenceSession(work["onnx"], options, providers=gpu + ["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: torch.randn(batch, 3, size, size).numpy()}
        return clock(lambda: session.run(None, feed))
    body = variant.module(Encoder(work["backbone"]).body.eval())
    images = variant.images(batch, size)

    def action():
        with torch.inference_mode(), variant.precision():
            body(images)

    return clock(action)


def iteration(work, name, threads):
    variant = Variant(name)
    what = work["what"]
    if what == "step":
        return step_iteration(work, variant)
    if what == "part":
        return part_iteration(work, variant)
    if what == "loss":
        function = variant.function(info_nce)
        return loss_iteration(function, work["queries"], work["keys"], work["dim"])
    if what == "inference":
        return inference_iteration(work, variant, name, threads)
    raise ValueError(f"no work is called {what}")


def synchronize():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def memory(field, otherwise=None):
    """A field of /proc/self/status in bytes; `otherwise` where the system has no such file."""
    try:
        with open("/proc/self/status") as status:
            lines = [line for line in status if line.startswith(field)]
        return int(lines[0].split()[1]) * 1024
    except (OSError, IndexError):
        return otherwise


def peak_memory():
    # ru_maxrss is in bytes on macOS, which has no /proc.
    return memory("VmHWM", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def versions():
    names = ["torch", "torchvision", "onnxruntime"]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def answer(request, state, threads):
    do = request["do"]
    if do == "prepare":
        state["once"] = iteration(request["work"], request["variant"], threads)
        resident = memory("VmRSS")
        # The first iteration is not timed: it compiles, tunes and allocates.
        state["once"]()
        return {"resident": resident}
    if do == "run":
        times = []
        while sum(times) < request["seconds"]:
            times.append(state["once"]())
        return {"seconds": sum(times) / len(times), "iterations": len(times)}
    if do == "finish":
        device_peak = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else None
        return {"peak": peak_memory(), "device_peak": device_peak}
    raise ValueError(f"no request is called {do}")


def main():
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    # Libraries that print would corrupt the protocol: their output goes to standard error instead.
    out, sys.stdout = sys.stdout, sys.stderr
    if args.device == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"error": "this PyTorch sees no CUDA or ROCm device"}), file=out, flush=True)
        return
    DEVICE = torch.device(args.device)
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    print(json.dumps({"versions": versions(), "device": device}), file=out, flush=True)
    state = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), state, args.threads)
        except Exception as error:  # the failure becomes a cell of the table, and the benchmark goes on
            reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main()
