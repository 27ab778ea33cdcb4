#!/usr/bin/env python
"""What adapters cost: python tools/bench/adapters.py [--dtype float32] [--layers 2]

Times a stack of layers of the shape of Llama-3.2-1B, alone and with each adapter, in one process
and in turns, so that whatever else the machine does falls on all of them; prints medians of the
ratios to the frozen stack. `loop` is the usual form of MoME: one expert after the other, on the
tokens that were sent to it. Then times the two forms by themselves, one against the other, which is
sharper than the difference of two stacks; `--profile` prints the operators of the dense form.
"""

import argparse
import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaModel

from mome.adapters import Plain
from mome.encoders import choose_dtype
from mome.experts import MoME
from mome.inject import adapters, inject
from mome.lora import LoRA


class Loop(MoME):
    """MoME as it is usually written: gather the tokens of an expert, run it, add them back."""

    def forward(self, x_BND: Tensor) -> Tensor:
        x_ND = x_BND.flatten(0, 1)
        self.probs_BNR = self.probabilities(x_BND)
        gate_NE = self._keep_top(self.probs_BNR).flatten(0, 1)
        out_ND = torch.zeros_like(x_ND)
        H = self.expert_dim
        for e in range(self.num_routed + self.num_shared):
            rows = slice(e * H, (e + 1) * H)
            chosen = torch.arange(len(x_ND), device=x_ND.device)
            weight_N1 = torch.ones(len(x_ND), 1, device=x_ND.device, dtype=x_ND.dtype)
            if e < self.num_routed:
                chosen = gate_NE[:, e].nonzero()[:, 0]
                weight_N1 = gate_NE[chosen, e][:, None].to(x_ND.dtype)
            if len(chosen):
                hidden = F.gelu(
                    F.linear(x_ND[chosen], self.down.weight[rows], self.down.bias[rows])
                )
                y_ND = hidden @ self.up[rows] + self.up_bias[e]
                out_ND.index_add_(0, chosen, weight_N1 * y_ND)
        return out_ND.view_as(x_BND)


class Products(MoME):
    """The two products that a dense form cannot do without: the least it can take."""

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.down(x_BND) @ self.up


DIM = 2048
SYSTEMS = {
    "MoME-23/4-MHSA": ("mhsa", lambda: MoME(DIM, 23, 4, 1, 8)),
    "MoME-23/4-FFN": ("ffn", lambda: MoME(DIM, 23, 4, 1, 8)),
    "MoME-23/4-LAYER": ("layer", lambda: MoME(DIM, 23, 4, 1, 8)),
    "  loop form": ("layer", lambda: Loop(DIM, 23, 4, 1, 8)),
    "plain, 48": ("layer", lambda: Plain(DIM, 48)),
    "LoRA, rank 64": ("q_v", lambda i, o: LoRA(i, o, 64, 8.0)),
    "LoRA MSS, rank 64": ("q_v", lambda i, o: LoRA(i, o, 64, 8.0, "mss", 4)),
}


def stack(layers: int, dtype: torch.dtype, device: str) -> LlamaModel:
    """Layers of Llama-3.2-1B with random weights, frozen, and a tiny vocabulary."""
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=DIM,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
    )
    torch.manual_seed(0)
    model: Any = LlamaModel(config)
    return model.to(device, dtype).eval().requires_grad_(False)


class Llm(nn.Module):
    """What `inject` takes: something with `model.layers`."""

    def __init__(self, model: LlamaModel):
        super().__init__()
        self.model = model


def prefill(model: LlamaModel, tokens: int, device: str):
    """A call that reads a prompt of `tokens`."""
    x_BND = torch.randn(1, tokens, DIM, dtype=model.dtype, device=device)

    @torch.inference_mode()
    def call() -> None:
        model(inputs_embeds=x_BND, use_cache=False)

    return call


def decode(model: LlamaModel, tokens: int, device: str):
    """A call that reads one token behind a prompt of `tokens`."""
    prompt_BND = torch.randn(1, tokens, DIM, dtype=model.dtype, device=device)
    x_BND = prompt_BND[:, :1]

    @torch.inference_mode()
    def call() -> None:
        model(inputs_embeds=x_BND, past_key_values=cache, use_cache=True)
        cache.crop(-1)

    with torch.inference_mode():
        cache = DynamicCache(config=model.config)
        model(inputs_embeds=prompt_BND, past_key_values=cache, use_cache=True)
    return call


def step(model: LlamaModel, tokens: int, device: str):
    """A call that runs forward and backward, to the adapters and to the input."""
    x_BND = torch.randn(1, tokens, DIM, dtype=model.dtype, device=device, requires_grad=True)

    def call() -> None:
        model(inputs_embeds=x_BND, use_cache=False).last_hidden_state.float().sum().backward()

    return call


JOBS = {
    "prefill 100": (prefill, 100),
    "prefill 600": (prefill, 600),
    "decode 1 after 100": (decode, 100),
    "train 600": (step, 600),
}


def rounds(calls: dict, seconds: float, device: str, least: int = 5) -> dict[str, list[float]]:
    """Seconds of each call in each round; a round runs all of them, one after the other.

    There are at least so many rounds.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    wait_for(device)
    end = time.monotonic() + seconds * len(calls)
    while time.monotonic() < end or min(map(len, spent.values())) < least:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            wait_for(device)
            spent[name].append(time.perf_counter() - start)
    return spent


def wait_for(device: str) -> None:
    """Wait until a GPU has done its work; a CPU has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def ratio(spent: dict[str, list[float]], name: str, other: str) -> list[float]:
    """Quartiles over rounds of one call's time by the other's."""
    pairs = zip(spent[name], spent[other], strict=True)
    return statistics.quantiles([a / b for a, b in pairs], n=4)


def alone(module: nn.Module, tokens: int, train: bool, dtype: torch.dtype, device: str):
    """A call of an adapter by itself, forward or forward and backward."""
    x_BND = torch.randn(1, tokens, DIM, dtype=dtype, device=device, requires_grad=train)

    def call() -> None:
        with torch.inference_mode(not train):
            y_BND = module(x_BND)
            if train:
                y_BND.float().sum().backward()

    return call


def forms_of(dtype: torch.dtype, device: str) -> dict[str, nn.Module]:
    """MoME-23/4 of LAYER, dense and as a loop, with the same weights, which must agree."""
    forms: dict[str, nn.Module] = {}
    for name, make in (("dense", MoME), ("loop", Loop), ("products", Products)):
        torch.manual_seed(0)
        forms[name] = awake(make(DIM, 23, 4, 1, 8).to(device, dtype))
    x_BND = torch.randn(1, 50, DIM, dtype=dtype, device=device)
    dense, loop = (forms[name](x_BND).float() for name in ("dense", "loop"))
    apart = (dense - loop).norm() / loop.norm()
    assert apart < (1e-5 if dtype == torch.float32 else 3e-2), apart
    return forms


def awake(adapter: nn.Module) -> nn.Module:
    """Weights that do something, as after training."""
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.02)
    return adapter.train()


ALONE = {"100 tokens": (100, False), "600": (600, False), "1": (1, False), "train 600": (600, True)}


def compare_forms(dtype: torch.dtype, seconds: float, device: str) -> None:
    """Print how much longer the loop takes, and the time of the dense form."""
    forms = forms_of(dtype, device)
    print(f"\n| the layer alone | {' | '.join(ALONE)} |\n|---|{'---|' * len(ALONE)}")
    ratios, least, times = [], [], []
    for tokens, train in ALONE.values():
        calls = {n: alone(form, tokens, train, dtype, device) for n, form in forms.items()}
        spent = rounds(calls, seconds, device)
        low, middle, high = ratio(spent, "loop", "dense")
        ratios.append(f"{middle:.1f} ({low:.1f}-{high:.1f})")
        least.append(f"{ratio(spent, 'loop', 'products')[1]:.1f}")
        times.append(f"{1e3 * statistics.median(spent['dense']):.2f}")
    print(f"| loop / dense, median (quartiles) | {' | '.join(ratios)} |")
    print(f"| loop / the dense form's two products | {' | '.join(least)} |")
    print(f"| dense, ms | {' | '.join(times)} |")


def print_profile(dtype: torch.dtype, device: str) -> None:
    """Operators of the dense form, those that take longest first."""
    dense = forms_of(dtype, device)["dense"]
    for title, (tokens, train) in ALONE.items():
        call = alone(dense, tokens, train, dtype, device)
        for _ in range(5):
            call()
        with torch.profiler.profile() as profile:
            for _ in range(20):
                call()
        print(f"\n{title}")
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--layers", type=int, default=2, help="of the 16; ratios do not change")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each cell of the table")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--alone", action="store_true", help="leave out the stacks of layers")
    parser.add_argument(
        "--profile", action="store_true", help="of the dense form, and nothing else"
    )
    args = parser.parse_args()
    chosen = choose_dtype(torch.device(args.device).type)[0]
    dtype = chosen if args.dtype == "auto" else getattr(torch, args.dtype)
    print(f"{args.layers} layers, {dtype}, {args.device}, {torch.get_num_threads()} threads")
    if args.profile:
        print_profile(dtype, args.device)
        return
    if not args.alone:
        compare_stacks(args, dtype)
    compare_forms(dtype, args.seconds, args.device)


def compare_stacks(args: argparse.Namespace, dtype: torch.dtype) -> None:
    """Print the time of a stack of layers with each adapter, that of the frozen one being 1."""
    models = {"frozen": stack(args.layers, dtype, args.device)}
    for name, (position, make) in SYSTEMS.items():
        llm = Llm(stack(args.layers, dtype, args.device))
        inject(llm, position, lambda *dims, make=make: make(*dims).to(args.device, dtype))
        for adapter in adapters(llm):
            awake(adapter)
        models[name] = llm.model
    print(f"| time, frozen stack = 1 | {' | '.join(JOBS)} |\n|---|{'---|' * len(JOBS)}")
    table: dict[str, list[str]] = {name: [] for name in models}
    for make_call, tokens in JOBS.values():
        calls = {name: make_call(model, tokens, args.device) for name, model in models.items()}
        spent = rounds(calls, args.seconds, args.device)
        for name in calls:
            table[name].append(f"{ratio(spent, name, 'frozen')[1]:.2f}")
    for name, cells in table.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
