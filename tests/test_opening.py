"""Opening: what calls the user's own code, and what guards against it."""

from __future__ import annotations

import pytest

from defender_logging.opening import call_user_code, class_name, opened, text_of


class Meta(type):
    """A metaclass that raises when asked for the name."""

    @property
    def __name__(cls):
        raise ValueError

    def __instancecheck__(cls, instance):
        raise ValueError


class Lying(metaclass=Meta):
    """Has a name all the same."""


class Loud(str):
    """A text whose own methods all raise."""

    __slots__ = ()

    def _raise(self, *_):
        raise ValueError

    __str__ = __repr__ = __len__ = __iter__ = __eq__ = encode = isascii = __format__ = _raise
    __hash__ = str.__hash__


def raising(error):
    """Make an object whose ``str()`` raises ``error``."""

    class Evil:
        def __str__(self):
            raise error

    return Evil()


def test_a_class_has_a_name_whatever_its_metaclass_says():
    """The name comes from the class itself."""
    assert "Lying" == class_name(Lying)


def test_a_text_of_a_subclass_is_read_without_its_methods():
    """No method of a str subclass runs."""
    assert ["abc", "abc"] == [opened(Loud("abc")), text_of(Loud("abc"))]


@pytest.mark.parametrize("read", [opened, text_of])
def test_an_error_becomes_a_placeholder(read):
    """The placeholder names the object's type and the error's."""
    assert "<Evil: unprintable, KeyError>" == read(raising(KeyError("x")))


@pytest.mark.parametrize("read", [opened, text_of])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_passes(read, error):
    """SystemExit and KeyboardInterrupt are not ours to swallow."""
    with pytest.raises(error):
        read(raising(error()))


def test_a_str_method_that_returns_no_text_is_an_error():
    """Python's own TypeError is told."""

    class Wrong:
        def __str__(self):
            return 5  # noqa: PLE0307 - that is the case

    assert "<Wrong: unprintable, TypeError>" == opened(Wrong())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<Thing object at 0x7f1234567890>", "<Thing object>"),
        ("<bound method A.b of <A object at 0x7FFF>>", "<bound method A.b of <A object>>"),
        (
            "sent at 0x52908400098527886E0F7030069857D2E4169EE7",
            "sent at 0x52908400098527886E0F7030069857D2E4169EE7",
        ),
    ],
)
def test_memory_addresses_are_removed_and_nothing_else(text, expected):
    """A number longer than an address is data, such as that of a contract."""

    class Thing:
        def __str__(self):
            return text

    assert expected == text_of(Thing())


def test_a_text_itself_is_never_stripped():
    """Only what ``str()`` made of an object is searched for addresses."""
    assert "x at 0x7f12" == text_of("x at 0x7f12")


def test_an_object_that_logs_itself_is_asked_three_times():
    """Then a placeholder stands for it, however it goes on."""
    calls = []

    class Recursive:
        def __str__(self):
            calls.append(1)
            return "outer(" + text_of(self) + ")"

    assert "outer(outer(outer(<Recursive: logs itself>)))" == text_of(Recursive())
    assert 3 == len(calls)


def test_the_count_of_calls_goes_back_after_an_error():
    """A raising object does not use up the calls of the next one."""
    for _ in range(10):
        text_of(raising(ValueError()))

    assert "5" == call_user_code(str, 5)


def test_huge_integers_are_texts():
    """Python refuses to write more than 4300 digits in decimal; then it is hexadecimal."""
    assert hex(10**5000) == text_of(10**5000)
