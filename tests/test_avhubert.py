"""AV-HuBERT: the Large's parameters, padding that changes nothing, folders."""

import dataclasses
import json

import pytest
import torch

from mome.avhubert import AVHuBERT, AVHuBERTConfig

SMALL = AVHuBERTConfig(
    dim=32, ffn_dim=64, num_layers=2, num_heads=4, position_kernel=8, position_groups=4,
    frontend_dim=8, frontend_stride=4, resnet_dims=(8, 12), resnet_blocks=(2, 1), relu="relu",
    audio_dim=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    model = AVHuBERT(SMALL)
    for module in model.modules():  # as after some training
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def large_shapes():
    """Names and shapes of the public Large checkpoint, weight norm folded, targets dropped."""
    shapes = {
        "mask_emb": (104,),
        "feature_extractor_audio.proj.weight": (1024, 104),
        "feature_extractor_audio.proj.bias": (1024,),
        "feature_extractor_video.proj.weight": (1024, 512),
        "feature_extractor_video.proj.bias": (1024,),
        "layer_norm.weight": (2048,),
        "layer_norm.bias": (2048,),
        "post_extract_proj.weight": (1024, 2048),
        "post_extract_proj.bias": (1024,),
        "encoder.pos_conv.0.weight": (1024, 64, 128),
        "encoder.pos_conv.0.bias": (1024,),
        "encoder.layer_norm.weight": (1024,),
        "encoder.layer_norm.bias": (1024,),
    }
    resnet = "feature_extractor_video.resnet."

    def norm(name, dim):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (dim,)
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes[resnet + "frontend3D.0.weight"] = (64, 1, 5, 7, 7)
    norm(resnet + "frontend3D.1", 64)
    shapes[resnet + "frontend3D.2.weight"] = (64,)
    before = 64
    for stage, dim in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"{resnet}trunk.layer{stage}.{block}"
            shapes[f"{name}.conv1.weight"] = (dim, before, 3, 3)
            shapes[f"{name}.conv2.weight"] = (dim, dim, 3, 3)
            norm(f"{name}.bn1", dim)
            norm(f"{name}.bn2", dim)
            shapes[f"{name}.relu1.weight"] = shapes[f"{name}.relu2.weight"] = (dim,)
            if before != dim:
                shapes[f"{name}.downsample.0.weight"] = (dim, before, 1, 1)
                norm(f"{name}.downsample.1", dim)
            before = dim
    linear = {f"self_attn.{p}_proj": (1024, 1024) for p in ("q", "k", "v", "out")}
    linear |= {"fc1": (4096, 1024), "fc2": (1024, 4096)}
    for i in range(24):
        for name, shape in linear.items():
            shapes[f"encoder.layers.{i}.{name}.weight"] = shape
            shapes[f"encoder.layers.{i}.{name}.bias"] = shape[:1]
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes[f"encoder.layers.{i}.{name}.weight"] = (1024,)
            shapes[f"encoder.layers.{i}.{name}.bias"] = (1024,)
    return shapes


def test_the_defaults_are_the_large_key_by_key():
    with torch.device("meta"):
        model = AVHuBERT()
    assert {k: tuple(x.shape) for k, x in model.state_dict().items()} == large_shapes()


def test_padding_and_neighbours_change_nothing(small):
    torch.manual_seed(1)
    lengths = [5, 12, 1]
    batch = torch.randn(3, 1, 12, 88, 88)  # what stands in the padding must not matter either
    together = small(batch, lengths)
    for i, n in enumerate(lengths):
        alone = small(batch[i : i + 1, :, :n])
        torch.testing.assert_close(together[i : i + 1, :n], alone, atol=2e-5, rtol=1e-4)
        assert not together[i, n:].any()


def test_a_frame_out_for_every_frame_in(small):
    for T in (1, 2, 9):
        assert small(torch.randn(2, 1, T, 88, 88)).shape == (2, T, SMALL.dim)


def test_frames_know_their_neighbours_in_time(small):
    torch.manual_seed(2)
    video = torch.randn(1, 1, 10, 88, 88)
    other = video.clone()
    other[:, :, 9] += 1
    assert not torch.allclose(small(video)[0, 0], small(other)[0, 0], atol=1e-6)


def test_attention_equals_pytorchs_own(small):
    attention = small.encoder.layers[0].self_attn
    theirs = torch.nn.MultiheadAttention(SMALL.dim, SMALL.num_heads, batch_first=True)
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    theirs.in_proj_weight.data = torch.cat([p.weight for p in parts]).detach()
    theirs.in_proj_bias.data = torch.cat([p.bias for p in parts]).detach()
    theirs.out_proj.load_state_dict(attention.out_proj.state_dict())
    x = torch.randn(2, 6, SMALL.dim)
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    expected = theirs(x, x, x, key_padding_mask=~real, need_weights=False)[0]
    torch.testing.assert_close(attention(x, real[:, None, None]), expected, atol=1e-5, rtol=1e-4)


def test_a_saved_folder_gives_the_same_frames(small, tmp_path):
    small.save(tmp_path)
    again = AVHuBERT.from_folder(tmp_path)
    video = torch.randn(1, 1, 4, 88, 88)
    assert torch.equal(again(video), small(video)) and not again.training
    assert again.config == SMALL
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_weights_of_another_config_are_refused(small, tmp_path, refused):
    small.save(tmp_path)
    config = dataclasses.asdict(SMALL) | {"dim": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with refused("weights of another config", r"not of the network in config\.json: size mismatch"):
        AVHuBERT.from_folder(tmp_path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", b"{", r"config\.json, line 1: this is not JSON"),
        ("config.json", b"[]", r"config\.json must hold values by name"),
        ("model.safetensors", b"", r"model\.safetensors is damaged or not of"),
        ("model.safetensors", b"x" * 1000, r"model\.safetensors is damaged or not of"),
    ],
)
def test_a_damaged_folder_is_one_line(small, tmp_path, name, content, message, refused):
    small.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with refused(f"{name} holds {content[:2]!r}", message):
        AVHuBERT.from_folder(tmp_path)


def test_wrong_fields_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"num_layer": 2}')
    with pytest.raises(ValueError, match=r"num_layer'.*num_layers"):
        AVHuBERTConfig.from_file(tmp_path / "config.json")
    with pytest.raises(ValueError, match="multiple"):
        AVHuBERTConfig(dim=100, num_heads=16)
    with pytest.raises(ValueError, match="equally long"):
        AVHuBERTConfig(resnet_dims=(8,))
    with pytest.raises(ValueError, match="gelu"):
        AVHuBERTConfig(relu="gelu")


@pytest.mark.parametrize("lengths", [[3], [5, 2], [0, 4]])
def test_lengths_must_fit_the_batch(small, lengths):
    with pytest.raises(ValueError, match="lengths"):
        small(torch.zeros(2, 1, 4, 88, 88), lengths)


def test_the_large_network_has_the_tensors_of_the_public_checkpoint():
    """535 with the two of the weight norm, 324.6M values; the converter's tests look at names."""
    with torch.device("meta"):
        large = AVHuBERT(AVHuBERTConfig(audio_dim=104))
    shapes = {name: tuple(x.shape) for name, x in large.state_dict().items()}
    assert len(shapes) == 535 - 1
    assert shapes["encoder.pos_conv.0.weight"] == (1024, 64, 128)
    assert shapes["post_extract_proj.weight"] == (1024, 2048)
    assert shapes["encoder.layers.23.fc1.weight"] == (4096, 1024)
    assert sum(p.numel() for p in large.parameters()) == 324_622_952
