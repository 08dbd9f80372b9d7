"""What a store keeps, what it finds stale, and who may read it."""

import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from onetrunk.apps import store as store_module
from onetrunk.apps.folder_lock import writing_alone
from onetrunk.apps.store import FeatureStore, Row
from onetrunk.backbones import UserError
from onetrunk.datasets import FileState, Record
from onetrunk.datasets.file_state import read_signature, state_of
from safetensors.torch import load_file

LAYERS = {"fc": (3,), "map": (2, 2, 2)}


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    """Ten files, of which a store only needs the bytes."""
    (tmp_path / "files").mkdir()
    found = []
    for index in range(10):
        path = tmp_path / "files" / f"{index}.png"
        path.write_bytes(bytes([index]) * 100)
        found.append(Record(path=path, targets={}, name=path.name))
    return found


def create(folder: Path, recipe: str = "r", rows: int = 10, dtype: str = "fp32", **more: bool) -> FeatureStore:
    return FeatureStore.create(folder, {"recipe": recipe}, LAYERS, dtype=dtype, rows=rows, batch_size=4, **more)


def state(path: Path) -> FileState:
    return state_of(read_signature(path), path.read_bytes())


def value_of(place: int) -> dict[str, torch.Tensor]:
    return {name: torch.full(shape, float(place)) for name, shape in LAYERS.items()}


def write_all(store: FeatureStore, records: list[Record], shards: list[int] | None = None) -> None:
    for shard in range(len(store.shards)) if shards is None else shards:
        places = store.shards[shard]
        rows = [Row(records[place].name, state(records[place].path), None) for place in places]
        arrays = {name: torch.stack([value_of(place)[name] for place in places]) for name in LAYERS}
        store.write(shard, rows, arrays)


@pytest.fixture
def store(tmp_path: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """A complete store of three shards: four, four and two rows."""
    monkeypatch.setattr(store_module, "_SHARD_ROWS", 4)
    found = create(tmp_path / "store")
    write_all(found, records)
    return found


def test_shards_are_whole_batches_and_rows_come_back_in_any_order(store: FeatureStore, records: list[Record]) -> None:
    assert [len(places) for places in store.shards] == [4, 4, 2]
    assert store.missing(records) == []
    found = store.read([9, 0, 5, 5])
    assert found["map"].shape == (4, 2, 2, 2)
    assert found["fc"][:, 0].tolist() == [9, 0, 5, 5]
    assert list(store.read([1], ["fc"])) == ["fc"]


def test_maps_lie_channels_last_and_are_read_so(tmp_path: Path, records: list[Record]) -> None:
    shape = (3, 2, 5)
    maps = torch.arange(2 * 30.0).reshape(2, *shape)
    store = FeatureStore.create(tmp_path / "maps", {}, {"map": shape}, dtype="fp32", rows=2, batch_size=4)
    store.write(0, [Row(record.name, state(record.path), None) for record in records[:2]], {"map": maps})
    assert load_file(store.folder / "000000.safetensors")["map"].shape == (2, 2, 5, 3)
    for found in (store.read([0, 1])["map"], store.features(0)["map"]):
        assert torch.equal(found, maps)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_an_opened_store_is_the_one_that_was_written(store: FeatureStore, records: list[Record]) -> None:
    opened = FeatureStore.open(store.folder)
    assert (opened.key, len(opened), opened.layers) == (store.key, 10, LAYERS)
    assert [row.name for row in opened.manifest()] == [record.name for record in records]
    assert opened.missing(records) == []


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_narrow_numbers_stay_narrow(tmp_path: Path, records: list[Record], dtype: str) -> None:
    narrow = create(tmp_path / "store", dtype=dtype)
    write_all(narrow, records)
    assert narrow.read([3])["fc"].dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    assert narrow.read([3])["fc"][0].tolist() == [3, 3, 3]


def test_going_on_keeps_what_is_there(store: FeatureStore, records: list[Record], tmp_path: Path) -> None:
    (store.folder / "000001.safetensors").unlink()
    again = create(tmp_path / "store")
    assert again.missing(records) == [1]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_bytes(b"other"), id="content"),
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.write_bytes(b"\x05" * 99 + b"\x06"), id="same size"),
    ],
)
def test_only_the_shard_of_a_changed_file_is_stale(store: FeatureStore, records: list[Record], change) -> None:
    change(records[5].path)
    assert store.missing(records) == [1]


def test_a_change_is_found_although_its_time_is_set_back(store: FeatureStore, records: list[Record]) -> None:
    path = records[5].path
    before = path.stat()
    path.write_bytes(b"\x07" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.missing(records) == [1]


def test_a_copy_or_a_touched_file_is_not_stale(store: FeatureStore, records: list[Record], tmp_path: Path) -> None:
    os.utime(records[2].path, (1, 1))
    moved = [Record(path=tmp_path / "moved" / each.name, targets={}, name=each.name) for each in records]
    shutil.copytree(records[0].path.parent, tmp_path / "moved")
    assert store.missing(records) == store.missing(moved) == []


def test_other_images_in_a_shard_make_it_stale(store: FeatureStore, records: list[Record], tmp_path: Path) -> None:
    swapped = [*records[:8], records[9], records[8]]
    assert store.missing(swapped) == [2]
    fewer = create(tmp_path / "store", rows=6)
    assert fewer.missing(records[:6]) == [1]
    assert not (store.folder / "000002.safetensors").exists()


def test_a_damaged_shard_is_computed_again(store: FeatureStore, records: list[Record]) -> None:
    path = store.folder / "000000.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    (store.folder / "000002.safetensors").write_bytes(b"")
    assert store.missing(records) == [0, 2]


def test_another_recipe_begins_anew_where_that_is_asked_for(store, records: list[Record], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"begun with other options \(recipe\). Go on with those, or drop .*--overwrite"
    ):
        create(tmp_path / "store", recipe="another")
    assert store.missing(records) == []
    other = create(tmp_path / "store", recipe="another", replaces=True)
    assert other.key != store.key
    assert other.missing(records) == [0, 1, 2]
    assert not list(other.folder.glob("*.safetensors"))


def test_a_store_in_which_nothing_was_computed_yet_may_begin_anew(tmp_path: Path) -> None:
    create(tmp_path / "store")
    assert create(tmp_path / "store", recipe="another").recipe == {"recipe": "another"}


def test_the_manifest_of_a_store_that_is_held_stays_that_of_its_features(
    store: FeatureStore, records: list[Record]
) -> None:
    store.hold()
    rows = store.rows(1)
    other = FeatureStore.open(store.folder)
    other.write(1, [rows[0]._replace(error="unreadable"), *rows[1:]], store.features(1))
    assert store.manifest()[4] == rows[0]
    assert store.rows(1)[0].error == other.manifest()[4].error == "unreadable"


def test_a_shard_of_another_recipe_is_stale(store: FeatureStore, records: list[Record], tmp_path: Path) -> None:
    other = create(tmp_path / "other", recipe="another")
    shutil.copy(store.folder / "000000.safetensors", other.folder)
    assert other.missing(records) == [0, 1, 2]


def test_processes_read_side_by_side(store: FeatureStore) -> None:
    store.read([0])  # open files don't travel
    assert pickle.loads(pickle.dumps(store)).read([4])["fc"][0, 0] == 4
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        found = [pool.submit(store.read, [index, 9 - index]) for index in range(8)]
        assert [each.result()["fc"][:, 0].tolist() for each in found] == [[index, 9 - index] for index in range(8)]


def write_alone(folder: Path) -> None:
    with writing_alone(folder):
        pass


def test_one_process_writes(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        with writing_alone(tmp_path / "part"):
            refused = pool.submit(write_alone, tmp_path / "part")
            with pytest.raises(
                UserError, match=r"part' can't be locked: another process is writing there. Wait for it"
            ):
                refused.result()
        pool.submit(write_alone, tmp_path / "part").result()
    assert not (tmp_path / "part").exists()


def test_a_file_that_could_not_be_read_is_read_again(store: FeatureStore, records: list[Record]) -> None:
    """It was there and unreadable, as on a disk that is away for a moment; a file that is missing stays so."""
    rows = store.rows(1)
    rows[1] = Row(rows[1].name, FileState(*read_signature(records[5].path), ""), "input/output error")
    store.write(1, rows, store.features(1))
    assert store.missing(records) == [1]
    records[5].path.unlink()
    rows[1] = Row(rows[1].name, FileState(*read_signature(records[5].path), ""), "there is no such file")
    store.write(1, rows, store.features(1))
    assert store.missing(records) == []


def test_what_is_no_store_is_never_deleted(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis' isn't empty and holds no feature store"):
        create(tmp_path / "thesis")
    (store.folder / "notes.txt").write_text("mine")
    create(tmp_path / "store", recipe="another", replaces=True)
    FeatureStore.delete(store.folder)
    assert [path.name for path in store.folder.iterdir()] == ["notes.txt"]


def test_a_store_that_was_interrupted_as_it_began_is_one(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json.part").write_text("{")
    assert len(create(tmp_path / "store").shards) == 1


def test_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no feature store"):
        FeatureStore.open(tmp_path)
