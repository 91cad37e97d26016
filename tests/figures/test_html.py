from pleura.figures.html import html_table


def test_text_of_a_table_is_escaped():
    html = html_table(["<b>"], [["<script>", 1]], "a & b")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    assert "<th>&lt;b&gt;</th>" in html


def test_a_table_without_columns_has_no_header():
    assert "<thead>" not in html_table((), [["a", 1]])
