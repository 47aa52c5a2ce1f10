"""Where the program is in a response."""

from __future__ import annotations

import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmft.reward.coding.extract import blocks, program


def found(text: str, unfenced="none", after=None) -> str | None:
    return program(text, unfenced=unfenced, after=after)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```",
        "```\nx = 1\n```",
        "```py\nx = 1\n```\n",
        "```Python3\nx = 1\n```  ",
        "``` python\nx = 1\n```",
        '```python title="a.py"\nx = 1\n```',
        "```python:main.py\nx = 1\n```",
        "```{.python}\nx = 1\n```",
        "```language-python\nx = 1\n```",
        "~~~python\nx = 1\n~~~",
        "~~~ py `x`\nx = 1\n~~~~",
        "`````python\nx = 1\n`````",
        "```python\nx = 1\n````",
        "Sure!\n\n```python\nx = 1\n```\nThat is all: `x`, ``y`` and ```z```.",
        "1. Here:\n\n   ```python\n   x = 1\n   ```",
        "\t```python\n\tx = 1\n\t```",
        "  ```python\nx = 1\n```",
        "<code>\nx = 1\n</code>",
        '<code class="python">\nx = 1\n</code>',
        "[PYTHON]\nx = 1\n[/PYTHON]",
        "<code>\n```python\nx = 1\n```\n</code>",
        "<code>\nnever closed\n```python\nx = 1\n```",
    ],
)
def test_styles(text):
    assert found(text) == "x = 1\n"


def test_carriage_returns_are_the_program_s():
    assert found("```python\r\nx = 1\r\n```\r\n") == "x = 1\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        "`x = 1`",
        "```python x = 1```",
        "```python\nx = 1\n",
        "```python\nx = 1\n``",
        "````python\nx = 1\n```",
        "~~~python\nx = 1\n```",
        "```javascript\nx = 1\n```",
        "```bash\npip install x\n```",
        "```c++\nx = 1;\n```",
        "```pytb\nTraceback\n```",
        "[PYTHON]\nx = 1\n</code>",
        "Use <code>x</code> as\n<code>\nx",
    ],
)
def test_no_program(text):
    assert found(text) is None


def test_the_last_complete_one_wins():
    assert found("```python\na\n```\n```python\nb\n```") == "b\n"
    assert found("```python\na\n```\n~~~\nb\n~~~\n[PYTHON]\nc\n[/PYTHON]") == "c\n"
    assert found("```python\na\n```\nBetter:\n```python\nb\n") == "a\n"
    assert found("```python\na\n```\nRun it:\n```bash\npython a.py\n```") == "a\n"
    assert found("```python\na\n```\n````python\n```\nb\n```\n") == "a\n"  # the rest is inside of what has no end


def test_a_longer_fence_holds_shorter_ones():
    doc = 'def f():\n    """\n    ```python\n    f()\n    ```\n    """\n'
    assert found(f"````python\n{doc}````") == doc
    assert found(f"~~~python\n{doc}~~~") == doc


def test_an_empty_block_is_a_program():
    assert found("```python\n```") == ""


def test_what_has_no_fence():
    assert found("x = 1", unfenced="whole") == "x = 1"
    assert found(" \n", unfenced="whole") is None
    assert found("```python\nx = 1", unfenced="whole") is None  # begun and not ended
    assert found("```bash\nls\n```", unfenced="whole") is None
    assert found("Look: `x`\n```python\nx\n```", unfenced="whole") == "x\n"


def test_after_a_mark():
    text = "<think>\n```python\na\n```\n</think>\n"
    assert found(text + "```python\nb\n```", after="</think>") == "b\n"
    assert found(text, after="</think>") is None
    assert found("```python\nb\n```", after="</think>") is None
    assert found(text) == "a\n"


code = st.text(alphabet="ab =()\n'\"#~`\t", max_size=60).map(lambda text: text.replace("```", "").replace("~~~", ""))
prose = st.text(alphabet="xyz .,\n*-", max_size=40)
style = st.sampled_from([("```", "python"), ("````", ""), ("~~~", "py"), ("~~~~~", "Python3")])


@given(st.lists(st.tuples(prose, style, code, st.integers(0, 3)), min_size=1, max_size=4), prose)
def test_generated_documents(parts, end):
    document, expected = "", []
    for text, (fence, name), inside, indent in parts:
        inside = inside.rstrip("\n") + "\n"
        block = f"{fence}{name}\n{inside}{fence}\n"
        document += f"{text}\n" + textwrap.indent(block, " " * indent, lambda line: True)
        expected.append(inside)
    assert list(blocks(document + end)) == expected


@given(st.text(alphabet="`~ \npy<code>/[]PYTHON", max_size=200))
def test_anything_may_be_said(text):
    for inside in blocks(text):
        assert all(line.strip() in text for line in inside.split("\n"))


@pytest.mark.parametrize(
    "line", ["<code>\n", "[PYTHON]\n", "```\n", "```py\n", "`", "` ", "~~~a`", " ", "<code", "```x\n~~~\n"]
)
def test_long_texts_take_no_long_time(line):
    text = line * (300_000 // len(line)) + "x`"
    begun = time.perf_counter()
    found(text, unfenced="whole")
    assert time.perf_counter() - begun < 5
