"""The check of the built documentation, on pieces of such pages; `nox -s docs` has it read the pages themselves."""

import pytest
from pages import complaints, names_of_sources

NAMES = names_of_sources()


def field(name: str, content: str) -> str:
    return (
        '<dl class="py property"><dt class="sig sig-object py" id="wsock.Request.path">path</dt><dd>'
        f'<dl class="field-list simple"><dt class="field-odd">{name}<span class="colon">:</span></dt>'
        f'<dd class="field-odd">{content}</dd></dl></dd></dl>'
    )


@pytest.mark.parametrize(
    "written",
    [
        "int",
        "str | None",
        "list[tuple[int, bytes]]",
        "Deferred[twisted.internet.interfaces.IProtocol]",
        'list[<a class="reference internal" href="#Extension">wsock.sansio.extensions.Extension</a>]',
        "Literal[‘wait’, ‘close’, ‘drop’]",
        "Callable[..., AnyApplication]",
        "Final[tuple[tuple[str, str | None], …]]",
        "i64",
    ],
)
def test_types(written: str) -> None:
    for name in ("Type", "Return type"):
        assert complaints(field(name, f"<p>{written}</p>"), NAMES) == []


@pytest.mark.parametrize(
    "written",
    [
        "The path, decoded",
        "Nothing",
        "the buffers of its frame",
        "Whether messages can be sent",
        "where the payload begins, or -1 where the head does not end in <code><span>data</span></code>",
    ],
)
def test_words_in_the_place_of_a_type(written: str) -> None:
    for name in ("Type", "Return type"):
        (complaint,) = complaints(field(name, f"<p>{written}</p>"), NAMES)
        assert complaint.startswith(f"wsock.Request.path: words in the field '{name}'")
    assert complaints(field("Returns", f"<p>{written}</p>"), NAMES) == []


def test_a_field_without_content() -> None:
    assert complaints(field("Returns", "<p> </p>"), NAMES) == ["wsock.Request.path: Returns is empty"]


def test_a_name_that_leads_nowhere() -> None:
    name = '<code class="xref py py-obj"><span class="pre">replies</span></code>'
    assert complaints(f'<p>See <a class="reference internal" href="#replies">{name}</a>.</p>', NAMES) == []
    (complaint,) = complaints(f"<p>See<br>{name}.</p>", NAMES)
    assert complaint.startswith("?: `replies` is no link")


@pytest.mark.parametrize(
    "markup",
    ["```{literalinclude} a.py", "{eval-rst}", ".. autoclass:: Request", ":class:`Request`", ":param data: bytes"],
)
def test_markup_that_was_not_read(markup: str) -> None:
    assert complaints(f"<p>{markup}</p>", NAMES) != []
    assert complaints(f"<pre>{markup}</pre>", NAMES) == []


def test_an_error_of_sphinx() -> None:
    assert complaints('<p><span class="problematic">*</span></p>', NAMES) != []
