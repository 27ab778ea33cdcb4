"""AV-HuBERT's video encoder, without fairseq (Shi et al., arXiv 2201.02184): lips -> frames.

One class serves AV-HuBERT Large (the defaults of `AVHuBERTConfig`) and small networks that a CPU
can train. Parameters are named as in the public checkpoint, with its weight norm folded. The input
is video alone: the audio half of the fusion is zero, as in the original without sound.

Shape key
    B  batch    T  images, 25 a second    H W  height, width    V  all images of a batch
    C  channels    D  width of the encoder
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mome import files


@dataclass(frozen=True)
class AVHuBERTConfig:
    """The shape of the network; the defaults are those of AV-HuBERT Large."""

    dim: int = 1024
    ffn_dim: int = 4096
    num_layers: int = 24
    num_heads: int = 16
    position_kernel: int = 128  # frames that the position convolution sees
    position_groups: int = 16
    frontend_dim: int = 64
    frontend_kernel: tuple[int, int, int] = (5, 7, 7)
    frontend_stride: int = 2
    resnet_dims: tuple[int, ...] = (64, 128, 256, 512)
    resnet_blocks: tuple[int, ...] = (2, 2, 2, 2)
    relu: str = "prelu"  # or "relu": without weights, and much faster to train on a CPU
    audio_dim: int = 104  # width of the original's audio input; its projection is kept but unused
    dropout: float = 0.0

    def __post_init__(self):
        for name in ("frontend_kernel", "resnet_dims", "resnet_blocks"):  # JSON has no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.dim % self.num_heads or self.dim % self.position_groups:
            raise ValueError(
                f"dim {self.dim} must be a multiple of num_heads {self.num_heads} and of "
                f"position_groups {self.position_groups}"
            )
        if self.relu not in ("prelu", "relu"):
            raise ValueError(f"relu must be 'prelu' or 'relu', got {self.relu!r}")
        if len(self.resnet_dims) != len(self.resnet_blocks):
            raise ValueError(
                f"resnet_dims {self.resnet_dims} and resnet_blocks {self.resnet_blocks} must be "
                "equally long"
            )

    @classmethod
    def from_file(cls, path: str | Path) -> "AVHuBERTConfig":
        """Read a config.json. Raises FileNotFoundError, or ValueError for unknown fields."""
        fields = files.read_json_object(Path(path))
        known = [f.name for f in dataclasses.fields(cls)]
        if unknown := sorted(set(fields) - set(known)):
            raise ValueError(f"{path}: unknown field {unknown[0]!r}; known are {', '.join(known)}")
        return cls(**fields)


class AVHuBERT(nn.Module):
    """video (B, 1, T, 88, 88), normalised -> (B, T, D), the last layer after its norm."""

    def __init__(self, config: AVHuBERTConfig | None = None):
        super().__init__()
        self.config = config = config or AVHuBERTConfig()
        if config.audio_dim:
            self.mask_emb = nn.Parameter(torch.zeros(config.audio_dim))
            self.feature_extractor_audio = nn.Module()
            self.feature_extractor_audio.proj = nn.Linear(config.audio_dim, config.dim)
        self.feature_extractor_video = VideoFrontend(config)
        self.layer_norm = nn.LayerNorm(2 * config.dim)
        self.post_extract_proj = nn.Linear(2 * config.dim, config.dim)
        self.encoder = Encoder(config)

    def forward(self, video_B1THW: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """(B, 1, T, H, W) -> (B, T, D).

        `lengths` is the number of images of each clip when clips are padded on the right. The
        frames of a clip depend neither on padding nor on other clips, and are zero in the padding.
        """
        B, _, T, _, _ = video_B1THW.shape
        lengths = [T] * B if lengths is None else list(lengths)
        if len(lengths) != B or max(lengths) > T or min(lengths) < 1:
            raise ValueError(f"lengths {lengths} do not fit a batch of {B} clips of {T} frames")
        padding_mask_BT = None
        if min(lengths) < T:
            steps_T = torch.arange(T, device=video_B1THW.device)
            padding_mask_BT = steps_T < torch.tensor(lengths, device=steps_T.device)[:, None]

        x_BTD = self.feature_extractor_video(video_B1THW, padding_mask_BT)
        x_BTD = torch.cat([torch.zeros_like(x_BTD), x_BTD], dim=-1)  # no audio, then video
        x_BTD = self.post_extract_proj(self.layer_norm(x_BTD))
        return self.encoder(x_BTD, padding_mask_BT)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "AVHuBERT":
        """Read config.json and model.safetensors; the model is in eval mode.

        Raises FileNotFoundError for a missing file, ValueError when weights and config disagree.
        """
        folder = Path(folder)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).exists():
                raise FileNotFoundError(
                    f"{folder / name} is missing: a video encoder is made by "
                    "mome.bin.pretrain_video or tools/convert_avhubert.py"
                )
        with torch.device("meta"):
            model = cls(AVHuBERTConfig.from_file(folder / "config.json"))
        try:
            model.load_state_dict(load_file(folder / "model.safetensors"), assign=True)
        except (RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(
                f"{folder}: model.safetensors is damaged or not of the network in config.json:"
                f" {reason}"
            ) from error
        return model.eval()

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, each whole or not at all."""
        folder = Path(folder)
        state = {name: x.detach().cpu().contiguous() for name, x in self.state_dict().items()}
        config = json.dumps(dataclasses.asdict(self.config), indent=2) + "\n"
        with files.atomic_write(folder / "model.safetensors") as tmp_path:
            save_file(state, tmp_path, metadata={"format": "pt"})
        files.write_text(folder / "config.json", config)


# ---- images -------------------------------------------------------------------------------------


class VideoFrontend(nn.Module):
    """A 3-D convolution over five images, then a ResNet on each: (B, 1, T, H, W) -> (B, T, D)."""

    def __init__(self, config: AVHuBERTConfig):
        super().__init__()
        self.resnet: Any = nn.Module()  # a name in the public checkpoint
        C = config.frontend_dim
        time, height, width = config.frontend_kernel
        stride = config.frontend_stride
        self.resnet.frontend3D = nn.Sequential(
            nn.Conv3d(
                1,
                C,
                (time, height, width),
                (1, stride, stride),
                (time // 2, height // 2, width // 2),
                bias=False,
            ),
            nn.BatchNorm3d(C),
            make_relu(config.relu, C),
        )
        self.resnet.trunk = ResNet(C, config.resnet_dims, config.resnet_blocks, config.relu)
        self.proj = nn.Linear(config.resnet_dims[-1], config.dim)

    def forward(self, video_B1THW: Tensor, padding_mask_BT: Tensor | None) -> Tensor:
        if padding_mask_BT is not None:  # zeros, as a convolution pads
            video_B1THW = video_B1THW * padding_mask_BT[:, None, :, None, None]
        x_BTCHW = self.resnet.frontend3D(video_B1THW).transpose(1, 2)
        x_VCHW = x_BTCHW.flatten(0, 1) if padding_mask_BT is None else x_BTCHW[padding_mask_BT]
        x_VCHW = x_VCHW.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        x_VCHW = F.max_pool2d(x_VCHW, kernel_size=3, stride=2, padding=1)
        x_VC = self.resnet.trunk(x_VCHW)
        x_VD = self.proj(x_VC)
        if padding_mask_BT is None:
            return x_VD.unflatten(0, x_BTCHW.shape[:2])
        x_BTD = x_VD.new_zeros(*padding_mask_BT.shape, x_VD.shape[-1])
        x_BTD[padding_mask_BT] = x_VD
        return x_BTD


def make_relu(kind: str, dim: int) -> nn.Module:
    """A rectifier, with a slope for each channel when it is "prelu"."""
    return nn.PReLU(dim) if kind == "prelu" else nn.ReLU()


class ResNet(nn.Module):
    """The trunk of ResNet-18: (V, C, H, W) -> (V, C'), the mean over each image."""

    def __init__(self, in_dim: int, dims: Sequence[int], blocks: Sequence[int], relu: str):
        super().__init__()
        self.num_stages = len(dims)
        for i, (dim, num_blocks) in enumerate(zip(dims, blocks, strict=True), start=1):
            stage = [Block(in_dim, dim, relu, stride=1 if i == 1 else 2)]
            stage += [Block(dim, dim, relu) for _ in range(num_blocks - 1)]
            setattr(self, f"layer{i}", nn.Sequential(*stage))
            in_dim = dim

    def forward(self, x_VCHW: Tensor) -> Tensor:
        for i in range(1, self.num_stages + 1):
            x_VCHW = getattr(self, f"layer{i}")(x_VCHW)
        return x_VCHW.mean(dim=(2, 3))


class Block(nn.Module):
    """Two 3x3 convolutions with a short cut around them."""

    def __init__(self, in_dim: int, dim: int, relu: str, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.relu1 = make_relu(relu, dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.relu2 = make_relu(relu, dim)
        self.downsample = None
        if stride != 1 or in_dim != dim:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_dim, dim, 1, stride, bias=False), nn.BatchNorm2d(dim)
            )

    def forward(self, x_VCHW: Tensor) -> Tensor:
        short = x_VCHW if self.downsample is None else self.downsample(x_VCHW)
        x_VCHW = self.relu1(self.bn1(self.conv1(x_VCHW)))
        return self.relu2(self.bn2(self.conv2(x_VCHW)) + short)


# ---- time ---------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Positions by convolution, then pre-norm Transformer layers: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: AVHuBERTConfig):
        super().__init__()
        kernel = config.position_kernel
        self.pos_conv = nn.Sequential(
            nn.Conv1d(
                config.dim,
                config.dim,
                kernel,
                padding=kernel // 2,
                groups=config.position_groups,
            )
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.layer_norm = nn.LayerNorm(config.dim)
        self.dropout = config.dropout

    def forward(self, x_BTD: Tensor, padding_mask_BT: Tensor | None) -> Tensor:
        T = x_BTD.shape[1]
        attention_mask_B11T = None
        if padding_mask_BT is not None:
            x_BTD = x_BTD * padding_mask_BT[..., None]
            attention_mask_B11T = padding_mask_BT[:, None, None, :]
        positions_BDT = self.pos_conv(x_BTD.transpose(1, 2))[..., :T]  # an even kernel adds one
        x_BTD = x_BTD + F.gelu(positions_BDT).transpose(1, 2)
        x_BTD = F.dropout(x_BTD, self.dropout, self.training)
        for layer in self.layers:
            x_BTD = layer(x_BTD, attention_mask_B11T)
        x_BTD = self.layer_norm(x_BTD)
        return x_BTD if padding_mask_BT is None else x_BTD * padding_mask_BT[..., None]


class Layer(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, config: AVHuBERTConfig):
        super().__init__()
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.dim)
        self.fc1 = nn.Linear(config.dim, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.dim)
        self.final_layer_norm = nn.LayerNorm(config.dim)
        self.dropout = config.dropout

    def forward(self, x_BTD: Tensor, attention_mask_B11T: Tensor | None) -> Tensor:
        y_BTD = self.self_attn(self.self_attn_layer_norm(x_BTD), attention_mask_B11T)
        x_BTD = x_BTD + F.dropout(y_BTD, self.dropout, self.training)
        y_BTD = self.fc2(F.gelu(self.fc1(self.final_layer_norm(x_BTD))))
        return x_BTD + F.dropout(y_BTD, self.dropout, self.training)


class Attention(nn.Module):
    """Multi-head self-attention, (B, T, D) -> (B, T, D); the mask is False in padding."""

    def __init__(self, config: AVHuBERTConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(config.dim, config.dim) for _ in range(4)
        )

    def forward(self, x_BTD: Tensor, attention_mask_B11T: Tensor | None) -> Tensor:
        q, k, v = (
            proj(x_BTD).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        y_BHTE = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask_B11T)
        return self.out_proj(y_BHTE.transpose(1, 2).flatten(2))
