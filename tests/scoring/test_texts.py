"""Rules by which texts are compared are the same for both of them."""

import pytest

from mome.scoring import wer
from mome.scoring.texts import Rules


@pytest.mark.parametrize(
    "rules, ref, hyp, errors",
    [
        (Rules(), "The cat.", "the cat", 2),
        (Rules(ignore_case=True), "The cat.", "the cat", 1),
        (Rules(remove=(".",)), "The cat.", "The cat", 0),
        (Rules(ignore_case=True, remove=(".", ",")), "The, CAT.", "the cat", 0),
        (Rules(remove=("<unk>",)), "a b", "<unk> a <unk> b<unk>", 0),
        (Rules(ignore_case=True, remove=("<UNK>",)), "a b", "a <unk> b", 0),
        (Rules(remove=("e\u0301",)), "\u00e9t\u00e9", "t", 0),
    ],
)
def test_rules_are_applied_to_both_texts(rules, ref, hyp, errors):
    for pair in ((ref, hyp), (hyp, ref)):
        refs, hyps = (rules.apply_to({"u": text}) for text in pair)
        assert wer.score(refs, hyps).errors == errors


def test_rules_that_cannot_be_are_refused_and_the_others_are_named():
    for wrong in ("", " ", "a b"):
        with pytest.raises(ValueError, match="cannot remove"):
            Rules(remove=(wrong,))
    with pytest.raises(ValueError, match="no alignment 'x'"):
        Rules("x")
    assert str(Rules()) == "alignment: levenshtein"
    assert str(Rules("sclite", True, (".", ","))) == (
        "alignment: sclite; case ignored; removed: . ,"
    )
