"""A training on two machines, by a hostfile and by Slurm: the real recipe, launcher and network.

A machine is a network namespace, joined to the other by a cable (veth), where this machine permits
that. ssh, pdsh and Slurm are stand-ins: they start a command as the real ones do, there.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import assert_same_training, baby_recipe

RECIPE = Path(__file__).parents[2] / "egs/lrs3/avsr1"
STAND_INS = Path(__file__).with_name("stand_ins.py")
CABLE = "cable0"
SETTINGS = (
    "train.num_steps=12 train.scales_per_step=0 train.valid_every=12 train.save_every=100"
    " model.llm_dtype=float32"
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    return baby_recipe(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def one_process(work) -> Path:
    """The experiment of one process, with two batches a step."""
    thread = ("taskset", "-c", str(min(os.sched_getaffinity(0))))  # two are slow where others work
    done = start(work, "one", "--train_args", f"{SETTINGS} train.accumulation=2", on=thread).wait()
    assert done == 0, (work / "one.out").read_text()[-4000:]
    return work / "exp/one"


@pytest.fixture(scope="module")
def machines():
    """Addresses of two machines: namespaces of the network with a cable between them."""
    hosts = [f"10.{os.getpid() // 256 % 256}.{os.getpid() % 256}.{n}" for n in (1, 2)]
    names = [f"mome-{host}" for host in hosts]
    commands = [f"ip netns add {name}" for name in names]
    commands += [f"ip link add {CABLE} netns {names[0]} type veth peer {CABLE} netns {names[1]}"]
    for name, host in zip(names, hosts, strict=True):
        commands += [f"ip -n {name} addr add {host}/24 dev {CABLE}"]
        commands += [f"ip -n {name} link set {device} up" for device in ("lo", CABLE)]
    with contextlib.ExitStack() as stack:
        for name in names:
            remove = ["ip", "netns", "del", name]
            stack.callback(subprocess.run, remove, stderr=subprocess.DEVNULL, check=False)
        for command in commands:
            try:
                subprocess.run(command.split(), check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                why = getattr(error, "stderr", "").strip() or error
                pytest.skip(f"namespaces of the network are not permitted here: {command}: {why}")
        yield hosts


@pytest.fixture
def bin_dir(tmp_path) -> Path:
    """Where ssh, pdsh and Slurm are, and their notes."""
    for name in ("ssh", "pdsh", "sbatch", "srun", "scontrol"):
        (tmp_path / name).symlink_to(STAND_INS)
    return tmp_path


def start(
    work: Path, tag: str, *options: str, path: str = "", on: tuple = (), **variables
) -> subprocess.Popen:
    """Stage 3 of the recipe, on CPUs; what it says goes to <tag>.out."""
    path = ":".join([path, str(Path(sys.executable).parent), os.environ["PATH"]]).lstrip(":")
    settings = ["--train_config", str(work / "train.yaml"), "--work_dir", str(work)]
    settings += ["--tag", tag, "--ngpu", "0", "--stage", "3", "--stop-stage", "3"]
    with (work / f"{tag}.out").open("a") as out:
        return subprocess.Popen(
            [*on, str(RECIPE / "run.sh"), *settings, *options],
            env={**os.environ, "MOME_ENV": "none", "PATH": path, **variables},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )


ONE_BATCH = ["--train_args", f"{SETTINGS} train.accumulation=1"]


@pytest.mark.parametrize("by", ["pdsh", "hand"])
def test_two_machines_of_a_hostfile_train_as_one(by, work, one_process, machines, bin_dir):
    (work / "hosts").write_text("".join(f"{host} slots=1\n" for host in machines))
    options = [*ONE_BATCH, "--hostfile", str(work / "hosts")]
    if by == "pdsh":
        runs = [start(work, by, *options, path=str(bin_dir), GLOO_SOCKET_IFNAME=CABLE)]
    else:
        address = f"--master_addr {machines[0]} --master_port 29501"
        runs = [
            start(
                work,
                by,
                *options,
                *("--launcher_args", f"--no_ssh --node_rank {rank} {address}"),
                on=("ip", "netns", "exec", f"mome-{host}"),
                GLOO_SOCKET_IFNAME=CABLE,
            )
            for rank, host in enumerate(machines)
        ]
    codes = [run.wait(timeout=300) for run in runs]
    assert not any(codes), (work / f"{by}.out").read_text()[-5000:]
    log = (work / f"exp/{by}/train.log").read_text()
    assert "a step: 2 device(s) x 1 batch(es) x at most 120 frames of 40 ms = 9.6 s" in log
    assert_same_training(one_process, work / "exp" / by)


def slurm(work: Path, tag: str, bin_dir: Path, hosts: list[str], **variables) -> subprocess.Popen:
    options = [*ONE_BATCH, "--cmd_backend", "slurm", "--num_nodes", "2"]
    hosts = " ".join(hosts)
    return start(work, tag, *options, path=str(bin_dir), SLURM_STAND_IN=hosts, **variables)


def test_two_nodes_of_slurm_train_as_one(work, one_process, machines, bin_dir):
    run = slurm(work, "nodes", bin_dir, machines, GLOO_SOCKET_IFNAME=CABLE)
    log = work / "dump/logs/train_nodes.log"
    assert run.wait(timeout=300) == 0, (work / "nodes.out").read_text() + log.read_text()[-4000:]
    assert_same_training(one_process, work / "exp/nodes")


def test_when_its_time_is_up_a_job_of_slurm_saves_and_comes_again(work, one_process, bin_dir):
    run = slurm(work, "again", bin_dir, ["127.0.0.1", "localhost"])
    stop_tasks(work / "exp/again", run, bin_dir)
    log = work / "dump/logs/train_again.log"
    assert run.wait(timeout=300) == 0, (work / "again.out").read_text() + log.read_text()[-4000:]
    assert "stopped by SIGTERM after step" in log.read_text()
    assert "the job goes back to the queue" in log.read_text()
    assert "resumed after step" in log.read_text()
    assert_same_training(one_process, work / "exp/again")


def test_a_job_that_is_cancelled_saves_and_does_not_come_again(work, bin_dir):
    run = slurm(work, "cancelled", bin_dir, ["127.0.0.1"])
    stop_tasks(work / "exp/cancelled", run, bin_dir, and_the_job=True)
    assert run.wait(timeout=100) == 128 + signal.SIGTERM
    assert "training failed: see" in (work / "cancelled.out").read_text()
    log = (work / "dump/logs/train_cancelled.log").read_text()
    assert "stopped by SIGTERM after step" in log and "back to the queue" not in log


def stop_tasks(exp: Path, run: subprocess.Popen, bin_dir: Path, and_the_job: bool = False) -> None:
    """Send SIGTERM after some steps: to the tasks, as --signal does, or to all, as scancel does."""
    deadline = time.monotonic() + 120
    path = exp / "metrics.jsonl"
    while not path.exists() or len(path.read_text().splitlines()) < 2:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    if and_the_job:
        os.kill(int((bin_dir / "job").read_text()), signal.SIGTERM)
    for pid in (bin_dir / "tasks").read_text().split():
        os.kill(int(pid), signal.SIGTERM)


def test_sigterm_ends_the_recipe_with_143_and_the_launcher_writes_to_its_log(work):
    run = start(work, "stopped", "--train_args", SETTINGS.replace("=12 ", "=500 ", 1))
    deadline = time.monotonic() + 120
    while not (work / "exp/stopped/metrics.jsonl").exists():
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    for process in psutil.Process(run.pid).children(recursive=True):
        if "--local_rank=0" in process.cmdline() and process.cmdline()[2] == "-m":
            process.terminate()
    assert run.wait(timeout=100) == 128 + signal.SIGTERM
    text = (work / "stopped.out").read_text()
    assert "stopped by SIGTERM after step" in text and "[INFO]" not in text
    log = (work / "dump/logs/launcher_stopped.log").read_text()
    assert "[INFO] [launch.py" in log and "exits with return code = 143" in log


def test_an_error_that_every_process_meets_is_shown_once(work):
    too_few = f"{SETTINGS} train.max_frames=3"
    run = start(work, "failed", "--cpu_procs", "2", "--train_args", too_few)
    assert run.wait(timeout=200) == 1
    text = (work / "failed.out").read_text()
    assert text.count("mome train: error: ") == text.count("error") == 1, text
    assert "training ended with status 1; the lines of the launcher are in dump/logs/" in text


def test_an_error_of_the_launcher_is_shown(work):
    run = start(work, "launcher", "--launcher_args", "--num_nodes 3")
    assert run.wait(timeout=100) == 1
    assert "Num nodes is >1 but no extra nodes available" in (work / "launcher.out").read_text()


def test_what_cannot_be_started_is_reported_before_anything_runs(work, bin_dir):
    (work / "hosts").write_text("localhost slots=1\n")
    both = ["--cmd_backend", "slurm", "--hostfile", str(work / "hosts")]
    for options, path, message in [
        (["--hostfile", "none"], "", "no hostfile none: a file with a line for each machine"),
        (["--cmd_backend", "slurm"], "", "needs sbatch, which is not on this machine"),
        (["--cmd_backend", "sge"], "", "--cmd_backend 'sge': give local or slurm"),
        (both, str(bin_dir), "--hostfile and --cmd_backend slurm exclude each other"),
        ([*both[:2], "--ngpu", "auto"], str(bin_dir), "give --ngpu, the GPUs of each"),
        (both[2:], "", "--hostfile needs pdsh and ssh without a password"),
    ]:
        (work / "wrong.out").unlink(missing_ok=True)
        assert start(work, "wrong", *options, path=path).wait() == 2
        assert message in (work / "wrong.out").read_text()
