import numpy as np

from pleura.figures.html import html_image, html_table


def test_text_of_a_table_is_escaped():
    html = html_table(["<b>"], [["<script>", 1]], "a & b")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    assert ">&lt;b&gt;</th>" in html


def test_a_table_without_columns_has_no_header():
    assert "<thead>" not in html_table((), [["a", 1]])


def test_numbers_are_aligned_to_the_right_and_text_to_the_left():
    rows = [["mean", "1.5"]]
    assert "right" not in html_table(("name", "value"), rows)
    html = html_table(("name", "value"), rows, numeric=True)
    assert html.count("text-align: right") == html.count("text-align: left") == 2


def test_an_image_has_an_escaped_description():
    html = html_image(np.zeros((2, 2, 3), np.uint8), 'slices of "a"')
    assert 'alt="slices of &quot;a&quot;"' in html
