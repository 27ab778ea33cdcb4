"""Statistics of text: what a model that hears and sees nothing could reach."""

import math
from collections import Counter, defaultdict


def text_floor(train: list[list[int]], valid: list[list[int]], end: int) -> float:
    """What a model of the text alone reaches on the validation text: the best n-gram, n = 1 to 3.

    In nats a token, EOS included, as the training loss counts. A loss above it means that the model
    hears and sees nothing yet; the text's true entropy, which no model of it beats, lies below.
    """
    return min(ngram_loss(train, valid, end, order) for order in (1, 2, 3))


def ngram_loss(train: list[list[int]], valid: list[list[int]], end: int, order: int) -> float:
    """Cross-entropy of the validation text under an n-gram model of the training text.

    Witten-Bell interpolation (Witten & Bell 1991), with a uniform distribution over the training
    vocabulary (and one unknown) at its end.
    """
    following: list[defaultdict[tuple, Counter]] = [defaultdict(Counter) for _ in range(order)]
    vocabulary = {end} | {token for text in train for token in text}
    for text in train:
        padded: list[int | None] = [None] * (order - 1) + text + [end]
        for i in range(order - 1, len(padded)):
            for n in range(order):
                following[n][tuple(padded[i - n : i])][padded[i]] += 1

    def probability(token: int | None, context: tuple) -> float:
        p = 1 / (len(vocabulary) + 1)
        for n in range(order):
            counts = following[n].get(context[len(context) - n :])
            if counts:
                total, kinds = counts.total(), len(counts)
                p = (counts[token] + kinds * p) / (total + kinds)
        return p

    nats, count = 0.0, 0
    for text in valid:
        padded = [None] * (order - 1) + text + [end]
        for i in range(order - 1, len(padded)):
            nats -= math.log(probability(padded[i], tuple(padded[i - order + 1 : i])))
            count += 1
    return nats / count
