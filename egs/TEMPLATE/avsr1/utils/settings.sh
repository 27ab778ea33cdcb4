# Settings that every recipe has, with their defaults. A recipe's run.sh sources this first and adds
# or changes its own. Each line is `name=value # meaning`: --help prints these lines.
# shellcheck shell=bash disable=SC2034  # used by avsr.sh

stage=0             # first stage to run, 0 to 7
stop_stage=5        # last stage to run, 0 to 7
train_config=       # conf/train_*.yaml: the model, its training, its decoding
train_args=         # changes to it, such as "train.lr=5e-4 train.seed=1"; quotes as in a shell
tuning=             # list of experiments, conf/tuning/*.txt: stages from 3 on are run for each line
dry_run=false       # print the settings of the model and its parameters, and do nothing
tag=                # name of the experiment; default: the stem of train_config
work_dir=.          # folder for data/, dump/, exp/ and downloads/
nj=auto             # parallel jobs in stages 0 to 2; auto: one a core (slurm: 16; stage 2: two a GPU)
max_skipped=0.01    # share of the clips of a set that may be left out
max_skipped_test=0  # the same for test sets
cmd_backend=local   # where jobs, training and decoding run: local, or slurm with conf/slurm*.conf
ngpu=auto           # GPUs of a machine that train and decode; auto: all, 0: the CPU
cpu_procs=1         # processes that train and decode on a CPU; they share its cores
num_nodes=1         # machines that train, with --cmd_backend slurm
hostfile=           # machines that train, reached by ssh: lines such as "node1 slots=8"
launcher_args=      # more options of DeepSpeed's launcher, such as "--master_addr 10.0.0.1"
landmarks=mediapipe # how the mouth is found: mediapipe, mtcnn or centre
landmarks_every=1   # find it in each n-th image and interpolate: faster, for heads that move slowly
min_found=0.5       # a clip with a face in a smaller share of its images is left out
test_noise=babble   # noises of the test sets: babble, speech_shaped, pink, white; or names in noise_dir
test_snrs="5 0 -5"  # signal-to-noise ratios in dB: each noise at each ratio is a test set
noise_dir=          # folder of your own noise, such as MUSAN; test_noise then names folders or files in it
decode_model=best   # best, average or checkpoints/step_<n>
decode_scales=      # such as "a4_v2 a16_v5"; default: all scales of the training
decode_args=        # changes to the decode section, such as "decode.num_beams=15"
video_checks=       # also without the own video, at two scales: test_other_video, test_zeroed_video; test: both
include_base=false  # stage 6: pack the LLM and large encoders, too
hub_repo=           # stage 7: OWNER/NAME on the Hugging Face hub
