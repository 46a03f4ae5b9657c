"""A scheme in one line: which family each weight gets, with which options, and what is refused in which words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.compress.schemes import ALIASES, FAMILIES, parse_scheme, scheme_help
from mobile.errors import UsageError


def rule(text, name="any.weight", kind="matmul"):
    return parse_scheme(text).rule_for(name, kind)


@pytest.mark.parametrize("name", [*FAMILIES, *ALIASES, "int1", "int3", "int7", "e5m4", "e8m7"])
def test_every_family_is_a_scheme_by_itself_and_with_a_pattern(name):
    for text in (name, f"*.weight={name}", f"w:0={name}"):
        (found,) = parse_scheme(text).rules
        assert found.family == parse_scheme(name).rules[0].family
    assert parse_scheme(f"w:0={name}").rules[0].pattern == "w:0"


def test_the_first_part_that_fits_counts_and_the_rest_stays_float():
    scheme = parse_scheme("layers.0.*=int8, *.mlp.*=ternary,*.head=float")
    assert scheme.rule_for("layers.0.mlp.up", "matmul").family == "int8"
    assert scheme.rule_for("layers.1.mlp.up", "matmul").family == "ternary"
    assert scheme.rule_for("layers.1.attn.q", "matmul") is None
    assert scheme.rule_for("lm.head", "gemm") is None


def test_kinds_are_told_apart_and_a_last_part_takes_the_rest():
    scheme = parse_scheme("@gather=int4,@conv*=float,binary")
    assert [getattr(scheme.rule_for("x", kind), "family", None) for kind in ("gather", "conv", "conv-transpose", "gemm")
            ] == ["int4", None, None, "binary"]  # fmt: skip


def test_options_are_read_and_the_others_have_their_defaults():
    assert rule("int4").options == {"g": 128, "asym": False, "search": True}
    assert rule("int4:g=64:asym:no-search").options == {"g": 64, "asym": True, "search": False}
    assert rule("int2").options["asym"] is True
    assert rule("int2:sym").options["asym"] is False
    assert rule("int3").options["b"] == 3
    assert rule("nbit:b=7").options["b"] == 7
    assert rule("ternary:g=row:fit=twn:trits").options == {"g": "row", "fit": "twn", "trits": True}
    assert rule("block-pruned:block=16x1:zero=0.9:values=int4").options == {
        "block": (16, 1), "zero": 0.9, "uneven": False, "values": "int4"}  # fmt: skip
    assert rule("block-pruned:block=32").options["block"] == (32, 32)
    assert rule("power-of-two").options == {"g": "row", "e": 7}
    assert rule("shared:merge=mean:of=int4").options == {"merge": "mean", "of": "int4"}
    assert rule("fp8:round=stochastic:seed=3").options == {"scale": "row", "round": "stochastic", "seed": 3}


BAD = {
    "": "the scheme is empty", "  ": "the scheme is empty",
    "quaternary": "'quaternary' in 'quaternary' is not a family",
    "*.w=quaternary:g=3": "'quaternary' in",
    "int9": "'int9'", "e8m10": "'e8m10'", "e1m1": "'e1m1'", "int4,": "'' in '' is not a family",
    "int4:q=1": "int4 has no option 'q' (in 'int4:q=1'); it has g, search, asym",
    "2:4:g=3": "2:4 has no option 'g' (in '2:4:g=3'); it has none",
    "int4:g=0": "'g=0' in 'int4:g=0' is not usable", "int4:g=": "'g' in 'int4:g=' is not usable",
    "int4:g=big": "is not usable", "int4:asym=maybe": "yes or no", "ternary:fit=best": "absmean, twn",
    "codebook:b=5": "b=5 of codebook is not 4 or 8", "power-of-two:e=9": "int within 2..8",
    "block-pruned:block=1x2x3": "is not usable", "block-pruned:zero=1": "float within 0.01..0.99",
    "block-pruned:zero=nan": "is not usable", "@lstm=int8": "'@lstm' is no kind of weight",
    "int4,int8": "'int4' takes all weights", "x=int4:no-g": "is not usable",
    "low-rank:r=1e3": "is not usable", "a" * 70_000: "too long", "a" * 2000: "at most",
    ",".join(["a=int4"] * 1001): "at most",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:30])
def test_what_cannot_be_meant_is_refused_in_one_line(text):
    with pytest.raises(UsageError) as caught:
        parse_scheme(text)
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_family_is_answered_with_the_list():
    with pytest.raises(UsageError) as caught:
        parse_scheme("vq")
    for name in FAMILIES:
        assert name in str(caught.value.hint)


@given(st.text(alphabet="int4bary:=,.*@gx0-m ", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_scheme_or_a_usage_error(text):
    try:
        parse_scheme(text).rule_for("a", "gemm")
    except UsageError as error:
        assert "\n" not in str(error)


def test_the_help_names_every_family_and_option():
    text = scheme_help()
    for name, family in FAMILIES.items():
        assert f"{name}: " in text
        for option in family.options:
            assert f"  {option}: " in text
