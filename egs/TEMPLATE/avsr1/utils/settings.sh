# Settings that every recipe has, with their defaults. A recipe's run.sh sources this first and adds
# or changes what is its own. Each line is `name=value # what it is`: --help prints these lines.
# shellcheck shell=bash disable=SC2034  # used by avsr.sh

stage=0             # the first stage to run
stop_stage=5        # the last stage to run
train_config=       # conf/train_*.yaml: the model, its training, its decoding
train_args=         # changes to it, such as "train.lr=5e-4 train.seed=1"
tuning=             # a list of changes, conf/tuning/*.txt: stages 3 to 5 for each of them
dry_run=false       # print the settings of the model and its parameters, and do nothing
tag=                # name of the experiment: the stem of train_config by default
work_dir=.          # where data/, dump/, exp/ and downloads/ go
nj=2                # parallel jobs in stages 0 to 2
cmd_backend=local   # where they, training and decoding run: local, or slurm, with conf/slurm*.conf
ngpu=auto           # GPUs of a machine that train and decode; auto: all there are, 0: the CPU
cpu_procs=1         # training processes when there is no GPU
num_nodes=1         # machines to train on, with --cmd_backend slurm
hostfile=           # machines to train on, by ssh: lines such as "node1 slots=8"
launcher_args=      # more options of deepspeed's launcher, such as "--master_addr 10.0.0.1"
landmarks=mediapipe # how mouths are found: mediapipe, mtcnn or centre
test_noise=babble   # noises of the noisy test sets: babble, speech_shaped, pink, white; or names in noise_dir
test_snrs="5 0 -5"  # their signal-to-noise ratios, in dB: a test set for each noise and ratio
noise_dir=          # noise of your own, such as MUSAN: test_noise="music noise" names folders or files in it
decode_model=best   # best, average or checkpoints/step_<n>
decode_scales=      # such as "a4_v2 a16_v5"; all those trained by default
decode_args=        # changes to its decode section, such as "decode.num_beams=15"
video_checks=       # test sets that are decoded with the video zeroed and with another clip's, too
