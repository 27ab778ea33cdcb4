#!/usr/bin/env python3
"""Stands for ssh, pdsh, sbatch, srun or scontrol: whichever name it is linked to.

A machine is a network namespace called mome-<its address> where there is one, else this machine.
Those of Slurm are listed in $SLURM_STAND_IN. Notes for the test are files beside the links.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

NOTES = Path(sys.argv[0]).parent


def on(host: str, *command: str) -> list[str]:
    there = Path(f"/run/netns/mome-{host}").exists()
    return ["ip", "netns", "exec", f"mome-{host}", *command] if there else [*command]


def wait_for(tasks: list[subprocess.Popen]) -> int:
    return max(128 - code if code < 0 else code for code in [task.wait() for task in tasks])


def ssh(args: list[str]) -> int:
    """Run a command in a shell that has nothing of this environment."""
    while args[0] == "-o":
        args = args[2:]
    host, *words = args
    shell = ["env", "-i", "HOME=/root", "PATH=/usr/bin:/bin:/usr/sbin", "bash", "-c"]
    return wait_for([subprocess.Popen(on(host, *shell, " ".join(words)), cwd="/")])


def pdsh(args: list[str]) -> int:
    """Run a command on several machines by ssh; %n in it is the place of the machine."""
    assert args[:4] == ["-S", "-f", "1024", "-w"], args
    hosts, words = args[4].split(","), args[5:]
    if words[0].startswith("pkill"):  # would find trainings that are not of the test
        return 0
    calls = [[w.replace("%n", str(rank)) for w in words] for rank in range(len(hosts))]
    me = str(NOTES / "ssh")
    return wait_for([subprocess.Popen([me, h, *c]) for h, c in zip(hosts, calls, strict=True)])


def sbatch(args: list[str]) -> int:
    """Run the tasks of an array one after the other, or a job until it is not requeued."""
    options = {}
    while args[0].startswith("--") and args[0] != "--wrap":
        name, value = re.fullmatch(r"--([a-z-]+)(?:=(.*))?", args.pop(0)).groups()
        options[name] = value
    assert "wait" in options
    if "array" in options:
        assert options["mem"] == "6G" and args[0] == "--wrap"
        first, last = map(int, options["array"].split("-"))
        for task in range(first, last + 1):
            with open(options["output"].replace("%a", str(task)), "w") as log:
                env = {**os.environ, "SLURM_ARRAY_TASK_ID": str(task)}
                subprocess.run(["bash", "-c", args[1]], stdout=log, stderr=log, check=True, env=env)
        return 0
    assert {"requeue", "signal", "cpus-per-task"} <= options.keys()
    assert options["open-mode"] == "append"
    nodes = os.environ.get("SLURM_STAND_IN", "localhost").split()[: int(options["nodes"])]
    env = {
        **os.environ,
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": ",".join(nodes),
        "SLURM_NTASKS_PER_NODE": options["ntasks-per-node"],
        "SLURM_NTASKS": str(len(nodes) * int(options["ntasks-per-node"])),
        "SLURM_CPUS_PER_TASK": "1",  # whatever was asked for: this machine may be small
    }
    again = NOTES / "requeued"
    while True:
        again.unlink(missing_ok=True)
        with open(options["output"], "a") as log:
            job = subprocess.Popen(args, stdout=log, stderr=log, env=env)
            (NOTES / "job").write_text(f"{job.pid}\n")
            code = wait_for([job])
        if not again.exists():
            return code


def srun(args: list[str]) -> int:
    """Start the tasks of a job on its nodes."""
    assert args.pop(0) == "--kill-on-bad-exit=1" and os.environ["SRUN_CPUS_PER_TASK"]
    tasks, each = [], int(os.environ["SLURM_NTASKS_PER_NODE"])
    for node, host in enumerate(os.environ["SLURM_JOB_NODELIST"].split(",")):
        for local in range(each):
            env = {"SLURM_PROCID": str(node * each + local), "SLURM_LOCALID": str(local)}
            tasks.append(subprocess.Popen(on(host, *args), env={**os.environ, **env}))
    (NOTES / "tasks").write_text("".join(f"{task.pid}\n" for task in tasks))
    return wait_for(tasks)


def scontrol(args: list[str]) -> int:
    if args[:2] == ["show", "hostnames"]:
        print(*args[2].split(","), sep="\n")
    else:
        assert args == ["requeue", os.environ["SLURM_JOB_ID"]], args
        (NOTES / "requeued").touch()
    return 0


if __name__ == "__main__":
    sys.exit(globals()[Path(sys.argv[0]).name](sys.argv[1:]))
