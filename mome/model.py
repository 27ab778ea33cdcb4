"""START HERE: features -> tokens -> frozen LLM with experts -> loss per scale (MoME Fig. 2).

    audio (B, T, D_a) -> compress at the audio rate -> projector \
                                                                  prompt + text -> LLM -> loss
    video (B, T, D_v) -> compress at the video rate -> projector /

The rates of a forward pass are its scale, and one set of weights serves every scale. Training
changes the projectors, the adapters of the LLM's blocks and four delimiters; the encoders and the
LLM are frozen.

Shape key
    B  batch    T  encoder frames    N  tokens    D  width of the LLM    L  text tokens
    A  adapters    R  routed experts
"""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from espnet2.train.abs_espnet_model import AbsESPnetModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from mome.adapters import attach_adapters, has_parts_per_scale
from mome.alignment import Alignment, rates_to_align
from mome.compression import Projector, Scale, compress, num_tokens, scales_of
from mome.config import ModelConfig
from mome.encoders import choose_dtype
from mome.experts import balance_loss
from mome.inject import adapters, at_scale, decoder_layers, set_scale
from mome.packed import pack
from mome.prompt import Prompt, instruction_ids, pad_right

STREAMS = {  # task -> what it reads
    "asr": ["audio"],
    "vsr": ["video"],
    "avsr": ["audio", "video"],
    "all": ["audio", "video"],
}
log = logging.getLogger(__name__)


class MoMEModel(AbsESPnetModel):
    """A frozen LLM that reads audio and video tokens, following ESPnet's model contract.

    Args:
        config: the network.
        llm: a Hugging Face causal LM. It is frozen here, and each of its layers gets adapters.
        tokenizer: the tokenizer of the LLM.
        frame_dims: width of the encoder frames of each stream, {"audio": D_a, "video": D_v}.

    Raises ValueError for settings that do not fit together.
    """

    llm: Any  # a causal LM of transformers, whose parts have no types

    def __init__(self, config: ModelConfig, llm: Any, tokenizer: Any, frame_dims: dict[str, int]):
        super().__init__()
        self.config = config
        self.scales = scales_of(config.task, config.audio_rates, config.video_rates)
        self.scale_index = 0
        for name in config.scale_weights:
            if name not in map(str, self.scales):
                raise ValueError(
                    f"model.scale_weights names {name}, but the scales are"
                    f" {', '.join(map(str, self.scales))}"
                )
        self.streams = STREAMS[config.task]
        dim = llm.config.hidden_size
        attach_adapters(llm, config, len(self.scales))
        self.llm = llm.eval()
        table = llm.get_input_embeddings().weight
        out_std = 1.0 if table.is_meta else table.float().std().item()
        self.projectors = nn.ModuleDict()
        for name, (stream, rate) in self._projector_names().items():
            width = frame_dims[stream] * (rate if config.compression == "stack" else 1)
            self.projectors[name] = Projector(
                width, config.projector_dim, dim, config.projector_norm, out_std
            )
        self.prompt = Prompt(dim, out_std)
        self.video_encoder: tuple[nn.Module, ...] = ()  # see add_video_encoder
        self.alignment: Alignment | None = None  # see add_alignment
        self.ctc_weight = 0.0
        for task in sorted({scale.task for scale in self.scales}):
            ids = torch.tensor(instruction_ids(tokenizer, task))
            self.register_buffer(f"instruction_{task}", ids, persistent=False)
        bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self.register_buffer("bos", torch.tensor(bos, dtype=torch.long), persistent=False)
        self.eos = tokenizer.eos_token_id

    def _projector_names(self) -> dict[str, tuple[str, int]]:
        """Name of each projector -> its stream and rate; `per_rate` has one for each rate."""
        config = self.config
        names: dict[str, tuple[str, int]] = {}
        for stream in self.streams:
            rates = config.audio_rates if stream == "audio" else config.video_rates
            if config.projector == "per_rate":
                names |= {f"{stream}_{rate}": (stream, rate) for rate in rates}
                continue
            if config.compression == "stack" and len(rates) > 1:
                raise ValueError(
                    f"compression 'stack' needs a projector per rate, but model.{stream}_rates is"
                    f" {list(rates)}: set model.projector=per_rate, give one rate, or use 'average'"
                )
            names[stream] = (stream, rates[0])
        return names

    def add_alignment(self, token_ids: Iterable[int], weight: float) -> None:
        """Add the CTC loss of `mome.alignment` to training; `token_ids` are the ids of the text."""
        embedding = self.llm.get_input_embeddings().weight
        self.alignment = Alignment(embedding, list(token_ids), self.streams).to(embedding.device)
        self.ctc_weight = weight

    def add_video_encoder(self, encoder: nn.Module) -> None:
        """Let the model encode `mouths` itself, and train the LoRA of the encoder.

        The encoder's frozen weights stay outside the model, so they keep their precision.
        """
        self.video_encoder = (encoder,)
        self.video_lora = nn.ModuleList(adapters(encoder))

    def encode_mouths(self, batch: dict) -> dict:
        """The batch with video frames in place of `mouths`; unchanged when it has no `mouths`."""
        if "mouths" not in batch:
            return batch
        encoder: Any = self.video_encoder[0]
        frames = encoder.encode(batch["mouths"])
        rest = {name: value for name, value in batch.items() if name != "mouths"}
        return rest | {"video": pad_sequence(frames, batch_first=True)}

    def train(self, mode: bool = True) -> "MoMEModel":
        """Switch the trained parts to training mode; the frozen LLM stays in eval mode."""
        super().train(mode)
        self.llm.eval()
        for adapter in adapters(self.llm):
            adapter.train(mode)
        if self.llm.is_activation_checkpointing:
            for layer in decoder_layers(self.llm):
                layer.training = (
                    mode  # transformers reads this; the layer's parts stay in eval mode
                )
        return self

    def checkpoint_gradients(self) -> None:
        """Keep only the inputs of the LLM's layers and recompute the rest in the backward pass.

        A layer is recomputed at the scale of its forward pass, whatever scale came after it.
        """

        def contexts():  # of the forward pass and of its recomputation
            return contextlib.nullcontext(), at_scale(self.llm, self.scale_index)

        self.llm.activation_checkpointing_enable(
            activation_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts}
        )

    def _set_scale(self, index: int) -> None:
        self.scale_index = index
        set_scale(self.llm, index)

    def collect_feats(self, **batch: Tensor) -> dict[str, Tensor]:
        """ESPnet's hook for feature statistics. None are needed, so the features are returned."""
        return {s: batch[s] for s in self.streams}

    def forward(
        self, scales: list[str] | None = None, **batch
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The loss of a batch, its parts, and its weight, the number of text tokens.

        Args:
            scales: the scales to train at; by default all those of the model.
            audio, video: (B, T, width) padded encoder frames of the streams that the task reads.
            audio_lengths, video_lengths: (B,) number of frames without padding.
            text, text_lengths: (B, L) padded token ids without EOS; (B,).
            mouths: in place of video, when the model has the encoder: (T_i, H, W) uint8 each.
            audio_kept, video_kept: (B,) bool, optional; False zeroes that stream of an utterance.
            utterances: ids, optional, for error messages.
        """
        batch = with_lengths_on_cpu(self.encode_mouths(batch))
        text = texts_of(batch)
        chosen = [Scale.parse(s) for s in scales] if scales else self.scales
        stats: dict[str, Tensor] = {}
        parts = [
            self._weight(scale) * self._scale_loss(scale, text, batch, stats) for scale in chosen
        ]
        loss = torch.stack(parts).mean()
        tokens = stats.pop("llm_tokens")
        if self.training:  # comparable with the floor of the text alone
            stats["cross_entropy"] = torch.stack([stats[f"loss_{s}"] for s in chosen]).mean()
        if self.training and self.ctc_weight:
            stats["ctc"] = self.ctc_loss(scales, **batch)
            loss = loss + self.ctc_weight * stats["ctc"]
        stats["loss"] = loss
        stats = {name: value.detach().float() for name, value in stats.items()}
        if self.training:
            stats["llm_tokens"] = tokens
        return loss, stats, loss.new_full((), sum(len(t) + 1 for t in text), dtype=torch.long)

    def _weight(self, scale: Scale) -> float:
        """Weight of a scale's loss, c_ij in MoME §3.2."""
        weights = self.config.task_weights if self.config.task == "all" else {}
        return self.config.scale_weights.get(str(scale), 1.0) * weights.get(scale.task, 1.0)

    def _scale_loss(self, scale: Scale, text: list[Tensor], batch: dict, stats: dict) -> Tensor:
        """Cross-entropy of text and EOS at a scale, plus the weighted balance loss."""
        prompts = self.prompts(scale, **batch)
        eos = text[0].new_full((1,), self.eos)
        embed = self.llm.get_input_embeddings()
        # A row holds prompt and text. EOS, the last target, is predicted but never read.
        # One call embeds all rows: under ZeRO 3 each call gathers the table on all devices.
        embedded = embed(torch.cat(text)).split([len(t) for t in text])
        rows = [torch.cat([p, e]) for p, e in zip(prompts, embedded, strict=True)]
        x_BND, padding_mask_BN = pad_right(rows)
        stats["llm_tokens"] = stats.get("llm_tokens", 0) + padding_mask_BN.sum()
        hidden_BND = self.llm.model(inputs_embeds=x_BND, use_cache=False).last_hidden_state
        hidden = torch.cat(
            [
                h[len(p) - 1 : len(p) + len(t)]
                for h, p, t in zip(hidden_BND, prompts, text, strict=True)
            ]
        )
        targets = torch.cat([torch.cat([t, eos]) for t in text])
        loss = F.cross_entropy(self.llm.lm_head(hidden).float(), targets)
        stats[f"loss_{scale}"] = loss
        if self.training and self.config.balance_weight and self.config.adapter == "mome":
            # The layers' probabilities at once: a few large operations in place of many.
            probs_ABNR = torch.stack([adapter.probs_BNR for adapter in adapters(self.llm)])
            mask_ABN = padding_mask_BN.expand(probs_ABNR.shape[:-1])
            first = 1 if self.config.balance_over == "batch" else 0  # the dimension that B joins
            probs, mask = (x.flatten(first, first + 1) for x in (probs_ABNR, mask_ABN))
            balance = balance_loss(probs, self.config.num_active, mask)
            stats[f"balance_{scale}"] = balance
            loss = loss + self.config.balance_weight * balance
        return loss

    def prompts(self, scale: Scale, **batch) -> list[Tensor]:
        """The embedded prompt of each utterance at a scale, (N_b, D) each; `batch` as in forward.

        Sets the adapters to this scale. A scale that was not trained is accepted when the scales
        share all parts of the model. Raises ValueError when they do not, when the scale is one of
        another task, and when an utterance is too short for it.
        """
        tokens = self.project(scale, **batch)
        self._set_scale(self._index(scale))
        embed = self.llm.get_input_embeddings()
        bos = embed(self.bos)
        instruction = embed(self.get_buffer(f"instruction_{scale.task}"))
        empty = [None] * len(next(iter(tokens.values())))
        audio, video = tokens.get("audio", empty), tokens.get("video", empty)
        return [
            self.prompt.sequence(bos, a, v, instruction) for a, v in zip(audio, video, strict=True)
        ]

    def _index(self, scale: Scale) -> int:
        """Place of a scale among the trained ones; 0 for another scale, where it has no effect."""
        if scale in self.scales:
            return self.scales.index(scale)
        if has_parts_per_scale(self.config) or self.config.projector == "per_rate":
            raise ValueError(
                f"scale {scale} was not trained, and this model has parts for each scale: choose"
                f" one of {', '.join(map(str, self.scales))}"
            )
        return 0

    def project(self, scale: Scale, **batch) -> dict[str, list[Tensor]]:
        """Compressed and projected tokens of each stream and utterance, (N_b, D) each."""
        if scale.task not in {s.task for s in self.scales}:
            example = ", ".join(map(str, self.scales))
            raise ValueError(f"scale {scale} is not one of task {self.config.task}, like {example}")
        self._index(scale)  # raises ValueError for a scale that needs parts of its own
        return {s: self._project(s, getattr(scale, s), batch) for s in STREAMS[scale.task]}

    def _project(self, stream: str, rate: int, batch: dict) -> list[Tensor]:
        frames_BTD, lengths_B = batch[stream], batch[f"{stream}_lengths"]
        drop_tail = self.config.drop_tail
        counts = []
        for b, length in enumerate(lengths_B.tolist()):
            try:
                counts.append(num_tokens(length, rate, drop_tail))
            except ValueError as error:
                utterance = batch["utterances"][b] if batch.get("utterances") else f"row {b}"
                raise ValueError(f"{stream}: {error} in {utterance}") from None
        tokens_BND = compress(frames_BTD, rate, self.config.compression, drop_tail, lengths_B)
        if (kept_B := batch.get(f"{stream}_kept")) is not None:
            tokens_BND = tokens_BND * kept_B[:, None, None]
        per_rate = self.config.projector == "per_rate"
        projector: Any = self.projectors[f"{stream}_{rate}" if per_rate else stream]
        flat = torch.cat([row[:n] for row, n in zip(tokens_BND, counts, strict=True)])
        return list(projector(flat.to(projector.out.weight.dtype)).split(counts))

    def ctc_loss(self, scales: list[str] | None = None, **batch) -> Tensor:
        """CTC loss of the projected tokens, as in forward: the sum over streams of the mean over
        the rates of `scales`, of which a rate that is too coarse for CTC is replaced."""
        batch = with_lengths_on_cpu(self.encode_mouths(batch))
        text = texts_of(batch)
        kept_B = torch.ones(len(text), device=batch["text"].device)
        loss = kept_B.new_zeros(())
        assert self.alignment is not None, "call add_alignment first"
        chosen = [Scale.parse(s) for s in scales] if scales else self.scales
        for stream in self.streams:
            kept = batch.get(f"{stream}_kept")
            weight_B = kept_B if kept is None else kept.float()
            rates = rates_to_align(stream, chosen, getattr(self.config, f"{stream}_rates"))
            for rate in rates:
                tokens = self._project(stream, rate, batch)
                loss = loss + self.alignment(stream, tokens, text, weight_B) / len(rates)
        return loss

    def trained(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of everything that is trained; a checkpoint holds these."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def count_parameters(self) -> dict[str, int]:
        """Parameters of the adapters that a token uses at a scale ("active"), of all adapters
        ("resident"), and of the projectors ("projectors")."""
        parts = adapters(self.llm)
        return {
            "active": sum(a.active_parameters() for a in parts),
            "resident": sum(p.numel() for a in parts for p in a.parameters()),
            "projectors": sum(p.numel() for p in self.projectors.parameters()),
        }


def with_lengths_on_cpu(batch: dict) -> dict:
    """The batch with its lengths on the CPU, where Python reads them without waiting for a GPU."""
    return {k: v.cpu() if k.endswith("_lengths") else v for k, v in batch.items()}


def texts_of(batch: dict) -> list[Tensor]:
    """Token ids of each utterance of a batch, without padding."""
    return [ids[:n] for ids, n in zip(batch["text"], batch["text_lengths"].tolist(), strict=True)]


def llm_dtype(config: ModelConfig, device: str | torch.device) -> tuple[torch.dtype, str]:
    """The precision that the LLM gets on a device, and the reason in words."""
    if config.llm_dtype != "auto":
        return getattr(torch, config.llm_dtype), "model.llm_dtype says so"
    return choose_dtype(torch.device(device).type)


def load_llm(
    config: ModelConfig, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> tuple[Any, Any]:
    """The frozen LLM of a configuration and its tokenizer, from a hub id or a folder.

    `dtype` is the precision that all processes of a run agreed on; by default it is chosen here.
    """
    if dtype is None:
        dtype, reason = llm_dtype(config, device)
        log.info(f"the LLM is in {dtype}: {reason}")
    tokenizer = _pretrained(AutoTokenizer, config.llm)
    options: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": config.attention,
    }
    if config.quantise == "none":
        llm: Any = _pretrained(AutoModelForCausalLM, config.llm, **options)
        return pack(llm.to(device)), tokenizer
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            f"model.quantise={config.quantise} needs bitsandbytes, which is not installed here:"
            " pip install bitsandbytes"
        )
    # It warns at every 8-bit product that bfloat16 becomes float16.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    quantisation = BitsAndBytesConfig(
        load_in_4bit=config.quantise == "4bit",
        load_in_8bit=config.quantise == "8bit",
        bnb_4bit_compute_dtype=options["dtype"],
    )
    llm = AutoModelForCausalLM.from_pretrained(
        config.llm, quantization_config=quantisation, device_map={"": device}, **options
    )
    return llm, tokenizer


def _pretrained(kind: Any, name: str, **options: Any) -> Any:
    """What transformers reads of an LLM; an error of one line when it cannot."""
    try:
        return kind.from_pretrained(name, **options)
    except Exception as error:  # of many kinds, some of them Exception itself
        reason = str(error).strip().splitlines()[0]
        if not os.path.isdir(name):
            raise FileNotFoundError(
                f"the LLM {name} is no folder here and cannot be loaded from the hub ({reason}):"
                " give the folder that it is in"
            ) from error
        raise ValueError(f"model.llm {name} cannot be read ({reason}): fetch it again") from error


def init_reference_weights(llm: Any) -> list[nn.Parameter]:
    """The weights of the LLM that initialise a new model: its word embeddings and its norms."""
    norms = [p for name, p in llm.named_parameters() if "layernorm" in name]
    return [llm.get_input_embeddings().weight, *norms]
