import json

import pytest

from slm_export.calibration.files import read_rows
from slm_export.calibration.labels import targets
from slm_export.calibration.samples import read_samples
from slm_export.errors import InputError


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def parquet(tmp_path, columns):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    return tmp_path / "d.parquet"


def texts(data):
    return [(s.line, s.text, s.label) for s in data.samples]


def test_five_kinds_of_files_give_the_same_samples(tmp_path):
    kinds = [
        write(tmp_path, "d.csv", "text,label\none,a\ntwo,b\n"),
        write(tmp_path, "d.tsv", "text\tlabel\none\ta\ntwo\tb\n"),
        write(tmp_path, "d.jsonl", '{"text": "one", "label": "a"}\n{"text": "two", "label": "b"}\n'),
        parquet(tmp_path, {"text": ["one", "two"], "label": ["a", "b"]}),
    ]
    for path in kinds:
        assert [(t, label) for _, t, label in texts(read_samples(path))] == [("one", "a"), ("two", "b")], path
    assert texts(read_samples(write(tmp_path, "d.txt", "one\n\ntwo\n"))) == [(1, "one", None), (3, "two", None)]


def test_line_numbers_are_the_files_own_even_behind_multi_line_fields(tmp_path):
    path = write(tmp_path, "d.csv", '\ufefftext,label\n"two\nlines",a\nnext,b\n')
    assert texts(read_samples(path)) == [(2, "two\nlines", "a"), (4, "next", "b")]


@pytest.mark.parametrize(
    ("name", "data", "place", "problem"),
    [
        ("d.csv", "text,label\nok,a\nshort\n", 3, "1 fields, the header has 2"),
        ("d.csv", "text,label\nok,a\n   ,b\n", 3, "column 'text' is empty"),
        ("d.csv", "text,label\nok,\n", 2, "column 'label' is empty"),
        ("d.csv", 'text\n"open', 2, "unexpected end of data"),
        ("d.jsonl", '{"text": "ok"}\n{"text": \n', 2, "not JSON"),
        ("d.jsonl", '{"text": "ok"}\n["list"]\n', 2, "a JSON list, not an object"),
        ("d.jsonl", '{"text": "ok"}\n{"text": 3}\n', 2, "column 'text' is a int, not a text"),
        ("d.jsonl", '{"text": "ok"}\n{"other": "x"}\n', 2, "column 'text' is missing"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, name, data, place, problem):
    with pytest.raises(InputError) as caught:
        read_samples(write(tmp_path, name, data))
    assert f"{tmp_path / name}:{place}: " in str(caught.value) and problem in str(caught.value)


def test_many_bad_rows_are_counted_and_the_first_ten_shown(tmp_path):
    path = write(tmp_path, "d.csv", "text\n" + '""\n' * 12)
    with pytest.raises(InputError) as caught:
        read_samples(path)
    assert "has 12 bad rows" in str(caught.value) and "and 2 more" in str(caught.value)
    assert str(caught.value).count(f"{path}:") == 10


def test_a_null_in_parquet_is_a_bad_row(tmp_path):
    with pytest.raises(InputError, match="1 bad row") as caught:
        read_samples(parquet(tmp_path, {"text": ["one", None]}))
    assert ":2: column 'text' is missing" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("d.xls", "x", "cannot tell what kind of file"),
        ("d.csv", "", "holds no rows"),
        ("d.csv", "text\n", "holds no rows"),
        ("d.csv", b"text\ncaf\xe9\n", "d.csv:2 is not UTF-8 (byte 0xe9)"),
        ("d.csv", "text,text\na,b\n", "names column 'text' twice"),
        ("d.parquet", "nonsense", "is not a Parquet file"),
        ("d.csv", "a,b\n1,2\n", "has no column for the text"),
    ],
)
def test_an_unusable_file_is_told(tmp_path, name, data, message):
    with pytest.raises(InputError) as caught:
        read_samples(write(tmp_path, name, data))
    assert message in str(caught.value)


def test_pairs_are_refused_where_single_texts_are_wanted(tmp_path):
    path = write(tmp_path, "d.csv", "text,text_pair\na,b\n")
    assert [(s.text, s.pair) for s in read_samples(path).samples] == [("a", "b")]
    assert [(s.text, s.pair) for s in read_samples(path, text_column="text").samples] == [("a", None)]
    with pytest.raises(InputError, match="holds text pairs"):
        read_samples(path, kind="single text")


def test_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_rows(tmp_path / "none.csv")


def test_columns_are_found_by_convention_or_named(tmp_path):
    path = write(tmp_path, "d.csv", "id,utterance,intent,tag\n1,hello,greet,x\n")
    assert texts(read_samples(path)) == [(2, "hello", "greet")]
    assert texts(read_samples(path, text_column="tag", label_column="id")) == [(2, "x", "1")]
    with pytest.raises(InputError) as caught:
        read_samples(path, text_column="utterence")
    assert "has no column 'utterence'" in str(caught.value) and "did you mean 'utterance'?" in str(caught.value)


WORDS = {"tokens": ["John", "sleeps"], "tags": ["B-PER", "O"]}
CONLL = "-DOCSTART- -X- O\n\nJohn NNP B-PER\nsleeps VBZ O\n\n\nMary NNP B-PER\nwakes VBZ O"


def test_words_come_from_lists_white_space_and_conll(tmp_path):
    for name, text in {
        "a.jsonl": json.dumps(WORDS),
        "b.jsonl": json.dumps({"words": ["John", "sleeps"], "ner_tags": ["B-PER", "O"]}),
        "c.csv": "tokens,tags\nJohn sleeps,B-PER O\n",
        "d.conll": CONLL,
    }.items():
        sample = read_samples(write(tmp_path, name, text), kind="words").samples[0]
        assert (sample.words, sample.labels, sample.text) == (("John", "sleeps"), ("B-PER", "O"), "John sleeps")
    second = read_samples(tmp_path / "d.conll", kind="words").samples[1]
    assert (second.line, second.words) == (7, ("Mary", "wakes"))


def test_texts_without_tags_are_words_between_white_space(tmp_path):
    sample = read_samples(write(tmp_path, "a.txt", "John  sleeps\n"), kind="words").samples[0]
    assert sample.words == ("John", "sleeps") and sample.labels is None
    assert targets([sample], ("O", "B-PER"), file="a.txt") is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", json.dumps({"tokens": ["a", "b"], "tags": ["O"]}), "a.jsonl:1: 2 words, 1 tags"),
        ("a.jsonl", json.dumps({"tokens": [], "tags": []}), "a.jsonl:1: column 'tokens' is empty, not words"),
        ("a.jsonl", json.dumps({"tokens": 3, "tags": []}), "a.jsonl:1: column 'tokens' is a int, not words"),
        ("a.conll", "John B-PER\nsleeps\n", "a.conll:1: line 2 has a word and no tag"),
    ],
)
def test_bad_words_are_named(tmp_path, name, text, message):
    with pytest.raises(InputError) as caught:
        read_samples(write(tmp_path, name, text), kind="words")
    assert message in str(caught.value)


def test_tags_are_names_or_numbers(tmp_path):
    rows = [{"tokens": ["a", "b"], "ner_tags": [1, 0]}, {"tokens": ["c"], "ner_tags": [0]}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert targets(read_samples(path, kind="words").samples, ("O", "B-PER"), file="a.jsonl") == ((1, 0), (0,))


def test_labels_are_names_or_numbers_and_an_unknown_one_is_named(tmp_path):
    def ids(*labels):
        rows = "".join(json.dumps({"text": "t", "label": label}) + "\n" for label in labels)
        return targets(read_samples(write(tmp_path, "d.jsonl", rows)).samples, ("cat", "dog"), file="d.jsonl")

    assert ids("dog", "cat") == ((1,), (0,))
    assert ids(1, 0) == ((1,), (0,))
    with pytest.raises(InputError) as caught:
        ids("cat", "dgo", "cow")
    assert "2 of 3 labels" in str(caught.value) and "d.jsonl:2: 'dgo'" in str(caught.value)
    assert "did you mean 'dog'?" in str(caught.value)


def test_label_sets_are_lists_or_names_with_semicolons_between_them(tmp_path):
    path = write(tmp_path, "d.csv", "text,labels\none,cat; dog\ntwo,\nthree,dog|cat\n")
    samples = read_samples(path, kind="label set").samples
    assert [s.labels for s in samples] == [("cat", "dog"), (), ("dog", "cat")]
    assert targets(samples, ("cat", "dog"), file="d.csv") == ((0, 1), (), (1, 0))
    path = write(tmp_path, "d.jsonl", json.dumps({"text": "one", "labels": [1]}))
    assert targets(read_samples(path, kind="label set").samples, ("cat", "dog"), file="d.jsonl") == ((1,),)


def test_scores_are_finite_numbers(tmp_path):
    good = read_samples(write(tmp_path, "d.csv", "text,score\none,1.5\ntwo,-2\n"), kind="score").samples
    assert targets(good, (), file="d.csv") == ((1.5,), (-2.0,))
    for bad in ("high", "nan", "inf"):
        with pytest.raises(InputError, match="1 bad row"):
            read_samples(write(tmp_path, "d.csv", f"text,score\none,{bad}\n"), kind="score")


def test_questions_come_from_rows_and_from_squads_layout(tmp_path):
    asked = {"question": "who?", "context": "it was Ann", "answers": {"text": ["Ann"], "answer_start": [7]}}
    rows = write(tmp_path, "d.jsonl", json.dumps(asked))
    passage = {"context": "it was Ann", "qas": [{"question": "who?", "answers": [{"text": "Ann", "answer_start": 7}]}]}
    squad = write(tmp_path, "d.json", json.dumps({"data": [{"title": "t", "paragraphs": [passage]}]}))
    for path in (rows, squad):
        (sample,) = read_samples(path, kind="question").samples
        assert (sample.text, sample.pair, sample.answers) == ("who?", "it was Ann", ("Ann",))
    with pytest.raises(InputError, match="has no column for the context"):
        read_samples(write(tmp_path, "d.csv", "question\nwho?\n"), kind="question")
    with pytest.raises(InputError, match="neither a list of objects"):
        read_rows(write(tmp_path, "e.json", '{"a": 1}'))


def test_a_text_without_a_mask_gets_one_and_always_the_same(tmp_path):
    path = write(tmp_path, "d.txt", "the cat sat here\nyou [MASK] it\n")
    first, second = read_samples(path, kind="masked", mask="[MASK]").samples
    assert first.text.replace("[MASK]", first.label) == "the cat sat here" and first.label in (
        "the",
        "cat",
        "sat",
        "here",
    )
    assert (second.text, second.label) == ("you [MASK] it", None)
    assert read_samples(path, kind="masked", mask="[MASK]").samples[0] == first
    with pytest.raises(InputError, match="neither"):
        read_samples(write(tmp_path, "e.txt", "...\n"), kind="masked", mask="[MASK]")


def test_slices_are_values_of_a_column(tmp_path):
    path = write(tmp_path, "d.csv", "text,lang\none,en\nzwei,\n")
    assert [s.slice for s in read_samples(path, slice_column="lang").samples] == ["en", "(none)"]
    with pytest.raises(InputError, match="has no column 'language'"):
        read_samples(path, slice_column="language")
