"""The lines of a metadata file: a wrong one is named with its number."""

from pathlib import Path

import pytest

from tbps.cli.main import main


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file": "none.png"}', "lines.jsonl, line 1: CROPS/none.png is not among the 12 images of the folder"),
        ('{"file": 5}', 'lines.jsonl, line 1: "file" is 5, expected a JSON object'),
        ('{"camera": "c1"}', 'lines.jsonl, line 1: "file" is missing, expected a JSON object'),
        ("[1, 2]", 'lines.jsonl, line 1: expected a JSON object, {"file": PATH BELOW THE FOLDER, ...}, not [1, 2].'),
        ('\ufeff"te\x9bxt"', 'line 1: expected a JSON object, {"file": PATH BELOW THE FOLDER, ...}, not "te\\x9b'),
        ("\n\nfile, camera", "lines.jsonl, line 3 is not valid JSON (Expecting value"),
        ("[" * 100_000, "lines.jsonl, line 1 nests lists or objects too deeply"),
        ('{"file": "FIRST", "place": "\xe9"}', "is not UTF-8"),
        ('\n{"file": "FIRST", "timestamp": "noon"}', "lines.jsonl, line 2: timestamp='noon' is not a time"),
        ('{"file": "FIRST", "camera": []}', "lines.jsonl, line 1: camera=[]"),
        ('{"file": "FIRST", "height": NaN}', "lines.jsonl, line 1 cannot be stored as JSON (Out of range"),
        ('{"file": "FIRST", "a": {"b": 1, "b": 2}}', "lines.jsonl, line 1 is not valid JSON ('b' occurs twice)"),
        ('{"file": "FIRST", "timestamp": 1777645800000}', "line 1: timestamp=1777645800000: expected a time"),
        ('{"file": "FIRST", "x": ' + "[" * 40 + "]" * 40 + "}", "line 1 holds lists or dicts nested more than 32 deep"),
        ('{"file": "FIRST"}\n\n{"file": "./FIRST"}', "lines.jsonl, line 3: line 1 already describes CROPS/FIRST"),
    ],
)
def test_metadata_lines_at_fault_are_named(
    line: str, message: str, tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoding = "latin-1" if "\xe9" in line else "utf-8"
    first = min(folder.iterdir()).name
    (tmp_path / "lines.jsonl").write_text(line.replace("FIRST", first), encoding=encoding)
    command = ["index", checkpoint, str(folder), str(tmp_path / "gallery")]
    assert main([*command, "--metadata", str(tmp_path / "lines.jsonl")]) == 2
    assert message.replace("CROPS", str(folder)).replace("FIRST", first) in capsys.readouterr().err
