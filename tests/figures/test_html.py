from pleura.figures.html import html_table


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
