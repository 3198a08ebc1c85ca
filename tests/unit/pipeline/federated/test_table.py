import numpy as np
import pytest

from node.errors import Invalid, NotFound
from node.pipeline.federated.table import Scaling, read_table, write_table


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode())
        return path

    return write


def test_columns_are_chosen_by_name_and_by_index_without_the_id(written):
    table = read_table(written("id,a,b,c\nx,1,2,3\ny,4,5,6\n"))
    assert table.ids == ("x", "y")
    assert table.column_names(("c", 0)) == ("c", "a")
    assert table.column_names(()) == ("a", "b", "c")
    assert (table.values(("c", "a")) == [[3, 1], [6, 4]]).all()
    with pytest.raises(Invalid, match="no column 'd'"):
        table.column_names(("d",))
    with pytest.raises(Invalid, match="no column 3"):
        table.column_names((3,))
    with pytest.raises(Invalid, match="twice"):
        table.column_names(("a", 0))


def test_another_column_can_be_the_id_and_a_byte_order_mark_is_no_part_of_a_name(written):
    table = read_table(written("﻿a,key\r\n1, x \r\n\r\n2,y\r\n"), "key")
    assert (table.id, table.names, table.ids) == ("key", ("a",), ("x", "y"))


def test_ids_are_compared_in_one_normal_form(written):
    with pytest.raises(Invalid, match="line 4 has the id of line 2") as refused:
        read_table(written("id,a\nZoe\u0308,1\nb,2\nZo\u00eb,3\n"))
    assert [problem.path for problem in refused.value.problems] == ["line 4"]


def test_rows_without_an_id_and_ragged_rows_are_refused_with_their_lines(written):
    with pytest.raises(Invalid, match="2 rows have no id: line 3"):
        read_table(written("id,a\nx,1\n ,2\n,3\n"))
    with pytest.raises(Invalid, match="line 3 has 1 cells, the header 2"):
        read_table(written("id,a\nx,1\ny\n"))


@pytest.mark.parametrize("cell", ["", "n/a", "inf", "nan"])
def test_a_cell_that_is_no_number_is_named_with_line_and_column(written, cell):
    with pytest.raises(Invalid, match="line 3 column b"):
        read_table(written(f"id,a,b\nx,1,2\ny,3,{cell}\n")).values(("a", "b"))


def test_what_is_no_table_is_refused(written, tmp_path):
    with pytest.raises(NotFound, match=r"no file gone\.csv"):
        read_table(tmp_path / "gone.csv")
    for text in ("", "id,a,a\n", "id,,b\n"):
        with pytest.raises(Invalid, match="first line names"):
            read_table(written(text))
    path = written("id\n")
    path.write_bytes(b"id\n\xff\xfe\n")
    with pytest.raises(Invalid, match="UTF-8"):
        read_table(path)


def test_picked_rows_are_written_and_read_as_they_were(written, tmp_path):
    table = read_table(written('id,a,b\nx,1.50,"q, r"\ny,2,s\nz,3,t\n'))
    write_table(table.picked(np.array([2, 0]), ("b",)), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == 'id,b\nz,t\nx,"q, r"\n'


def test_features_are_standardised_by_the_training_rows_and_clipped():
    values = np.array([[1.0, 5], [3, 5]])
    scaled = Scaling.of(values).applied(np.array([[1.0, 5], [1e9, 5]]))
    assert scaled.tolist() == [[-1, 0], [8, 0]]
