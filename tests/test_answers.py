r"""Hard model outputs for extraction, and a table of verdicts for equivalence. All offline; math-verify runs in a2r's
worker."""

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2r import answers
from a2r.answers import answer_component, canonical, equivalent, extract

EXTRACT = [
    (r"<think>hm</think>So \boxed{42}.", "42"),
    (r"hm</think>So \boxed{42}.", "42"),  # the template opened the thinking
    (r"<think>\boxed{41}</think>It is \boxed{42}", "42"),
    (r"<think>I get \boxed{41}</think>I am not sure.", None),  # only inside thinking
    (r"<think>I get \boxed{41} so far", None),  # cut off inside thinking
    (r"<think>a</think>\boxed{1} <think>wait", None),  # opened again, never closed
    (r"<think>a</think>b</think>\boxed{7}", "7"),
    ("<think>a</think>", None),
    ("", None),
    (r"no thinking, \boxed{5}", "5"),
    (r"\boxed{1} then \boxed{2}", "2"),
    (r"\boxed{1} then \boxed{}", None),  # the last box is empty
    (r"\boxed{1} then \boxed{ }", None),
    (r"\boxed{\text{ }}", None),
    (r"\boxed{...}", None),
    (r"\boxed{1} then \boxed{2", None),  # the last box is cut off
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\frac{1}{\sqrt{2}}} and more {braces}", r"\frac{1}{\sqrt{2}}"),
    (r"\boxed{\boxed{5}}", r"\boxed{5}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
    (r"a stray { and then \boxed{5}", "5"),
    (r"a stray } and then \boxed{5}", "5"),
    (r"\fbox{9}", "9"),
    (r"\boxed {8}", "8"),
    (r"\\boxed{8}", "8"),  # escaped twice
    ("$$\\boxed{\n12\n}$$", "12"),
    (r"**Final Answer:** $\boxed{12}$", "12"),
    (r"The answer is 3. Also \boxed{4}", "4"),
    ("The final answer is 42.", "42"),
    ("The final answer is **42**.", "42"),
    ("**Answer:** 42", "42"),
    ("Answer: (B)", "(B)"),
    ("answer: B.", "B"),
    ("The answer is yes.", "yes"),
    (r"The answer is $\frac{3}{4}$.", r"$\frac{3}{4}$"),
    (r"The answer is \(x^2\).", r"\(x^2\)"),
    ("The answer is 3.5 cm.", "3.5 cm"),
    ("The final answer is (3, 4).", "(3, 4)"),
    ("answer is 1. No, the answer is 2.", "2"),
    ("The answer is 42 because 6 times 7 is 42.", None),
    ("The answer is not 42.", None),
    ("The answer is 42 or 43.", None),
    ("The answer is 2, 3.", None),
    ("The answer is unclear to me.", None),
    ("We get 42.", None),
    ("Answer:", None),
    ("what is the answer? 17 comes to mind", None),
    ("answerable: 5", None),
]


@pytest.mark.parametrize(("text", "answer"), EXTRACT)
def test_extract(text, answer):
    assert extract(text) == answer


def test_component():
    assert answer_component("<think>a</think>\n\nb ") == "b"
    assert answer_component("a</think>b") == "b"
    assert answer_component("just b") == "just b"
    assert answer_component("<think>a") == ""


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "\\boxed{5}",
        "{",
        "}",
        "\\",
        "answer is ",
        "answer",
        "</think>",
        "<think>",
        "so ",
        "*",
        "\n",
        "$",
        "7",
    ],
)
def test_a_megabyte_of_repetition_is_fast(piece):
    start = time.perf_counter()
    extract(piece * (2**20 // len(piece)))
    extract("answer: " + piece * (2**20 // len(piece)))
    extract("\\boxed{" + piece * (2**20 // len(piece)) + "}")
    assert time.perf_counter() - start < 6


# fmt: off
SAME = {  # gold: predictions
    "42": ["42", "042", 42],
    "042": ["42"],
    "0": ["000", "-0"],
    "-3": ["\u22123"],
    "5": ["+5"],
    "70": ["$70$", "$$70$$", r"\(70\)", r"\[ 70 \]", "70.", "70.0", " 70 ", "**70**"],
    "1000": ["1,000", "1{,}000", r"1\,000", r"1,\!000", r"1\!,000", "1 000"],
    "1234567": ["1,234,567"],
    "12": ["12 cm", r"12\text{ cm}", r"12\,\mathrm{cm}", r"12 \text{ square units}", "12cm^2", r"12\text{ cm}^2",
        r"12\text{ m}",
        r"\text{12}",
        r"\textbf{12}", r"\mathbf{12}", r"\boxed{12}", "x = 12", "$x=12$", r"\$12", "12 dollars", "(12)", "{12}"],
    "60": [r"60^\circ", r"60^{\circ}", "60\xb0", "60 degrees", r"60\degree"],
    "50": [r"50\%"],
    "7" * 200: ["0" + "7" * 200],
    r"\frac{1}{2}": ["1/2", "0.5"],
    r"\frac12": [r"\dfrac{1}{2}"],
    r"\tfrac{1}{2}": [r"\frac 1 2"],
    "2": [r"\frac{4}{2}"],
    r"\frac{3}{4}\pi": [r"\frac{3\pi}{4}"],
    "pi": [r"\pi"],
    "\u03c0": [r"\pi"],
    "2\u03c0": [r"2\pi"],
    r"2\sqrt{2}": [r"\sqrt{8}"],
    r"\sqrt2": [r"\sqrt{2}"],
    "sqrt(2)": [r"\sqrt{2}"],
    r"\frac{1}{\sqrt{2}}": [r"\frac{\sqrt{2}}{2}"],
    "1024": ["2^{10}"],
    "10": [r"\binom{5}{2}"],
    "120": ["5!"],
    "3.5": [r"3\frac{1}{2}", "3 1/2", "3 \\frac12"],
    "(0,1]": [r"\left(0, 1\right]"],
    r"[0,\infty)": [r"[0,+\infty)"],
    "(1, 2)": ["(1,2)"],
    r"(\frac{1}{2}, 3)": ["(0.5,3)"],
    "x^2+1": ["1 + x^2"],
    "3+4i": ["4i+3"],
    r"\{1,2\}": [r"\{2, 1\}", "1 and 2", r"1\text{ and }2", r"2 \text{ or } 1", "1, 2"],
    "100, 200": ["100 and 200", r"\{100,200\}", "200, 100"],
    r"\sqrt{3}": ["\u221a3"],
    "1234.5": ["1,234.50", "1234.50"],
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}": [r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"],
    "1500": [r"1.5\times 10^3"],
    "[0,1]": [r"x \in [0,1]"],
    "A": ["(A)", r"\text{(A)}", r"\textbf{(A)}\ 12"],
    "(B)": ["B."],
    "B": ["B)"],
    "yes": [r"\text{Yes}"],
    "True": ["true"],
    "Alice": [r"\text{alice}."],
    "New York": [r"\text{New York}"],
    42: ["42"],
}
DIFFERENT = {  # gold: predictions
    "42": ["43", "-42", "42.5", None, ""],
    "": [""],
    "384": ["385"],
    "1000": ["1,00"],
    "12": ["12x", "12 or 13", "12, 13", r"12\pi", "12 pi", "12 thousand", r"12\text{ million}", "12i", "1 2"],
    "2": ["2^2"],
    "10 AM": ["10 PM"],
    "10": ["10 PM"],
    "3": [r"\sqrt{3}"],
    r"\frac{1}{2}": [r"\frac{2}{1}"],
    r"\frac{1}{3}": ["0.33"],
    "(0,1]": ["(0,1)"],
    "(1,2)": ["(2,1)"],
    "(1,234)": ["1234"],
    "100, 200": ["100200", "100, 201"],
    "[1,2]": ["[1,3]"],
    "A": ["B"],
    "(A)": ["(B)"],
    "yes": ["no", "yse"],
    "listen": ["silent"],
    "Alice": ["Bob"],
    "7" * 400: ["7" * 401],
    "7" * 6000: ["7" * 6001],
    "x": ["y"],
    "6": ["6xyz"],
    "123": [r"1\\23"],
    "5": ["five"],
    "none": ["0"],
    "12345678": ["12345,678"],
}
# fmt: on


def pairs(table):
    return [(gold, prediction) for gold, predictions in table.items() for prediction in predictions]


@pytest.mark.parametrize(("gold", "prediction"), pairs(SAME))
def test_same(gold, prediction):
    assert equivalent(gold, prediction) is True


@pytest.mark.parametrize(("gold", "prediction"), pairs(DIFFERENT))
def test_different(gold, prediction):
    assert equivalent(gold, prediction) is False


@pytest.mark.parametrize(
    "hard",
    [
        "9^{9^{9^{9}}}",
        r"\sum_{n=1}^{10^{10}} n^n",
        "1234567!!!",
        r"\int_0^1 e^{x^{x}} dx",
        "{" * 200,
        "(" * 200,
        "((x+1)^{999})^{999}",
    ],
)
def test_time_limit(hard):
    for pair in (("17", hard), (hard, "17")):
        answers._worker.ask("1", "1")  # it runs
        start = time.perf_counter()
        assert equivalent(*pair) is False
        assert time.perf_counter() - start < 1.2


def test_a_worker_that_hangs_or_dies_is_replaced(monkeypatch, caplog):
    assert equivalent("1/4", "0.25")
    first = answers._worker.process
    monkeypatch.setattr(answers, "KILL", 1e-9)
    with caplog.at_level(logging.WARNING):
        assert equivalent("1/4", r"\frac{7}{28}") is False
    assert "no reply in time" in caplog.text and first.poll() is not None
    monkeypatch.undo()
    assert equivalent("1/4", r"\frac{6}{24}")
    answers._worker.process.kill()
    answers._worker.process.wait()
    assert equivalent("1/4", r"\frac{5}{20}")


def test_in_threads():
    pairs = [(rf"\frac{{{k}}}{{{2 * k}}}", "0.5" if k % 2 else "0.25") for k in range(1, 40)]
    found = {}
    threads = [threading.Thread(target=lambda p=p: found.__setitem__(p, equivalent(*p))) for p in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[p] for p in pairs] == [p[1] == "0.5" for p in pairs]


def test_without_a_main_module_to_import(tmp_path):
    """As in a notebook or `python -`: no file behind __main__; and no process may be left behind."""
    script = textwrap.dedent("""
        from a2r import answers
        assert answers.equivalent("1/2", "0.5")
        print(answers._worker.process.pid)
    """)
    root = os.path.dirname(os.path.dirname(answers.__file__))
    done = subprocess.run(
        [sys.executable, "-"],
        input=script,
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for _ in range(100):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("The worker outlived its parent.")


NUMBERS = st.integers(-(10**30), 10**30)
DRESS = [
    "{}",
    "${}$",
    r"\({}\)",
    r"\boxed{{{}}}",
    r"\text{{{}}}",
    "{}.",
    "{}.0",
    " {} ",
    r"{}\text{{ cm}}",
    r"{}^\circ",
    "x = {}",
    "**{}**",
]


@given(NUMBERS)
def test_reflexive_on_integers(number):
    assert (
        equivalent(str(number), str(number))
        and equivalent(number, f"{number:,}")
        and not equivalent(number, number + 1)
    )


@given(NUMBERS, st.sampled_from(DRESS), st.sampled_from(DRESS), st.integers(0, 3))
def test_formatting_does_not_matter(number, one, two, zeros):
    sign, digits = ("-" if number < 0 else ""), str(abs(number))
    plain, padded = sign + digits, sign + "0" * zeros + digits
    assert equivalent(one.format(plain), two.format(padded))
    assert canonical(one.format(plain)) == canonical(two.format(padded)) == str(number)
    assert extract(rf"so \boxed{{{one.format(plain)}}}") == one.format(plain).strip()


PIECES = [
    *"0123456789.,+-*/^_(){}[]$\\ xyzi=%!<>|AB",
    r"\frac",
    r"\sqrt",
    r"\text{",
    r"\boxed{",
    r"\pi",
    "<think>",
    "</think>",
]
MATHSY = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(st.one_of(st.text(), MATHSY))
def test_extract_and_canonical_take_any_text(text):
    answer = extract(text)
    assert answer is None or canonical(answer)
    key = canonical(text)
    assert canonical(key) == key
    assert equivalent(text, text) is (key != "")


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.text(max_size=30), MATHSY), st.one_of(st.text(max_size=30), MATHSY))
def test_equivalent_takes_any_text(gold, prediction):
    assert equivalent(gold, prediction) in (True, False)
