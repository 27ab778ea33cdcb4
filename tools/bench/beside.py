#!/usr/bin/env python
"""What other work on the machine costs: python tools/bench/beside.py [--busy 2] [--seconds 4]

Times a training step, greedy decoding and the features of a few clips, with small models, alone and
while other programs keep the cores busy, each time with GNU OpenMP's usual waiting and with that of
our commands (mome/bin/__init__.py): two threads in one process, and one thread in each of two
processes. Prints the time beside the other programs divided by the time alone with usual waiting;
the fair share is (programs + cores) / cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

WAITING: dict[str, dict[str, str]] = {"usual": {}, "ours": {"GOMP_SPINCOUNT": "1000"}}
TASKS = ("train", "decode", "features")


def work(task: str) -> Callable[[], object]:
    """One unit of a task, ready to be called."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, WhisperConfig, WhisperModel

    torch.manual_seed(0)
    if task == "features":
        whisper: Any = WhisperModel(WhisperConfig(d_model=384, encoder_layers=4)).encoder.eval()
        mel = torch.randn(1, 80, 3000)
        return torch.inference_mode()(lambda: whisper(mel))
    shape: dict[str, Any] = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6}
    heads: dict[str, Any] = {"num_attention_heads": 9, "num_key_value_heads": 3}
    llm: Any = LlamaForCausalLM(LlamaConfig(**shape, **heads, vocab_size=1000))
    llm.requires_grad_(False)
    if task == "decode":
        ids = torch.ones(8, 70, dtype=torch.long)
        options: dict[str, Any] = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
        options |= {"eos_token_id": 2, "pad_token_id": 0}
        return lambda: llm.generate(ids, attention_mask=torch.ones_like(ids), **options)
    x_BND = torch.randn(8, 70, 576, requires_grad=True)
    return lambda: llm(inputs_embeds=x_BND).logits.sum().backward()


def seconds_of(task: str, num_threads: int, seconds: float) -> float:
    """The median time of a unit."""
    import torch

    torch.set_num_threads(num_threads)
    unit = work(task)
    times: list[float] = []
    unit()
    start = time.perf_counter()
    while not times or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        unit()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def in_processes(task: str, waiting: str, num_processes: int, args: argparse.Namespace) -> float:
    """Seconds for a unit, when processes share the threads; the mean over them."""
    num_threads = max(1, args.threads // num_processes)
    command = [sys.executable, __file__, "--child", task, "--threads", str(num_threads)]
    command += ["--seconds", str(args.seconds)]
    rest = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    env = rest | WAITING[waiting] | {"OMP_NUM_THREADS": str(num_threads)}
    children = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(num_processes)
    ]
    outputs = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        sys.exit(f"{task} failed in a process of its own")
    # Two processes do two units in this time.
    return statistics.mean(float(json.loads(output)) for output in outputs) / num_processes


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--busy", type=int, default=2, help="programs that keep the cores busy")
    parser.add_argument("--threads", type=int, default=2, help="threads, in all processes")
    parser.add_argument("--nice", type=int, default=0, help="0 to 19: how low their priority is")
    parser.add_argument("--seconds", type=float, default=4, help="for each time")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--child", choices=TASKS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    args = parse(argv)
    if args.child:
        print(json.dumps(seconds_of(args.child, args.threads, args.seconds)))
        return
    ways = [("usual", 1), ("ours", 1), ("ours", args.threads)]
    alone = {(t, *way): in_processes(t, *way, args) for t in args.tasks for way in ways}
    loop = "while True: pass"
    nice = ["nice", "-n", str(args.nice), sys.executable, "-c", loop]
    others = [subprocess.Popen(nice) for _ in range(args.busy)]
    try:
        beside = {key: in_processes(*key, args) for key in alone}
    finally:
        for other in others:
            other.kill()
    print(
        f"beside {args.busy} busy programs (nice {args.nice}), {args.threads} threads; fair share"
    )
    print(f"{(args.busy + args.threads) / args.threads:.1f}. Times of: usual waiting alone = 1")
    print("| task | waiting, processes | alone | beside |\n|---|---|---|---|")
    for task, waiting, processes in alone:
        unit = alone[task, "usual", 1]
        cells = [alone[task, waiting, processes] / unit, beside[task, waiting, processes] / unit]
        print(f"| {task} | {waiting}, {processes} | {cells[0]:.2f} | {cells[1]:.2f} |")


if __name__ == "__main__":
    main()
